-- Asset-weighted composite returns, after the GIPS standards (docs/returns.md, "Composites"): an
-- account belongs to a month's composite only if it was in it for the whole month; weights are the
-- values at the beginning of the month; internal dispersion is the equal-weighted standard
-- deviation and is not presented for five accounts or fewer.
with days as (
  select * from {{ source('advisory_performance_gold', 'time_weighted_returns') }}
  where
    is_current
    and as_of_month between {{ first_built_date() }} - interval 1 month and {{ last_built_date() }}
),

numbered as (
  select
    *,
    row_number() over (partition by account_id, as_of_month order by as_of_date desc)
      as number_from_last
  from days
),

month_ends as (
  select as_of_month, max(as_of_date) as last_date from days group by as_of_month
),

-- Accounts that were there when the month ended: one whose last day lies further back had left.
closing as (
  select numbered.*
  from numbered
  inner join month_ends on numbered.as_of_month = month_ends.as_of_month
  where
    numbered.number_from_last = 1
    and numbered.as_of_date > month_ends.last_date - interval 5 day
),

members as (
  select
    closing.as_of_month,
    closing.account_class,
    closing.currency,
    closing.account_id,
    beginning.market_value as beginning_value,
    closing.market_value as ending_value,
    cast(beginning.market_value as double) as weight,
    cast(closing.net_return_mtd as double) as net_return,
    cast(closing.gross_return_mtd as double) as gross_return
  from closing
  inner join closing as beginning
    on
      closing.account_id = beginning.account_id
      and closing.account_class = beginning.account_class
      and closing.currency = beginning.currency
      and beginning.as_of_month = closing.as_of_month - interval 1 month
  where
    {{ is_in_built_range('closing.as_of_month') }}
    and closing.record_start_date < closing.as_of_month
    and beginning.market_value > 0
    and closing.net_return_mtd is not null
)

select
  as_of_month,
  account_class || ' ' || currency as composite,
  account_class,
  currency,
  count(*) as account_count,
  cast(sum(beginning_value) as decimal(28, 4)) as beginning_assets,
  cast(sum(ending_value) as decimal(28, 4)) as ending_assets,
  {{ weighted_mean('net_return', 'weight') }} as net_return,
  -- Without fees of every member a gross composite would mix two bases.
  case
    when count(gross_return) = count(*)
      then {{ weighted_mean('gross_return', 'weight') }}
  end as gross_return,
  case
    when count(*) > 5
      then {{ rounded('stddev_pop(net_return)', 18, 12) }}
  end as internal_dispersion
from members
group by as_of_month, account_class, currency
