-- What is broken now, the incidents that it makes, who was told of them, and when the platform was
-- watched at all (XC-3, XC-4).

CREATE TABLE alert_positions (
    event_type text COLLATE "C" PRIMARY KEY,
    event_id bigint NOT NULL
);
COMMENT ON TABLE alert_positions IS
    'Up to which event of Dagster each kind was read; committed together with what it changed.';

CREATE TABLE watched_periods (
    started_at timestamptz PRIMARY KEY,
    ended_at timestamptz NOT NULL CHECK (ended_at >= started_at)
);
COMMENT ON TABLE watched_periods IS
    'When somebody looked: what happened between two periods is not measured (B-14).';

CREATE TABLE incidents (
    incident_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pipeline text COLLATE "C" NOT NULL,
    cause text COLLATE "C" NOT NULL,
    title text NOT NULL,
    severity text COLLATE "C" NOT NULL CHECK (severity IN ('critical', 'warning', 'info')),
    route text COLLATE "C" NOT NULL,
    response_minutes integer NOT NULL CHECK (response_minutes >= 0),
    state text COLLATE "C" NOT NULL CHECK (state IN ('OPEN', 'ACKNOWLEDGED', 'RESOLVED')),
    level integer NOT NULL DEFAULT 0 CHECK (level >= 0),
    began_at timestamptz NOT NULL,
    severe_at timestamptz NOT NULL,
    opened_at timestamptz NOT NULL,
    told_at timestamptz NOT NULL,
    acknowledged_at timestamptz,
    acknowledged_by text,
    resolved_at timestamptz,
    resolution text,
    remedy jsonb NOT NULL,
    dry_run jsonb,
    CONSTRAINT a_resolved_incident_has_an_end CHECK ((state = 'RESOLVED') = (resolved_at IS NOT NULL))
);
CREATE UNIQUE INDEX incidents_one_per_cause ON incidents (pipeline, cause)
    WHERE state <> 'RESOLVED';
CREATE INDEX incidents_by_time ON incidents (pipeline, began_at DESC);
COMMENT ON COLUMN incidents.began_at IS 'When it broke; opened_at is when the platform noticed.';

CREATE TABLE faults (
    pipeline text COLLATE "C" NOT NULL,
    fault text COLLATE "C" NOT NULL,
    kind text COLLATE "C" NOT NULL,
    subject text NOT NULL,
    state text COLLATE "C" NOT NULL CHECK (state IN ('RED', 'GREEN', 'DISMISSED')),
    severity text COLLATE "C" NOT NULL CHECK (severity IN ('critical', 'warning', 'info')),
    route text COLLATE "C" NOT NULL,
    response_minutes integer NOT NULL,
    sentence text NOT NULL,
    run_id text,
    touches jsonb NOT NULL,
    remedy jsonb NOT NULL,
    follows_failed_runs boolean NOT NULL,
    days datemultirange NOT NULL,
    began_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    event_id bigint,
    incident_id bigint REFERENCES incidents,
    PRIMARY KEY (pipeline, fault)
);
COMMENT ON TABLE faults IS
    'What is broken (RED), was lately mended (GREEN), or is known and set aside (DISMISSED). '
    'days are those of the partitions that it is about.';

CREATE TABLE incident_events (
    incident_event_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    incident_id bigint NOT NULL REFERENCES incidents ON DELETE CASCADE,
    happened_at timestamptz NOT NULL,
    kind text COLLATE "C" NOT NULL,
    sentence text NOT NULL
);
CREATE INDEX incident_events_of_one ON incident_events (incident_id, incident_event_id);

CREATE TABLE incident_messages (
    message_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    pipeline text COLLATE "C" NOT NULL,
    route text COLLATE "C" NOT NULL,
    severity text COLLATE "C" NOT NULL CHECK (severity IN ('critical', 'warning', 'info')),
    kind text COLLATE "C" NOT NULL,
    incident_id bigint REFERENCES incidents ON DELETE CASCADE,
    level integer NOT NULL,
    response_minutes integer NOT NULL,
    created_at timestamptz NOT NULL,
    state text COLLATE "C" NOT NULL DEFAULT 'WAITING'
        CHECK (state IN ('WAITING', 'SENT', 'DIGESTED')),
    released_at timestamptz,
    digest_id bigint REFERENCES incident_messages,
    title text,
    body text,
    CONSTRAINT a_sent_message_has_words CHECK (state <> 'SENT' OR body IS NOT NULL)
);
CREATE INDEX incident_messages_by_route ON incident_messages (pipeline, route, released_at);
COMMENT ON TABLE incident_messages IS
    'Written in the transaction that changed the incident. SENT = handed to the channels, '
    'DIGESTED = told by the message digest_id (B-12).';

CREATE TABLE message_deliveries (
    delivery_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id bigint NOT NULL REFERENCES incident_messages ON DELETE CASCADE,
    channel text COLLATE "C" NOT NULL,
    recipient text NOT NULL,
    state text COLLATE "C" NOT NULL DEFAULT 'PENDING'
        CHECK (state IN ('PENDING', 'DELIVERED', 'UNDELIVERED', 'NOT_CONFIGURED')),
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL,
    delivered_at timestamptz,
    reason text,
    UNIQUE (message_id, channel, recipient)
);
CREATE INDEX message_deliveries_due ON message_deliveries (next_attempt_at)
    WHERE state = 'PENDING';
