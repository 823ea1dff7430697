"""Who may what, as the contract has it: kinds of token by route, roles by message."""

from __future__ import annotations

import json
from typing import Any

ANYBODY = "anybody"
OWNER = "user service admin"
MEMBER = "user service admin session"
ADMIN = "admin, here"

ROUTES: dict[str, str] = {
    "POST /sessions": OWNER,
    "GET /sessions": ADMIN,
    "GET /me/sessions": "user admin",
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
    "GET /metrics": "anybody, here; metrics, anywhere",
    "GET /admin": "anybody, here",
}
"""Source: contract section 5. What is not listed is a page or a document, for anybody."""

LATER: frozenset[str] = frozenset()
"""In the contract, and on its way: nothing."""

ALL, AGENT, SCREEN, BOTH = "agent ui observer", "agent", "ui", "agent ui"

MESSAGES: dict[str, tuple[str, dict[str, Any]]] = {
    "contextual_update": (BOTH, {"text": "x"}),
    "state_update": (BOTH, {"key": "k", "value": 1}),
    "state_delete": (BOTH, {"key": "k"}),
    "state_get": (ALL, {}),
    "client_tool_call": (AGENT, {"tool_name": "n", "tool_call_id": "new", "parameters": {}}),
    "client_tool_result": (SCREEN, {"tool_call_id": "open", "result": "{}"}),
    "client_tool_cancel": (AGENT, {"tool_call_id": "open"}),
    "user_message": (BOTH, {"text": "x"}),
    "ui_action": (SCREEN, {"action_id": "a", "surface_id": "s", "name": "n"}),
    "screen": (SCREEN, {"text": "x"}),
    "rendered": (SCREEN, {"of_seq": 1}),
    "screen_command": (AGENT, {"name": "toast"}),
    "user_activity": (SCREEN, {}),
    "user_transcript": (AGENT, {"user_transcript": "x"}),
    "agent_response": (AGENT, {"agent_response": "x"}),
    "agent_response_correction": (
        AGENT, {"original_agent_response": "x", "corrected_agent_response": "y"},
    ),
    "interruption": (AGENT, {}),
    "agent_tool_request": (AGENT, {"tool_name": "x"}),
    "agent_tool_response": (AGENT, {"tool_name": "x"}),
    "conversation_initiation_metadata": (AGENT, {"conversation_id": "x"}),
    "pairing_answer": (ALL, {"pairing_id": "p", "allow": True}),
    "token_renew": (ALL, {}),
    "ping": (ALL, {}),
}  # fmt: skip
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
