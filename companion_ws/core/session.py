"""What a session is: commands are decided on it, events are folded into it.

Rules of this file:

1. `decide` never changes the session; `apply` never refuses a fact.
2. No clock, chance or I/O: times and ids come in as arguments.
3. A state value is kept as the JSON text it was stored as, so that a snapshot
   repeats it byte for byte.

Source: contract sections 2 to 4.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import singledispatch
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, Raw, Struct

from companion_ws.core import protocol
from companion_ws.core.errors import (
    Forbidden,
    RevisionConflict,
    SessionEnded,
    StateTooLarge,
    ToolClosed,
    ToolUnknown,
)
from companion_ws.core.phrases import phrase
from companion_ws.core.protocol import Command, encode
from companion_ws.core.tool_calls import QUESTION_MS, Call, Status, choice_of, is_release

MAX_CARDS: Final = 20
MAX_CARDS_BYTES: Final = 128 * 1024
"""What a late screen is shown at once; more would make the join itself slow."""

Role = Literal["agent", "ui", "observer", "server"]


@dataclass(frozen=True, slots=True)
class Sender:
    """Who asks. `connection_id` is None over HTTP, `device_id` for all but paired phones."""

    role: Role
    user: str
    connection_id: str | None = None
    device_id: str | None = None
    key: str = field(init=False, compare=False, repr=False)
    """What a requestId belongs to: the connection does not count, the device does."""

    def __post_init__(self) -> None:
        key = encode([self.user, self.role, self.device_id]).decode()
        object.__setattr__(self, "key", key)

    def shown(self) -> dict[str, str | None]:
        return {"role": self.role, "user": self.user, "connection_id": self.connection_id}


SERVER: Final = Sender("server", "")
"""The sender of what the server makes; the owner's name is filled in by the session."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a session may hold; 0 means no limit."""

    state_bytes: int = 256 * 1024
    value_bytes: int = 32 * 1024
    state_keys: int = 1024
    records: int = 1000
    log_bytes: int = 8 * 1024 * 1024
    transcripts: bool = True


@dataclass(frozen=True, slots=True)
class Entry:
    """A state value as compact JSON, and the seq that set it."""

    value: bytes
    revision: int


@dataclass(slots=True)
class Session:
    """What the records of a session add up to."""

    session_id: str
    user: str
    language: str | None = None
    seq: int = 0
    first_seq: int = 1
    log_bytes: int = 0
    state: dict[str, Entry] = field(default_factory=dict)
    state_bytes: int = 0
    calls: dict[str, Call] = field(default_factory=dict)
    cards: dict[int, tuple[str | None, bytes]] = field(default_factory=dict)
    cards_bytes: int = 0
    sizes: deque[int] = field(default_factory=deque)
    """Bytes of each record kept, oldest first."""
    conversation_id: str | None = None
    ended: str | None = None
    """Why it is over, or None."""

    def snapshot(self, key: str | None = None) -> dict[str, dict[str, Any]]:
        """Return `{key: {"value": …, "revision": int}}`, of one key if one is named."""
        entries = self.state.items() if key is None else self._one(key)
        return {
            name: {"value": Raw(entry.value), "revision": entry.revision}
            for name, entry in entries
        }

    def _one(self, key: str) -> list[tuple[str, Entry]]:
        entry = self.state.get(key)
        return [] if entry is None else [(key, entry)]

    def open_calls(self, at_ms: int) -> list[Call]:
        """Return the questions a screen may still answer, oldest first."""
        return [call for call in self.calls.values() if call.is_open(at_ms)]

    @property
    def oldest(self) -> int | None:
        """Return the seq of the oldest record kept, or None without one."""
        return self.first_seq if self.seq >= self.first_seq else None


# What `decide` answers with.


class Event(Struct, frozen=True):
    """A fact that is to become a record: its type and its own fields."""

    type: str
    fields: dict[str, Any]


class Repeat(Struct, frozen=True):
    """This was done before: answer with the records of these seqs."""

    seqs: tuple[int, ...]


class Passing(Struct, frozen=True):
    """Told to who is there in these roles, never recorded."""

    type: str
    fields: dict[str, Any]
    roles: frozenset[str]


class Reply(Struct, frozen=True):
    """Told to the sender alone."""

    type: str
    fields: dict[str, Any]


Decision = Event | Repeat | Passing | Reply

EVERYBODY: Final = frozenset({"agent", "ui", "observer"})
AGENTS: Final = frozenset({"agent", "observer"})
SCREENS: Final = frozenset({"ui", "observer"})


# Commands of the server itself; no client can send them.


class AnswerCall(Command, frozen=True, kw_only=True):
    """Answer a waiting call: what a server tool returned, or why no screen did."""

    type = "client_tool_result"

    tool_call_id: str
    result: str
    is_error: bool = False


