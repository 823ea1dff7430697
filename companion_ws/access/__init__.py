"""Who may: tokens, pairing, limits, addresses."""
