{# Arithmetic whose result is the same on every engine, to the last digit. Left to themselves they
   differ: DuckDB divides decimals as doubles, Spark rounds a quotient of decimals to a scale of
   its own before it is rounded again, and sums of doubles depend on the order of the rows. #}

{# A share in percent with four digits, rounded half away from zero, of two counts (zero or more).
   No value where there is nothing to count (never a silent 100 or 0). In integers, hence exact. #}
{% macro percentage(numerator, denominator) -%}
  cast(cast({{ integer_quotient(
    "(2000000 * (" ~ numerator ~ ") + (" ~ denominator ~ "))",
    "nullif(2 * (" ~ denominator ~ "), 0)"
  ) }} as decimal(12, 0)) * 0.0001 as decimal(9, 4))
{%- endmacro %}

{# A double as decimal, rounded half away from zero. A double seldom holds a half exactly and its
   last bits differ between engines; rounding two digits further first makes it a half again. #}
{% macro rounded(number, precision, scale) -%}
  cast(cast({{ number }} as decimal({{ precision + 2 }}, {{ scale + 2 }}))
    as decimal({{ precision }}, {{ scale }}))
{%- endmacro %}

{# The mean of a column of doubles, weighted by another, as decimal(18, 12). #}
{% macro weighted_mean(column, weight) -%}
  {{ rounded("sum(" ~ weight ~ " * " ~ column ~ ") / sum(" ~ weight ~ ")", 18, 12) }}
{%- endmacro %}

{# The quotient of two integers without its fraction. #}
{% macro integer_quotient(dividend, divisor) -%}
  {{ adapter.dispatch('integer_quotient')(dividend, divisor) }}
{%- endmacro %}

{% macro default__integer_quotient(dividend, divisor) -%}
  {{ dividend }} // {{ divisor }}
{%- endmacro %}

{% macro spark__integer_quotient(dividend, divisor) -%}
  {{ dividend }} div {{ divisor }}
{%- endmacro %}

{#- How many different days of a month a group has, of the rows where `condition` holds. -#}
{%- macro distinct_days(day, condition='true') -%}
  {{ adapter.dispatch('distinct_days')(day, condition) }}
{%- endmacro -%}

{#- A bit per day takes eight bytes of each group; a set of days takes memory that can't be spilled. -#}
{%- macro duckdb__distinct_days(day, condition) -%}
  bit_count(coalesce(bit_or(
    cast(1 as bigint) << cast(day({{ day }}) - 1 as integer)
  ) filter (where {{ condition }}), 0))
{%- endmacro -%}

{%- macro default__distinct_days(day, condition) -%}
  count(distinct {{ day }}) filter (where {{ condition }})
{%- endmacro -%}
