-- One row per account and month: what the account did, as it stood on the month's last day.
with days as (
  select * from {{ source('advisory_performance_gold', 'time_weighted_returns') }}
  where is_current and {{ is_in_built_range('as_of_month') }} and {{ is_in_slice() }}
),

months as (
  select
    account_id,
    as_of_month,
    max(as_of_date) as as_of_date,
    sum(net_external_flow) as net_external_flow,
    sum(fees) as fees,
    count(*) as day_count,
    count(*) filter (where is_estimated) as estimated_day_count
  from days
  group by account_id, as_of_month
),

rulings as (
  select
    account_id,
    as_of_month,
    count(*) filter (where reconciliation_status = 'BREACH') as breach_count,
    count(*) filter (where reconciliation_status not in ('COMPLETED', 'PENDING')) as open_count,
    count(*) filter (where reconciliation_status = 'COMPLETED') as completed_count
  from {{ source('advisory_performance_gold', 'reconciliation') }}
  where {{ is_in_built_range('as_of_month') }} and {{ is_in_slice() }}
  group by account_id, as_of_month
)

select
  months.as_of_month,
  months.account_id,
  latest.vendor,
  latest.currency,
  latest.account_class,
  months.as_of_date,
  latest.market_value as closing_value,
  cast(months.net_external_flow as decimal(20, 4)) as net_external_flow,
  cast(months.fees as decimal(20, 4)) as fees,
  latest.net_return_mtd,
  latest.net_return_qtd,
  latest.net_return_ytd,
  latest.net_return_since_inception,
  latest.net_return_since_inception_annualised,
  latest.net_return_one_year,
  latest.net_return_three_years,
  latest.net_return_five_years,
  latest.gross_return_mtd,
  latest.gross_return_qtd,
  latest.gross_return_ytd,
  latest.gross_return_since_inception,
  latest.gross_return_since_inception_annualised,
  latest.gross_return_one_year,
  latest.gross_return_three_years,
  latest.gross_return_five_years,
  latest.record_start_date,
  months.day_count,
  months.estimated_day_count,
  coalesce(rulings.breach_count, 0) as breach_count,
  coalesce(rulings.completed_count > 0 and rulings.open_count = 0, false) as is_reconciled
from months
inner join days as latest
  on months.account_id = latest.account_id and months.as_of_date = latest.as_of_date
left join rulings
  on months.account_id = rulings.account_id and months.as_of_month = rulings.as_of_month
