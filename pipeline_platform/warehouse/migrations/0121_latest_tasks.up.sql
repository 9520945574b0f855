-- What each step took when it succeeded last (SA-56): Dagster's runs may be cleaned up.

CREATE TABLE latest_tasks (
    pipeline_id text COLLATE "C" NOT NULL,
    task_name text COLLATE "C" NOT NULL,
    seconds double precision NOT NULL,
    peak_memory_bytes bigint,
    run_id text NOT NULL,
    ended_at timestamptz NOT NULL,
    PRIMARY KEY (pipeline_id, task_name)
);
COMMENT ON TABLE latest_tasks IS
    'Time and peak memory of each step in the last run in which it succeeded.';
COMMENT ON COLUMN latest_tasks.peak_memory_bytes IS
    'The most resident memory of its process; null: not measured.';
