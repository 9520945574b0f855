-- One row per account and month.
select account_id, as_of_month, count(*) as row_count
from {{ ref('account_performance') }}
group by account_id, as_of_month
having count(*) > 1
