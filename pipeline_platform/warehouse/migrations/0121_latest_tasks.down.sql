DROP TABLE latest_tasks;
