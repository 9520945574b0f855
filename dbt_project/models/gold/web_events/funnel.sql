-- How far the sessions of each day got, step by step. The steps are data of the runbook. A session
-- takes a step when it has an event for it after the event with which it took the step before;
-- other events may lie between. Bots' events take no step.
{%- set steps = var('funnel_steps') or [] %}
with events as (
  select event_date, session_id, visitor_id, session_event_number, event_type, url_path, is_bot
  from {{ source('web_events_silver', 'web_events') }}
  where {{ is_in_built_range('event_date') }}
),

days as (
  select distinct event_date from events
),

{% for step in steps -%}
step_{{ loop.index }} as (
  select
    events.event_date,
    events.session_id,
    events.visitor_id,
    min(events.session_event_number) as taken_at_number
  from events
  {%- if not loop.first %}
  inner join step_{{ loop.index - 1 }} as earlier
    on
      events.event_date = earlier.event_date
      and events.session_id = earlier.session_id
      and events.visitor_id = earlier.visitor_id
      and events.session_event_number > earlier.taken_at_number
  {%- endif %}
  where {{ takes_step(step) }}
  group by events.event_date, events.session_id, events.visitor_id
),

{% endfor -%}
counted as (
  {% for step in steps %}
  select
    days.event_date,
    {{ loop.index }} as step_number,
    '{{ step.name }}' as step_name,
    count(distinct taken.visitor_id) as visitors,
    count(taken.session_id) as sessions
  from days
  left join step_{{ loop.index }} as taken on days.event_date = taken.event_date
  group by days.event_date
  {% if not loop.last %}union all{% endif %}
  {%- else %}
  select event_date, 0 as step_number, '' as step_name, 0 as visitors, 0 as sessions
  from days where 1 = 0
  {%- endfor %}
)

select
  counted.event_date,
  cast(counted.step_number as int) as step_number,
  counted.step_name,
  counted.visitors,
  counted.sessions,
  {{ percentage('counted.sessions', 'first_step.sessions') }} as conversion_percentage,
  {{ percentage('counted.sessions', 'previous.sessions') }} as step_conversion_percentage
from counted
inner join counted as first_step
  on counted.event_date = first_step.event_date and first_step.step_number = 1
left join counted as previous
  on counted.event_date = previous.event_date and counted.step_number = previous.step_number + 1
