-- The rate of success has one definition (X-1): of runs that take in or compute something.

ALTER TABLE pipeline_runs ADD COLUMN is_work boolean NOT NULL DEFAULT true;
COMMENT ON COLUMN pipeline_runs.is_work IS
    'Whether the run took in or computed something; checks, maintenance and reports do not, and '
    'their successes would hide that the work fails. Of runs before this column: true.';
