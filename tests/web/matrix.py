"""Who may what, as the contract has it: kinds of token by route, roles by message."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ANYBODY = "anybody"
OWNER = "user service admin"
MEMBER = "user service admin session"
ADMIN = "admin, here"

ROUTES: dict[str, str] = {
    "POST /sessions": OWNER,
    "GET /sessions": ADMIN,
    "GET /me/sessions": "user admin",
    "GET /overview": ADMIN,
    "GET /sessions/{session_id}": OWNER,
    "PATCH /sessions/{session_id}": OWNER,
    "DELETE /sessions/{session_id}": OWNER,
    "POST /sessions/{session_id}/tokens": OWNER,
    "GET /sessions/{session_id}/tokens": OWNER,
    "DELETE /sessions/{session_id}/tokens/{token_id}": OWNER,
    "GET /sessions/{session_id}/state": MEMBER,
    "GET /sessions/{session_id}/state/{key}": MEMBER,
    "PUT /sessions/{session_id}/state/{key}": MEMBER,
    "DELETE /sessions/{session_id}/state/{key}": MEMBER,
    "POST /sessions/{session_id}/messages": MEMBER,
    "GET /sessions/{session_id}/records": MEMBER,
    "POST /sessions/{session_id}/stream-tickets": MEMBER,
    "GET /sessions/{session_id}/trail": OWNER,
    "POST /sessions/{session_id}/pairings": OWNER,
    "GET /sessions/{session_id}/pairings": OWNER,
    "POST /sessions/{session_id}/pairings/{pairing_id}": OWNER,
    "GET /sessions/{session_id}/qr.svg": OWNER,
    "GET /sessions/{session_id}/qr.png": OWNER,
    "DELETE /sessions/{session_id}/devices/{device_id}": OWNER,
    "GET /me/devices": "user admin",
    "GET /me/export": "user admin",
    "DELETE /me": "user admin",
    "POST /tokens": ADMIN,
    "GET /tokens": ADMIN,
    "DELETE /tokens": ADMIN,
    "DELETE /tokens/{token_id}": ADMIN,
    "POST /keys": ADMIN,
    "POST /sign-in-links": ADMIN,
    "POST /pair": ANYBODY,
    "POST /sign-in": ANYBODY,
    "POST /mcp": "user admin session",
    "GET /elevenlabs/signed-url": "user admin session",
    "POST /elevenlabs/init": ANYBODY,
    "POST /elevenlabs/tools/{name}": ANYBODY,
    "POST /elevenlabs/post-call": ANYBODY,
    "POST /vapi": ANYBODY,
    "POST /retell": ANYBODY,
    "GET /metrics": "anybody, here; metrics, anywhere",
    "GET /admin": "anybody, here",
}
"""Source: contract section 5. What is not listed is a page or a document, for anybody."""

LATER: frozenset[str] = frozenset()
"""In the contract, and on its way: nothing."""

ALL = "agent ui observer"

_COMMANDS = json.loads(
    (Path(__file__).parents[1] / "wire/messages/catalogue.json").read_text(encoding="utf-8")
)["commands"]
MESSAGES: dict[str, tuple[str, dict[str, Any]]] = {
    name: (" ".join(role for role in ALL.split() if role in command["roles"]), command["example"])
    for name, command in _COMMANDS.items()
}
"""Source: contract section 2. `pairing_answer` needs the owner besides, `token_renew` a session token."""

BODIES: dict[str, Any] = {
    "POST /sessions": {"user": "alice", "title": "too late"},
    "PATCH /sessions/{session_id}": {"title": "too late"},
    "PUT /sessions/{session_id}/state/{key}": "too late",
    "POST /sessions/{session_id}/messages": {"type": "user_message", "text": "too late"},
    "POST /sessions/{session_id}/pairings/{pairing_id}": {"allow": True},
    "POST /tokens": {"user": "eve", "role": "admin", "ttl_s": 366 * 86_400},
    "POST /mcp": {"jsonrpc": "2.0", "id": 1, "method": "tools/call",
                  "params": {"name": "set_state", "arguments": {"key": "late", "value": 1}}},
}  # fmt: skip
"""What each route would do something with."""


def body_of(name: str) -> bytes:
    return json.dumps(BODIES.get(name, {})).encode()


def kinds_of(name: str) -> set[str]:
    """Return the kinds of token a route is for, empty for anybody's."""
    first = ROUTES.get(name, ANYBODY).partition(",")[0]
    return set() if first == ANYBODY else set(first.split())
