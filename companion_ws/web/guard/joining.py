"""What a client asks for when it joins, and whether there is room for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from companion_ws import __version__
from companion_ws.config import Config
from companion_ws.core.errors import (
    BadParameter,
    BadRequest,
    TooManyConnections,
)
from companion_ws.core.protocol import MAX_INTEGER
from companion_ws.core.text import label
from companion_ws.sessions.connections import Connections
from companion_ws.sessions.sessions import Sessions
from companion_ws.web.guard.parsing import ABSENT
from companion_ws.web.guard.permissions import ROLES, Role

MAX_TEXT: Final = 200
"""Longest session id, epoch or name of a tool that is read."""
MAX_TOOLS: Final = 64


@dataclass(frozen=True, slots=True)
class Join:
    """The parameters of a join, checked."""

    session_id: str | None = None
    after: int | None = None
    epoch: str | None = None
    role: Role | None = None
    device: str = ""
    tools: frozenset[str] = frozenset()
    strict: bool = False
    ordered: bool = False


def check_once(request: web.Request) -> None:
    """Refuse a repeated parameter before the upgrade.

    Raises:
        BadRequest: a parameter is there twice.
    """
    for name in set(request.query):
        if len(request.query.getall(name)) > 1:
            raise BadRequest(f"The parameter {name[:40]} is there more than once.")


def read_join(request: web.Request) -> Join:
    """Return what the query asks for.

    Raises:
        BadParameter: one of its parameters is malformed.
    """
    query = {name: text for name, text in request.query.items() if text not in ABSENT}
    role = query.get("role") or None
    if role is not None and role not in ROLES:
        raise BadParameter("role is one of agent, ui, observer.")
    named = (name.strip() for name in query.get("tools", "").split(","))
    tools = frozenset(name for name in named if name)
    if len(tools) > MAX_TOOLS or any(len(name) > MAX_TEXT for name in tools):
        raise BadParameter(f"tools names at most {MAX_TOOLS} tools.")
    return Join(
        session_id=_text(query.get("session_id"), "session_id"),
        after=_after(query.get("after")),
        epoch=_text(query.get("epoch"), "epoch"),
        role=role,
        device=label(query.get("device", "")),
        tools=tools,
        strict=_flag(query.get("strict"), "strict"),
        ordered=_flag(query.get("ordered"), "ordered"),
    )


def _flag(text: str | None, name: str) -> bool:
    if text not in (None, "", "0", "1", "true", "false"):
        raise BadParameter(f"{name} is 1 or 0.")
    return text in ("1", "true")


def _after(text: str | None) -> int | None:
    if text is None or text == "":
        return None
    if text.isascii() and text.isdigit() and len(text) <= 16 and int(text) <= MAX_INTEGER:
        return int(text)
    raise BadParameter("after is a seq: a whole number from 0.")


def _text(text: str | None, name: str) -> str | None:
    if not text:
        return None
    if len(text) > MAX_TEXT or not text.isprintable():
        raise BadParameter(f"{name} is at most {MAX_TEXT} printable characters.")
    return text


def check_room(
    connections: Connections, config: Config, owner: str, session_id: str | None
) -> None:
    """Let one more connection in; what follows must not await before it is added.

    An `owner` of "" has no limit: the session of a telephone call, of which there are only
    so many.

    Raises:
        TooManyConnections: the session, or its owner, has as many as the limits allow.
    """
    most = config.limit_connections_per_session
    if session_id and most and len(connections.of_session(session_id)) >= most:
        raise TooManyConnections(f"This session has {most} connections, which is the limit.")
    most = config.limit_connections_per_user
    if owner and most and connections.count_of_owner(owner) >= most:
        raise TooManyConnections(f"This user has {most} connections, which is the limit.")


def welcome(
    sessions: Sessions,
    config: Config,
    requested_session_id: str | None,
    *,
    created: bool,
    reason: str | None,
) -> dict[str, Any]:
    """Return what `session_joined` says beside the session itself."""
    return {
        "protocol": 1,
        "server": __version__,
        "created": created,
        "requested_session_id": requested_session_id,
        "reason": reason,
        "limits": {"message_bytes": config.limit_message_bytes},
        "expires_at": sessions.now_ms() + int(sessions.rules.ttl_s * 1000),
    }
