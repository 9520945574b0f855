-- What the platform asked of the lake, how long it took and what was read for it (SW-23).

CREATE TABLE lake_queries (
    query_id uuid PRIMARY KEY,
    pipeline text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    asked_at timestamptz NOT NULL,
    seconds double precision NOT NULL CHECK (seconds >= 0),
    error text,
    scanned jsonb NOT NULL
);
CREATE INDEX lake_queries_recent ON lake_queries (asked_at DESC);
COMMENT ON COLUMN lake_queries.scanned IS
    'Each table that was read: its snapshot, and files, rows and bytes of the partitions opened.';
