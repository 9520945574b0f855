"""PostgreSQL: embedded server, migrations, bulk load, monthly partitions, control tables."""
