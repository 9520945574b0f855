-- One row per session: how long it took, where it came from, where it began and ended.
-- A session ends at midnight UTC, so that a day is a function of its own events; one whose last
-- event lies less than the session's timeout before midnight may go on under another session.
with events as (
  select * from {{ source('web_events_silver', 'web_events') }}
  where {{ is_in_built_range('event_date') }}
),

totals as (
  select
    event_date,
    session_id,
    min(event_at) as started_at,
    max(event_at) as ended_at,
    max(user_id) as user_id,
    min(session_event_number) as first_number,
    max(session_event_number) as last_number,
    count(*) as event_count,
    {{ count_where('is_bot') }} as bot_event_count,
    {{ count_where(is_page_view()) }} as page_view_count,
    {{ count_where(is_error()) }} as error_count,
    cast(sum(value) as decimal(28, 4)) as value
  from events
  group by event_date, session_id
)

select
  totals.event_date,
  totals.session_id,
  opening.visitor_id,
  totals.user_id,
  totals.started_at,
  totals.ended_at,
  cast(
    {{ integer_quotient(
      "(" ~ microseconds('totals.ended_at') ~ " - " ~ microseconds('totals.started_at') ~ ")", "1000"
    ) }} as bigint
  ) as duration_ms,
  totals.event_count,
  totals.page_view_count,
  totals.error_count,
  totals.value,
  opening.traffic_channel,
  coalesce(opening.utm_source, opening.referrer_host) as traffic_source,
  opening.utm_medium,
  opening.utm_campaign,
  opening.url_host as entry_host,
  opening.url_path as entry_path,
  closing.url_path as exit_path,
  opening.device_type,
  opening.browser,
  opening.operating_system,
  -- A bot's session is one without any event of a person.
  totals.bot_event_count = totals.event_count as is_bot,
  totals.bot_event_count,
  totals.event_count = 1 as is_single_event,
  totals.ended_at > cast(totals.event_date + interval 1 day as timestamp)
  - interval {{ var('session_minutes') }} minute as is_open_at_midnight
from totals
inner join events as opening
  on
    totals.event_date = opening.event_date
    and totals.session_id = opening.session_id
    and totals.first_number = opening.session_event_number
inner join events as closing
  on
    totals.event_date = closing.event_date
    and totals.session_id = closing.session_id
    and totals.last_number = closing.session_event_number
