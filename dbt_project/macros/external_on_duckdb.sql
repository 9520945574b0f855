{# On DuckDB an external model goes from its query to its files without a table between, which
   would hold all rows in memory. A model that says `is_in_slice()` is written slice by slice, each
   with one of the conditions of the variable `slices`, so that a slice's rows fit into memory. #}
{% materialization external, adapter='duckdb' %}
  {%- set location = external_location(this, config) -%}
  {%- set options = render_write_options(config) -%}
  {%- set written = adapter.external_write_options(location, options) -%}
  {%- set slices = var('slices') if is_in_slice() in sql else ['true'] -%}
  {%- if slices | length > 1 and not options.get('partition_by') -%}
    {{ exceptions.raise_compiler_error("A model in slices needs partition_by: one file can't hold them.") }}
  {%- endif -%}
  {% for slice in slices %}
    {%- set pattern = "filename_pattern 'slice_" ~ loop.index ~ "_{i}', overwrite_or_ignore true" -%}
    {% call statement('main') -%}
      copy ({{ sql | replace(is_in_slice(), slice) }}
      ) to '{{ location }}' ({{ written }}, {{ pattern }})
    {%- endcall %}
  {% endfor %}

  {# Without rows there is no file: the view then is the query itself, which found none. #}
  {%- set files = adapter.external_read_location(location, options) -%}
  {%- set count = run_query("select count(*) from glob('" ~ files ~ "')")[0][0] -%}
  {% call statement('view') -%}
    create or replace view {{ this.incorporate(type='view') }} as
    {% if count %}
      from read_parquet('{{ files }}', union_by_name = false, hive_partitioning = false)
    {% else %}
      select * from ({{ sql }}
      ) where false
    {% endif %}
  {%- endcall %}
  {{ adapter.commit() }}
  {% do store_relation(config.require('plugin'), this, location, 'parquet', config) %}
  {{ return({'relations': [this]}) }}
{% endmaterialization %}
