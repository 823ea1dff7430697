"""What a client said and nobody answered yet: sent again on every new connection, at a bearable rate.

Rules of this file:

1. A command stays until it is answered, and goes out again with the same
   `requestId`: nothing lost, nothing twice. An answer that says `duplicate` counts.
2. Few are on their way at once, so that a refusal of the server's rate costs little.
3. What the server only passes on has no answer; it is done once it is written.
"""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from companion_ws.core import protocol
from companion_ws.core.errors import (
    ERRORS,
    BodyTooLarge,
    CompanionError,
    InvalidMessage,
    TooManyRequests,
    Unavailable,
)
from companion_ws.core.view import Message

MAX_WAITING: Final = 1_000
"""Commands without an answer; whoever sends more waits for room."""
MAX_IN_FLIGHT: Final = 32
"""Commands on their way at once: below any burst a server allows."""
UNAVAILABLE_RETRIES: Final = 30
"""Seconds, one try each, for which a server that cannot store is asked again."""

_PASSED: Final = frozenset(
    {"screen", "rendered", "screen_command", "user_activity", "pairing_answer"}
)
_RELAYED: Final = frozenset(
    kind for kind, command in protocol.COMMANDS.items() if issubclass(command, protocol.Relayed)
)
"""What a server with `--no-transcripts` passes on, and any other records."""

log = logging.getLogger(__name__)


class CompanionClosed(Exception):
    """The session cannot be reached any more; `code` and `reason` say why.

    `code` is a close code of contract section 2 (4501: not authenticated, 4510:
    the session ended, …) or the HTTP status of a refused handshake.
    """

    def __init__(self, code: int | None, reason: str) -> None:
        super().__init__(f"{code}: {reason}" if reason else str(code))
        self.code = code
        self.reason = reason


@dataclass(slots=True, eq=False)
class Command:
    """JSON text on its way to an answer."""

    text: str
    type: str
    answer: asyncio.Future[Message | None]
    is_in_flight: bool = False
    retries: int = 0

    def settle(self, answer: Message | None) -> None:
        """Answer it; what has its answer keeps it."""
        if not self.answer.done():
            self.answer.set_result(answer)


@dataclass(slots=True, eq=False)
class _Call:
    """A tool call: acknowledged or not, its result is still to come."""

    text: str
    request_id: str
    result: asyncio.Future[Message]
    waiters: int = 0


