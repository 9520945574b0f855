-- A composite stands once, and its figures lie within those of the accounts that it may hold.
with accounts as (
  select as_of_month, account_class, currency,
    count(*) as account_count,
    sum(case when closing_value > 0 then closing_value else 0 end) as closing_value,
    min(net_return_mtd) as lowest, max(net_return_mtd) as highest,
    min(gross_return_mtd) as lowest_gross, max(gross_return_mtd) as highest_gross
  from {{ ref('account_performance') }}
  group by as_of_month, account_class, currency
),

numbered as (
  select *, count(*) over (partition by as_of_month, composite) as times
  from {{ ref('composite_returns') }}
)

select composites.*
from numbered as composites
left join accounts
  on
    composites.as_of_month = accounts.as_of_month
    and composites.account_class = accounts.account_class
    and composites.currency = accounts.currency
where
  accounts.account_count is null
  or composites.times > 1
  or composites.composite is distinct from composites.account_class || ' ' || composites.currency
  or coalesce(composites.account_count not between 1 and accounts.account_count, true)
  or coalesce(composites.beginning_assets <= 0, true)
  or coalesce(composites.ending_assets > accounts.closing_value, true)
  or composites.net_return is null
  or composites.net_return < accounts.lowest - 0.000000001
  or composites.net_return > accounts.highest + 0.000000001
  or composites.gross_return < accounts.lowest_gross - 0.000000001
  or composites.gross_return > accounts.highest_gross + 0.000000001
  or (composites.internal_dispersion is not null) != (composites.account_count > 5)
  or composites.internal_dispersion not between 0 and accounts.highest - accounts.lowest
