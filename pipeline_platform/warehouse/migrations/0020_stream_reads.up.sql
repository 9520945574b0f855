-- How each attempt to read a stream ended: the health of the stream's ingester (SW-3).

CREATE TABLE stream_reads (
    stream_read_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pipeline text COLLATE "C" NOT NULL,
    stream text COLLATE "C" NOT NULL,
    read_at timestamptz NOT NULL,
    outcome text COLLATE "C" NOT NULL CHECK (outcome IN ('PUBLISHED', 'EMPTY', 'FAILED')),
    records bigint NOT NULL DEFAULT 0 CHECK (records >= 0),
    quarantined bigint NOT NULL DEFAULT 0 CHECK (quarantined >= 0),
    millis_behind_latest bigint CHECK (millis_behind_latest >= 0),
    reason text,
    run_id text NOT NULL
);
CREATE INDEX stream_reads_recent ON stream_reads (pipeline, stream, read_at DESC);
COMMENT ON COLUMN stream_reads.millis_behind_latest IS
    'How far the slowest shard was behind its newest record after the read; NULL if it failed.';
