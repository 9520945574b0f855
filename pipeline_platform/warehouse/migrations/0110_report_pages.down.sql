DROP INDEX pipeline_runs_ended;
ALTER TABLE pipeline_runs DROP COLUMN succeeded_tasks, DROP COLUMN failed_tasks;
DROP TABLE report_pages;
