"""What a client said and nobody answered yet: sent again on every new connection, at a bearable rate.

Rules of this file:

1. A command stays until it is answered, and goes out again with the same
   `requestId`: nothing lost, nothing twice. An answer that says `duplicate` counts.
2. Whatever settles a command frees it: its record, an error, of a tool call also the
   record or result of that call under another `requestId`. None waits beyond a bound.
3. Order said is order stored. A refusal that passes stops everything; what was on its
   way meanwhile is refused as well, since the connection is `ordered`, and all of it is
   said again from the oldest on.
4. What the server only passes on has no answer; it is done once it is written.
"""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from companion_ws.core import protocol
from companion_ws.core.commands import COMMANDS, RELAYED
from companion_ws.core.errors import (
    ERRORS,
    BodyTooLarge,
    CompanionError,
    InvalidMessage,
    ToolClosed,
    TooManyRequests,
    Unavailable,
)
from companion_ws.core.view import Message

MAX_WAITING: Final = 1_000
"""Commands without an answer; whoever sends more waits for room."""
MAX_CLAIMED: Final = 1_000
"""Calls of which it is remembered that somebody here got the result."""
MAX_IN_FLIGHT: Final = 32
"""Commands on their way at once: below any burst a server allows."""
ANSWER_WITHIN_S: Final = 120.0
"""No command waits longer, wherever its answer is: longer than a restart takes."""
UNAVAILABLE_RETRY_S: Final = 1.0
UNAVAILABLE_S: Final = 30.0
"""For how long a server that cannot store is asked again."""
CALL_TIMEOUT_S: Final = 18.0
"""What a server gives a tool call that names no time of its own."""

_UNANSWERED: Final = frozenset(
    name for name, kind in COMMANDS.items() if kind.fate in ("passed", "unanswered")
)
log = logging.getLogger(__name__)


class CompanionClosed(Exception):
    """The session cannot be reached any more; `code` and `reason` say why.

    `code` is a close code of the protocol (4501: not authenticated, 4510: the
    session ended, …) or the HTTP status of a refused handshake.
    """

    def __init__(self, code: int | None, reason: str) -> None:
        super().__init__(f"{code}: {reason}" if reason else str(code))
        self.code = code
        self.reason = reason


@dataclass(slots=True, eq=False)
class Command:
    """JSON text on its way to an answer; `call_id` is that of a tool call."""

    text: str
    type: str
    request_id: str
    answer: asyncio.Future[Message | None]
    call_id: str | None = None
    refused_at_s: float | None = None
    """When the server first could not store it."""

    def settle(self, answer: Message | None) -> None:
        """Answer it; what has its answer keeps it."""
        if not self.answer.done():
            self.answer.set_result(answer)

    def fail(self, error: Exception) -> None:
        """Answer it with an error; what has its answer keeps it."""
        if not self.answer.done():
            self.answer.set_exception(error)


@dataclass(slots=True, eq=False)
class _Call:
    """A tool call: acknowledged or not, its result is still to come."""

    command: Message
    result: asyncio.Future[Message]
    waiters: int = 0
    is_let_go: bool = False
    """Whether whoever asked has gone on without it."""

    @property
    def request_id(self) -> str:
        request_id: str = self.command["requestId"]
        return request_id

    def fail(self, error: Exception) -> None:
        if not self.result.done():
            self.result.set_exception(error)


