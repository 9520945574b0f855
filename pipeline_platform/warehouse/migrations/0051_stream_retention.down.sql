ALTER TABLE stream_reads DROP COLUMN retention_hours;
