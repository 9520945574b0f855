-- What the probes of the platform's health said, and for how long (SA-88).

CREATE TABLE health_periods (
    started_at timestamptz PRIMARY KEY,
    ended_at timestamptz NOT NULL CHECK (ended_at >= started_at),
    probes bigint NOT NULL DEFAULT 1 CHECK (probes > 0),
    failing text[] NOT NULL
);
COMMENT ON TABLE health_periods IS
    'What holds from one probe to the next; failing names the dependencies that did not work, none '
    '= healthy. Time between two periods was not probed (B-14).';
