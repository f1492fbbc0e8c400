"""The database's migrations, dated, run by `tokenvend migrate`."""
