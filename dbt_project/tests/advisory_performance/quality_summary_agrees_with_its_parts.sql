-- Each vendor with valuations has one row a month; its counts fit each other and its rates them.
with delivered as (
  select
    as_of_month,
    vendor,
    count(*) as versions,
    count(distinct account_id) as account_count
  from {{ source('advisory_performance_silver', 'valuations') }}
  where {{ is_in_built_range('as_of_month') }}
  group by as_of_month, vendor
),

measured as (
  select
    as_of_month,
    vendor,
    count(case when is_estimated then 1 end) as estimated,
    count(case when return_status = 'non_positive_base' then 1 end) as unmeasurable,
    count(*) as measured
  from {{ source('advisory_performance_gold', 'time_weighted_returns') }}
  where is_current and {{ is_in_built_range('as_of_month') }}
  group by as_of_month, vendor
),

restated as (
  select as_of_month, vendor, count(case when is_material then 1 end) as material
  from {{ source('advisory_performance_gold', 'restatements') }}
  where {{ is_in_built_range('as_of_month') }}
  group by as_of_month, vendor
),

-- In sums, so that a vendor that stands twice differs.
summary as (
  select
    as_of_month,
    vendor,
    sum(account_count) as account_count,
    sum(account_day_count) as account_day_count,
    sum(expected_account_day_count) as expected_account_day_count,
    sum(corrected_account_day_count) as corrected_account_day_count,
    sum(estimated_account_day_count) as estimated_account_day_count,
    sum(unmeasurable_account_day_count) as unmeasurable_account_day_count,
    sum(material_restatement_count) as material_restatement_count,
    sum(completeness_pct) as completeness_pct,
    sum(correction_rate_pct) as correction_rate_pct,
    sum(estimation_rate_pct) as estimation_rate_pct
  from {{ ref('quality_summary') }}
  group by as_of_month, vendor
)

select coalesce(delivered.vendor, summary.vendor) as vendor
from delivered
full outer join summary
  on delivered.as_of_month = summary.as_of_month and delivered.vendor = summary.vendor
left join measured
  on summary.as_of_month = measured.as_of_month and summary.vendor = measured.vendor
left join restated
  on summary.as_of_month = restated.as_of_month and summary.vendor = restated.vendor
where
  summary.account_count is distinct from delivered.account_count
  or summary.estimated_account_day_count is distinct from coalesce(measured.estimated, 0)
  or summary.unmeasurable_account_day_count is distinct from coalesce(measured.unmeasurable, 0)
  or summary.material_restatement_count is distinct from coalesce(restated.material, 0)
  or coalesce(
    summary.account_day_count not between summary.account_count and delivered.versions, true
  )
  or coalesce(summary.expected_account_day_count < summary.account_day_count, true)
  or coalesce(
    summary.corrected_account_day_count not between 0 and summary.account_day_count, true
  )
  or summary.completeness_pct is distinct from
  {{ percentage('summary.account_day_count', 'summary.expected_account_day_count') }}
  or summary.correction_rate_pct is distinct from
  {{ percentage('summary.corrected_account_day_count', 'summary.account_day_count') }}
  or summary.estimation_rate_pct is distinct from
  {{ percentage('measured.estimated', 'measured.measured') }}
