"""What a session is: commands are decided on it, events are folded into it.

Rules of this file:

1. `decide` never changes the session; `apply` never refuses a fact.
2. No clock, chance or I/O: times and ids come in as arguments.
3. A state value is kept as the JSON text it was stored as, so that a snapshot
   repeats it byte for byte.

Source: docs/protocol.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Final, Literal

import msgspec
from msgspec import UNSET, Raw, Struct

from companion_ws.core import commands
from companion_ws.core.commands import EVERYBODY, AnswerCall, Command, EndSession
from companion_ws.core.companion_tools import COMPANION_TOOLS, is_question
from companion_ws.core.errors import (
    Forbidden,
    InvalidMessage,
    RevisionConflict,
    SessionEnded,
    StateTooLarge,
    ToolCallReused,
    ToolClosed,
    ToolUnknown,
    TooManyRequests,
)
from companion_ws.core.numbers import Numbers
from companion_ws.core.phrases import phrase
from companion_ws.core.pictures import Picture
from companion_ws.core.protocol import encode
from companion_ws.core.tool_calls import (
    QUESTION_MS,
    Call,
    Status,
    choice_of,
    content_hash,
    is_release,
    status_of,
)
from companion_ws.core.traceparent import is_same_trace

MAX_CARDS: Final = 20
MAX_CARDS_BYTES: Final = 128 * 1024
"""What a late screen is shown at once; more would make the join itself slow."""

MAX_LOCKED_KEYS: Final = 1024
"""As many as a state has by default; the one locked longest ago makes room."""
REQUEST_BYTES: Final = 64
"""What remembering a requestId costs besides its text and its sender's."""
KEPT_REQUESTS: Final = 10_000
"""requestIds remembered of records that are gone. Source: docs/protocol.md."""
MAX_KEY_BYTES: Final = 64
"""A longer name is remembered by its hash: KEPT_REQUESTS then fit in half of the default log."""

Role = Literal["agent", "ui", "observer", "server"]


def short_key(text: str) -> str:
    """Return what a requestId, or its sender, is remembered by.

    >>> short_key("r-1")
    'r-1'
    """
    if len(text) <= MAX_KEY_BYTES and text.isascii():
        return text
    raw = text.encode()
    return text if len(raw) <= MAX_KEY_BYTES else f"#{sha256(raw).hexdigest()[:48]}"


class TokenRef(Struct, frozen=True):
    """The token a command came with: what is made because of it dies with that one.

    `user` is whose signing out ends it, for a session token that of the token that made it.
    """

    id: str
    user: str


@dataclass(frozen=True, slots=True)
class Sender:
    """Who asks. `connection_id` is None over HTTP, `device_id` for all but paired phones."""

    role: Role
    user: str
    connection_id: str | None = None
    device_id: str | None = None
    token: TokenRef | None = field(default=None, compare=False, repr=False)
    key: str = field(init=False, compare=False, repr=False)
    """What a requestId belongs to: the connection does not count, the device does."""

    def __post_init__(self) -> None:
        key = encode([self.user, self.role, self.device_id]).decode()
        object.__setattr__(self, "key", short_key(key))

    def shown(self, owner: str) -> dict[str, str | None]:
        """Return it as messages name it; what the server makes has the name of the `owner`."""
        user = owner if self.role == "server" else self.user
        return {"role": self.role, "user": user, "connection_id": self.connection_id}


