-- Pages as they were made (XC-13), and how many steps each run had (SW-39).

CREATE TABLE report_pages (
    pipeline text COLLATE "C" NOT NULL,
    report text COLLATE "C" NOT NULL,
    report_date date NOT NULL,
    made_at timestamptz NOT NULL,
    run_id text,
    page json NOT NULL,
    PRIMARY KEY (pipeline, report, report_date)
);
COMMENT ON TABLE report_pages IS
    'The last page of each pipeline, report and day (UTC), as JSON that keeps the order of columns; '
    'HTML and Markdown are made of it.';

ALTER TABLE pipeline_runs
    ADD COLUMN succeeded_tasks integer,
    ADD COLUMN failed_tasks integer;
CREATE INDEX pipeline_runs_ended ON pipeline_runs (pipeline_id, ended_at DESC);
