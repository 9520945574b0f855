-- Every guided recovery that ended: its steps, what was found after it, and what was learnt (SA-99).

CREATE TABLE recoveries (
    began_at timestamptz PRIMARY KEY,
    ended_at timestamptz NOT NULL,
    recovered_by text NOT NULL,
    reason text NOT NULL,
    steps jsonb NOT NULL,
    faults jsonb NOT NULL,
    lessons jsonb NOT NULL
);
COMMENT ON COLUMN recoveries.lessons IS 'What people wrote down; the post-mortem page shows it.';
