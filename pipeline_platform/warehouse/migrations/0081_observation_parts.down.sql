ALTER TABLE check_observations DROP COLUMN parts;
