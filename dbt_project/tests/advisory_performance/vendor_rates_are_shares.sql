-- A rate lies between 0 and 100, and the counts by status add up to all figures.
select *
from {{ ref('vendor_reconciliation_daily') }}
where
  pass_rate_pct not between 0 and 100
  or violation_rate_pct not between 0 and 100
  or completed_count + breach_count + missing_vendor_count + missing_ours_count + pending_count
  != figure_count