class EndSession(Command, frozen=True, kw_only=True):
    """The session is over."""

    type = "session_ended"

    reason: str


class Asking(Struct, frozen=True):
    """What a decision may look at besides the session."""

    session: Session
    sender: Sender
    at_ms: int
    limits: Limits
    is_server_tool: Callable[[str], bool]


def decide(command: Command, asking: Asking) -> Decision:
    """Return what becomes of a command; the session is not changed.

    Raises:
        Forbidden: the sender's role may not send this.
        SessionEnded: nothing is accepted any more.
        RevisionConflict, StateTooLarge, ToolUnknown, ToolClosed: as they say.
    """
    role = asking.sender.role
    if role != "server" and role not in command.roles:
        raise Forbidden(f"A connection with role {role} may not send {command.type}.")
    if asking.session.ended is not None:
        raise SessionEnded("The session has ended.")
    return _decide.dispatch(command.__class__)(command, asking)


@singledispatch
def _decide(command: Command, asking: Asking) -> Decision:
    raise Forbidden(f"{command.type} cannot be sent here.")


@_decide.register
def _(command: protocol.ContextualUpdate, asking: Asking) -> Decision:
    fields: dict[str, Any] = {"text": command.text}
    if command.data is not UNSET:
        fields["data"] = command.data
    if command.ui is not None:
        fields["ui"] = command.ui
    if command.context_id is not None:
        fields["context_id"] = command.context_id
    return Event("contextual_update", fields)


@_decide.register
def _(command: protocol.StateUpdate, asking: Asking) -> Decision:
    session = asking.session
    entry = session.state.get(command.key)
    _check_revision(command.key, entry, command.if_revision)
    value = encode(command.value)
    _check_size(session, asking.limits, command.key, value, entry)
    return Event(
        "state_updated",
        {"key": command.key, "value": Raw(value), "revision": session.seq + 1},
    )


@_decide.register
def _(command: protocol.StateDelete, asking: Asking) -> Decision:
    session = asking.session
    _check_revision(command.key, session.state.get(command.key), command.if_revision)
    return Event("state_deleted", {"key": command.key, "revision": session.seq + 1})


@_decide.register
def _(command: protocol.StateGet, asking: Asking) -> Decision:
    return Reply("state_snapshot", {"state": asking.session.snapshot(command.key)})


@_decide.register
def _(command: protocol.ClientToolCall, asking: Asking) -> Decision:
    asked = command.client_tool_call
    known = asking.session.calls.get(asked.tool_call_id)
    if known is not None:
        return Repeat((known.seq,) if known.result_seq is None else (known.seq, known.result_seq))
    by_server = asking.is_server_tool(asked.tool_name)
    deadline_ms = asking.at_ms + asked.timeout_ms if asked.expects_response else None
    return Event(
        "client_tool_call",
        {
            "client_tool_call": asked,
            "handled_by": "server" if by_server else "screens",
            "deadline_at": deadline_ms,
        },
    )


@_decide.register
def _(command: protocol.ClientToolResult, asking: Asking) -> Decision:
    call = _open_call(command.tool_call_id, asking)
    if call.status == "waiting":
        return _result(call, command.result, command.is_error, "ui")
    question = _title_of(call)
    sentence = phrase(
        asking.session.language, "late", question=question, answer=choice_of(command.result)
    )
    return Event(
        "user_message",
        {"text": sentence, "in_reply_to": call.tool_call_id, "result": command.result},
    )


@_decide.register
def _(command: protocol.ClientToolCancel, asking: Asking) -> Decision:
    call = _known_call(command.tool_call_id, asking)
    if call.status == "waiting":
        return _result(call, '{"status":"cancelled"}', False, "agent")
    if call.is_open(asking.at_ms):
        return Event("client_tool_cancel", {"tool_call_id": call.tool_call_id})
    raise ToolClosed("This call is closed already.", tool_call_id=call.tool_call_id)


@_decide.register
def _(command: AnswerCall, asking: Asking) -> Decision:
    call = _known_call(command.tool_call_id, asking)
    if call.status != "waiting":
        raise ToolClosed("This call has its answer already.", tool_call_id=call.tool_call_id)
    return _result(call, command.result, command.is_error, "server")


@_decide.register
def _(command: protocol.UserMessage, asking: Asking) -> Decision:
    fields: dict[str, Any] = {"text": command.text}
    if command.in_reply_to is not None:
        fields["in_reply_to"] = command.in_reply_to
    return Event("user_message", fields)


@_decide.register
def _(command: protocol.UiAction, asking: Asking) -> Decision:
    fields: dict[str, Any] = {
        "action_id": command.action_id,
        "surface_id": command.surface_id,
        "name": command.name,
    }
    if command.context is not UNSET:
        fields["context"] = command.context
    return Event("ui_action", fields)


