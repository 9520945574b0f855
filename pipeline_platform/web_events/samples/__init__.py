"""Real access logs, and generated events with faults of which a ledger is kept."""
