-- No step has more sessions or visitors than the one before it, and its shares are of these.
select later.event_date, later.step_number
from {{ ref('funnel') }} as later
left join {{ ref('funnel') }} as earlier
  on later.event_date = earlier.event_date and later.step_number = earlier.step_number + 1
left join {{ ref('funnel') }} as first_step
  on later.event_date = first_step.event_date and first_step.step_number = 1
where
  later.sessions > earlier.sessions
  or later.visitors > earlier.visitors
  or later.visitors not between 0 and later.sessions
  or (later.step_number != 1 and earlier.step_number is null)
  or later.conversion_percentage is distinct from
  {{ percentage('later.sessions', 'first_step.sessions') }}
  or later.step_conversion_percentage is distinct from
  {{ percentage('later.sessions', 'earlier.sessions') }}
