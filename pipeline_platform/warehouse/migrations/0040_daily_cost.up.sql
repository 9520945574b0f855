-- What the cost source said of each day, and how each reading of it ended (SW-9, SA-49, XC-11).

CREATE TABLE cost_readings (
    reading_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    read_at timestamptz NOT NULL,
    first_date date NOT NULL,
    last_date date NOT NULL,
    is_read boolean NOT NULL,
    reason text,
    run_id text,
    CONSTRAINT a_failed_reading_says_why CHECK (is_read = (reason IS NULL))
);
COMMENT ON TABLE cost_readings IS
    'Every reading of the cost source, also one that it refused; both days are included.';

CREATE TABLE daily_cost (
    usage_date date PRIMARY KEY,
    currency text COLLATE "C",
    is_estimated boolean NOT NULL,
    read_at timestamptz NOT NULL
);
COMMENT ON TABLE daily_cost IS
    'Days (UTC) of which the cost is known; a day without services cost nothing.';

CREATE TABLE daily_service_cost (
    usage_date date NOT NULL REFERENCES daily_cost ON DELETE CASCADE,
    service text COLLATE "C" NOT NULL,
    amount numeric(24, 10) NOT NULL,
    PRIMARY KEY (usage_date, service)
);
COMMENT ON TABLE daily_service_cost IS 'Blended cost by day and service, in the currency of its day.';
