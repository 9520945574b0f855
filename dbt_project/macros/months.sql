{# The months that this run builds; every mart is partitioned by as_of_month. #}
{% macro is_in_built_months(column) -%}
  {{ column }} between cast('{{ var("first_month") }}' as date) and cast('{{ var("last_month") }}' as date)
{%- endmacro %}

{# A share in percent; no value where there is nothing to count (never a silent 100 or 0). #}
{% macro percentage(numerator, denominator) -%}
  cast(100.0 * {{ numerator }} / nullif({{ denominator }}, 0) as decimal(9, 4))
{%- endmacro %}