SERVER: Final = Sender("server", "")
"""The sender of what the server makes."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a session may hold; 0 means no limit."""

    state_bytes: int = 256 * 1024
    value_bytes: int = 32 * 1024
    state_keys: int = 1024
    records: int = 1000
    log_bytes: int = 8 * 1024 * 1024
    open_calls: int = 64
    open_calls_bytes: int = 256 * 1024
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
    unclosed: dict[str, Call] = field(default_factory=dict)
    """Those of `calls` that are not closed, oldest first."""
    joined: dict[str, list[str]] = field(default_factory=dict)
    """The ids of calls that joined a call's question, by its id, oldest first."""
    closed_bytes: int = field(default=0, compare=False)
    """What the closed ones of `calls` take: they are kept to recognise them when sent again."""
    changed: dict[str, Call] = field(default_factory=dict, compare=False)
    """Calls changed since they were last stored."""
    cards: dict[int, tuple[str | None, bytes]] = field(default_factory=dict)
    cards_bytes: int = 0
    locked_cards: set[int] = field(default_factory=set)
    """Those of `cards` whose choice an agent has closed."""
    locked_keys: dict[str, None] = field(default_factory=dict)
    """State keys that no screen may write: an agent has closed the choice, oldest first."""
    locked_names: dict[str, None] = field(default_factory=dict)
    """The `context_id`s of what an agent has closed, oldest first; that of a question is its
    `tool_call_id`."""
    sizes: Numbers = field(default_factory=Numbers)
    """Bytes of each record kept, oldest first."""
    named: Numbers = field(default_factory=lambda: Numbers("B"), compare=False)
    """Of each record kept the bytes that its requestId will take, 0 where it has none."""
    requests: Numbers = field(default_factory=Numbers, compare=False)
    """Seqs of records that are gone and whose requestIds are remembered."""
    request_sizes: Numbers = field(default_factory=lambda: Numbers("B"), compare=False)
    """The bytes each of those takes."""
    requests_bytes: int = field(default=0, compare=False)
    answers_bytes: int = field(default=0, compare=False)
    """What is remembered for requests with an `Idempotency-Key`."""
    rendered: dict[tuple[int, str], int] = field(default_factory=dict, compare=False)
    """Which device has shown which record, and the bytes that noting it takes."""
    rendered_bytes: int = field(default=0, compare=False)
    pictures: dict[str, Picture] = field(default_factory=dict, compare=False)
    """Pictures that records name, by their addresses."""
    pictures_bytes: int = field(default=0, compare=False)
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
        """Return the questions a screen may still answer, oldest first; of joined calls the first."""
        return [
            call for call in self.unclosed.values() if call.joins is None and call.is_open(at_ms)
        ]

    def askers(self, question: Call) -> list[Call]:
        """Return the calls that ask this question and have not been cancelled, oldest first."""
        return [call for call in self.members(question) if call.is_asking]

    def members(self, question: Call) -> list[Call]:
        """Return the calls that have asked this question, oldest first, but for forgotten ones."""
        ids = [question.tool_call_id, *self.joined.get(question.tool_call_id, ())]
        return [self.calls[each] for each in ids if each in self.calls]

    def question_of(self, call: Call) -> Call:
        """Return the call whose question this one asks: itself, or the one that it joined."""
        return call if call.joins is None else self.calls.get(call.joins, call)

    def is_released(self, question: Call) -> bool:
        """Whether every agent that asked has gone on, so that an answer is a late one."""
        return all(call.status != "waiting" for call in self.askers(question))

    def put_call(self, call: Call) -> None:
        """Take a call as it stands now; `calls` and what is derived of it change here alone."""
        tool_call_id = call.tool_call_id
        known = self.calls.get(tool_call_id)
        if call.status == "closed" and (known is None or known.status != "closed"):
            self.closed_bytes += _call_bytes(call)
        if call.joins is not None and tool_call_id not in self.calls:
            self.joined.setdefault(call.joins, []).append(tool_call_id)
        self.calls[tool_call_id] = call
        self.changed[tool_call_id] = call
        if call.status != "closed":
            self.unclosed[tool_call_id] = call
        else:
            self.unclosed.pop(tool_call_id, None)

    @property
    def oldest(self) -> int | None:
        """Return the seq of the oldest record kept, or None without one."""
        return self.first_seq if self.seq >= self.first_seq else None


# What `decide` answers with.


class Event(Struct, frozen=True):
    """A fact that is to become a record: its type and its own fields.

    `then` are further facts that become records with it, or none of them does.
    """

    type: str
    fields: dict[str, Any]
    then: tuple[Event, ...] = ()


class Repeat(Struct, frozen=True):
    """This was done before: answer with the records of these seqs."""

    seqs: tuple[int, ...]


class Transient(Struct, frozen=True):
    """Told to who is there in these roles, never recorded."""

    type: str
    fields: dict[str, Any]
    roles: frozenset[str]


class Reply(Struct, frozen=True):
    """Told to the sender alone."""

    type: str
    fields: dict[str, Any]


Decision = Event | Repeat | Transient | Reply


class DecisionContext(Struct, frozen=True):
    """What a decision may look at besides the session."""

    session: Session
    sender: Sender
    at_ms: int
    """By the clock that runs; people's time of day is `ahead_ms` later."""
    limits: Limits
    is_server_tool: Callable[[str], bool]
    ahead_ms: int = 0