@_decide.register
def _(command: protocol.Screen, asking: Asking) -> Decision:
    return Passing("screen", {"text": command.text}, AGENTS)


@_decide.register
def _(command: protocol.Rendered, asking: Asking) -> Decision:
    return Passing("rendered", {"of_seq": command.of_seq}, AGENTS)


@_decide.register
def _(command: protocol.ScreenCommand, asking: Asking) -> Decision:
    fields: dict[str, Any] = {"name": command.name}
    if command.target is not None:
        fields["target"] = command.target
    if command.text is not None:
        fields["text"] = command.text
    return Passing("screen_command", fields, SCREENS)


@_decide.register
def _(command: protocol.UserActivity, asking: Asking) -> Decision:
    return Passing("user_activity", {}, EVERYBODY)


@_decide.register
def _(command: protocol.Relayed, asking: Asking) -> Decision:
    fields = {command.nest: command.payload}
    if asking.limits.transcripts:
        return Event(command.type, fields)
    return Passing(command.type, fields, EVERYBODY)


@_decide.register
def _(command: EndSession, asking: Asking) -> Decision:
    return Event("session_ended", {"reason": command.reason})


def _check_revision(key: str, entry: Entry | None, expected: int | None) -> None:
    actual = 0 if entry is None else entry.revision
    if expected is None or expected == actual:
        return
    raise RevisionConflict(
        f"The key has revision {actual}, not {expected}.",
        key=key,
        value=None if entry is None else Raw(entry.value),
        revision=actual,
    )


def _check_size(
    session: Session, limits: Limits, key: str, value: bytes, entry: Entry | None
) -> None:
    if limits.value_bytes and len(value) > limits.value_bytes:
        raise StateTooLarge(f"The value has {len(value)} bytes, more than {limits.value_bytes}.")
    if limits.state_keys and entry is None and len(session.state) >= limits.state_keys:
        raise StateTooLarge(f"The session has {limits.state_keys} keys, which is the limit.")
    size = session.state_bytes + _entry_bytes(key, value)
    if entry is not None:
        size -= _entry_bytes(key, entry.value)
    if limits.state_bytes and size > limits.state_bytes:
        raise StateTooLarge(f"The state would have {size} bytes, more than {limits.state_bytes}.")


def _entry_bytes(key: str, value: bytes) -> int:
    return len(encode(key)) + len(value)


def _known_call(tool_call_id: str, asking: Asking) -> Call:
    call = asking.session.calls.get(tool_call_id)
    if call is None:
        raise ToolUnknown("Nobody made a call with this id.", tool_call_id=tool_call_id)
    return call


def _open_call(tool_call_id: str, asking: Asking) -> Call:
    call = _known_call(tool_call_id, asking)
    if not call.is_open(asking.at_ms):
        raise ToolClosed("This call is answered, withdrawn or over.", tool_call_id=tool_call_id)
    return call


def _result(call: Call, result: str, is_error: bool, answered_by: str) -> Event:
    return Event(
        "client_tool_result",
        {
            "tool_name": call.tool_name,
            "tool_call_id": call.tool_call_id,
            "result": result,
            "is_error": is_error,
            "answered_by": answered_by,
        },
    )


def _title_of(call: Call) -> str:
    record = msgspec.json.decode(call.body) if call.body else {}
    title = record.get("client_tool_call", {}).get("parameters", {}).get("title")
    return title if isinstance(title, str) and title else call.tool_name.replace("_", " ")


# Events folded in.


def apply(session: Session, event: Event, body: bytes, at_ms: int) -> tuple[int, ...]:
    """Fold the next record into the session; `body` is its stored text.

    Returns the seqs of cards that are no longer shown.
    """
    session.seq += 1
    session.log_bytes += len(body)
    session.sizes.append(len(body))
    fold = _FOLDS.get(event.type)
    return fold(session, event.fields, body, at_ms) if fold is not None else ()


def trim(session: Session, limits: Limits) -> bool:
    """Drop the oldest records beyond the limits, never the newest; tell whether any went."""
    before = session.first_seq
    while len(session.sizes) > 1 and (
        (limits.records and len(session.sizes) > limits.records)
        or (limits.log_bytes and session.log_bytes > limits.log_bytes)
    ):
        session.log_bytes -= session.sizes.popleft()
        session.first_seq += 1
    return session.first_seq != before


def replay(session: Session, bodies: list[bytes]) -> Session:
    """Fold stored records into a session, oldest first, and return it."""
    for body in bodies:
        record = msgspec.json.decode(body)
        if "value" in record:
            record["value"] = Raw(encode(record["value"]))
        if "client_tool_call" in record:
            record["client_tool_call"] = msgspec.convert(
                record["client_tool_call"], protocol.ToolCall
            )
        apply(session, Event(record["type"], record), body, record["timestamp"])
    return session


