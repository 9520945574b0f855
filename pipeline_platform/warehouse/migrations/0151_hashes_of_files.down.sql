DROP VIEW recent_etl_runs;
DROP FUNCTION etl_runs_since(timestamptz);

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