def decide(command: Command, context: DecisionContext) -> Decision:
    """Return what becomes of a command; the session is not changed.

    Raises:
        Forbidden: the sender's role may not send this.
        SessionEnded: nothing is accepted any more.
        RevisionConflict, StateTooLarge, ToolUnknown, ToolClosed: as they say.
    """
    role = context.sender.role
    if role != "server" and role not in command.roles:
        raise Forbidden(f"A connection with role {role} may not send {command.type}.")
    if context.session.ended is not None:
        raise SessionEnded
    decider = _DECIDERS.get(type(command))
    if decider is None:
        raise Forbidden(f"{command.type} cannot be sent here.")
    return decider(command, context)


def _update(command: commands.ContextualUpdate, context: DecisionContext) -> Decision:
    fields: dict[str, Any] = {"text": command.text}
    if command.data is not UNSET:
        fields["data"] = command.data
    if command.ui is not None:
        fields["ui"] = command.ui
    if command.labels is not None:
        fields["labels"] = command.labels
    if command.context_id is not None:
        fields["context_id"] = command.context_id
    if command.locked is not None:
        fields["locked"] = command.locked
    if context.sender.role == "ui":
        _check_unlocking(fields, context.session)
    return Event("contextual_update", fields)


def _check_unlocking(fields: dict[str, Any], session: Session) -> None:
    """Let no screen close a choice, nor offer one again that an agent has closed."""
    if fields.get("locked"):
        raise Forbidden("Only agents lock a card.")
    is_closed = fields.get("context_id") in session.locked_names
    if is_closed or select_of(fields) in session.locked_keys:
        raise Forbidden("The agent has closed this choice.")


def select_of(fields: dict[str, Any]) -> str | None:
    """Return the state key that a tap on this card writes, or None."""
    data = fields.get("data")
    key = data.get("select") if isinstance(data, dict) else None
    return key if isinstance(key, str) else None


def _check_unlocked(key: str, context: DecisionContext) -> None:
    if context.sender.role == "ui" and key in context.session.locked_keys:
        raise Forbidden("The agent has closed this choice.", key=key)


def _set_state(command: commands.StateUpdate, context: DecisionContext) -> Decision:
    session = context.session
    _check_unlocked(command.key, context)
    entry = session.state.get(command.key)
    _check_revision(command.key, entry, command.if_revision)
    value = encode(command.value)
    _check_size(session, context.limits, command.key, value, entry)
    return Event(
        "state_updated",
        {"key": command.key, "value": Raw(value), "revision": session.seq + 1},
    )


def _delete_state(command: commands.StateDelete, context: DecisionContext) -> Decision:
    session = context.session
    _check_unlocked(command.key, context)
    _check_revision(command.key, session.state.get(command.key), command.if_revision)
    return Event("state_deleted", {"key": command.key, "revision": session.seq + 1})


def _show_state(command: commands.StateGet, context: DecisionContext) -> Decision:
    return Reply("state_snapshot", {"state": context.session.snapshot(command.key)})


def _call_tool(command: commands.ClientToolCall, context: DecisionContext) -> Decision:
    asked = command.client_tool_call
    content = content_hash(asked.tool_name, asked.parameters)
    known = context.session.calls.get(asked.tool_call_id)
    if known is not None:
        if known.content and known.content != content:
            raise ToolCallReused(
                "This tool_call_id belongs to a call of another tool or with other parameters;"
                " give each call an id of its own.",
                tool_call_id=asked.tool_call_id,
            )
        return Repeat((known.seq,) if known.result_seq is None else (known.seq, known.result_seq))
    by_server = context.is_server_tool(asked.tool_name)
    joins = None if by_server else _same_question(asked.tool_name, content, context)
    if asked.expects_response or not by_server:
        _check_open_calls(asked, joins, context)
    shown_ms = context.at_ms + context.ahead_ms
    deadline_ms = shown_ms + asked.timeout_ms if asked.expects_response else None
    fields: dict[str, Any] = {
        "client_tool_call": asked,
        "handled_by": "server" if by_server else "screens",
        "deadline_at": deadline_ms,
    }
    if joins is not None:
        fields["joins"] = joins.tool_call_id
    if command.traceparent is not None:
        fields["traceparent"] = command.traceparent
    return Event("client_tool_call", fields)


