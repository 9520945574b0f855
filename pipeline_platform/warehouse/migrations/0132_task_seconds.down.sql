ALTER TABLE pipeline_runs DROP COLUMN task_seconds;
