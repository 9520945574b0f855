-- Each vendor's day: figures by status, and the two rates that must not be mixed up (X-11).
-- pass rate = completed / everything reconcilable; violation rate = breaches / compared.
with figures as (
  select * from {{ source('advisory_performance_gold', 'reconciliation') }}
  where {{ is_in_built_months('as_of_month') }}
)

select
  as_of_month,
  vendor,
  as_of_date,
  count(*) as figure_count,
  count(*) filter (where reconciliation_status = 'COMPLETED') as completed_count,
  count(*) filter (where reconciliation_status = 'BREACH') as breach_count,
  count(*) filter (where reconciliation_status = 'MISSING_VENDOR') as missing_vendor_count,
  count(*) filter (where reconciliation_status = 'MISSING_OURS') as missing_ours_count,
  count(*) filter (where reconciliation_status = 'PENDING') as pending_count,
  {{ percentage(
    "count(*) filter (where reconciliation_status = 'COMPLETED')",
    "count(*) filter (where reconciliation_status != 'PENDING')"
  ) }} as pass_rate_pct,
  {{ percentage(
    "count(*) filter (where reconciliation_status = 'BREACH')",
    "count(*) filter (where reconciliation_status in ('COMPLETED', 'BREACH'))"
  ) }} as violation_rate_pct,
  cast(avg(abs(difference_bps)) as decimal(18, 6)) as mean_absolute_difference_bps,
  max(abs(difference_bps)) as largest_absolute_difference_bps,
  mode(probable_cause) as most_frequent_cause
from figures
group by as_of_month, vendor, as_of_date
