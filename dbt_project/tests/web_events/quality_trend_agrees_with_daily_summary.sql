-- The trend and the day's summary show the same figures.
select trend.event_date
from {{ ref('quality_trend') }} as trend
full outer join {{ ref('daily_summary') }} as summary on trend.event_date = summary.event_date
where
  trend.event_date is null
  or summary.event_date is null
  or trend.total_events != summary.total_events
  or trend.avg_quality != summary.avg_quality
  or trend.bot_percentage != summary.bot_percentage
