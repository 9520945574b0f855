-- What each security review saw and found (XC-12), so that the next can be compared with it.

CREATE TABLE security_reviews (
    reviewed_at timestamptz PRIMARY KEY,
    run_id text,
    findings jsonb NOT NULL,
    grants jsonb NOT NULL
);
COMMENT ON COLUMN security_reviews.grants IS
    'What allowed too much then: wildcards of policies, superusers; only what is new fails.';

CREATE TABLE known_tokens (
    name text NOT NULL,
    fingerprint text NOT NULL,
    first_seen_at timestamptz NOT NULL,
    PRIMARY KEY (name, fingerprint)
);
COMMENT ON TABLE known_tokens IS
    'Since when a review knows each token of the HTTP service, by the beginning of its hash.';
