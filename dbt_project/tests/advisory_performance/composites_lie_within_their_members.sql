-- An asset-weighted mean can't lie outside the returns that it weighs.
with members as (
  select as_of_month, account_class, currency,
    min(net_return_mtd) as lowest, max(net_return_mtd) as highest
  from {{ ref('account_performance') }}
  group by as_of_month, account_class, currency
)

select composites.*
from {{ ref('composite_returns') }} as composites
inner join members
  on
    composites.as_of_month = members.as_of_month
    and composites.account_class = members.account_class
    and composites.currency = members.currency
where
  composites.net_return < members.lowest - 0.000000001
  or composites.net_return > members.highest + 0.000000001
