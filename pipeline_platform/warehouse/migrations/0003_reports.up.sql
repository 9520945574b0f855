-- The runbook's reports, for psql and for `reports.py` alike. A function takes the start of its
-- window; the view of nearly the same name is the window that the runbook asks for.

CREATE FUNCTION etl_runs_since(since timestamptz) RETURNS TABLE (
    pipeline text, file_name text, vendor text, status text, records_processed bigint,
    records_quarantined bigint, processing_start_time timestamptz,
    processing_end_time timestamptz, duration_seconds double precision, run_id text, reason text
)
LANGUAGE sql STABLE AS $$
    SELECT
        log.pipeline, log.file_name, log.vendor, log.status, log.records_processed,
        log.records_quarantined, log.processing_start_time, log.processing_end_time,
        log.duration_seconds, log.run_id, log.reason
    FROM etl_processing_log AS log
    WHERE log.processing_start_time >= since
    ORDER BY log.processing_start_time DESC, log.processing_id DESC
$$;
CREATE VIEW recent_etl_runs AS SELECT * FROM etl_runs_since(now() - interval '1 day');
COMMENT ON VIEW recent_etl_runs IS 'File runs of the last day, newest first (SA-25).';

CREATE FUNCTION issues_by_day_and_severity_since(since timestamptz) RETURNS TABLE (
    issue_date date, severity text, issue_count bigint, open_count bigint
)
LANGUAGE sql STABLE AS $$
    SELECT
        (issue.created_at AT TIME ZONE 'UTC')::date, issue.severity, count(*),
        count(*) FILTER (WHERE issue.resolved_at IS NULL)
    FROM data_quality_issues AS issue
    WHERE issue.created_at >= since
    GROUP BY 1, 2
    ORDER BY 1 DESC, array_position(ARRAY['critical', 'warning', 'info'], issue.severity)
$$;
CREATE VIEW issues_by_day_and_severity AS
SELECT * FROM issues_by_day_and_severity_since(now() - interval '7 days');
COMMENT ON VIEW issues_by_day_and_severity IS
    'Issues of the last seven days by UTC day and severity, newest first (SA-27).';

-- NULL for what is no number, never an error: `1.2.3` passed the runbook's pattern and broke its
-- query, `-1` and `1e3` did not pass and were left out (D-4). Exponents have a bound, because
-- 1e999999 is well formed and still not a numeric.
CREATE FUNCTION numeric_or_null(value text) RETURNS numeric
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN btrim(value) ~ '^[+-]?(\d{1,200}\.?\d{0,200}|\.\d{1,200})([eE][+-]?\d{1,3})?$'
        THEN btrim(value)::numeric
    END
$$;

CREATE FUNCTION issues_by_type_since(since timestamptz) RETURNS TABLE (
    issue_type text, issue_count bigint, numeric_count bigint, average_actual_value numeric
)
LANGUAGE sql STABLE AS $$
    SELECT
        issue.issue_type, count(*), count(numeric_or_null(issue.actual_value)),
        avg(numeric_or_null(issue.actual_value))
    FROM data_quality_issues AS issue
    WHERE issue.created_at >= since
    GROUP BY issue.issue_type
    ORDER BY count(*) DESC, issue.issue_type
$$;
CREATE VIEW issues_by_type AS SELECT * FROM issues_by_type_since(now() - interval '1 day');
COMMENT ON VIEW issues_by_type IS
    'Issues of the last day by type, with the mean of those actual values that are numbers '
    '(SA-61).';

CREATE VIEW active_connections AS
SELECT
    count(*) AS open_count,
    count(*) FILTER (WHERE state = 'active') AS active_count,
    count(*) FILTER (WHERE state LIKE 'idle in transaction%') AS idle_in_transaction_count,
    current_setting('max_connections')::integer AS max_connections,
    round(100.0 * count(*) / current_setting('max_connections')::integer, 2) AS used_pct
FROM pg_stat_activity
WHERE backend_type = 'client backend';
COMMENT ON VIEW active_connections IS
    'Client connections of the whole server, and their share of the limit (SA-16, SA-23).';

-- Only what is at work: without the state filter idle sessions count as slow queries (D-9).
CREATE FUNCTION queries_running_for(at_least interval) RETURNS TABLE (
    pid integer, user_name text, database_name text, state text, started_at timestamptz,
    duration_seconds double precision, waits_for text, query text
)
LANGUAGE sql VOLATILE AS $$
    SELECT
        activity.pid, activity.usename::text, activity.datname::text, activity.state,
        activity.query_start,
        extract(epoch FROM clock_timestamp() - activity.query_start)::double precision,
        activity.wait_event_type || ':' || activity.wait_event, activity.query
    FROM pg_stat_activity AS activity
    WHERE activity.state IN ('active', 'fastpath function call')
      AND activity.pid <> pg_backend_pid()
      AND activity.backend_type = 'client backend'
      AND clock_timestamp() - activity.query_start >= at_least
    ORDER BY activity.query_start
$$;
CREATE VIEW slow_queries AS SELECT * FROM queries_running_for(interval '5 minutes');
COMMENT ON VIEW slow_queries IS 'Queries at work for five minutes or more, longest first (SA-58).';
