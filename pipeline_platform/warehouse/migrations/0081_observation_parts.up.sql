ALTER TABLE check_observations ADD COLUMN parts jsonb;
COMMENT ON COLUMN check_observations.parts IS
    'The figures that the value is made of, such as the score of each quality dimension.';
