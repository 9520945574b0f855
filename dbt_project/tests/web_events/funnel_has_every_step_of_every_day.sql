-- Each day of silver has every step of the funnel once, also those that nobody took.
with days as (
  select distinct event_date from {{ source('web_events_silver', 'web_events') }}
  where {{ is_in_built_range('event_date') }}
),

steps as (
  select event_date, count(*) as steps, count(distinct step_number) as different
  from {{ ref('funnel') }}
  group by event_date
)

select days.event_date
from days
left join steps on days.event_date = steps.event_date
where
  coalesce(steps.steps, 0) != {{ var('funnel_steps') | length if var('funnel_steps') else 0 }}
  or steps.different != steps.steps
