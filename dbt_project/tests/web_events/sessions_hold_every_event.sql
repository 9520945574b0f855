-- The sessions of a day hold every event of silver once, bots' included, with its figures.
with silver as (
  select
    event_date,
    count(*) as events,
    {{ count_where('is_bot') }} as bot_events,
    {{ count_where(is_page_view()) }} as page_views,
    {{ count_where(is_error()) }} as errors,
    sum(value) as value
  from {{ source('web_events_silver', 'web_events') }}
  where {{ is_in_built_range('event_date') }}
  group by event_date
),

sessions as (
  select
    event_date,
    sum(event_count) as events,
    sum(bot_event_count) as bot_events,
    sum(page_view_count) as page_views,
    sum(error_count) as errors,
    sum(value) as value
  from {{ ref('sessions') }}
  group by event_date
)

select coalesce(silver.event_date, sessions.event_date) as event_date
from silver
full outer join sessions on silver.event_date = sessions.event_date
where
  coalesce(silver.events, 0) != coalesce(sessions.events, 0)
  or coalesce(silver.bot_events, 0) != coalesce(sessions.bot_events, 0)
  or silver.page_views is distinct from sessions.page_views
  or silver.errors is distinct from sessions.errors
  or silver.value is distinct from sessions.value
