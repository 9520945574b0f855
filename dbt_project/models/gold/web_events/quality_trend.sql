-- The runbook's trend, with exactly its columns (SW-28); its last seven days are the weekly view.
select
  event_date,
  {{ mean_score('data_quality_score') }} as avg_quality,
  {{ percentage(count_where('is_bot'), 'count(*)') }} as bot_percentage,
  count(*) as total_events
from {{ source('web_events_silver', 'web_events') }}
where {{ is_in_built_range('event_date') }}
group by event_date
