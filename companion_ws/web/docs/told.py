"""The fields of what the server says, where they are not those of a command; for the documents.

A message that is not here has the fields of the command of its type. Every message also has
what `documents` puts around it. Tests hold what a server really says to these types.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from msgspec import UNSET, Struct, UnsetType, field

from companion_ws.core.commands import Json, ToolCall, Traceparent


class StateValue(Struct):
    """What stands under a key, and the `seq` of the record that set it."""

    value: Json
    revision: int


class PresenceEntry(Struct):
    """Somebody who is connected."""

    connection_id: str
    role: Literal["agent", "ui", "observer"]
    user: str
    device: str | None
    device_id: str | None
    since: int
    screen: str | UnsetType = UNSET


class Limits(Struct):
    """What this server takes; 0 is no limit."""

    message_bytes: int


class Picture(Struct):
    """A picture that a record names."""

    url: str
    media_id: str | UnsetType = UNSET
    media_type: str | UnsetType = UNSET
    width: int | UnsetType = UNSET
    height: int | UnsetType = UNSET
    size_bytes: int | UnsetType = UNSET
    problem: str | UnsetType = UNSET


class SessionJoined(Struct):
    """The first message of a connection: the session at one instant."""

    protocol: int
    server: str
    created: bool
    requested_session_id: str | None
    reason: Literal["session_unavailable"] | None
    connection_id: str
    role: Literal["agent", "ui", "observer"]
    user: str
    title: str | None
    language: str | None
    device_id: str | None
    seq: int
    first_seq: int | None
    epoch: str
    recovery: Literal["none", "replay", "snapshot"]
    state: dict[str, StateValue]
    presence: list[PresenceEntry]
    conversation_id: str | None
    open_calls: list[dict[str, Json]]
    cards: list[dict[str, Json]]
    media: list[Picture] | None
    expires_at: int | None
    limits: Limits
    left_out: dict[str, int] | UnsetType = UNSET


class StateUpdated(Struct):
    """A key as it is now."""

    key: str
    value: Json
    revision: int


class StateDeleted(Struct):
    """A key that was deleted."""

    key: str
    revision: int


class ToolCalled(Struct):
    """A call; `joins` is the call that asked the same before."""

    client_tool_call: ToolCall
    handled_by: Literal["server", "screens"]
    deadline_at: int | None
    joins: str | UnsetType = UNSET
    traceparent: Traceparent | UnsetType = UNSET


class ToolAnswered(Struct):
    """The one result of a call; `result` is usually JSON text."""

    tool_name: str
    tool_call_id: str
    result: str
    is_error: bool
    answered_by: str
    joins: str | UnsetType = UNSET
    traceparent: Traceparent | UnsetType = UNSET


class ToolCancelled(Struct):
    """A call that was withdrawn; `question_open` where others still ask the same."""

    tool_call_id: str
    question_open: bool | UnsetType = UNSET
    joins: str | UnsetType = UNSET


class SessionEnded(Struct):
    """Why."""

    reason: str


class PresenceChange(PresenceEntry, kw_only=True):
    """Who joined, left or dropped."""

    event: Literal["joined", "left", "dropped"]


class StateSnapshot(Struct):
    """The state, or of it the key that was asked for."""

    state: dict[str, StateValue]
    request_id: str | UnsetType = field(default=UNSET, name="requestId")


class SessionExpiring(Struct):
    """When."""

    expires_at: int


class PairingUsed(Struct):
    """Which."""

    pairing_id: str


class PairingRequest(Struct):
    """A device, and the digits it shows."""

    pairing_id: str
    device: str | None
    verification: str
    expires_at: int


class TokenExpiring(Struct):
    """When."""

    expires_at: int


class TokenRenewed(Struct):
    """The successor and its end."""

    token: str
    expires_at: int
    request_id: str | UnsetType = field(default=UNSET, name="requestId")


class Refusal(Struct):
    """Why a command was refused; further fields depend on `code`."""

    code: str
    message: str
    request_id: str | UnsetType | None = field(default=UNSET, name="requestId")
    retry_after_ms: int | UnsetType = UNSET


class Pong(Struct):
    """The `requestId` of the ping."""

    request_id: str | UnsetType | None = field(default=UNSET, name="requestId")


OWN_FIELDS: Final[dict[str, Any]] = {
    "state_updated": StateUpdated,
    "state_deleted": StateDeleted,
    "client_tool_call": ToolCalled,
    "client_tool_result": ToolAnswered,
    "client_tool_cancel": ToolCancelled,
    "session_ended": SessionEnded,
    "session_joined": SessionJoined,
    "presence": PresenceChange,
    "state_snapshot": StateSnapshot,
    "media": Picture,
    "session_expiring": SessionExpiring,
    "pairing_used": PairingUsed,
    "pairing_request": PairingRequest,
    "token_expiring": TokenExpiring,
    "token_renewed": TokenRenewed,
    "error": Refusal,
    "pong": Pong,
}
"""By type of message."""
