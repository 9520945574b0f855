-- The sources of a day add up to its sessions and events, and each channel is a known one.
with totals as (
  select
    event_date,
    count(*) as sessions,
    sum(event_count) as events,
    sum(bot_event_count) as bot_events,
    sum(page_view_count) as page_views,
    sum(value) as value,
    {{ count_where('is_bot') }} as bot_sessions
  from {{ ref('sessions') }}
  group by event_date
),

traffic as (
  select
    event_date,
    sum(sessions + bot_sessions) as sessions,
    sum(events) as events,
    sum(bot_events) as bot_events,
    sum(page_views) as page_views,
    sum(value) as value,
    sum(bot_sessions) as bot_sessions,
    {{ count_where('visitors not between 0 and sessions') }} as impossible_visitors,
    {{ count_where("traffic_channel not in ('direct', 'internal', 'search', 'social', 'email', 'campaign', 'referral', 'unknown')") }}
      as unknown_channels
  from {{ ref('traffic_by_source') }}
  group by event_date
)

select coalesce(totals.event_date, traffic.event_date) as event_date
from totals
full outer join traffic on totals.event_date = traffic.event_date
where
  coalesce(totals.sessions, 0) != coalesce(traffic.sessions, 0)
  or coalesce(totals.events, 0) != coalesce(traffic.events, 0)
  or coalesce(totals.bot_events, 0) != coalesce(traffic.bot_events, 0)
  or totals.page_views is distinct from traffic.page_views
  or totals.value is distinct from traffic.value
  or totals.bot_sessions is distinct from traffic.bot_sessions
  or traffic.impossible_visitors + traffic.unknown_channels > 0
