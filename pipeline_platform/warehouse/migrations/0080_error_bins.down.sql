DROP VIEW failed_events;
DROP VIEW recent_errors;
DROP FUNCTION errors_by_bin(timestamptz, timestamptz, interval, text);
