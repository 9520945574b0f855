-- Each vendor's day stands once, with the figures of the reconciliation counted by status.
with figures as (
  select
    as_of_month,
    vendor,
    as_of_date,
    count(*) as figure_count,
    count(case when reconciliation_status = 'COMPLETED' then 1 end) as completed_count,
    count(case when reconciliation_status = 'BREACH' then 1 end) as breach_count,
    count(case when reconciliation_status = 'MISSING_VENDOR' then 1 end) as missing_vendor_count,
    count(case when reconciliation_status = 'MISSING_OURS' then 1 end) as missing_ours_count,
    count(case when reconciliation_status = 'PENDING' then 1 end) as pending_count,
    max(abs(difference_bps)) as largest_absolute_difference_bps
  from {{ source('advisory_performance_gold', 'reconciliation') }}
  where {{ is_in_built_range('as_of_month') }}
  group by as_of_month, vendor, as_of_date
),

-- In sums, so that a day that stands twice differs.
days as (
  select
    as_of_month,
    vendor,
    as_of_date,
    sum(figure_count) as figure_count,
    sum(completed_count) as completed_count,
    sum(breach_count) as breach_count,
    sum(missing_vendor_count) as missing_vendor_count,
    sum(missing_ours_count) as missing_ours_count,
    sum(pending_count) as pending_count,
    sum(largest_absolute_difference_bps) as largest_absolute_difference_bps,
    sum(mean_absolute_difference_bps) as mean_absolute_difference_bps,
    sum(pass_rate_pct) as pass_rate_pct,
    sum(violation_rate_pct) as violation_rate_pct
  from {{ ref('vendor_reconciliation_daily') }}
  group by as_of_month, vendor, as_of_date
)

select coalesce(figures.as_of_date, days.as_of_date) as as_of_date
from figures
full outer join days
  on
    figures.as_of_month = days.as_of_month
    and figures.vendor = days.vendor
    and figures.as_of_date = days.as_of_date
where
  figures.figure_count is distinct from days.figure_count
  or figures.completed_count is distinct from days.completed_count
  or figures.breach_count is distinct from days.breach_count
  or figures.missing_vendor_count is distinct from days.missing_vendor_count
  or figures.missing_ours_count is distinct from days.missing_ours_count
  or figures.pending_count is distinct from days.pending_count
  or figures.largest_absolute_difference_bps is distinct from days.largest_absolute_difference_bps
  or days.mean_absolute_difference_bps
  not between 0 and days.largest_absolute_difference_bps + 0.000001
  or days.pass_rate_pct is distinct from
  {{ percentage('days.completed_count', 'days.figure_count - days.pending_count') }}
  or days.violation_rate_pct is distinct from
  {{ percentage('days.breach_count', 'days.completed_count + days.breach_count') }}
