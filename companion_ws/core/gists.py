"""One line that says what happened, and how good or bad it is: `watch`'s, and the inspector's.

The twin of static/js/core/gists.js; tests/wire/gists/list.json holds both to the same lines.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final, Literal

from companion_ws.core.errors import SessionEnded
from companion_ws.core.text import cut

Message = dict[str, Any]
Tone = Literal["bad", "warn", "good", ""]

MAX_LINE: Final = 160
"""A line is read at a glance; the whole stands in the payload."""
MAX_TEXT: Final = 4096
MAX_DEPTH: Final = 6
"""As in static/js/core/protocol.js, `plainText`."""
LARGEST_PLAIN: Final = 1e21
SMALLEST_PLAIN: Final = 1e-6
"""Between these JavaScript writes a number without an exponent."""

CLOSES: Final = {
    1000: "closed normally",
    1001: "page closed or reloaded",
    1005: "closed without a word",
    1006: "connection lost",
    1009: "message too large",
    1011: "fault of the server",
    1012: "server restarted",
    1013: "server overloaded",
    4401: "token expired",
    4408: "read too slowly",
    4429: "past a limit",
    4500: "malformed parameter",
    4501: "not signed in, or revoked",
    4503: "not allowed here",
    4504: "no such session",
    4510: "session over",
}
"""What a socket's close codes mean."""

_STATUSES: Final = {
    "no_screen": "no screen to ask",
    "no_answer": "no answer in time",
    "cancelled": "withdrawn",
    "interrupted": "cut off by a restart",
}
_ROLES: Final = {"agent": "agent", "ui": "screen", "observer": "observer"}


def gist_of(message: Message) -> str:
    """Return one line that says what happened; "" where the type says it all.

    >>> gist_of({"type": "client_tool_result", "tool_name": "companion_choose",
    ...          "result": '{"status":"chosen","id":"air","label":"UPS Air"}'})
    'companion_choose → chosen UPS Air'
    """
    gist = _GISTS.get(message["type"])
    return _short(gist(message)) if gist else ""


def tone_of(message: Message) -> Tone:
    """Return "bad", "warn" or "good" where it is one of these, else ""."""
    match message["type"]:
        case "client_tool_result":
            result = _read(message.get("result"))
            status = result.get("status") if isinstance(result, dict) else None
            if message.get("is_error") is True or status == "no_answer":
                return "bad"
            if status == "no_screen":
                return "warn"
            return "" if status == "cancelled" else "good"
        case "agent_tool_response":
            return "bad" if _within(message, "agent_tool_response", "is_error") is True else ""
        case "rendered":
            return "bad" if message.get("problem") else ""
        case "trail" | "presence" if message.get("code") != SessionEnded.close_code:
            # At its end a session closes every connection; nothing is wrong with that.
            tones: dict[Any, Tone] = {"refused": "bad", "dropped": "warn"}
            return tones.get(plain_text(message.get("event")), "")
    return ""


def close_in_words(code: Any) -> str:
    """Return what a close code means, with the code.

    >>> close_in_words(1006)
    'connection lost (1006)'
    """
    words = CLOSES.get(code) if isinstance(code, int) else None
    return f"{words} ({code})" if words else f"closed {plain_text(code)}"


