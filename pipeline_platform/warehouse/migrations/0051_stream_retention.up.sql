-- For how long the stream keeps a record, as it said when it was read: what is older is lost unread.

ALTER TABLE stream_reads ADD COLUMN retention_hours int CHECK (retention_hours > 0);
COMMENT ON COLUMN stream_reads.retention_hours IS
    'NULL if the attempt failed, or if the stream''s description may not be read.';
