"""Entrances for agents that call over HTTP: ElevenLabs' webhooks and MCP."""
