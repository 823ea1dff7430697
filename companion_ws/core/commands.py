"""The catalogue of messages: what a client may ask, what becomes of it, and what the server says.

A message stands here once. What else has to know of it (the client that waits for answers,
the doors, the documents, the pages) is derived from this file, or held to it by
tests/test_catalogue.py, which names each place that a new message has not reached. JavaScript
is held to it by tests/wire/messages/catalogue.json.

Source: docs/protocol.md.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

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
Traceparent = Annotated[str, Meta(pattern="^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")]
"""Which trace a tool call belongs to; what is none is read as if it were not there."""

Fate = Literal["recorded", "passed", "answered", "unanswered"]
"""What becomes of a command: a record, a message to those who are there, an answer to the
sender alone, or nothing that is told unless it is refused."""

EVERYBODY: Final = frozenset({"agent", "ui", "observer"})
AGENTS: Final = frozenset({"agent", "observer"})
SCREENS: Final = frozenset({"ui", "observer"})


# Commands: what a client may ask. One struct each; the AsyncAPI document is made from them.


class Command(Struct, frozen=True, kw_only=True):
    """A request to a session."""

    type: ClassVar[str]
    roles: ClassVar[frozenset[str]] = frozenset({"agent", "ui"})
    """Which roles may send it."""
    fate: ClassVar[Fate] = "recorded"
    becomes: ClassVar[tuple[str, ...]] = ()
    """The types of its record or answer, the usual one first; empty: its own type."""
    by_entrance: ClassVar[bool] = False
    """Whether the entrance does what it asks, so that it has no place in the session's order."""
    nest: ClassVar[str] = ""
    """The key under which ElevenLabs nests its fields."""

    @classmethod
    def outcome(cls) -> str:
        """Return the type of what it usually becomes."""
        return cls.becomes[0] if cls.becomes else cls.type


class Passed(Command, frozen=True, kw_only=True):
    """A command that is told to those who are there, with all of its fields, and not recorded."""

    fate = "passed"
    to: ClassVar[frozenset[str]]
    """Which roles are told."""


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
    becomes = ("state_updated",)

    key: Key
    value: Json
    if_revision: Revision | None = None


class StateDelete(Command, frozen=True, kw_only=True):
    """Remove a key."""

    type = "state_delete"
    becomes = ("state_deleted",)

    key: Key
    if_revision: Revision | None = None


class StateGet(Command, frozen=True, kw_only=True):
    """Ask for the state, or for one key of it; answered to the sender alone."""

    type = "state_get"
    roles = EVERYBODY
    fate = "answered"
    becomes = ("state_snapshot",)

    key: Annotated[str, Meta(max_length=256)] | None = None


class ToolCall(Struct, frozen=True, kw_only=True):
    """What ElevenLabs nests under `client_tool_call`."""

    tool_name: Name
    tool_call_id: Name
    parameters: dict[str, Json] = field(default_factory=dict)
    expects_response: bool = True
    timeout_ms: Annotated[int, Meta(ge=MIN_TIMEOUT_MS, le=MAX_TIMEOUT_MS)] = DEFAULT_TIMEOUT_MS


class ClientToolCall(Command, frozen=True, kw_only=True):
    """The agent calls a tool: a server tool, or a question to the screens."""

    type = "client_tool_call"
    roles = frozenset({"agent"})
    nest = "client_tool_call"

    client_tool_call: ToolCall
    traceparent: Traceparent | None = None


class ClientToolResult(Command, frozen=True, kw_only=True):
    """A screen's answer; the first one wins. `result` is a string, usually JSON text."""

    type = "client_tool_result"
    roles = frozenset({"ui"})
    becomes = ("client_tool_result", "user_message")
    nest = "client_tool_result"

    tool_call_id: Name
    result: str
    is_error: bool = False
    traceparent: Traceparent | None = None


class ClientToolCancel(Command, frozen=True, kw_only=True):
    """The agent withdraws a call."""

    type = "client_tool_cancel"
    roles = frozenset({"agent"})
    becomes = ("client_tool_result", "client_tool_cancel")
    nest = "client_tool_cancel"

    tool_call_id: Name


class UserMessage(Command, frozen=True, kw_only=True):
    """What the person says by other means than voice; an adapter makes a turn of it."""

    type = "user_message"

    text: str
    in_reply_to: Name | None = None
    result: str | None = None
    """Screens alone: the answer to `in_reply_to` as it is now, as a tool's result would be."""


class UiAction(Command, frozen=True, kw_only=True):
    """A button of a card that is no tool call."""

    type = "ui_action"
    roles = frozenset({"ui"})

    action_id: Name
    surface_id: Name
    name: Name
    context: Json | UnsetType = UNSET


class Screen(Passed, frozen=True, kw_only=True):
    """What this screen shows and what is chosen, in a few words for the agent."""

    type = "screen"
    roles = frozenset({"ui"})
    to = AGENTS

    text: Annotated[str, Meta(max_length=500)]


