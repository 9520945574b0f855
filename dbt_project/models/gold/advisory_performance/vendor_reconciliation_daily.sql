-- Each vendor's day: figures by status, and the two rates that must not be mixed up (X-11).
-- pass rate = completed / everything reconcilable; violation rate = breaches / compared.
with figures as (
  select * from {{ source('advisory_performance_gold', 'reconciliation') }}
  where {{ is_in_built_range('as_of_month') }}
),

-- Of equally frequent causes the first by name, so that a repeated build gives the same row.
causes as (
  select
    as_of_month,
    vendor,
    as_of_date,
    probable_cause,
    row_number() over (
      partition by as_of_month, vendor, as_of_date order by count(*) desc, probable_cause
    ) as cause_number
  from figures
  where probable_cause is not null
  group by as_of_month, vendor, as_of_date, probable_cause
),

days as (
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
    {{ rounded('avg(cast(abs(difference_bps) as double))', 18, 6) }} as mean_absolute_difference_bps,
    max(abs(difference_bps)) as largest_absolute_difference_bps
  from figures
  group by as_of_month, vendor, as_of_date
)

select days.*, causes.probable_cause as most_frequent_cause
from days
left join causes
  on
    days.as_of_month = causes.as_of_month
    and days.vendor = causes.vendor
    and days.as_of_date = causes.as_of_date
    and causes.cause_number = 1