class Outgoing:
    """The queue between whoever says something and the one connection there is, if there is one."""

    def __init__(self, within_s: float = ANSWER_WITHIN_S) -> None:
        self._within_s = within_s
        self._commands: dict[str, Command] = {}
        """What has no answer, in the order it was said."""
        self._unsent: deque[Command] = deque()
        self._in_flight: dict[str, Command] = {}
        self._calls: dict[str, _Call] = {}
        self._claimed: deque[str] = deque(maxlen=MAX_CLAIMED)
        self._room = asyncio.Semaphore(MAX_WAITING)
        self._wake = asyncio.Event()
        self._not_before_s = 0.0
        self._spacing_s = 0.0
        self._is_held = False
        """Whether something was refused that will be said again."""
        self._wants_mark = False
        self._mark: Command | None = None
        """A ping on its way: what was written before it is answered before it."""
        self._marked: list[Command] = []
        self._does_mark_resume = False
        self._is_renewing = False
        self._records_relayed: bool | None = None
        self._limit_bytes = 0
        self._closed: CompanionClosed | None = None

    # For those who have something to say.

    async def say(self, command: Mapping[str, Any]) -> Message | None:
        """Send a command; return its answer, None for what the server only passes on.

        Raises:
            CompanionError: what the server answered, that it is no message, or that
                nothing was answered in time.
            CompanionClosed: it will never be answered.
        """
        given = command.get("requestId")
        request_id = uuid.uuid4().hex if given is None or given == "" else given
        if not isinstance(request_id, str) or len(request_id) > protocol.MAX_REQUEST_ID:
            raise InvalidMessage(f"requestId is text of 1 to {protocol.MAX_REQUEST_ID} characters.")
        text = json_text({**command, "requestId": request_id})
        self._check_size(text)
        if request_id in self._commands:
            raise InvalidMessage(f"requestId {request_id} is under way already.")
        pending: Command | None = None
        try:
            async with asyncio.timeout(self._within_s), self._room:
                if self._closed is not None:
                    raise self._closed
                pending = self._put(_command(text, command, request_id))
                # Whoever leaves does not take back what is on its way.
                return await asyncio.shield(pending.answer)
        except TimeoutError:
            error = self._overdue()
            if pending is not None:
                pending.fail(error)
                self._done(pending)
            raise error from None
        finally:
            if pending is not None:
                self._left(pending)

    async def call(
        self, call_id: str, call: Mapping[str, Any], traceparent: str | None = None
    ) -> Message:
        """Make a tool call; return its `client_tool_result`. The same id is one call.

        Raises:
            CompanionError, CompanionClosed: as `say`; `ToolClosed` where the call was answered
                and its result is gone; the id stands for another question.
        """
        request_id = uuid.uuid4().hex
        command = {"type": "client_tool_call", "requestId": request_id, "client_tool_call": call}
        if traceparent is not None:
            command["traceparent"] = traceparent
        text = json_text(command)
        self._check_size(text)
        result = asyncio.get_running_loop().create_future()
        pending = self._calls.setdefault(call_id, _Call(json.loads(text), result))
        if _question(pending.command) != _question(json.loads(text)):
            raise error_of("tool_call_reused", f"{call_id} is another question's.", {})
        pending.waiters += 1
        timeout_s = call.get("timeout_ms", CALL_TIMEOUT_S * 1000) / 1000
        try:
            async with asyncio.timeout(self._within_s + timeout_s):
                if pending.request_id == request_id:
                    await self._open(pending)
                return await asyncio.shield(pending.result)
        except TimeoutError:
            raise self._overdue() from None
        finally:
            pending.waiters -= 1
            if not pending.waiters:
                del self._calls[call_id]
                _let_go(pending.result)

    def let_go(self, call_id: str) -> None:
        """Whoever made this call goes on without its result."""
        call = self._calls.get(call_id)
        if call is not None:
            call.is_let_go = True

    def was_claimed(self, call_id: str) -> bool:
        """Whether the result of a call went to somebody here who waited for it."""
        return call_id in self._claimed

    async def _open(self, call: _Call) -> None:
        try:
            await self.say(call.command)
        except (CompanionError, CompanionClosed) as error:
            call.fail(error)
        except asyncio.CancelledError:
            # Others wait for the same call; theirs it is now.
            if call.waiters > 1 and call.request_id not in self._commands:
                self._put(_again(call))
            raise

    # For the connection.

    def begin(self, joined: Message) -> None:
        """A new connection stands: everything without its answer goes out, in the old order."""
        limits = joined.get("limits") or {}
        self._limit_bytes = limits.get("message_bytes") or 0
        self._not_before_s = self._spacing_s = 0.0
        self._wants_mark = self._is_renewing = False
        if not self._records_relayed:
            self._records_relayed = None  # this server may have other settings
        # The result of a call may have come and gone while nobody listened.
        for call in self._calls.values():
            if call.request_id not in self._commands and not call.result.done():
                self._commands[call.request_id] = _again(call)
        for command in list(self._commands.values()):
            try:
                self._check_size(command.text)
            except BodyTooLarge as error:
                self._fail(command, error)
        self._go_on()

    async def next(self) -> Command:
        """Wait for the next command to write."""
        while True:
            self._wake.clear()
            wait_s = self._not_before_s - self._clock()
            if self._is_renewing:
                self._is_renewing = False
                return _command('{"type":"token_renew"}', {"type": "token_renew"}, "")
            if wait_s > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._wake.wait()
            elif self._wants_mark and self._mark is None:
                return self._next_mark()
            elif self._is_held or not self._unsent or len(self._in_flight) >= MAX_IN_FLIGHT:
                await self._wake.wait()
            else:
                command = self._unsent.popleft()
                if not command.answer.done():
                    self._in_flight[command.request_id] = command
                    self._not_before_s = self._clock() + self._spacing_s
                    return command

    def wrote(self, command: Command) -> None:
        """Take note that a command is on its way."""
        if command.type in _UNANSWERED:
            self._settle(command, None)
        elif command.type in RELAYED:
            if self._records_relayed is None:
                # What is answered after whatever was recorded before it tells.
                self._wants_mark = True
                self._wake.set()
            elif not self._records_relayed:
                self._settle(command, None)

    def renew_token(self) -> None:
        """Ask for the successor of a session token."""
        self._is_renewing = True
        self._wake.set()

    def hear(self, message: Message) -> None:
        """Take the answers in what the server said."""
        request_id = message.get("requestId") or ""
        if message["type"] == "error":
            self._refuse(request_id, message)
            return
        if self._mark is not None and request_id == self._mark.request_id:
            self._take_mark()
            return
        if message["type"] in RELAYED and "seq" in message:
            self._records_relayed = True
        command = self._commands.get(request_id)
        if command is not None:
            self._settle(command, message)
        call_id = _call_id_of(message)
        if call_id is not None:
            # A call made before is answered with its own first record, under its own requestId.
            for other in list(self._commands.values()):
                if other.call_id == call_id and other.type == "client_tool_call":
                    self._settle(other, message)
        if message["type"] == "client_tool_result":
            self._take_result(call_id, request_id, message)

    def give_up_largest(self) -> None:
        """Refuse what was too large for the server: it can only be one; the others go on."""
        if self._in_flight:
            largest = max(self._in_flight.values(), key=lambda command: len(command.text))
            self._fail(largest, BodyTooLarge("The server refuses messages this large."))

    def end(self, closed: CompanionClosed) -> None:
        """Nothing will be answered any more."""
        self._closed = closed
        for command in list(self._commands.values()):
            self._fail(command, closed)
        for call in self._calls.values():
            call.fail(closed)

    def _put(self, command: Command) -> Command:
        self._commands[command.request_id] = command
        self._unsent.append(command)
        self._wake.set()
        return command

    def _left(self, command: Command) -> None:
        """Whoever said it is gone; what is not on its way yet need not go."""
        if not command.answer.done() and command.request_id not in self._in_flight:
            command.answer.cancel()
            self._done(command)
        _let_go_of(command.answer)

    def _settle(self, command: Command, answer: Message | None) -> None:
        command.settle(answer)
        self._done(command)

    def _fail(self, command: Command, error: Exception) -> None:
        command.fail(error)
        self._done(command)
        for call in self._calls.values():
            if call.request_id == command.request_id:
                call.fail(error)

    def _done(self, command: Command) -> None:
        _let_go_of(command.answer)
        self._commands.pop(command.request_id, None)
        if self._in_flight.pop(command.request_id, None) is not None:
            self._wake.set()

    def _take_result(self, call_id: str | None, request_id: str, result: Message) -> None:
        call = self._calls.get(call_id or "")
        if call is None:
            call = next((c for c in self._calls.values() if c.request_id == request_id), None)
        if call is None or call.result.done():
            return
        if "result" in result:
            if not call.is_let_go and call_id is not None:
                self._claimed.append(call_id)
            call.result.set_result(result)
        else:
            call.fail(ToolClosed("This call was answered; its result is no longer in the log."))

    def _check_size(self, text: str) -> None:
        size_bytes = len(text.encode())
        if self._limit_bytes and size_bytes > self._limit_bytes:
            raise BodyTooLarge(
                f"This message has {size_bytes:,} bytes; the server takes {self._limit_bytes:,}."
            )

    def _clock(self) -> float:
        return asyncio.get_running_loop().time()

    def _overdue(self) -> Unavailable:
        return Unavailable(
            f"Nothing answered within {self._within_s:g} s. It is not known to be stored; "
            "the same requestId settles it."
        )

    # What was refused and will be said again.

    def _refuse(self, request_id: str, message: Message) -> None:
        details = {name: value for name, value in message.items() if name not in _ENVELOPE}
        error = error_of(message["code"], message["message"], details)
        command = self._commands.get(request_id)
        is_mark = self._mark is not None and request_id == self._mark.request_id
        if isinstance(error, TooManyRequests) and "retry_after_ms" in details:
            wait_s = details["retry_after_ms"] / 1000
            # From here on at the rate the server allows, or every second one is refused.
            self._spacing_s = min(1.0, max(self._spacing_s, wait_s * 1.1))
            self._hold(wait_s)
        elif isinstance(error, Unavailable) and not is_mark and self._may_ask_again(command):
            self._hold(UNAVAILABLE_RETRY_S)
        elif command is not None:
            self._fail(command, error)
        elif not is_mark:
            log.warning("The server refused something: %s (%s)", error.message, error.code)
        if is_mark:
            self._mark, self._wants_mark = None, self._is_held
            self._wake.set()

    def _may_ask_again(self, command: Command | None) -> bool:
        if command is None:
            return True
        if command.refused_at_s is None:
            command.refused_at_s = self._clock()
        return self._clock() - command.refused_at_s < UNAVAILABLE_S

    def _hold(self, wait_s: float) -> None:
        """Say nothing more until all that is on its way is answered; then from the oldest on."""
        self._not_before_s = max(self._not_before_s, self._clock() + wait_s)
        self._is_held = self._wants_mark = True
        self._wake.set()

    def _next_mark(self) -> Command:
        self._wants_mark = False
        request_id = uuid.uuid4().hex
        ping = {"type": "ping", "requestId": request_id, "resume": self._is_held}
        self._mark = _command(json_text(ping), ping, request_id)
        self._marked = [c for c in self._in_flight.values() if c.type in RELAYED]
        self._does_mark_resume = self._is_held
        return self._mark

    def _take_mark(self) -> None:
        self._mark = None
        for command in self._marked:
            if command.request_id in self._in_flight:
                self._records_relayed = False
                self._settle(command, None)
        if self._is_held and self._does_mark_resume:
            self._go_on()
        self._wake.set()

    def _go_on(self) -> None:
        self._mark = None
        self._is_held = False
        self._in_flight.clear()
        self._unsent = deque(self._commands.values())
        self._wake.set()


