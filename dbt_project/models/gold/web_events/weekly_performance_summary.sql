-- One row per ISO week (Monday to Sunday, UTC), from all of its days that are there (SW-38).
-- A visitor of several days counts once. Durations are nearest-rank percentiles: values that were
-- measured, hence the same on every engine.
with events as (
  select *, {{ week_start('event_date') }} as week_start_date
  from {{ source('web_events_silver', 'web_events') }}
  where {{ is_in_built_weeks('event_date') }}
),

timed as (
  select
    week_start_date,
    duration_ms,
    row_number() over (partition by week_start_date order by duration_ms) as place,
    count(*) over (partition by week_start_date) as timed_events
  from events
  where duration_ms is not null
),

durations as (
  select
    week_start_date,
    min(case when 100 * place >= 50 * timed_events then duration_ms end) as median_duration_ms,
    min(case when 100 * place >= 95 * timed_events then duration_ms end) as p95_duration_ms
  from timed
  group by week_start_date
),

weeks as (
  select
    week_start_date,
    count(distinct event_date) as days_with_events,
    {{ traffic_figures() }}
  from events
  group by week_start_date
)

select weeks.*, durations.median_duration_ms, durations.p95_duration_ms
from weeks
left join durations on weeks.week_start_date = durations.week_start_date
