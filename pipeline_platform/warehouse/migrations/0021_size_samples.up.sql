-- How large things that keep no history of their own were, day by day (SA-48, SW-66).

CREATE TABLE size_samples (
    subject text COLLATE "C" NOT NULL,
    measured_date date NOT NULL,
    size_bytes bigint NOT NULL CHECK (size_bytes >= 0),
    PRIMARY KEY (subject, measured_date)
);
COMMENT ON COLUMN size_samples.subject IS 'database, or disk: what is used of the lake''s disk.';
