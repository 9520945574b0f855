-- Who saw a figure that was restated later (B-4): when each month was served, and who asked for it.

CREATE TABLE served_loads (
    pipeline text COLLATE "C" NOT NULL,
    partition_key text COLLATE "C" NOT NULL,
    served_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    gold_published_at timestamptz,
    PRIMARY KEY (pipeline, partition_key, served_at)
);
COMMENT ON TABLE served_loads IS
    'Every load of a month of performance_data; written in the transaction that swaps it in.';
COMMENT ON COLUMN served_loads.gold_published_at IS
    'When the gold it was made from was published; null: a load from before this table, the last '
    'of its month, earlier ones are not known.';

INSERT INTO served_loads (pipeline, partition_key, served_at)
SELECT pipeline, partition_key, loaded_at FROM partition_loads
WHERE pipeline = 'advisory_performance';

CREATE TABLE figure_reads (
    read_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    read_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    reader text NOT NULL,
    command text COLLATE "C" NOT NULL,
    account_id text COLLATE "C",
    vendor text COLLATE "C",
    first_day date,
    last_day date
);
CREATE INDEX figure_reads_recent ON figure_reads (read_at DESC);
COMMENT ON TABLE figure_reads IS
    'Figures that a command of the platform handed out, to whom and when; an empty account, vendor '
    'or day stands for all. What is read by SQL is not here.';