def _same_question(tool_name: str, content: bytes, context: DecisionContext) -> Call | None:
    """Return the open question that a call asks once more, or None."""
    if not is_question(tool_name):
        return None
    for call in context.session.open_calls(context.at_ms):
        if call.content == content and call.tool_name == tool_name:
            return call
    return None


def _check_open_calls(asked: commands.ToolCall, joins: Call | None, context: DecisionContext) -> None:
    # No `retry_after_ms`: room comes when somebody answers, and a client that waits for it
    # in order could not even cancel.
    limits, at_ms = context.limits, context.at_ms
    counted = [
        call
        for call in context.session.unclosed.values()
        if call.status == "waiting" or context.session.question_of(call).is_open(at_ms)
    ]
    if limits.open_calls and len(counted) >= limits.open_calls:
        raise TooManyRequests(
            f"The session has {limits.open_calls} open calls, which is the limit."
        )
    if not limits.open_calls_bytes or joins is not None:
        return
    size = sum(len(call.body) for call in counted) + len(encode(asked))
    if size > limits.open_calls_bytes:
        raise TooManyRequests(
            f"The open calls would have {size} bytes, more than {limits.open_calls_bytes}."
        )


def _answer(command: commands.ClientToolResult, context: DecisionContext) -> Decision:
    session = context.session
    call = _known_call(command.tool_call_id, context)
    question = session.question_of(call)
    if not question.is_open(context.at_ms):
        raise ToolClosed(
            "This call is answered, withdrawn or over.", tool_call_id=call.tool_call_id
        )
    tool = COMPANION_TOOLS.get(question.tool_name)
    if tool is not None and tool.fault_in_result is not None and not command.is_error:
        fault = tool.fault_in_result(_parameters_of(question), command.result)
        if fault is not None:
            # The question stays open: whoever filled it in can put it right.
            raise InvalidMessage(fault, tool_call_id=call.tool_call_id)
    waiting = _waiting(call, session)
    trace = _trace_of(question, command.traceparent)
    if waiting:
        return _results(waiting, command.result, command.is_error, "ui", trace)
    # Whoever asked last and has not cancelled hears the late answer.
    asker = call if call.is_asking else session.askers(question)[-1]
    sentence = phrase(
        session.language,
        "late",
        question=_title_of(question),
        answer=choice_of(command.result),
    )
    fields = {"text": sentence, "in_reply_to": asker.tool_call_id, "result": command.result}
    if asker.joins is not None:
        fields["joins"] = asker.joins
    return Event("user_message", fields | trace)


class _Traced(Struct):
    """Of a stored call, its trace."""

    traceparent: str | None = None


def _trace_of(question: Call, sent: str | None) -> dict[str, Any]:
    """Return the trace that an answer belongs to: its question's, at the place that the screen says."""
    asked = msgspec.json.decode(question.body, type=_Traced).traceparent
    trace = sent if is_same_trace(sent, asked) else asked
    return {} if trace is None else {"traceparent": trace}


def _cancel(command: commands.ClientToolCancel, context: DecisionContext) -> Decision:
    session = context.session
    call = _known_call(command.tool_call_id, context)
    question = session.question_of(call)
    is_asking_still = call.status == "waiting" or (
        call.status == "released" and question.is_open(context.at_ms)
    )
    if not is_asking_still:
        raise ToolClosed("This call is closed already.", tool_call_id=call.tool_call_id)
    fields: dict[str, Any] = {}
    if len(session.askers(question)) > 1:
        fields["question_open"] = True
    if call.joins is not None:
        fields["joins"] = call.joins
    if call.status == "waiting":
        return _result(call, '{"status":"cancelled"}', False, "agent", fields)
    return Event("client_tool_cancel", {"tool_call_id": call.tool_call_id, **fields})


def _answer_for_server(command: AnswerCall, context: DecisionContext) -> Decision:
    call = _known_call(command.tool_call_id, context)
    if call.status != "waiting":
        raise ToolClosed("This call has its answer already.", tool_call_id=call.tool_call_id)
    if call.handled_by == "server" or is_release(call, command.result, "server"):
        return _result(call, command.result, command.is_error, "server")
    return _results(_waiting(call, context.session), command.result, command.is_error, "server", {})


