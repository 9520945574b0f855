-- What a message about an incident tells besides the incident itself (B-12): when its cause was
-- green last, what has changed since then, and how long such a cause took before.

CREATE TABLE last_greens (
    pipeline text COLLATE "C" NOT NULL,
    fault text COLLATE "C" NOT NULL,
    green_at timestamptz NOT NULL,
    PRIMARY KEY (pipeline, fault)
);
COMMENT ON TABLE last_greens IS
    'When each thing that can break was seen to work last; of one that is broken, before it broke.';

CREATE TABLE platform_states (
    seen_at timestamptz PRIMARY KEY,
    digest text COLLATE "C" NOT NULL,
    state jsonb NOT NULL
);
COMMENT ON TABLE platform_states IS
    'Code, runbooks and settings that the sensor of alerts ran with, from this instant on; one row '
    'for each change. No secret is in it.';

ALTER TABLE incidents ADD COLUMN changes jsonb;
COMMENT ON COLUMN incidents.changes IS
    'What changed between the last green and the incident, as its first message told it.';
ALTER TABLE incidents ADD COLUMN resolved_by text;
COMMENT ON COLUMN incidents.resolved_by IS
    'Who closed it by hand; null = it was green again by itself.';
-- Until now a hand's resolution was told from the platform's own by its words alone.
UPDATE incidents SET resolved_by = split_part(resolution, ': ', 1)
WHERE state = 'RESOLVED'
  AND resolution NOT IN ('Everything is green again.', 'The database answers again.')
  AND resolution NOT LIKE 'What was % is green; % milder go on by themselves.';
