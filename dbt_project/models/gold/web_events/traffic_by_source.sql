-- Where sessions came from, by day: channel and source of the event with which each began.
select
  event_date,
  traffic_channel,
  coalesce(traffic_source, '(none)') as traffic_source,
  {{ count_distinct_where('visitor_id', 'not is_bot') }} as visitors,
  {{ count_where('not is_bot') }} as sessions,
  {{ count_where('is_bot') }} as bot_sessions,
  cast(sum(event_count) as bigint) as events,
  cast(sum(bot_event_count) as bigint) as bot_events,
  cast(sum(page_view_count) as bigint) as page_views,
  cast(sum(value) as decimal(28, 4)) as value
from {{ ref('sessions') }}
where {{ is_in_built_range('event_date') }}
group by event_date, traffic_channel, coalesce(traffic_source, '(none)')