def _say(command: commands.UserMessage, context: DecisionContext) -> Decision:
    fields: dict[str, Any] = {"text": command.text}
    if command.in_reply_to is not None:
        fields["in_reply_to"] = command.in_reply_to
    if command.result is not None:
        fields |= _change(command, context)
    return Event("user_message", fields)


def _change(command: commands.UserMessage, context: DecisionContext) -> dict[str, Any]:
    """Return what a message says that changes an answer; the recorded result stays as it is."""
    session, result = context.session, command.result or ""
    if command.in_reply_to is None:
        raise InvalidMessage("A `result` needs `in_reply_to`: the question that it answers.")
    if context.sender.role != "ui":
        raise Forbidden("Only screens change an answer.")
    call = _known_call(command.in_reply_to, context)
    question = session.question_of(call)
    tool = COMPANION_TOOLS.get(question.tool_name)
    if tool is None or not tool.is_changeable:
        raise Forbidden(f"An answer to {question.tool_name} cannot be changed.")
    if question.is_open(context.at_ms):
        raise InvalidMessage("This question is open: answer it with client_tool_result.")
    if session.locked_names.keys() & {call.tool_call_id, question.tool_call_id}:
        raise Forbidden("The agent has closed this choice.", tool_call_id=call.tool_call_id)
    if status_of(result) not in tool.answers:
        raise InvalidMessage(f"The result of {tool.name} has a status: {', '.join(tool.answers)}.")
    joins = {} if call.joins is None else {"joins": call.joins}
    return {"result": result, "is_change": True, **joins}


def _act(command: commands.UiAction, context: DecisionContext) -> Decision:
    fields: dict[str, Any] = {
        "action_id": command.action_id,
        "surface_id": command.surface_id,
        "name": command.name,
    }
    if command.context is not UNSET:
        fields["context"] = command.context
    return Event("ui_action", fields)


def _pass_on(command: commands.Passed, context: DecisionContext) -> Decision:
    given = {name: getattr(command, name) for name in command.__struct_fields__}
    fields = {name: value for name, value in given.items() if value is not None}
    return Transient(command.type, fields, command.to)


def _relay(command: commands.Relayed, context: DecisionContext) -> Decision:
    fields = {command.nest: command.payload}
    if context.limits.transcripts:
        return Event(command.type, fields)
    return Transient(command.type, fields, EVERYBODY)


def _end(command: EndSession, context: DecisionContext) -> Decision:
    return Event("session_ended", {"reason": command.reason})


_DECIDERS: Final[dict[type[Command], Callable[[Any, DecisionContext], Decision]]] = {
    commands.ContextualUpdate: _update,
    commands.StateUpdate: _set_state,
    commands.StateDelete: _delete_state,
    commands.StateGet: _show_state,
    commands.ClientToolCall: _call_tool,
    commands.ClientToolResult: _answer,
    commands.ClientToolCancel: _cancel,
    commands.UserMessage: _say,
    commands.UiAction: _act,
    AnswerCall: _answer_for_server,
    EndSession: _end,
    **{kind: _pass_on for kind in commands.COMMANDS.values() if issubclass(kind, commands.Passed)},
    **{kind: _relay for kind in commands.COMMANDS.values() if issubclass(kind, commands.Relayed)},
}


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


def _known_call(tool_call_id: str, context: DecisionContext) -> Call:
    call = context.session.calls.get(tool_call_id)
    if call is None:
        raise ToolUnknown("There is no tool call with this id.", tool_call_id=tool_call_id)
    return call


def _waiting(call: Call, session: Session) -> list[Call]:
    """Return the calls that an answer to this one is the result of, itself first."""
    askers = session.askers(session.question_of(call))
    waiting = [asker for asker in askers if asker.status == "waiting"]
    return sorted(waiting, key=lambda asker: asker.tool_call_id != call.tool_call_id)


def _results(
    calls: list[Call], result: str, is_error: bool, answered_by: str, trace: dict[str, Any]
) -> Event:
    first, *others = (_result(call, result, is_error, answered_by) for call in calls)
    return Event(first.type, first.fields | trace, tuple(others))


def _result(
    call: Call, result: str, is_error: bool, answered_by: str, more: dict[str, Any] | None = None
) -> Event:
    fields = {
        "tool_name": call.tool_name,
        "tool_call_id": call.tool_call_id,
        "result": result,
        "is_error": is_error,
        "answered_by": answered_by,
    }
    if more is None:
        more = {} if call.joins is None else {"joins": call.joins}
    return Event("client_tool_result", fields | more)