def plain_text(value: Any, depth: int = 0) -> str:
    """Return what JSON can hold as one line, lists and objects spelled out, null as nothing."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return _number(value)
        case dict() | list():
            return "…" if depth >= MAX_DEPTH else _spelled(value, depth)
    return ""


def _spelled(value: dict[str, Any] | list[Any], depth: int) -> str:
    parts: list[str] = []
    length = 0
    named = value.items() if isinstance(value, dict) else ((None, part) for part in value)
    for key, part in named:
        text = plain_text(part, depth + 1)
        if not text:
            continue
        parts.append(text if key is None else f"{key}: {text}")
        length += len(text)
        if length > MAX_TEXT:
            break
    return ", ".join(parts)


def _number(value: float) -> str:
    size = abs(value)
    if value.is_integer() and size < LARGEST_PLAIN:
        return str(int(value))
    text = repr(value)
    if SMALLEST_PLAIN <= size < LARGEST_PLAIN and "e" in text:
        return f"{value:.20f}".rstrip("0")
    return text.replace("e-0", "e-")


def _called(message: Message) -> str:
    nested = message.get("client_tool_call")
    call = nested if isinstance(nested, dict) else message
    name, parameters = plain_text(call.get("tool_name")), call.get("parameters")
    title = parameters.get("title") if isinstance(parameters, dict) else None
    if isinstance(title, str) and title.strip():
        return f"{name} {_quoted(title)}"
    return f"{name}({plain_text(parameters) if isinstance(parameters, dict) else ''})"


def _ended(message: Message) -> str:
    """Return how a call ended, in words."""
    result = _read(message.get("result"))
    status = plain_text(result.get("status")) if isinstance(result, dict) else ""
    if status in _STATUSES:
        return _STATUSES[status]
    is_error = message.get("is_error") is True
    if not status:
        return _joined(": ", "failed", result) if is_error else plain_text(result)
    if is_error:
        return _joined(": ", "failed", _first(result, "message", status))
    return _joined(" ", status, _first(result, "label", result.get("values")))


def _first(of: Message, name: str, otherwise: Any) -> Any:
    found = of.get(name)
    return otherwise if found is None else found


def _read(result: Any) -> Any:
    """Return what a result says: its JSON read, or the text it is."""
    try:
        return json.loads(result)
    except (TypeError, ValueError, RecursionError):
        return result


def _within(message: Message, nest: str, name: str) -> Any:
    nested = message.get(nest)
    return nested.get(name) if isinstance(nested, dict) else None


def _who(message: Message) -> str:
    return plain_text(message.get("device")) or _ROLES.get(plain_text(message.get("role"))) or "somebody"


def _spoken(message: Message, nest: str, name: str) -> str:
    said = _within(message, nest, name)
    if said is None:
        said = message.get(name, message.get("text"))
    return _quoted(said if isinstance(said, str) and said.strip() else "")


def _corrected(message: Message) -> str:
    nested = message.get("agent_response_correction_event", message)
    return _quoted(nested.get("corrected_agent_response") if isinstance(nested, dict) else None)


def _answered(message: Message) -> str:
    is_error = _within(message, "agent_tool_response", "is_error") is True
    name = _within(message, "agent_tool_response", "tool_name")
    return _joined(" → ", name, "failed" if is_error else "")


def _rendered(message: Message) -> str:
    seq, problem = plain_text(message.get("of_seq")), message.get("problem")
    return f"#{seq} not shown: {plain_text(problem)}" if problem else f"#{seq} shown"


def _trail(entry: Message) -> str:
    code = entry.get("code")
    return _joined(
        " · ", f"{_who(entry)} {plain_text(entry.get('event'))}",
        close_in_words(code) if code else "", entry.get("reason"),
    )  # fmt: skip


def _updated(record: Message) -> str:
    context = record.get("context_id")
    return _joined(
        " · ", "locked" if record.get("locked") else "", record.get("text"), record.get("data"),
        "" if context is None else f"({plain_text(context)})",
    )  # fmt: skip


def _joined(between: str, *parts: Any) -> str:
    return between.join(text for text in map(plain_text, parts) if text)


def _quoted(text: Any) -> str:
    return f"“{plain_text(text)}”"


def _short(text: str) -> str:
    line = re.sub(r"[ \t\r\n]+", " ", text).strip()
    return line if len(line) <= MAX_LINE else f"{cut(line, MAX_LINE - 1)}…"


def _of(*names: str, between: str = " ") -> Callable[[Message], str]:
    return lambda message: _joined(between, *(message.get(name) for name in names))


_GISTS: Final[dict[str, Callable[[Message], str]]] = {
    "contextual_update": _updated,
    "state_updated": lambda record: (
        f"{plain_text(record.get('key'))} = {plain_text(record.get('value')) or 'nothing'}"
    ),
    "state_deleted": lambda record: f"{plain_text(record.get('key'))} deleted",
    "client_tool_call": _called,
    "client_tool_result": lambda record: f"{plain_text(record.get('tool_name'))} → {_ended(record)}",
    "client_tool_cancel": lambda record: f"withdraws {plain_text(record.get('tool_call_id'))}",
    "user_message": lambda record: _quoted(record.get("text")),
    "user_transcript": lambda record: _spoken(record, "user_transcription_event", "user_transcript"),
    "agent_response": lambda record: _spoken(record, "agent_response_event", "agent_response"),
    "agent_response_correction": lambda record: f"corrected to {_corrected(record)}",
    "interruption": lambda record: "",
    "agent_tool_request": lambda record: plain_text(_within(record, "agent_tool_request", "tool_name")),
    "agent_tool_response": _answered,
    "ui_action": _of("name", "surface_id", between=" on "),
    "screen": _of("text"),
    "rendered": _rendered,
    "screen_command": lambda record: _joined(
        " ",
        record.get("name"),
        record.get("text") if record.get("target") is None else record.get("target"),
    ),
    "session_ended": _of("reason"),
    "presence": lambda message: f"{_who(message)} {plain_text(message.get('event'))}",
    "trail": _trail,
    "conversation_initiation_metadata": lambda record: plain_text(
        _within(record, "conversation_initiation_metadata_event", "conversation_id")
    ),
}

GISTS: Final = frozenset(_GISTS)
"""The types of message that have a gist."""
