-- Per vendor and month: what was delivered against what was expected, and how often it changed.
-- Expected = each account, between its first and last day of the month, on every day on which its
-- vendor delivered a valuation for any account (SA-84).
with valuations as (
  select * from {{ source('advisory_performance_silver', 'valuations') }}
  where {{ is_in_built_range('as_of_month') }}
),

delivered as (
  select
    as_of_month,
    vendor,
    account_id,
    min(as_of_date) as first_date,
    max(as_of_date) as last_date,
    {{ distinct_days('as_of_date') }} as delivered_count,
    {{ distinct_days('as_of_date', 'not is_current') }} as corrected_count
  from valuations
  group by as_of_month, vendor, account_id
),

vendor_days as (
  select
    as_of_month,
    vendor,
    as_of_date,
    row_number() over (partition by as_of_month, vendor order by as_of_date) as day_number
  from (select distinct as_of_month, vendor, as_of_date from valuations)
),

-- An account's first and last day are days of its vendor, so their numbers tell how many lie between.
deliveries as (
  select
    delivered.as_of_month,
    delivered.vendor,
    count(*) as account_count,
    cast(sum(delivered.delivered_count) as bigint) as account_day_count,
    cast(sum(last_day.day_number - first_day.day_number + 1) as bigint)
      as expected_account_day_count,
    cast(sum(delivered.corrected_count) as bigint) as corrected_account_day_count
  from delivered
  inner join vendor_days as first_day
    on
      delivered.as_of_month = first_day.as_of_month
      and delivered.vendor = first_day.vendor
      and delivered.first_date = first_day.as_of_date
  inner join vendor_days as last_day
    on
      delivered.as_of_month = last_day.as_of_month
      and delivered.vendor = last_day.vendor
      and delivered.last_date = last_day.as_of_date
  group by delivered.as_of_month, delivered.vendor
),

measured as (
  select
    as_of_month,
    vendor,
    count(*) filter (where is_estimated) as estimated_account_day_count,
    count(*) filter (where return_status = 'non_positive_base') as unmeasurable_account_day_count,
    count(*) as measured_count
  from {{ source('advisory_performance_gold', 'time_weighted_returns') }}
  where is_current and {{ is_in_built_range('as_of_month') }}
  group by as_of_month, vendor
),

restated as (
  select as_of_month, vendor, count(*) filter (where is_material) as material_restatement_count
  from {{ source('advisory_performance_gold', 'restatements') }}
  where {{ is_in_built_range('as_of_month') }}
  group by as_of_month, vendor
)

select
  deliveries.as_of_month,
  deliveries.vendor,
  deliveries.account_count,
  deliveries.account_day_count,
  deliveries.expected_account_day_count,
  {{ percentage('deliveries.account_day_count', 'deliveries.expected_account_day_count') }}
    as completeness_pct,
  deliveries.corrected_account_day_count,
  {{ percentage('deliveries.corrected_account_day_count', 'deliveries.account_day_count') }}
    as correction_rate_pct,
  coalesce(measured.estimated_account_day_count, 0) as estimated_account_day_count,
  {{ percentage('measured.estimated_account_day_count', 'measured.measured_count') }}
    as estimation_rate_pct,
  coalesce(measured.unmeasurable_account_day_count, 0) as unmeasurable_account_day_count,
  coalesce(restated.material_restatement_count, 0) as material_restatement_count
from deliveries
left join measured
  on deliveries.as_of_month = measured.as_of_month and deliveries.vendor = measured.vendor
left join restated
  on deliveries.as_of_month = restated.as_of_month and deliveries.vendor = restated.vendor