def _parameters_of(call: Call) -> dict[str, Any]:
    """Return what an open question asks."""
    parameters: dict[str, Any] = msgspec.json.decode(call.body)["client_tool_call"]["parameters"]
    return parameters


def _title_of(call: Call) -> str:
    title = _parameters_of(call).get("title")
    return title if isinstance(title, str) and title else call.tool_name.replace("_", " ")


# Events folded in.


def apply(session: Session, event: Event, body: bytes, at_ms: int) -> None:
    """Fold the next record into the session; `body` is its stored text.

    `at_ms` is when, by the clock that runs.
    """
    session.seq += 1
    session.log_bytes += len(body)
    session.sizes.append(len(body))
    session.named.append(0)
    fold = _FOLDS.get(event.type)
    if fold is not None:
        fold(session, event.fields, body, at_ms)


def remember(session: Session, sender_key: str, request_id: str, seq: int) -> None:
    """Count what is kept to recognise the requestId of a record when it is sent again."""
    size = len(sender_key) + len(request_id.encode()) + REQUEST_BYTES
    if seq >= session.first_seq:
        session.named[seq - session.first_seq] = size
    else:
        session.requests.append(seq)
        session.request_sizes.append(size)
        session.requests_bytes += size


def trim(session: Session, limits: Limits) -> bool:
    """Drop the oldest records beyond the limits, never the newest; tell whether any went.

    What repeated requests are answered from counts as the log does; requestIds take half
    of the limit at most.
    """
    before = session.first_seq
    records, log_bytes = limits.records, limits.log_bytes
    while session.seq > session.first_seq and (
        (records and session.seq - session.first_seq >= records)
        or (log_bytes and _kept_bytes(session) > log_bytes)
    ):
        session.log_bytes -= session.sizes.popleft()
        size = session.named.popleft()
        if size:
            session.requests.append(session.first_seq)
            session.request_sizes.append(size)
            session.requests_bytes += size
        session.first_seq += 1
        if session.pictures:
            _forget_pictures(session)
        while log_bytes and session.requests_bytes > log_bytes // 2:
            _forget_request(session)
    return session.first_seq != before


def _kept_bytes(session: Session) -> int:
    return (
        session.log_bytes
        + session.closed_bytes
        + session.requests_bytes
        + session.answers_bytes
        + session.rendered_bytes
        + session.pictures_bytes
    )


def forget_calls(session: Session, limits: Limits) -> list[Call]:
    """Forget the oldest closed calls beyond a quarter of the log's limit, and return them."""
    forgotten: list[Call] = []
    if not limits.log_bytes:
        return forgotten
    for call in session.calls.values():
        if session.closed_bytes <= limits.log_bytes // 4:
            break
        if call.status == "closed":
            forgotten.append(call)
            session.closed_bytes -= _call_bytes(call)
    for call in forgotten:
        del session.calls[call.tool_call_id]
        session.joined.pop(call.tool_call_id, None)
        session.changed.pop(call.tool_call_id, None)
    return forgotten


def _call_bytes(call: Call) -> int:
    return len(call.tool_call_id.encode()) + len(call.tool_name.encode()) + REQUEST_BYTES


def note_rendered(session: Session, seq: int, device: str, problem: str | None) -> bool:
    """Count that a device has shown a record; False where that is known already."""
    if (seq, device) in session.rendered:
        return False
    size = len(device) + len((problem or "").encode()) + REQUEST_BYTES
    session.rendered[seq, device] = size
    session.rendered_bytes += size
    return True


def forget_rendered(session: Session) -> None:
    """Forget who has shown records that are gone."""
    for key in [key for key in session.rendered if key[0] < session.first_seq]:
        session.rendered_bytes -= session.rendered.pop(key)


def put_picture(session: Session, picture: Picture) -> None:
    """Take a picture as it is known now."""
    known = session.pictures.get(picture.url)
    session.pictures_bytes += picture.size_bytes - (known.size_bytes if known is not None else 0)
    session.pictures[picture.url] = picture


