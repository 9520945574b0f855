-- Partitions that are staged beside a lake table, shown, and then published or thrown away (B-10).

CREATE TABLE lake_proposals (
    proposal_id text COLLATE "C" PRIMARY KEY,
    pipeline text COLLATE "C" NOT NULL,
    table_name text COLLATE "C" NOT NULL,
    state text COLLATE "C" NOT NULL DEFAULT 'BUILDING' CHECK (
        state IN ('BUILDING', 'READY', 'PUBLISHING', 'PUBLISHED', 'DISCARDED', 'ABANDONED')
    ),
    created_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    made_with jsonb NOT NULL,
    report jsonb
);
COMMENT ON COLUMN lake_proposals.proposal_id IS
    'Also the run id with which the names of its staged files begin.';
COMMENT ON COLUMN lake_proposals.made_with IS 'The settings that its rows were made with.';

CREATE TABLE lake_proposal_parts (
    proposal_id text COLLATE "C" NOT NULL REFERENCES lake_proposals ON DELETE CASCADE,
    partition_key text COLLATE "C" NOT NULL,
    base_files text[] NOT NULL,
    staged_files text[] NOT NULL,
    is_changed boolean NOT NULL,
    PRIMARY KEY (proposal_id, partition_key)
);
COMMENT ON COLUMN lake_proposal_parts.base_files IS
    'The files that the partition consisted of when its rows were compared.';
COMMENT ON COLUMN lake_proposal_parts.is_changed IS
    'False where only the versions differ, so that nothing made of the rows differs.';
