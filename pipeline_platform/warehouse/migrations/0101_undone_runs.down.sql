DROP TABLE undone_runs;
