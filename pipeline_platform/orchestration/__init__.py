"""The Dagster words that all pipelines share; only thin code belongs here."""

import warnings

import dagster as dg

# Both are used on purpose: ranges of months in one run, and a landing folder that is only watched.
for _name in ("backfill_policy", "observable_source_asset"):
    warnings.filterwarnings("ignore", message=f".*`{_name}`.*", category=dg.BetaWarning)
