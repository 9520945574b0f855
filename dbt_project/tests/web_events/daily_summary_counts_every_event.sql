-- Every event of silver is in its day's summary, and nothing else is.
with silver as (
  select event_date, count(*) as events
  from {{ source('web_events_silver', 'web_events') }}
  where {{ is_in_built_range('event_date') }}
  group by event_date
)

select coalesce(silver.event_date, summary.event_date) as event_date, silver.events, total_events
from silver
full outer join {{ ref('daily_summary') }} as summary on silver.event_date = summary.event_date
where
  coalesce(silver.events, 0) != coalesce(summary.total_events, 0)
  or summary.bot_events + summary.human_events != summary.total_events
