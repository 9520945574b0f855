-- What maintenance and restoration did to each table of the lake, and the proof that nothing but
-- what was meant to change has changed. A row without an end belongs to a process that was killed.

CREATE TABLE maintenance_runs (
    maintenance_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pipeline text COLLATE "C" NOT NULL,
    table_name text COLLATE "C" NOT NULL,
    operation text COLLATE "C" NOT NULL,
    run_id text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    outcome text COLLATE "C" NOT NULL DEFAULT 'STARTED'
        CHECK (outcome IN ('STARTED', 'DONE', 'FAILED')),
    files_before bigint,
    files_after bigint,
    bytes_before bigint,
    bytes_after bigint,
    proof jsonb NOT NULL DEFAULT '{}',
    message text
);

CREATE INDEX maintenance_runs_by_table
    ON maintenance_runs (pipeline, table_name, operation, started_at DESC);
