-- The sessions of a day's summary are those of its sessions table that are not a bot's.
with counted as (
  select event_date, {{ count_where('not is_bot') }} as sessions
  from {{ ref('sessions') }}
  group by event_date
)

select summary.event_date
from {{ ref('daily_summary') }} as summary
full outer join counted on summary.event_date = counted.event_date
where coalesce(summary.sessions, -1) != coalesce(counted.sessions, -1)
