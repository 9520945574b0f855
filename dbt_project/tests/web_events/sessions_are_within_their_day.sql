-- A session begins before it ends, both on its day, and is not longer than that.
select * from {{ ref('sessions') }}
where
  ended_at < started_at
  or duration_ms not between 0 and 86400000
  or cast(started_at as date) != event_date
  or cast(ended_at as date) != event_date
