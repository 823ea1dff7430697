"""The wire: text to values and back, checked once, at the edge.

Rules of this file:

1. JSON is strict: depth 32, finite numbers, integers that JavaScript can hold,
   no lone surrogates; of a repeated key the last counts.
2. ElevenLabs' nesting and the flat form are both read; what leaves is nested.
3. Unknown fields are ignored, wrong ones refused with a sentence. A wrong `traceparent` counts
   as none: the call does not fail with what watches it.

Source: docs/protocol.md and docs/operations.md.
"""

from __future__ import annotations

import json
import re
from functools import cache
from types import NoneType
from typing import Any, Final, get_args

import msgspec
from msgspec import Raw, Struct

from companion_ws.core.commands import COMMANDS, Command, Json, Relayed
from companion_ws.core.errors import CompanionError, InvalidMessage, UnknownType
from companion_ws.core.traceparent import passed_on

MAX_DEPTH: Final = 32
MAX_INTEGER: Final = 2**53 - 1
MAX_REQUEST_ID: Final = 128

_DIGITS: Final = bytes(0x30 if 0x30 <= byte <= 0x39 else 0x20 for byte in range(256))
_LONG_DIGITS: Final = b"0" * 16
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_RESERVED: Final = frozenset({"type", "requestId", "session_id", "timestamp"})
_decoder: Final = msgspec.json.Decoder()
_encoder: Final = msgspec.json.Encoder()

encode = _encoder.encode
"""Return compact UTF-8 JSON of builtin values, structs and `msgspec.Raw`."""


def parse(text: str | bytes) -> Json:
    """Return the value of a JSON text.

    Raises:
        InvalidMessage: it is no JSON, or breaks rule 1 of this file.
    """
    try:
        raw = text.encode() if isinstance(text, str) else text
        value = _decoder.decode(raw)
    except UnicodeEncodeError:
        raise InvalidMessage("The text holds a lone surrogate; send valid Unicode.") from None
    except RecursionError:
        raise InvalidMessage(f"The JSON nests deeper than {MAX_DEPTH} levels.") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:  # The latter by old releases.
        if _SURROGATE.search(raw):
            raise InvalidMessage("The JSON holds a lone surrogate; send valid Unicode.") from None
        raise InvalidMessage(f"This is not valid JSON: {error}.") from None
    # Counting and searching are far cheaper than walking, and nearly every message passes them.
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH or _LONG_DIGITS in raw.translate(_DIGITS):
        _check(value, 1)
    return value


def _check(value: Json, depth: int) -> None:
    if isinstance(value, dict):
        children: Any = value.values()
    elif isinstance(value, list):
        children = value
    else:
        if type(value) is int and not -MAX_INTEGER <= value <= MAX_INTEGER:
            raise InvalidMessage("An integer is beyond 2^53 - 1; send it as a string.")
        return
    if depth > MAX_DEPTH:
        raise InvalidMessage(f"The JSON nests deeper than {MAX_DEPTH} levels.")
    for child in children:
        _check(child, depth + 1)


def request_id_of(message: Json) -> str | None:
    """Return the sender's requestId, or None; for error answers, so it never raises."""
    value = message.get("requestId") if isinstance(message, dict) else None
    return value if isinstance(value, str) and len(value) <= MAX_REQUEST_ID else None


def request_id_in(text: str | bytes) -> str | None:
    """Return the requestId of a text `parse` refused, as far as it can be read; never raises."""
    try:
        found = request_id_of(json.loads(text, parse_int=len))
        return found.encode().decode() if found is not None else None
    except (ValueError, RecursionError):
        return None


def decode(message: Json) -> tuple[Command, str | None]:
    """Return the command in a parsed message, with its requestId if it has one.

    Raises:
        InvalidMessage: a field is missing or of the wrong type.
        UnknownType: `type` names no command.
    """
    if not isinstance(message, dict):
        raise InvalidMessage("A message is a JSON object with a `type`.")
    name = message.get("type")
    if not isinstance(name, str):
        raise InvalidMessage("A message needs a `type`, which is a string.")
    kind = COMMANDS.get(name)
    if kind is None:
        raise UnknownType(f"There is no message type {_shown(name)}.")
    request_id = message.get("requestId")
    if request_id is not None and not (
        isinstance(request_id, str) and 1 <= len(request_id) <= MAX_REQUEST_ID
    ):
        raise InvalidMessage("`requestId` is a string of 1 to 128 characters.")
    try:
        fields = _nested(name, kind, message) if kind.nest else message
        traceparent = message.get("traceparent", fields.get("traceparent"))
        if traceparent is not None:
            fields = {**fields, "traceparent": passed_on(traceparent)}
        command = msgspec.convert(present(fields, kind), kind)
    except msgspec.ValidationError as error:
        raise InvalidMessage(f"{name}: {error}.") from None
    if isinstance(command, Relayed):
        _check_relayed(command)
    return command, request_id


def _shown(name: str) -> str:
    return repr(name[:64])


def _nested(name: str, kind: type[Command], message: dict[str, Json]) -> dict[str, Json]:
    """Bring the two forms ElevenLabs and the guide use to the one its struct has."""
    nest = kind.nest
    inner = message.get(nest)
    is_nested_kind = nest in kind.__struct_fields__
    if isinstance(inner, dict):
        if is_nested_kind:
            return {nest: _without_nulls(inner) if name == "client_tool_call" else inner}
        return {**message, **inner}
    if not is_nested_kind:
        return message
    if inner is not None:
        raise InvalidMessage(f"{name}: `{nest}` is an object.")
    flat = {key: value for key, value in message.items() if key not in _RESERVED}
    return {nest: _without_nulls(flat) if name == "client_tool_call" else flat}


def _without_nulls(call: dict[str, Json]) -> dict[str, Json]:
    """Senders in some languages write null for what they leave out."""
    return {key: value for key, value in call.items() if value is not None}


def present(value: Json, kind: type[Struct]) -> Json:
    """Return an object without the nulls that stand for what may be left out.

    Where a field says itself that it may be null, null is what it is set to.
    """
    if not isinstance(value, dict) or None not in value.values():
        return value
    optional = _optional(kind)
    return {name: part for name, part in value.items() if part is not None or name not in optional}


@cache
def _optional(kind: type[Struct]) -> frozenset[str]:
    """Return the fields of a struct that may be left out and are never null themselves."""
    return frozenset(
        field.encode_name
        for field in msgspec.structs.fields(kind)
        if not field.required and not {NoneType, Any} & {*get_args(field.type)}
    )


def _check_relayed(command: Relayed) -> None:
    for key, kind in command.required.items():
        if not isinstance(command.payload.get(key), kind):
            raise InvalidMessage(f"{command.type}: `{key}` is missing or is not {kind.__name__}.")


# Messages that the server sends.


def error_message(
    error: CompanionError, request_id: str | None, session_id: str | None, at_ms: int
) -> bytes:
    """Return an `error` message: code, sentence, the sender's requestId and the error's details."""
    return encode(
        {
            "type": "error",
            "code": error.code,
            "message": error.message,
            "requestId": request_id,
            **error.details,
            "session_id": session_id,
            "timestamp": at_ms,
        }
    )


def marked(body: bytes, **fields: Json) -> bytes:
    """Return a stored record with further fields, for instance `duplicate=True`."""
    record: dict[str, Raw] = msgspec.json.decode(body, type=dict[str, Raw])
    return encode({**record, **fields})
