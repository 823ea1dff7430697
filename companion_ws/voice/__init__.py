"""Other people's words into ours: voice agents and their tools."""