class Rendered(Passed, frozen=True, kw_only=True):
    """This screen has painted the record `of_seq`; `problem` says what of it could not be shown."""

    type = "rendered"
    roles = frozenset({"ui"})
    to = AGENTS

    of_seq: Annotated[int, Meta(ge=1)]
    problem: Annotated[str, Meta(max_length=500)] | None = None


class ScreenCommand(Passed, frozen=True, kw_only=True):
    """The agent moves a screen's attention."""

    type = "screen_command"
    roles = frozenset({"agent"})
    to = SCREENS

    name: Literal["toast", "highlight", "scroll_to", "navigate"]
    target: str | None = None
    text: str | None = None


class UserActivity(Passed, frozen=True, kw_only=True):
    """The person is busy on the screen; the agent may hold back."""

    type = "user_activity"
    roles = frozenset({"ui"})
    to = EVERYBODY


class PairingAnswer(Command, frozen=True, kw_only=True):
    """The owner lets a device in, or not."""

    type = "pairing_answer"
    roles = EVERYBODY
    fate = "unanswered"
    by_entrance = True

    pairing_id: Name
    allow: bool


class TokenRenew(Command, frozen=True, kw_only=True):
    """A session token asks for its successor."""

    type = "token_renew"
    roles = EVERYBODY
    fate = "answered"
    becomes = ("token_renewed",)
    by_entrance = True


class Ping(Command, frozen=True, kw_only=True):
    """Answered by `pong`; no activity.

    `resume` says that an `ordered` sender knows what was refused: next it says that again.
    """

    type = "ping"
    roles = EVERYBODY
    fate = "answered"
    becomes = ("pong",)
    by_entrance = True

    resume: bool = False


class Relayed(Command, frozen=True, kw_only=True):
    """What ElevenLabs tells its client, as it is under its own nested key.

    A server with `--no-transcripts` passes it on to everybody, any other records it.
    """

    roles = frozenset({"agent"})
    required: ClassVar[Kinds]

    @property
    def payload(self) -> dict[str, Json]:
        """The nested object."""
        value: dict[str, Json] = getattr(self, self.nest)
        return value


class UserTranscript(Relayed, frozen=True, kw_only=True):
    """Transcript of the person."""

    type = "user_transcript"
    nest = "user_transcription_event"
    required: ClassVar[Kinds] = {"user_transcript": str}
    user_transcription_event: dict[str, Json]


class AgentResponse(Relayed, frozen=True, kw_only=True):
    """Transcript of the agent."""

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
RELAYED: Final = {
    name: command.nest for name, command in COMMANDS.items() if issubclass(command, Relayed)
}
"""What ElevenLabs tells its client, with the key that holds its fields."""


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


# Messages that the server sends.

SAID: Final[dict[str, str]] = {
    "contextual_update": "Something to know; screens show it as a card",
    "state_updated": "A state key was set; `revision` is the record's seq",
    "state_deleted": "A state key was removed",
    "client_tool_call": "A tool was called, by `handled_by` server or screens",
    "client_tool_result": "A call was answered; `result` is a string",
    "client_tool_cancel": "A call was withdrawn after the agent had been released",
    "user_message": "Text from the person other than by voice, including late answers",
    "ui_action": "A button of a card was used",
    "user_transcript": "Transcript of the person",
    "agent_response": "Transcript of the agent",
    "agent_response_correction": "The part of the agent's sentence that was spoken before an interruption",
    "interruption": "The person broke in",
    "agent_tool_request": "The agent starts a tool somewhere",
    "agent_tool_response": "A tool of the agent has ended",
    "conversation_initiation_metadata": "The conversation began",
    "session_ended": "The session is over; `reason` says why",
    "session_joined": "The first message, of one instant",
    "presence": "Somebody joined, left or dropped",
    "state_snapshot": "The state, sent to the client that asked",
    "media": "A picture that a record names can be shown, from `/media/{media_id}`, or not: `problem`",
    "session_expiring": "The session ends at `expires_at` unless a command comes",
    "pairing_used": "A link or code was used: a page draws another",
    "pairing_request": "A device waits for the owner to let it in",
    "token_expiring": "This token ends at `expires_at`",
    "token_renewed": "A fresh token",
    "screen": "A screen's contents and the current choice",
    "rendered": "A screen has painted the record `of_seq`",
    "screen_command": "The agent moves a screen's attention",
    "user_activity": "The person is busy on the screen",
    "error": "A command was refused; the connection stays open",
    "pong": "The answer to ping",
}
"""Every message of the server, with a sentence for people."""

_kinds: Final[tuple[type[Command], ...]] = (*COMMANDS.values(), AnswerCall, EndSession)
_recorded: Final = {
    name
    for kind in _kinds
    if kind.fate == "recorded"
    for name in kind.becomes or (kind.type,)
}
RECORDS: Final = {name: text for name, text in SAID.items() if name in _recorded}
"""What is recorded, and so has a seq."""
TOLD: Final = {name: text for name, text in SAID.items() if name not in _recorded}
"""What is told and never recorded."""
