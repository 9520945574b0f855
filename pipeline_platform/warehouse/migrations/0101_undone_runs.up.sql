-- What is undone, and how far: a plan is written down before anything of it is done, so that an
-- undo that was killed goes on from it (B-5).

CREATE TABLE undone_runs (
    run_id text COLLATE "C" PRIMARY KEY,
    pipeline text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL DEFAULT 'BEGUN' CHECK (state IN ('BEGUN', 'DONE')),
    undone_by text NOT NULL,
    reason text NOT NULL,
    plan jsonb NOT NULL,
    begun_at timestamptz NOT NULL,
    done_at timestamptz
);
COMMENT ON TABLE undone_runs IS
    'Runs that were taken back; BEGUN = it was killed, the same command goes on.';
