"""PostgreSQL, for who has one: the extra `[postgres]`."""
