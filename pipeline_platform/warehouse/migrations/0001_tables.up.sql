-- Control tables and the monthly performance table (SA-24, SA-26, SA-74, SA-77; X-17).
-- Text that takes part in an index is COLLATE "C": the same order on every server, and faster.

CREATE SCHEMA IF NOT EXISTS loading;
COMMENT ON SCHEMA loading IS 'Tables that a bulk load fills before they become a partition.';

CREATE TABLE vendors (
    vendor text COLLATE "C" PRIMARY KEY,
    display_name text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE etl_processing_log (
    processing_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pipeline text COLLATE "C" NOT NULL,
    file_name text NOT NULL,
    file_sha256 text COLLATE "C" NOT NULL,
    vendor text COLLATE "C" REFERENCES vendors (vendor),
    status text COLLATE "C" NOT NULL CHECK (
        status IN ('CLAIMED', 'PUBLISHED', 'COMPLETED', 'QUARANTINED', 'DUPLICATE', 'FAILED')
    ),
    records_processed bigint CHECK (records_processed >= 0),
    records_quarantined bigint CHECK (records_quarantined >= 0),
    size_bytes bigint NOT NULL CHECK (size_bytes >= 0),
    arrived_at timestamptz NOT NULL,
    processing_start_time timestamptz NOT NULL,
    processing_end_time timestamptz,
    duration_seconds double precision GENERATED ALWAYS AS (
        extract(epoch FROM processing_end_time - processing_start_time)::double precision
    ) STORED,
    published_at timestamptz,
    completed_at timestamptz,
    run_id text NOT NULL,
    partition_keys text[] NOT NULL DEFAULT '{}',
    partition_versions bigint[] NOT NULL DEFAULT '{}',
    location text,
    reason text,
    last_duplicate_at timestamptz,
    last_duplicate_name text,
    UNIQUE (pipeline, file_sha256),
    CHECK (cardinality(partition_keys) = cardinality(partition_versions))
);
CREATE INDEX etl_processing_log_recent ON etl_processing_log (processing_start_time DESC);
CREATE INDEX etl_processing_log_published ON etl_processing_log (pipeline)
    WHERE status = 'PUBLISHED';
COMMENT ON TABLE etl_processing_log IS
    'Every delivered file by content: what became of it, when, in which run (SA-24).';
COMMENT ON COLUMN etl_processing_log.processing_end_time IS
    'When the file''s own run ended; completed_at says when its rows were served.';
COMMENT ON COLUMN etl_processing_log.partition_versions IS
    'Version of partition_work that the file requested, per entry of partition_keys.';

CREATE TABLE data_quality_issues (
    issue_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now(),
    pipeline text COLLATE "C" NOT NULL,
    severity text COLLATE "C" NOT NULL CHECK (severity IN ('critical', 'warning', 'info')),
    issue_type text COLLATE "C" NOT NULL,
    rule text,
    table_name text,
    expected_value text,
    actual_value text,
    run_id text,
    partition_key text,
    file_name text,
    file_sha256 text,
    line_number bigint,
    description text,
    resolved_at timestamptz
);
CREATE INDEX data_quality_issues_recent ON data_quality_issues (created_at DESC);

CREATE TABLE conservation_ledger (
    pipeline text COLLATE "C" NOT NULL,
    hop text COLLATE "C" NOT NULL,
    file_sha256 text COLLATE "C" NOT NULL,
    partition_key text COLLATE "C" NOT NULL,
    arrived bigint NOT NULL CHECK (arrived >= 0),
    published bigint NOT NULL CHECK (published >= 0),
    quarantined bigint NOT NULL CHECK (quarantined >= 0),
    deduplicated bigint NOT NULL CHECK (deduplicated >= 0),
    held_late bigint NOT NULL DEFAULT 0 CHECK (held_late >= 0),
    run_id text NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (pipeline, hop, file_sha256, partition_key)
);
COMMENT ON TABLE conservation_ledger IS
    'arrived = published + quarantined + deduplicated + held_late, checked, not enforced (B-8).';

CREATE TABLE quarantined_rows (
    quarantine_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pipeline text COLLATE "C" NOT NULL,
    hop text COLLATE "C" NOT NULL,
    file_sha256 text COLLATE "C" NOT NULL,
    file_name text NOT NULL,
    vendor text COLLATE "C",
    line_number bigint NOT NULL,
    partition_key text COLLATE "C" NOT NULL DEFAULT '',
    rule text COLLATE "C" NOT NULL,
    reason text NOT NULL,
    column_name text,
    record text,
    state text COLLATE "C" NOT NULL DEFAULT 'HELD'
        CHECK (state IN ('HELD', 'REPLAYED', 'DISCARDED')),
    run_id text NOT NULL,
    quarantined_at timestamptz NOT NULL DEFAULT now(),
    resolved_at timestamptz,
    resolution text,
    UNIQUE (pipeline, hop, file_sha256, line_number)
);
CREATE INDEX quarantined_rows_held ON quarantined_rows (pipeline, partition_key)
    WHERE state = 'HELD';

CREATE TABLE quarantined_files (
    pipeline text COLLATE "C" NOT NULL,
    file_sha256 text COLLATE "C" NOT NULL,
    file_name text NOT NULL,
    vendor text COLLATE "C",
    rule text COLLATE "C" NOT NULL,
    reason text NOT NULL,
    location text,
    state text COLLATE "C" NOT NULL DEFAULT 'HELD'
        CHECK (state IN ('HELD', 'REPLAYED', 'DISCARDED')),
    quarantined_at timestamptz NOT NULL DEFAULT now(),
    resolved_at timestamptz,
    PRIMARY KEY (pipeline, file_sha256)
);

CREATE SEQUENCE partition_work_version;

CREATE TABLE partition_work (
    pipeline text COLLATE "C" NOT NULL,
    partition_key text COLLATE "C" NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT now(),
    version bigint NOT NULL DEFAULT nextval('partition_work_version'),
    PRIMARY KEY (pipeline, partition_key)
);
ALTER SEQUENCE partition_work_version OWNED BY partition_work.version;
COMMENT ON TABLE partition_work IS
    'Months that must be (re)processed. A version is never used twice, so a month that was '
    'done and requested again can''t be taken for the older request.';

CREATE TABLE partition_loads (
    pipeline text COLLATE "C" NOT NULL,
    partition_key text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    loaded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (pipeline, partition_key)
);
COMMENT ON TABLE partition_loads IS
    'Up to which version of partition_work each month has been loaded.';

CREATE TABLE check_observations (
    observation_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    observed_at timestamptz NOT NULL DEFAULT now(),
    pipeline text COLLATE "C" NOT NULL,
    check_name text COLLATE "C" NOT NULL,
    asset_key text,
    partition_key text,
    outcome text COLLATE "C" NOT NULL CHECK (outcome IN ('pass', 'fail', 'not_measurable')),
    severity text COLLATE "C" CHECK (severity IN ('critical', 'warning', 'info')),
    value double precision,
    limit_value double precision,
    numerator double precision,
    denominator double precision,
    reason text,
    run_id text
);
CREATE INDEX check_observations_history
    ON check_observations (pipeline, check_name, observed_at DESC);

CREATE TABLE tolerances_history (
    tolerance_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pipeline text COLLATE "C" NOT NULL,
    vendor text COLLATE "C" NOT NULL,
    account_class text COLLATE "C" NOT NULL,
    period text COLLATE "C" NOT NULL,
    tolerance_bps numeric(18, 6) NOT NULL CHECK (tolerance_bps >= 0),
    recorded_at timestamptz NOT NULL DEFAULT now(),
    source_sha256 text
);
CREATE INDEX tolerances_history_latest
    ON tolerances_history (pipeline, vendor, account_class, period, recorded_at DESC);

-- The primary key's index is the runbook's idx_performance_data_account_date (SA-39): a second
-- index over the same two columns would only double the cost of every load.
CREATE TABLE performance_data (
    account_id text COLLATE "C" NOT NULL,
    as_of_date date NOT NULL,
    data_source text COLLATE "C" NOT NULL REFERENCES vendors (vendor),
    currency text COLLATE "C",
    account_class text COLLATE "C",
    market_value numeric(20, 4),
    net_external_flow numeric(20, 4),
    net_return_daily numeric(18, 12),
    net_return_mtd numeric(18, 12),
    net_return_qtd numeric(18, 12),
    net_return_ytd numeric(18, 12),
    net_return_since_inception numeric(18, 12),
    net_return_one_year numeric(18, 12),
    net_return_three_years numeric(18, 12),
    net_return_five_years numeric(18, 12),
    gross_return_daily numeric(18, 12),
    vendor_return numeric(18, 12),
    reported_period text COLLATE "C",
    difference_bps numeric(18, 6),
    tolerance_bps numeric(18, 6),
    reconciliation_status text COLLATE "C" NOT NULL CHECK (
        reconciliation_status IN (
            'PENDING', 'COMPLETED', 'BREACH', 'MISSING_VENDOR', 'MISSING_OURS'
        )
    ),
    return_status text COLLATE "C",
    is_estimated boolean NOT NULL DEFAULT false,
    record_start_date date,
    source_file_sha256 text COLLATE "C",
    source_line_number bigint,
    lake_snapshot_id bigint,
    run_id text,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT idx_performance_data_account_date PRIMARY KEY (account_id, as_of_date)
) PARTITION BY RANGE (as_of_date);
COMMENT ON TABLE performance_data IS
    'Returns per account and day beside the vendor''s, one partition a month (SA-74).';

CREATE INDEX idx_performance_data_reconciliation_status
    ON performance_data (reconciliation_status, as_of_date)
    WHERE reconciliation_status != 'COMPLETED';
CREATE INDEX idx_performance_data_vendor_date ON performance_data (data_source, as_of_date DESC);
