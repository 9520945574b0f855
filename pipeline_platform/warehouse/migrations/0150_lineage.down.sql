ALTER TABLE pipeline_runs DROP COLUMN lineage_told_at;
DROP TABLE lineage_positions;
