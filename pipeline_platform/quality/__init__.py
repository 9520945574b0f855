"""Contracts, measurements, scores, issues, quarantine and conservation."""
