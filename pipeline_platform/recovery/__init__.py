"""Backups of database and lake, what is made of them again, and the proof that it works."""
