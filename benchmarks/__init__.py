"""How much work one processor second does, compared with plain aiohttp."""
