-- Errors by time (SW-20), for psql and for `reports.py` alike: what a message with a stack trace
-- would say elsewhere, counted in bins of equal width that include the empty ones.

CREATE FUNCTION errors_by_bin(
    since timestamptz, until timestamptz, width interval, of_pipeline text DEFAULT NULL
) RETURNS TABLE (
    bin_start timestamptz, quarantined_rows bigint, quarantined_files bigint,
    failed_stream_reads bigint
)
LANGUAGE sql STABLE AS $$
    WITH errors AS (
        SELECT 'row' AS kind, pipeline, quarantined_at AS failed_at
        FROM quarantined_rows WHERE quarantined_at >= since AND quarantined_at < until
        UNION ALL
        SELECT 'file', pipeline, quarantined_at
        FROM quarantined_files WHERE quarantined_at >= since AND quarantined_at < until
        UNION ALL
        SELECT 'read', pipeline, read_at
        FROM stream_reads WHERE outcome = 'FAILED' AND read_at >= since AND read_at < until
    ), bins AS (
        SELECT generate_series(
            date_bin(width, since, timestamptz '1970-01-01 00:00:00+00'),
            until - interval '1 microsecond', width
        ) AS bin_start
    )
    SELECT
        bins.bin_start, count(*) FILTER (WHERE kind = 'row'),
        count(*) FILTER (WHERE kind = 'file'), count(*) FILTER (WHERE kind = 'read')
    FROM bins
    LEFT JOIN errors
        ON date_bin(width, failed_at, timestamptz '1970-01-01 00:00:00+00') = bins.bin_start
        AND (of_pipeline IS NULL OR errors.pipeline = of_pipeline)
    GROUP BY bins.bin_start
    ORDER BY bins.bin_start DESC
$$;
CREATE VIEW recent_errors AS
SELECT * FROM errors_by_bin(now() - interval '2 hours', now(), interval '5 minutes');
COMMENT ON VIEW recent_errors IS
    'Records and files held back and failed reads of streams by 5 minutes of the last two hours, '
    'newest first (SW-20).';

CREATE VIEW failed_events AS
SELECT
    quarantine_id, quarantined_at, hop, file_name, file_sha256, line_number, vendor AS source, rule,
    reason, record, state, resolved_at, run_id
FROM quarantined_rows
WHERE pipeline = 'web_events';
COMMENT ON VIEW failed_events IS
    'Events that could not be read or broke their contract, with reason and text (SW-33).';