def _fold_card(session: Session, fields: dict[str, Any], body: bytes, at_ms: int) -> tuple[int, ...]:
    context_id = fields.get("context_id")
    dropped = []
    if context_id is not None:
        dropped = [seq for seq, card in session.cards.items() if card[0] == context_id]
    for seq in dropped:
        _drop_card(session, seq)
    session.cards[session.seq] = (context_id, body)
    session.cards_bytes += len(body)
    while len(session.cards) > MAX_CARDS or session.cards_bytes > MAX_CARDS_BYTES:
        oldest = next(iter(session.cards))
        dropped.append(oldest)
        _drop_card(session, oldest)
    return tuple(dropped)


def _drop_card(session: Session, seq: int) -> None:
    session.cards_bytes -= len(session.cards.pop(seq)[1])


def _fold_state(
    session: Session, fields: dict[str, Any], body: bytes, at_ms: int
) -> tuple[int, ...]:
    key = fields["key"]
    _forget_key(session, key)
    entry = Entry(bytes(fields["value"]), session.seq)
    session.state[key] = entry
    session.state_bytes += _entry_bytes(key, entry.value)
    return ()


def _fold_delete(
    session: Session, fields: dict[str, Any], body: bytes, at_ms: int
) -> tuple[int, ...]:
    _forget_key(session, fields["key"])
    return ()


def _forget_key(session: Session, key: str) -> None:
    entry = session.state.pop(key, None)
    if entry is not None:
        session.state_bytes -= _entry_bytes(key, entry.value)


def _fold_call(session: Session, fields: dict[str, Any], body: bytes, at_ms: int) -> tuple[int, ...]:
    asked: protocol.ToolCall = fields["client_tool_call"]
    status: Status = "waiting"
    if not asked.expects_response:
        # Nobody waits: a tap on it counts as a late answer.
        status = "released" if fields["handled_by"] == "screens" else "closed"
    session.calls[asked.tool_call_id] = Call(
        tool_call_id=asked.tool_call_id,
        seq=session.seq,
        tool_name=asked.tool_name,
        handled_by=fields["handled_by"],
        status=status,
        asked_at_ms=at_ms,
        deadline_ms=fields["deadline_at"],
        body=body if status != "closed" else b"",
    )
    return ()


def _fold_result(
    session: Session, fields: dict[str, Any], body: bytes, at_ms: int
) -> tuple[int, ...]:
    call = session.calls[fields["tool_call_id"]]
    if is_release(call, fields["result"], fields["answered_by"]):
        session.calls[call.tool_call_id] = replace(
            call, status="released", result_seq=session.seq
        )
    else:
        session.calls[call.tool_call_id] = replace(
            call, status="closed", result_seq=session.seq, body=b""
        )
    return ()


def _fold_message(
    session: Session, fields: dict[str, Any], body: bytes, at_ms: int
) -> tuple[int, ...]:
    # Only a late answer has a result; other messages may refer to a call and leave it open.
    if "result" in fields:
        _close_call(session, fields["in_reply_to"])
    return ()


def _fold_cancel(
    session: Session, fields: dict[str, Any], body: bytes, at_ms: int
) -> tuple[int, ...]:
    _close_call(session, fields["tool_call_id"])
    return ()


def _close_call(session: Session, tool_call_id: str) -> None:
    call = session.calls[tool_call_id]
    session.calls[tool_call_id] = replace(call, status="closed", body=b"")


def _fold_conversation(
    session: Session, fields: dict[str, Any], body: bytes, at_ms: int
) -> tuple[int, ...]:
    session.conversation_id = fields["conversation_initiation_metadata_event"]["conversation_id"]
    return ()


def _fold_end(session: Session, fields: dict[str, Any], body: bytes, at_ms: int) -> tuple[int, ...]:
    session.ended = fields["reason"]
    return ()


_FOLDS: Final[dict[str, Callable[[Session, dict[str, Any], bytes, int], tuple[int, ...]]]] = {
    "contextual_update": _fold_card,
    "state_updated": _fold_state,
    "state_deleted": _fold_delete,
    "client_tool_call": _fold_call,
    "client_tool_result": _fold_result,
    "user_message": _fold_message,
    "client_tool_cancel": _fold_cancel,
    "conversation_initiation_metadata": _fold_conversation,
    "session_ended": _fold_end,
}

__all__ = [
    "QUESTION_MS",
    "AnswerCall",
    "Asking",
    "EndSession",
    "Event",
    "Limits",
    "Passing",
    "Repeat",
    "Reply",
    "Sender",
    "Session",
    "apply",
    "decide",
    "replay",
    "trim",
]
