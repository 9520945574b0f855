"""The Dagster words that all pipelines share; only thin code belongs here."""
