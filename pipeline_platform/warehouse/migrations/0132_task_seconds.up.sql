-- How long each step of a run took (SP-8): from this a percentile of any window can be told.

ALTER TABLE pipeline_runs ADD COLUMN task_seconds jsonb NOT NULL DEFAULT '{}';
COMMENT ON COLUMN pipeline_runs.task_seconds IS
    'Seconds by step, of the last attempt of each; empty for runs recorded before this column.';
