{# On Spark an external model is staged by the adapter of lake/spark_adapter.py; on DuckDB the
   materialisation of that name is dbt-duckdb's own. A model is written once for both. #}
{% materialization external, adapter='spark' %}
  {%- set table = config.require('meta')['table'] -%}
  {% do adapter.stage_model(this, sql, table, config.get('options', {})) %}
  {% call noop_statement('main', 'OK') %}{{ sql }}{% endcall %}
  {{ return({'relations': [this]}) }}
{% endmaterialization %}

{# A model that only helps others is a view of the run's session: it reads views of that session,
   and the catalog stays as it was. #}
{% macro spark__create_view_as(relation, sql) -%}
  create or replace temporary view {{ relation }} as {{ sql }}
{%- endmacro %}
