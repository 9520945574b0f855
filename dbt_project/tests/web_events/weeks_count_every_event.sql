-- A week counts every event of all of its days in silver, and begins on a Monday.
with silver as (
  select {{ week_start('event_date') }} as week_start_date, count(*) as events
  from {{ source('web_events_silver', 'web_events') }}
  where {{ is_in_built_weeks('event_date') }}
  group by {{ week_start('event_date') }}
)

select coalesce(silver.week_start_date, weeks.week_start_date) as week_start_date
from silver
full outer join {{ ref('weekly_performance_summary') }} as weeks
  on silver.week_start_date = weeks.week_start_date
where
  coalesce(silver.events, 0) != coalesce(weeks.total_events, 0)
  or weeks.days_with_events not between 1 and 7
  or weeks.week_start_date != {{ week_start('weeks.week_start_date') }}
