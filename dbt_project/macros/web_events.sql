{# What a figure of web_events means, said once for every mart that shows it. #}

{# The Monday with which a day's ISO week begins. #}
{% macro week_start(day) -%} cast(date_trunc('week', {{ day }}) as date) {%- endmacro %}

{# Is the day in a week of which this run builds any day? #}
{% macro is_in_built_weeks(column) -%}
  {{ column }} between {{ week_start(first_built_date()) }}
    and {{ week_start(last_built_date()) }} + interval 6 day
{%- endmacro %}

{# How many rows fulfil a condition. #}
{% macro count_where(condition) -%} count(case when {{ condition }} then 1 end) {%- endmacro %}

{# How many values there are among the rows that fulfil a condition. #}
{% macro count_distinct_where(column, condition) -%}
  count(distinct case when {{ condition }} then {{ column }} end)
{%- endmacro %}

{# The mean of a score between 0 and 1 with six digits, rounded half up. Each score is taken to six
   digits and they are added as integers, so that neither engine nor order of rows matters. #}
{% macro mean_score(column) -%}
  cast(cast({{ integer_quotient(
    "(2 * sum(cast(round(" ~ column ~ " * 1000000) as bigint)) + count(" ~ column ~ "))",
    "nullif(2 * count(" ~ column ~ "), 0)"
  ) }} as decimal(12, 0)) * 0.000001 as decimal(9, 6))
{%- endmacro %}

{# A person looks at a page. #}
{% macro is_page_view() -%} (not is_bot and event_type = 'page_view') {%- endmacro %}

{# A client's or a server's mistake, by the response's status. #}
{% macro is_error() -%} status_code between 400 and 599 {%- endmacro %}

{# Does an event take a step of the funnel: its type, and its path where the step has a pattern? #}
{% macro takes_step(step) -%}
  (not is_bot and event_type = '{{ step.event_type }}'
  {%- if step.url_path_pattern %} and url_path like '{{ step.url_path_pattern }}'{% endif %})
{%- endmacro %}

{# The figures that the summaries of a day and of a week share; over rows of silver web_events. #}
{% macro traffic_figures() %}
  count(*) as total_events,
  {{ count_where('is_bot') }} as bot_events,
  {{ count_where('not is_bot') }} as human_events,
  {{ percentage(count_where('is_bot'), 'count(*)') }} as bot_percentage,
  {{ count_distinct_where('visitor_id', 'not is_bot') }} as distinct_visitors,
  count(distinct client_address) as distinct_addresses,
  {{ count_distinct_where('session_id', 'not is_bot') }} as sessions,
  {{ count_where(is_page_view()) }} as page_views,
  {{ count_where(is_error()) }} as error_events,
  {{ percentage(count_where(is_error()), 'count(status_code)') }} as error_percentage,
  {{ count_where('is_late') }} as late_events,
  cast(coalesce(sum(response_bytes), 0) as decimal(28, 0)) as response_bytes,
  {{ mean_score('data_quality_score') }} as avg_quality,
  min(data_quality_score) as min_quality
{%- endmacro %}

{# An instant as microseconds since 1970, a bigint. #}
{% macro microseconds(instant) -%}
  {{ adapter.dispatch('microseconds')(instant) }}
{%- endmacro %}

{% macro default__microseconds(instant) -%} epoch_us({{ instant }}) {%- endmacro %}
{% macro spark__microseconds(instant) -%} unix_micros({{ instant }}) {%- endmacro %}
