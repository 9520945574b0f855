"""Iceberg tables: stage, audit, publish and read; the one write path of the platform."""
