-- Every event of silver is in its day's summary, with its figures, and nothing else is.
with silver as (
  select
    event_date,
    count(*) as events,
    {{ count_where('is_bot') }} as bot_events,
    {{ count_where(is_page_view()) }} as page_views,
    {{ count_where(is_error()) }} as error_events,
    {{ count_where('status_code is not null') }} as answered_events,
    {{ count_where('is_late') }} as late_events,
    coalesce(sum(response_bytes), 0) as response_bytes,
    min(data_quality_score) as min_quality
  from {{ source('web_events_silver', 'web_events') }}
  where {{ is_in_built_range('event_date') }}
  group by event_date
)

select coalesce(silver.event_date, summary.event_date) as event_date, silver.events, total_events
from silver
full outer join {{ ref('daily_summary') }} as summary on silver.event_date = summary.event_date
where
  coalesce(silver.events, 0) != coalesce(summary.total_events, 0)
  or silver.bot_events is distinct from summary.bot_events
  or silver.page_views is distinct from summary.page_views
  or silver.error_events is distinct from summary.error_events
  or silver.late_events is distinct from summary.late_events
  or silver.response_bytes is distinct from summary.response_bytes
  or silver.min_quality is distinct from summary.min_quality
  or summary.bot_events + summary.human_events != summary.total_events
  or summary.bot_percentage is distinct from
  {{ percentage('summary.bot_events', 'summary.total_events') }}
  or summary.error_percentage is distinct from
  {{ percentage('silver.error_events', 'silver.answered_events') }}
  or summary.distinct_visitors not between 0 and summary.human_events
  or summary.distinct_addresses not between 0 and summary.total_events
  or summary.avg_quality not between summary.min_quality - 0.000001 and 1