_ENVELOPE: Final = frozenset({"type", "code", "message", "requestId", "session_id", "timestamp"})


def json_text(value: Any) -> str:
    """Return JSON text the server will take; dataclasses and structs become objects.

    Raises:
        InvalidMessage: it cannot be JSON, or breaks a rule of the protocol's.
    """
    try:
        plain = msgspec.to_builtins(value)
        text = json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidMessage(f"This cannot be sent as JSON: {error}") from None
    protocol.parse(text)
    return text


def error_of(code: Any, message: str, details: Message) -> CompanionError:
    """Return the exception of an error's code."""
    known = ERRORS.get(str(code))
    if known is not None:
        return known(message, **details)
    error = CompanionError(message, **details)
    error.code = str(code)  # type: ignore[misc] # a newer server's
    return error


def _command(text: str, command: Mapping[str, Any], request_id: str) -> Command:
    answer = asyncio.get_running_loop().create_future()
    call_id = _call_id_of(command)
    return Command(text, str(command.get("type")), request_id, answer, call_id)


def _again(call: _Call) -> Command:
    return _command(json_text(call.command), call.command, call.request_id)


def _call_id_of(message: Mapping[str, Any]) -> str | None:
    """Return the id of the call a message makes or answers, nested or flat."""
    nested = message.get("client_tool_call")
    call_id = (nested if isinstance(nested, dict) else message).get("tool_call_id")
    return call_id if isinstance(call_id, str) else None


def _question(command: Message) -> Any:
    call = command["client_tool_call"]
    return call["tool_name"], call["parameters"]


def _let_go(future: asyncio.Future[Message]) -> None:
    """Nobody waits for it any more, whatever became of it."""
    if not future.cancel() and not future.cancelled():
        future.exception()


def _let_go_of(answer: asyncio.Future[Message | None]) -> None:
    """What nobody asks any more is no unseen error."""
    answer.add_done_callback(lambda done: done.cancelled() or done.exception())
