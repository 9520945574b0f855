-- A session begins before it ends, both on its day, and its figures fit its events.
select * from {{ ref('sessions') }}
where
  ended_at < started_at
  or duration_ms not between 0 and 86400000
  or abs(duration_ms - ({{ microseconds('ended_at') }} - {{ microseconds('started_at') }}) / 1000) > 1
  or event_count < 1
  or page_view_count not between 0 and event_count - bot_event_count
  or error_count not between 0 and event_count
  or bot_event_count not between 0 and event_count
  or is_bot != (bot_event_count = event_count)
  or is_single_event != (event_count = 1)
  or cast(started_at as date) != event_date
  or cast(ended_at as date) != event_date
