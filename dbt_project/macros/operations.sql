{# What the runbook of web_events asks `dbt run-operation` for. What is done, and why, is in
   pipeline_platform/web_events/dbt_operations.py; `pipeline-platform dbt-operation` runs the same. #}

{# Fails or warns when the quality of the last seven days declines (SW-6). #}
{% macro check_data_quality_trends() %}
  {{ platform_operation('check_data_quality_trends', {}) }}
{% endmacro %}

{# Counts the different values of each column, for planners (SW-36). #}
{% macro update_table_statistics(table_name='web_events') %}
  {{ platform_operation('update_table_statistics', {'table_name': table_name}) }}
{% endmacro %}

{# Verifies the files of each partition; Iceberg needs no refresh (SW-54). #}
{% macro refresh_table_partitions(table_name) %}
  {{ platform_operation('refresh_table_partitions', {'table_name': table_name}) }}
{% endmacro %}

{% macro platform_operation(name, arguments) %}
  {%- set text = tojson(arguments) | replace("'", "''") -%}
  {%- set found = run_query("select platform_operation('" ~ name ~ "', '" ~ text ~ "')") -%}
  {%- if execute -%}
    {%- set answer = fromjson(found.rows[0][0]) -%}
    {%- for line in answer.lines %}{{ print(line) }}{% endfor -%}
    {%- if answer.outcome == 'fail' -%}
      {{ exceptions.raise_compiler_error(name ~ ' found a fault; see above.') }}
    {%- elif answer.outcome == 'warn' -%}
      {{ exceptions.warn(name ~ ' warns: ' ~ answer.lines | join(' ')) }}
    {%- endif -%}
  {%- endif -%}
{% endmacro %}