def make_room_for_picture(
    session: Session, seq: int, size_bytes: int, limits: Limits
) -> list[str] | None:
    """Drop pictures of records before `seq`, oldest first, where one of `size_bytes` needs the room.

    Pictures take three quarters of the log's limit at most, so that a log is left beside them.
    Returns the addresses of those that went, or None where there is no room: then none went.
    """
    room = limits.log_bytes // 4 * 3 - session.pictures_bytes - size_bytes
    if not limits.log_bytes or room >= 0:
        return []
    older = sorted(
        (each for each in session.pictures.values() if each.seq < seq and each.size_bytes),
        key=lambda each: each.seq,
    )
    dropped: list[str] = []
    for each in older:
        if room >= 0:
            break
        room += each.size_bytes
        dropped.append(each.url)
    if room < 0:
        return None
    for url in dropped:
        session.pictures_bytes -= session.pictures.pop(url).size_bytes
    return dropped


def _forget_pictures(session: Session) -> None:
    """Forget pictures that only records name which are gone; cards outlive the log."""
    gone = [
        each
        for each in session.pictures.values()
        if each.seq < session.first_seq and each.seq not in session.cards
    ]
    for picture in gone:
        session.pictures_bytes -= session.pictures.pop(picture.url).size_bytes


def forget_requests(session: Session) -> int:
    """Forget the oldest requestIds beyond KEPT_REQUESTS; return the oldest seq remembered."""
    while len(session.requests) > KEPT_REQUESTS:
        _forget_request(session)
    return session.requests[0] if session.requests else session.first_seq


def _forget_request(session: Session) -> None:
    session.requests.popleft()
    session.requests_bytes -= session.request_sizes.popleft()


def replay(session: Session, bodies: list[bytes]) -> Session:
    """Fold stored records into a session, oldest first, and return it."""
    for body in bodies:
        record = msgspec.json.decode(body)
        if "value" in record:
            record["value"] = Raw(encode(record["value"]))
        if "client_tool_call" in record:
            record["client_tool_call"] = msgspec.convert(
                record["client_tool_call"], commands.ToolCall
            )
        apply(session, Event(record["type"], record), body, record["timestamp"])
    return session


def fold_card_again(session: Session, seq: int, body: bytes) -> None:
    """Fold a stored `contextual_update` into the cards alone; called in order of `seq`."""
    session.seq = seq
    _fold_card(session, msgspec.json.decode(body), body, 0)


def _fold_card(session: Session, fields: dict[str, Any], body: bytes, at_ms: int) -> None:
    context_id = fields.get("context_id")
    same = []
    if context_id is not None:
        same = [seq for seq, card in session.cards.items() if card[0] == context_id]
    is_locked = fields.get("locked") is True
    if context_id is not None:
        session.locked_names.pop(context_id, None)
        if is_locked:
            _note_lock(session.locked_names, context_id)
    if is_locked and same and "data" not in fields and "ui" not in fields:
        # It replaces nothing: the card stays, and its choice is closed.
        for seq in same:
            _lock(session, seq, select_of(msgspec.json.decode(session.cards[seq][1])))
        return
    for seq in same:
        # What takes its place closes the choice that it offered, too.
        if is_locked:
            _lock(session, seq, select_of(msgspec.json.decode(session.cards[seq][1])))
        _drop_card(session, seq)
    session.cards[session.seq] = (context_id, body)
    session.cards_bytes += len(body)
    key = select_of(fields)
    if is_locked:
        _lock(session, session.seq, key)
    elif key is not None:
        session.locked_keys.pop(key, None)
    while len(session.cards) > MAX_CARDS or session.cards_bytes > MAX_CARDS_BYTES:
        _drop_card(session, next(iter(session.cards)))


def _lock(session: Session, seq: int, key: str | None) -> None:
    session.locked_cards.add(seq)
    if key is None:
        return
    session.locked_keys.pop(key, None)
    _note_lock(session.locked_keys, key)


def _note_lock(locked: dict[str, None], name: str) -> None:
    locked[name] = None
    if len(locked) > MAX_LOCKED_KEYS:
        del locked[next(iter(locked))]


def _drop_card(session: Session, seq: int) -> None:
    session.cards_bytes -= len(session.cards.pop(seq)[1])
    session.locked_cards.discard(seq)


def _fold_state(
    session: Session, fields: dict[str, Any], body: bytes, at_ms: int
) -> None:
    key = fields["key"]
    _forget_key(session, key)
    entry = Entry(bytes(fields["value"]), session.seq)
    session.state[key] = entry
    session.state_bytes += _entry_bytes(key, entry.value)


