"""From vendor files to reconciled time-weighted returns."""
