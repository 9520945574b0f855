-- What the conservation ledger said of partitions before a run judged them anew: when that run is
-- undone, it says so again (B-5).

CREATE TABLE replaced_ledger (
    LIKE conservation_ledger,
    replaced_by text COLLATE "C" NOT NULL,
    replaced_at timestamptz NOT NULL,
    PRIMARY KEY (pipeline, replaced_by, hop, file_sha256, partition_key)
);
CREATE INDEX replaced_ledger_by_age ON replaced_ledger (replaced_at);
COMMENT ON TABLE replaced_ledger IS
    'Entries of the ledger that the run replaced_by took the place of; an undo brings them back.';
