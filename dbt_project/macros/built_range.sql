{# The partitions that this run builds, by the column that the marts are partitioned by. #}
{% macro first_built_date() -%} cast('{{ var("first_date") }}' as date) {%- endmacro %}
{% macro last_built_date() -%} cast('{{ var("last_date") }}' as date) {%- endmacro %}

{% macro is_in_built_range(column) -%}
  {{ column }} between {{ first_built_date() }} and {{ last_built_date() }}
{%- endmacro %}

{# Takes the place of the condition of a slice, see external_on_duckdb.sql; Spark takes all at once. #}
{% macro is_in_slice() -%} true /* or a slice */ {%- endmacro %}
