-- How much processor time the embedded server had used by then: two samples give a load (SA-15).

CREATE TABLE processor_samples (
    server text COLLATE "C" NOT NULL,
    sampled_at timestamptz NOT NULL,
    processor_seconds double precision NOT NULL,
    PRIMARY KEY (server, sampled_at)
);
COMMENT ON COLUMN processor_samples.server IS
    'Process id and start of the postmaster: another server counts anew.';
