"""Objects that arrive: list, claim, read, archive, quarantine, on a local folder or on S3."""
