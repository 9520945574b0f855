-- The sources of a day add up to its sessions and events, and each channel is a known one.
with totals as (
  select
    event_date,
    count(*) as sessions,
    sum(event_count) as events,
    sum(bot_event_count) as bot_events
  from {{ ref('sessions') }}
  group by event_date
),

traffic as (
  select
    event_date,
    sum(sessions + bot_sessions) as sessions,
    sum(events) as events,
    sum(bot_events) as bot_events,
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
  or traffic.unknown_channels > 0
