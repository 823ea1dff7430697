"""A session's trail: who joined, left, dropped or was refused, for its owner to read."""

from __future__ import annotations

from typing import Any

import msgspec

from companion_ws.core.protocol import encode
from companion_ws.sessions.connections import Connection
from companion_ws.sessions.store import Store


def note(store: Store, at_ms: int, connection: Connection, event: str) -> None:
    """Note that a connection joined, left or dropped; nobody waits for it to be stored."""
    details: dict[str, Any] = {
        "connection_id": connection.connection_id,
        "role": connection.role,
        "user": connection.user,
        "device": connection.device,
        "device_id": connection.device_id,
    }
    if event != "joined":
        details["code"] = connection.close_code
        details["reason"] = connection.close_reason
    store.trail(connection.session_id, at_ms, event, encode(details))


async def read(store: Store, session_id: str) -> list[dict[str, Any]]:
    """Return the entries of a session's trail, oldest first: `{"at": int, "event": str, …}`."""
    rows = await store.trail_of(session_id)
    return [
        {"at": at_ms, "event": event, **msgspec.json.decode(details)}
        for at_ms, event, details in reversed(rows)
    ]
