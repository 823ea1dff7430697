"""The wire: text to values and back, checked once, at the edge.

Rules of this file:

1. JSON is strict: depth 32, finite numbers, integers that JavaScript can hold,
   no lone surrogates; of a repeated key the last counts.
2. ElevenLabs' nesting and the flat form are both read; what leaves is nested.
3. Unknown fields are ignored, wrong ones refused with a sentence.

Source: docs/protocol.md and docs/operations.md.
"""

from __future__ import annotations

import json
import re
from functools import cache
from types import NoneType
from typing import Annotated, Any, ClassVar, Final, Literal, get_args

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

from companion_ws.core.errors import CompanionError, InvalidMessage, UnknownType

MAX_DEPTH: Final = 32
MAX_INTEGER: Final = 2**53 - 1
MAX_REQUEST_ID: Final = 128
MIN_TIMEOUT_MS: Final = 1_000
MAX_TIMEOUT_MS: Final = 120_000
DEFAULT_TIMEOUT_MS: Final = 18_000
"""Below the 20 s after which ElevenLabs gives up on a client tool."""

Json = Any
Name = Annotated[str, Meta(min_length=1, max_length=256)]
Key = Annotated[str, Meta(min_length=1, max_length=256)]
"""Of the state. Source: docs/operations.md."""
Kinds = dict[str, type]
Revision = Annotated[int, Meta(ge=0)]

_DIGITS: Final = bytes(0x30 if 0x30 <= byte <= 0x39 else 0x20 for byte in range(256))
_LONG_DIGITS: Final = b"0" * 16
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
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


# Commands: what a client may ask. One struct each; the AsyncAPI document is made from them.


class Command(Struct, frozen=True, kw_only=True):
    """A request to a session."""

    type: ClassVar[str]
    roles: ClassVar[frozenset[str]] = frozenset({"agent", "ui"})
    """Which roles may send it."""


class ContextualUpdate(Command, frozen=True, kw_only=True):
    """Something the other side should know; screens show it as a card."""

    type = "contextual_update"

    text: str
    data: Json | UnsetType = UNSET
    labels: dict[str, str] | None = None
    """What keys of `data` are called on the screen."""
    ui: dict[str, Json] | None = None
    context_id: Name | None = None
    locked: bool | None = None
    """Agents alone: true closes the choice that the card of this `context_id` offers."""


class StateUpdate(Command, frozen=True, kw_only=True):
    """Set a key; `if_revision` 0 means only if it is absent."""

    type = "state_update"

    key: Key
    value: Json
    if_revision: Revision | None = None


class StateDelete(Command, frozen=True, kw_only=True):
    """Remove a key."""

    type = "state_delete"

    key: Key
    if_revision: Revision | None = None


class StateGet(Command, frozen=True, kw_only=True):
    """Ask for the state, or for one key of it; answered to the sender alone."""

    type = "state_get"
    roles = frozenset({"agent", "ui", "observer"})

    key: Annotated[str, Meta(max_length=256)] | None = None


class ToolCall(Struct, frozen=True, kw_only=True):
    """What ElevenLabs nests under `client_tool_call`."""

    tool_name: Name
    tool_call_id: Name
    parameters: dict[str, Json] = msgspec.field(default_factory=dict)
    expects_response: bool = True
    timeout_ms: Annotated[int, Meta(ge=MIN_TIMEOUT_MS, le=MAX_TIMEOUT_MS)] = DEFAULT_TIMEOUT_MS


class ClientToolCall(Command, frozen=True, kw_only=True):
    """The agent calls a tool: a server tool, or a question to the screens."""

    type = "client_tool_call"
    roles = frozenset({"agent"})

    client_tool_call: ToolCall


class ClientToolResult(Command, frozen=True, kw_only=True):
    """A screen's answer; the first one wins. `result` is a string, usually JSON text."""

    type = "client_tool_result"
    roles = frozenset({"ui"})

    tool_call_id: Name
    result: str
    is_error: bool = False


class ClientToolCancel(Command, frozen=True, kw_only=True):
    """The agent withdraws a call."""

    type = "client_tool_cancel"
    roles = frozenset({"agent"})

    tool_call_id: Name


class UserMessage(Command, frozen=True, kw_only=True):
    """What the person says by other means than voice; an adapter makes a turn of it."""

    type = "user_message"

    text: str
    in_reply_to: Name | None = None


class UiAction(Command, frozen=True, kw_only=True):
    """A button of a card that is no tool call."""

    type = "ui_action"
    roles = frozenset({"ui"})

    action_id: Name
    surface_id: Name
    name: Name
    context: Json | UnsetType = UNSET


class Screen(Command, frozen=True, kw_only=True):
    """What this screen shows and what is chosen, in a few words for the agent."""

    type = "screen"
    roles = frozenset({"ui"})

    text: Annotated[str, Meta(max_length=500)]


class Rendered(Command, frozen=True, kw_only=True):
    """This screen has painted the record `of_seq`; `problem` says what of it could not be shown."""

    type = "rendered"
    roles = frozenset({"ui"})

    of_seq: Annotated[int, Meta(ge=1)]
    problem: Annotated[str, Meta(max_length=500)] | None = None


