-- What operators switch and ask for, who did it, and what ended runs were (SC-5 to SC-15, XC-5,
-- XC-10).

CREATE TABLE pipelines (
    pipeline_id text COLLATE "C" PRIMARY KEY,
    enabled boolean NOT NULL DEFAULT true,
    changed_at timestamptz NOT NULL DEFAULT now(),
    changed_by text NOT NULL DEFAULT current_user,
    reason text
);
COMMENT ON TABLE pipelines IS
    'Every pipeline; with enabled = false nothing of it starts and its runs end between two '
    'commits. A plain UPDATE is enough: it is read at every tick and before every piece of work.';

CREATE TABLE global_stop (
    is_only_row boolean PRIMARY KEY DEFAULT true CHECK (is_only_row),
    stopped_at timestamptz NOT NULL DEFAULT now(),
    stopped_by text NOT NULL DEFAULT current_user,
    reason text
);
COMMENT ON TABLE global_stop IS
    'One row while everything is stopped. What was stopped alone before stays so afterwards.';

CREATE TABLE operator_actions (
    action_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    acted_at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL,
    action text COLLATE "C" NOT NULL,
    target text NOT NULL,
    client_address text,
    result text COLLATE "C" NOT NULL CHECK (result IN ('begun', 'done', 'refused', 'failed')),
    reason text,
    state_before jsonb,
    state_after jsonb
);
CREATE INDEX operator_actions_recent ON operator_actions (acted_at DESC);
COMMENT ON TABLE operator_actions IS
    'Who did what, when, from where and how it ended; begun for ever = its process was killed.';

CREATE TABLE idempotent_requests (
    actor text COLLATE "C" NOT NULL,
    idempotency_key text COLLATE "C" NOT NULL,
    request_sha256 text NOT NULL,
    run_id text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (actor, idempotency_key)
);

CREATE INDEX check_observations_of_run ON check_observations (run_id);
CREATE INDEX data_quality_issues_of_run ON data_quality_issues (run_id);
CREATE INDEX check_observations_latest ON check_observations (observed_at DESC);

CREATE TABLE pipeline_runs (
    run_id text COLLATE "C" PRIMARY KEY,
    pipeline_id text COLLATE "C" NOT NULL,
    job_name text NOT NULL,
    status text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL,
    started_at timestamptz,
    ended_at timestamptz NOT NULL,
    extraction_duration_ms bigint,
    transformation_duration_ms bigint,
    loading_duration_ms bigint,
    errors jsonb NOT NULL DEFAULT '[]'
);
CREATE INDEX pipeline_runs_recent ON pipeline_runs (pipeline_id, created_at DESC);
COMMENT ON TABLE pipeline_runs IS 'Every ended run of Dagster, with its stages and errors (SC-15).';

CREATE TABLE task_totals (
    pipeline_id text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL CHECK (status IN ('success', 'failure')),
    task_count bigint NOT NULL,
    seconds double precision NOT NULL,
    bucket_counts bigint[] NOT NULL,
    last_ended_at timestamptz NOT NULL,
    PRIMARY KEY (pipeline_id, status)
);
COMMENT ON TABLE task_totals IS
    'Steps of all runs there ever were: counters that no clean-up of runs sets back.';
