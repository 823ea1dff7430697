"""The life of one tool call: waiting, then released or closed.

A call of a *server tool* waits until the tool returns. A call the *screens*
answer waits until one does; when none can, or none does in time, the agent is
released with a sentence it can speak while the question stays open, so that a
late answer still counts. Source: docs/protocol.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final, Literal

import msgspec

from companion_ws.core.companion_tools import COMPANION_TOOLS

QUESTION_MS: Final = 10 * 60 * 1000
"""A question can be answered this long after its call was recorded."""

RELEASES: Final = frozenset({"no_screen", "no_answer"})
"""Results that let the agent go on but leave the question open."""

MAX_CALL_ID: Final = 256
"""Characters of a `tool_call_id`. Source: core/protocol.py, `Name`."""
HASH_BYTES: Final = 16
EXACT: Final = 2**53
"""Up to here a number with nothing behind its point is the same as the integer."""

Status = Literal["waiting", "released", "withdrawn", "closed"]
"""`withdrawn`: its own asker has cancelled, and the question stays open for those who joined it."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call as the session remembers it; `body` is its record while it is open."""

    tool_call_id: str
    seq: int
    tool_name: str
    handled_by: Literal["server", "screens"]
    status: Status
    asked_at_ms: int
    deadline_ms: int | None
    result_seq: int | None = None
    body: bytes = b""
    content: bytes = b""
    """What tells whether another call of this id is the same one; see `content_hash`."""
    joins: str | None = None
    """The call whose question this one waits for; the same was open when it was made."""

    def is_open(self, at_ms: int) -> bool:
        """Whether a screen may still answer the question."""
        return (
            self.handled_by == "screens"
            and self.status != "closed"
            and at_ms < self.asked_at_ms + QUESTION_MS
        )

    @property
    def is_asking(self) -> bool:
        """Whether whoever made it still wants an answer, be it a late one."""
        return self.status in ("waiting", "released")


def content_hash(tool_name: str, parameters: dict[str, Any]) -> bytes:
    """Return what two calls share exactly if they ask the same.

    Parameters are compared as JSON values: the order of keys does not count, and
    1 equals 1.0. Source: docs/protocol.md.

    >>> content_hash("t", {"a": 1, "b": [2.0]}) == content_hash("t", {"b": [2], "a": 1.0})
    True
    >>> content_hash("t", {"a": 1}) == content_hash("t", {"a": True})
    False
    """
    text = msgspec.json.encode([tool_name, _plain(parameters)], order="deterministic")
    return sha256(text).digest()[:HASH_BYTES]


def _plain(value: Any) -> Any:
    """Return a JSON value with each number in the one form it has as an integer, if any."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if isinstance(value, float) and value.is_integer() and abs(value) <= EXACT:
        return int(value)
    return value


def call_id_of(conversation: str, platform_call_id: str) -> str:
    """Return the id of an agent's call: platforms number theirs from the start in each conversation.

    >>> call_id_of("conv_7", "call_0")
    'conv_7:call_0'
    """
    return f"{conversation}:{platform_call_id}"[-MAX_CALL_ID:]


def status_of(result: str) -> str | None:
    """Return `status` of a result that is the JSON text of an object, else None."""
    try:
        value = msgspec.json.decode(result)
    except msgspec.MsgspecError:
        return None
    status = value.get("status") if isinstance(value, dict) else None
    return status if isinstance(status, str) else None


def is_release(call: Call, result: str, answered_by: str) -> bool:
    """Whether this result frees the agent without closing the question."""
    return (
        call.handled_by == "screens"
        and answered_by == "server"
        and status_of(result) in RELEASES
    )


def unanswerable(call: Call) -> str | None:
    """Return what is wrong with a question that the CompanionUI has nothing to tap for.

    It shows such a call as a card, so that the person sees something, and nobody
    could ever answer it. `call` is open: its record is read.
    """
    tool = COMPANION_TOOLS.get(call.tool_name)
    if tool is None:
        return None
    return tool.fault(msgspec.json.decode(call.body)["client_tool_call"]["parameters"])


def choice_of(result: str) -> str:
    """Return in words what an answer says, for a sentence to the agent; "" if it says nothing."""
    try:
        value: Any = msgspec.json.decode(result)
    except msgspec.MsgspecError:
        return result.strip()
    if value in (None, [], {}):
        return ""
    if isinstance(value, str):
        return value.strip()
    if not isinstance(value, dict):
        return result.strip()
    label = value.get("label", value.get("labels"))
    if isinstance(label, str) and label:
        return label
    if isinstance(label, list):
        return ", ".join(map(_word, label))
    values = value.get("values")
    if isinstance(values, dict):
        return ", ".join(f"{key}: {_word(part)}" for key, part in values.items())
    chosen = value.get("ids", value.get("id", value.get("status")))
    if isinstance(chosen, list):
        return ", ".join(map(_word, chosen))
    return _word(chosen) if chosen is not None else result.strip()


def _word(part: Any) -> str:
    return part if isinstance(part, str) else msgspec.json.encode(part).decode()