def _fold_delete(
    session: Session, fields: dict[str, Any], body: bytes, at_ms: int
) -> None:
    _forget_key(session, fields["key"])


def _forget_key(session: Session, key: str) -> None:
    entry = session.state.pop(key, None)
    if entry is not None:
        session.state_bytes -= _entry_bytes(key, entry.value)


def _fold_call(session: Session, fields: dict[str, Any], body: bytes, at_ms: int) -> None:
    _close_overdue(session, at_ms)
    asked: commands.ToolCall = fields["client_tool_call"]
    status: Status = "waiting"
    if not asked.expects_response:
        # Nobody waits: a tap on it counts as a late answer.
        status = "released" if fields["handled_by"] == "screens" else "closed"
    joins = fields.get("joins")
    session.put_call(
        Call(
            tool_call_id=asked.tool_call_id,
            seq=session.seq,
            tool_name=asked.tool_name,
            handled_by=fields["handled_by"],
            status=status,
            asked_at_ms=at_ms,
            # Not `deadline_at`: that is told to people, whose time of day may step.
            deadline_ms=at_ms + asked.timeout_ms if fields["deadline_at"] is not None else None,
            body=body if status != "closed" and joins is None else b"",
            content=content_hash(asked.tool_name, asked.parameters),
            joins=joins,
        )
    )
    if joins is not None:
        # It stays open for ten minutes from whoever asked last.
        session.put_call(replace(session.calls[joins], asked_at_ms=at_ms))


def _close_overdue(session: Session, at_ms: int) -> None:
    """Let go of the text of questions that nobody can answer any more."""
    for call in list(session.unclosed.values()):
        if call.joins is None and not call.is_open(at_ms) and session.is_released(call):
            _close_question(session, call)


def _fold_result(
    session: Session, fields: dict[str, Any], body: bytes, at_ms: int
) -> None:
    call = replace(session.calls[fields["tool_call_id"]], result_seq=session.seq)
    if is_release(call, fields["result"], fields["answered_by"]):
        session.put_call(replace(call, status="released"))
    elif fields.get("question_open"):
        _leave(session, call)
    else:
        session.put_call(replace(call, status="closed", body=b""))
        _close_question(session, session.question_of(call))


def _fold_message(
    session: Session, fields: dict[str, Any], body: bytes, at_ms: int
) -> None:
    # Only a late answer closes a question; other messages may refer to a call and leave it open.
    if "result" in fields and not fields.get("is_change"):
        _close_question(session, session.question_of(session.calls[fields["in_reply_to"]]))


def _fold_cancel(
    session: Session, fields: dict[str, Any], body: bytes, at_ms: int
) -> None:
    call = session.calls[fields["tool_call_id"]]
    if fields.get("question_open"):
        _leave(session, call)
    else:
        _close(session, call)
        _close_question(session, session.question_of(call))


def _leave(session: Session, call: Call) -> None:
    """Let an asker go while others still ask the same."""
    if call.joins is not None:
        _close(session, call)
    else:
        session.put_call(replace(call, status="withdrawn"))


def _close_question(session: Session, question: Call) -> None:
    """Close a question for all but those who get a result of their own next."""
    for call in reversed(session.members(question)):
        if call.status not in ("waiting", "closed"):
            _close(session, call)


def _close(session: Session, call: Call) -> None:
    session.put_call(replace(call, status="closed", body=b""))


def _fold_conversation(
    session: Session, fields: dict[str, Any], body: bytes, at_ms: int
) -> None:
    session.conversation_id = fields["conversation_initiation_metadata_event"]["conversation_id"]


def _fold_end(session: Session, fields: dict[str, Any], body: bytes, at_ms: int) -> None:
    session.ended = fields["reason"]


_FOLDS: Final[dict[str, Callable[[Session, dict[str, Any], bytes, int], None]]] = {
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
    "DecisionContext",
    "Event",
    "Limits",
    "Repeat",
    "Reply",
    "Sender",
    "Session",
    "TokenRef",
    "Transient",
    "apply",
    "decide",
    "fold_card_again",
    "forget_calls",
    "forget_rendered",
    "forget_requests",
    "make_room_for_picture",
    "note_rendered",
    "put_picture",
    "remember",
    "replay",
    "short_key",
    "trim",
]