class Outgoing:
    """The queue between whoever says something and the one connection there is, if there is one."""

    def __init__(self) -> None:
        self._commands: dict[str, Command] = {}
        self._unsent: deque[Command] = deque()
        self._calls: dict[str, _Call] = {}
        self._room = asyncio.Semaphore(MAX_WAITING)
        self._wake = asyncio.Event()
        self._pause_s = 0.0
        self._spacing_s = 0.0
        self._records_relayed: bool | None = None
        self._question = ""
        self._closed: CompanionClosed | None = None

    # For those who have something to say.

    async def say(self, command: Mapping[str, Any]) -> Message | None:
        """Send a command; return its answer, None for what the server only passes on.

        Raises:
            CompanionError: what the server answered, or that it is no message.
            CompanionClosed: it will never be answered.
        """
        request_id = str(command.get("requestId") or uuid.uuid4().hex)
        text = json_text({**command, "requestId": request_id})
        if request_id in self._commands:
            raise InvalidMessage(f"requestId {request_id} is under way already.")
        async with self._room:
            if self._closed is not None:
                raise self._closed
            pending = _command(text, str(command.get("type")))
            self._commands[request_id] = pending
            self._unsent.append(pending)
            self._wake.set()
            try:
                return await pending.answer
            finally:
                del self._commands[request_id]
                self._wake.set()

    async def call(self, call_id: str, call: Mapping[str, Any]) -> Message:
        """Make a tool call; return its `client_tool_result`. The same id is one call.

        Raises:
            CompanionError, CompanionClosed: as `say`.
        """
        request_id = uuid.uuid4().hex
        command = {"type": "client_tool_call", "requestId": request_id, "client_tool_call": call}
        text = json_text(command)
        result = asyncio.get_running_loop().create_future()
        pending = self._calls.setdefault(call_id, _Call(text, request_id, result))
        pending.waiters += 1
        try:
            if pending.request_id == request_id:
                await self.say(command)
            return await asyncio.shield(pending.result)
        finally:
            pending.waiters -= 1
            if not pending.waiters:
                del self._calls[call_id]
                _let_go(pending.result)

    # For the connection.

    def begin(self) -> None:
        """A new connection stands: everything without its answer goes out, in the old order."""
        self._pause_s = self._spacing_s = 0.0
        if not self._records_relayed:
            self._records_relayed = None  # this server may have other settings
        for command in self._commands.values():
            command.is_in_flight = False
        # The result of a call may have come and gone while nobody listened.
        again = [
            _command(call.text, "client_tool_call")
            for call in self._calls.values()
            if call.request_id not in self._commands and not call.result.done()
        ]
        self._unsent = deque([*self._commands.values(), *again])

    async def next(self) -> Command:
        """Wait for the next command to write."""
        while True:
            self._wake.clear()
            if not self._unsent or self._in_flight() >= MAX_IN_FLIGHT:
                await self._wake.wait()
                continue
            if self._pause_s or self._spacing_s:
                pause_s, self._pause_s = max(self._pause_s, self._spacing_s), 0.0
                await asyncio.sleep(pause_s)
            command = self._unsent.popleft()
            if not command.answer.done():
                command.is_in_flight = True
                return command

    def wrote(self, command: Command) -> None:
        """Take note that a command is on its way."""
        if command.type in _PASSED:
            command.settle(None)
        elif command.type in _RELAYED:
            if self._records_relayed is None:
                self._ask_whether_relayed_is_recorded()
            elif not self._records_relayed:
                command.settle(None)

    def renew_token(self) -> None:
        """Ask for the successor of a session token."""
        self._unsent.append(_command('{"type":"token_renew"}', "token_renew"))
        self._wake.set()

    def hear(self, message: Message) -> None:
        """Take the answers in what the server said."""
        if message["type"] == "error":
            self._refuse(message)
            return
        request_id = message.get("requestId", "")
        if request_id and request_id == self._question and self._records_relayed is None:
            self._records_relayed = False
            for command in self._commands.values():
                if command.type in _RELAYED and command.is_in_flight:
                    command.settle(None)
        if message["type"] in _RELAYED and "seq" in message:
            self._records_relayed = True
        if request_id in self._commands:
            self._commands[request_id].settle(message)
        if message["type"] == "client_tool_result":
            call = self._calls.get(message["tool_call_id"])
            if call is not None and not call.result.done():
                call.result.set_result(message)

    def give_up_largest(self) -> bool:
        """Refuse what was too large for the server, if it can only be one; the others go on."""
        on_the_way = [command for command in self._commands.values() if command.is_in_flight]
        if not on_the_way:
            return False
        largest = max(on_the_way, key=lambda command: len(command.text))
        if not largest.answer.done():
            largest.answer.set_exception(BodyTooLarge("The server refuses messages this large."))
        return True

    def end(self, closed: CompanionClosed) -> None:
        """Nothing will be answered any more."""
        self._closed = closed
        for command in self._commands.values():
            if not command.answer.done():
                command.answer.set_exception(closed)
        for call in self._calls.values():
            if not call.result.done():
                call.result.set_exception(closed)

    def _in_flight(self) -> int:
        return sum(command.is_in_flight for command in self._commands.values())

    def _ask_whether_relayed_is_recorded(self) -> None:
        """Ask what is answered after whatever was recorded before it: a record, or none."""
        self._question = uuid.uuid4().hex
        text = json_text({"type": "state_get", "key": "", "requestId": self._question})
        self._unsent.appendleft(_command(text, "state_get"))
        self._wake.set()

    def _refuse(self, message: Message) -> None:
        details = {name: value for name, value in message.items() if name not in _ENVELOPE}
        error = error_of(message["code"], message["message"], details)
        command = self._commands.get(message.get("requestId") or "")
        if isinstance(error, TooManyRequests):
            wait_s = details.get("retry_after_ms", 1000) / 1000
            self._pause_s = wait_s
            # From here on at the rate the server allows, or every second one is refused.
            self._spacing_s = min(1.0, max(self._spacing_s, wait_s * 1.1))
            # A server that refuses before it reads does not say which one it was.
            self._send_again([command] if command else list(self._commands.values()))
        elif command is None or command.answer.done():
            log.warning("The server refused something: %s (%s)", error.message, error.code)
        elif isinstance(error, Unavailable) and command.retries < UNAVAILABLE_RETRIES:
            command.retries += 1
            self._pause_s = 1.0
            self._send_again([command])
        else:
            command.answer.set_exception(error)

    def _send_again(self, commands: list[Command]) -> None:
        again = [command for command in commands if command.is_in_flight]
        for command in again:
            command.is_in_flight = False
        self._unsent.extendleft(reversed(again))
        self._wake.set()


_ENVELOPE: Final = frozenset({"type", "code", "message", "requestId", "session_id", "timestamp"})


def json_text(value: Any) -> str:
    """Return JSON text the server will take; dataclasses and structs become objects.

    Raises:
        InvalidMessage: it cannot be JSON, or breaks a rule of contract section 7.
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
    return ERRORS.get(str(code), CompanionError)(message, **details)


def _command(text: str, kind: str) -> Command:
    return Command(text, kind, asyncio.get_running_loop().create_future())


def _let_go(future: asyncio.Future[Message]) -> None:
    """Nobody waits for it any more, whatever became of it."""
    if not future.cancel() and not future.cancelled():
        future.exception()
