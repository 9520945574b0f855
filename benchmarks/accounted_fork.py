"""Named in a fork server's `preload`, this module makes each forked run account for its time."""

from benchmarks.run_accounts import account_for_forks

account_for_forks()
