"""ElevenLabs: the bridge for its Python SDK, telephone calls, and what to paste into an agent."""

from companion_ws.voice.elevenlabs.bridge import Attachment, attach, companion_tools

__all__ = ["Attachment", "attach", "companion_tools"]
