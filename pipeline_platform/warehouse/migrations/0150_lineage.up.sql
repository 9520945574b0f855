-- What a lineage service was told (XC-9): up to where of each source, and of which ended runs.

CREATE TABLE lineage_positions (
    source text COLLATE "C" PRIMARY KEY,
    told_up_to text COLLATE "C" NOT NULL,
    told_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE lineage_positions IS
    'The last commit of each lake table, and the last load of each served one, that was told.';

ALTER TABLE pipeline_runs ADD COLUMN lineage_told_at timestamptz;
COMMENT ON COLUMN pipeline_runs.lineage_told_at IS
    'When a lineage service was told of the run; null: not yet, or there is none.';
CREATE INDEX pipeline_runs_untold ON pipeline_runs (ended_at) WHERE lineage_told_at IS NULL;
