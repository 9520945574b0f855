-- No step of the funnel has more sessions or visitors than the one before it.
select later.event_date, later.step_number
from {{ ref('funnel') }} as later
inner join {{ ref('funnel') }} as earlier
  on later.event_date = earlier.event_date and later.step_number = earlier.step_number + 1
where later.sessions > earlier.sessions or later.visitors > earlier.visitors
