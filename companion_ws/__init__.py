"""Give a voice agent a screen: shared sessions for agents and the phones that scan in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from companion_ws.app import PAIRING, SESSIONS, TOKENS, create_app
    from companion_ws.client import (
        CompanionClient,
        CompanionClosed,
        SyncCompanionClient,
        ToolFailed,
    )
    from companion_ws.config import Config
    from companion_ws.core.errors import CompanionError, RevisionConflict
    from companion_ws.sessions.tools import ToolCall, ToolError, tool

__version__ = "0.1.0"

__all__ = [
    "PAIRING",
    "SESSIONS",
    "TOKENS",
    "CompanionClient",
    "CompanionClosed",
    "CompanionError",
    "Config",
    "RevisionConflict",
    "SyncCompanionClient",
    "ToolCall",
    "ToolError",
    "ToolFailed",
    "__version__",
    "create_app",
    "tool",
]

_HOMES = {
    "PAIRING": "app",
    "SESSIONS": "app",
    "TOKENS": "app",
    "create_app": "app",
    "CompanionClient": "client",
    "CompanionClosed": "client",
    "SyncCompanionClient": "client",
    "ToolFailed": "client",
    "CompanionError": "core.errors",
    "RevisionConflict": "core.errors",
    "Config": "config",
    "ToolCall": "sessions.tools",
    "ToolError": "sessions.tools",
    "tool": "sessions.tools",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: a client needs no server in memory."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value
