-- One row per event_date: how much came, from whom, and how good it was (SW-10).
select
  event_date,
  {{ traffic_figures() }}
from {{ source('web_events_silver', 'web_events') }}
where {{ is_in_built_range('event_date') }}
group by event_date
