"""What a platform that calls us says of a call, in our words; `vapi` and `retell` read theirs into it.

Nothing here asks or stores: requests in, values out. Every field of theirs is optional and may be
of any type.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, Literal

from companion_ws.voice.phone_sessions import Binding, first_id
from companion_ws.voice.wording import cut

MAX_SAID_BYTES: Final = 16 * 1024
"""Of what somebody said at a stretch."""
MAX_SUMMARY_CHARS: Final = 4_000
"""Of what a call was about, as much as a card can show."""
MAX_ASKED: Final = 32
"""Tools called at once; what is beyond it is refused in words."""
TOLERANCE_S: Final = 5 * 60
"""How old, or how far ahead, a signed request may be."""

Proof = Literal["none", "given", "signature"]
"""What headers show: nothing, that it is the platform, or a signature that the body must bear out."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A call of a tool as the model made it; `answers_to` is what the platform knows it by."""

    tool_name: str
    arguments: Any
    tool_call_id: str | None = None
    answers_to: Any = ""


@dataclass(frozen=True, slots=True)
class Told:
    """What one request says. `commands` are for the session of the call, each with its requestId."""

    binding: Binding = field(default_factory=Binding)
    asked: list[Asked] | None = None
    """None where it is no request for tools."""
    commands: list[dict[str, Any]] = field(default_factory=list)
    begins: bool = False
    is_over: bool = False
    answer: dict[str, Any] = field(default_factory=dict)
    """To what asks for no tools."""


@dataclass(frozen=True, slots=True)
class Platform:
    """A platform's webhook, as its adapter reads and answers it."""

    name: str
    """Its path."""
    secret: str
    """The setting with its secret."""
    proof: Callable[[Mapping[str, str], str, float], Proof]
    """Of headers, the secret and the time of day in seconds."""
    holds: Callable[[Mapping[str, str], str, bytes], bool]
    """Whether the signature is that of this body."""
    read: Callable[[dict[str, Any]], Told]
    answer: Callable[[list[tuple[Asked, dict[str, Any]]]], dict[str, Any]]
    """Of tools with what the model should read."""
    refused: Callable[[dict[str, Any]], dict[str, Any]]
    """To a request that could not be read."""


def fields_of(value: Any) -> dict[str, Any]:
    """Return an object, empty where it is something else."""
    return value if isinstance(value, dict) else {}


def items_of(value: Any) -> list[Any]:
    """Return a list; of a single thing a list of it, of nothing an empty one."""
    if isinstance(value, list):
        return value
    return [] if value is None or value == "" else [value]


def token_in(*places: Any) -> str:
    """Return the session token that a page gave a call to take along, "" where there is none."""
    names = ("secret__companion_session", "companion_session")
    return first_id(*(fields_of(place).get(name) for place in places for name in names))


def said(
    platform: str, conversation_id: str, place: object, is_user: bool, text: str
) -> dict[str, Any]:
    """Return the command that writes down what somebody said at a place of the conversation."""
    kind = "user_transcript" if is_user else "agent_response"
    nest = "user_transcription_event" if is_user else "agent_response_event"
    ref = sha256(f"{conversation_id}/{place}/{kind}".encode()).hexdigest()[:32]
    return {
        "type": kind,
        nest: cut({kind: text}, MAX_SAID_BYTES),
        "requestId": f"{platform}:said:{ref}",
    }


def over(
    platform: str, kind: str, conversation_id: str, summary: Any = None, **told: Any
) -> dict[str, Any]:
    """Return the command that tells a session that its call is over; told again it is the same."""
    words = summary[:MAX_SUMMARY_CHARS] if isinstance(summary, str) and summary else None
    data: dict[str, Any] = {"conversation_id": conversation_id, "summary": words}
    data |= {name: value for name, value in told.items() if isinstance(value, str | int | float)}
    ref = sha256(conversation_id.encode()).hexdigest()[:32]
    return {
        "type": "contextual_update",
        "text": "call_ended",
        "data": {name: value for name, value in data.items() if value is not None},
        "context_id": "call",
        "requestId": f"{platform}:{kind}:{ref}",
    }
