ALTER TABLE pipeline_runs DROP COLUMN is_work;