class ScreenCommand(Command, frozen=True, kw_only=True):
    """The agent moves a screen's attention."""

    type = "screen_command"
    roles = frozenset({"agent"})

    name: Literal["toast", "highlight", "scroll_to", "navigate"]
    target: str | None = None
    text: str | None = None


class UserActivity(Command, frozen=True, kw_only=True):
    """The person is busy on the screen; the agent may hold back."""

    type = "user_activity"
    roles = frozenset({"ui"})


class PairingAnswer(Command, frozen=True, kw_only=True):
    """The owner lets a device in, or not."""

    type = "pairing_answer"
    roles = frozenset({"agent", "ui", "observer"})

    pairing_id: Name
    allow: bool


class TokenRenew(Command, frozen=True, kw_only=True):
    """A session token asks for its successor."""

    type = "token_renew"
    roles = frozenset({"agent", "ui", "observer"})


class Ping(Command, frozen=True, kw_only=True):
    """Answered by `pong`; no activity.

    `resume` says that an `ordered` sender knows what was refused: next it says that again.
    """

    resume: bool = False

    type = "ping"
    roles = frozenset({"agent", "ui", "observer"})


class Relayed(Command, frozen=True, kw_only=True):
    """What ElevenLabs tells its client, passed on as it is under its own nested key."""

    roles = frozenset({"agent"})
    nest: ClassVar[str]
    required: ClassVar[Kinds]

    @property
    def payload(self) -> dict[str, Json]:
        """The nested object."""
        value: dict[str, Json] = getattr(self, self.nest)
        return value


class UserTranscript(Relayed, frozen=True, kw_only=True):
    """What the person said."""

    type = "user_transcript"
    nest = "user_transcription_event"
    required: ClassVar[Kinds] = {"user_transcript": str}
    user_transcription_event: dict[str, Json]


class AgentResponse(Relayed, frozen=True, kw_only=True):
    """What the agent says."""

    type = "agent_response"
    nest = "agent_response_event"
    required: ClassVar[Kinds] = {"agent_response": str}
    agent_response_event: dict[str, Json]


class AgentResponseCorrection(Relayed, frozen=True, kw_only=True):
    """What the agent had said when it was interrupted."""

    type = "agent_response_correction"
    nest = "agent_response_correction_event"
    required: ClassVar[Kinds] = {
        "original_agent_response": str,
        "corrected_agent_response": str,
    }
    agent_response_correction_event: dict[str, Json]


class Interruption(Relayed, frozen=True, kw_only=True):
    """The person broke in."""

    type = "interruption"
    nest = "interruption_event"
    required: ClassVar[Kinds] = {}
    interruption_event: dict[str, Json]


class AgentToolRequest(Relayed, frozen=True, kw_only=True):
    """The agent starts a tool somewhere."""

    type = "agent_tool_request"
    nest = "agent_tool_request"
    required: ClassVar[Kinds] = {"tool_name": str}
    agent_tool_request: dict[str, Json]


class AgentToolResponse(Relayed, frozen=True, kw_only=True):
    """A tool of the agent has ended."""

    type = "agent_tool_response"
    nest = "agent_tool_response"
    required: ClassVar[Kinds] = {"tool_name": str}
    agent_tool_response: dict[str, Json]


class ConversationInitiationMetadata(Relayed, frozen=True, kw_only=True):
    """The conversation began; its id is bound to the session."""

    type = "conversation_initiation_metadata"
    nest = "conversation_initiation_metadata_event"
    required: ClassVar[Kinds] = {"conversation_id": str}
    conversation_initiation_metadata_event: dict[str, Json]


COMMANDS: Final[dict[str, type[Command]]] = {
    command.type: command
    for command in (
        ContextualUpdate,
        StateUpdate,
        StateDelete,
        StateGet,
        ClientToolCall,
        ClientToolResult,
        ClientToolCancel,
        UserMessage,
        UiAction,
        Screen,
        Rendered,
        ScreenCommand,
        UserActivity,
        UserTranscript,
        AgentResponse,
        AgentResponseCorrection,
        Interruption,
        AgentToolRequest,
        AgentToolResponse,
        ConversationInitiationMetadata,
        PairingAnswer,
        TokenRenew,
        Ping,
    )
}
"""Every command by its `type`."""

_NESTS: Final = {
    "client_tool_call": "client_tool_call",
    "client_tool_result": "client_tool_result",
    "client_tool_cancel": "client_tool_cancel",
    **{name: kind.nest for name, kind in COMMANDS.items() if issubclass(kind, Relayed)},
}
_RESERVED: Final = frozenset({"type", "requestId", "session_id", "timestamp"})


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
        command = msgspec.convert(present(_nested(name, kind, message), kind), kind)
    except msgspec.ValidationError as error:
        raise InvalidMessage(f"{name}: {error}.") from None
    if isinstance(command, Relayed):
        _check_relayed(command)
    return command, request_id


def _shown(name: str) -> str:
    return repr(name[:64])


def _nested(name: str, kind: type[Command], message: dict[str, Json]) -> dict[str, Json]:
    """Bring the two forms ElevenLabs and the guide use to the one its struct has."""
    nest = _NESTS.get(name)
    if nest is None:
        return message
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
            raise InvalidMessage(f"{command.type}: `{key}` is missing or no {kind.__name__}.")


# What the server says.


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
