"""Readings of meters, by day: `meter,day,value` from CSV files to totals that are served."""
