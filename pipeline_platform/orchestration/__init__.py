"""The Dagster words that all pipelines share; only thin code belongs here."""

import warnings

import dagster as dg

# All are used on purpose: ranges of partitions in one run, a landing folder that is only watched,
# and owners of sensors.
for _name in ("backfill_policy", "observable_source_asset", "owners"):
    warnings.filterwarnings("ignore", message=f".*`{_name}`.*", category=dg.BetaWarning)
