"""What several servers of one database know of each other; a server alone needs none of it."""
