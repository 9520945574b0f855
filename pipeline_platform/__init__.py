"""The data platform: what belongs to every pipeline, and a folder for each pipeline."""
