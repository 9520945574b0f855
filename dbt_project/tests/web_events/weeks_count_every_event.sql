-- A week counts every event of all of its days in silver, with its figures, and begins on a Monday.
with silver as (
  select
    {{ week_start('event_date') }} as week_start_date,
    count(*) as events,
    count(duration_ms) as timed_events,
    min(duration_ms) as shortest,
    max(duration_ms) as longest,
    {{ count_where('is_bot') }} as bot_events,
    {{ count_where(is_page_view()) }} as page_views,
    {{ count_where(is_error()) }} as error_events,
    {{ count_where('status_code is not null') }} as answered_events,
    {{ count_where('is_late') }} as late_events,
    coalesce(sum(response_bytes), 0) as response_bytes,
    min(data_quality_score) as min_quality
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
  or silver.bot_events is distinct from weeks.bot_events
  or silver.page_views is distinct from weeks.page_views
  or silver.error_events is distinct from weeks.error_events
  or silver.late_events is distinct from weeks.late_events
  or silver.response_bytes is distinct from weeks.response_bytes
  or silver.min_quality is distinct from weeks.min_quality
  or weeks.bot_events + weeks.human_events != weeks.total_events
  or weeks.bot_percentage is distinct from
  {{ percentage('weeks.bot_events', 'weeks.total_events') }}
  or weeks.error_percentage is distinct from
  {{ percentage('silver.error_events', 'silver.answered_events') }}
  or weeks.distinct_visitors not between 0 and weeks.human_events
  or weeks.distinct_addresses not between 0 and weeks.total_events
  or weeks.avg_quality not between weeks.min_quality - 0.000001 and 1
  or weeks.sessions not between 0 and weeks.human_events
  or (silver.timed_events > 0) != (weeks.median_duration_ms is not null)
  or (silver.timed_events > 0) != (weeks.p95_duration_ms is not null)
  or weeks.median_duration_ms not between silver.shortest and weeks.p95_duration_ms
  or weeks.p95_duration_ms > silver.longest
  or weeks.days_with_events not between 1 and 7
  or weeks.week_start_date != {{ week_start('weeks.week_start_date') }}
