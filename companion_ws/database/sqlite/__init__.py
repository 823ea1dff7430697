"""SQLite, the database that needs nothing."""
