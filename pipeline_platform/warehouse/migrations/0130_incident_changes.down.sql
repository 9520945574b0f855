ALTER TABLE incidents DROP COLUMN resolved_by;
ALTER TABLE incidents DROP COLUMN changes;
DROP TABLE platform_states;
DROP TABLE last_greens;
