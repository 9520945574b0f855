-- A month's rows add up to its returns: every day of every account once, and the last day's figures.
{%- set last_day = [
  'net_return_mtd', 'net_return_qtd', 'net_return_ytd', 'net_return_since_inception',
  'net_return_since_inception_annualised', 'net_return_one_year', 'net_return_three_years',
  'net_return_five_years', 'gross_return_mtd', 'gross_return_qtd', 'gross_return_ytd',
  'gross_return_since_inception', 'gross_return_since_inception_annualised',
  'gross_return_one_year', 'gross_return_three_years', 'gross_return_five_years',
] %}
with last_days as (
  select as_of_month, account_id, as_of_date from {{ ref('account_performance') }}
),

measured as (
  select
    days.as_of_month,
    count(*) as day_count,
    count(case when days.is_estimated then 1 end) as estimated_day_count,
    sum(days.net_external_flow) as net_external_flow,
    sum(days.fees) as fees,
    count(last_days.account_id) as last_days,
    {%- for column in last_day %}
    sum(case when last_days.account_id is not null then days.{{ column }} end) as {{ column }},
    {%- endfor %}
    sum(case when last_days.account_id is not null then days.market_value end) as closing_value
  from {{ source('advisory_performance_gold', 'time_weighted_returns') }} as days
  left join last_days
    on
      days.as_of_month = last_days.as_of_month
      and days.account_id = last_days.account_id
      and days.as_of_date = last_days.as_of_date
  where days.is_current and {{ is_in_built_range('days.as_of_month') }}
  group by days.as_of_month
),

shown as (
  select
    as_of_month,
    sum(day_count) as day_count,
    sum(estimated_day_count) as estimated_day_count,
    sum(net_external_flow) as net_external_flow,
    sum(fees) as fees,
    count(as_of_date) as last_days,
    count(case when vendor is null or currency is null or account_class is null then 1 end)
      as unnamed,
    count(case when breach_count is null or breach_count < 0 or is_reconciled is null then 1 end)
      as unjudged,
    count(case when record_start_date is null or record_start_date > as_of_date then 1 end)
      as not_begun,
    {%- for column in last_day %}
    sum({{ column }}) as {{ column }},
    {%- endfor %}
    sum(closing_value) as closing_value
  from {{ ref('account_performance') }}
  group by as_of_month
)

select coalesce(measured.as_of_month, shown.as_of_month) as as_of_month
from measured
full outer join shown on measured.as_of_month = shown.as_of_month
where
  measured.day_count is distinct from shown.day_count
  or measured.estimated_day_count is distinct from shown.estimated_day_count
  or measured.net_external_flow is distinct from shown.net_external_flow
  or measured.fees is distinct from shown.fees
  or measured.last_days is distinct from shown.last_days
  or measured.closing_value is distinct from shown.closing_value
  {%- for column in last_day %}
  or measured.{{ column }} is distinct from shown.{{ column }}
  {%- endfor %}
  or shown.unnamed + shown.unjudged + shown.not_begun > 0
