"""A client of a companion session that comes back where it left off.

Rules of this file:

1. Everything lives on the event loop that entered the client. Other threads use
   `asyncio.run_coroutine_threadsafe(..., companion.loop)`.
2. A command stays until the server has answered it and goes out again, with
   the same `requestId`, on every new connection: nothing lost, nothing twice.
3. A record is handed on once, in order; one that was received before is dropped, a
   gap ends the connection and the next one asks for what is missing.
4. Every queue is bounded: commands wait for room, readers that fall behind
   fetch what they missed over HTTP.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import uuid
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from types import TracebackType
from typing import Any, Final, Literal, Self

import aiohttp
import msgspec

from companion_ws.core import protocol
from companion_ws.core.errors import (
    ERRORS,
    BodyTooLarge,
    CompanionError,
    InvalidMessage,
    SlowConsumer,
    TooManyRequests,
    Unavailable,
)
from companion_ws.core.reconnect import delay_s, may_return
from companion_ws.core.view import Message, News, View

Role = Literal["agent", "ui", "observer"]
Token = str | Callable[[], str | Awaitable[str]]

HEARTBEAT_S: Final = 10.0
"""A silent server is noticed within one and a half of these."""
LEAVE_S: Final = 2.0
"""How long leaving waits for a server that does not say goodbye."""
MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
"""A join may bring a whole session's state and cards."""
MAX_WAITING: Final = 1_000
"""Commands without an answer; whoever sends more waits for room."""
MAX_IN_FLIGHT: Final = 32
"""Commands on their way at once: below any burst a server allows, so a refusal is cheap."""
MAX_KEPT: Final = 1_000
"""Records kept for slow readers of `records()`; older ones are fetched from the server."""
MAX_UNREAD: Final = 10_000
"""Messages a reader of `messages()` may fall behind."""
STEADY_S: Final = 5.0
"""A connection that lasted this long, or brought a record, makes the next wait short again."""
UNAVAILABLE_RETRIES: Final = 30
"""Seconds, one try each, for which a server that cannot store is asked again."""

_PASSED: Final = frozenset(
    {"screen", "rendered", "screen_command", "user_activity", "pairing_answer"}
)
"""What the server takes without an answer."""
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


class ToolFailed(Exception):
    """A tool answered with an error; `result` is its parsed result."""

    def __init__(self, tool_name: str, result: Any) -> None:
        super().__init__(f"{tool_name}: {result}")
        self.tool_name = tool_name
        self.result = result


@dataclass(frozen=True, slots=True)
class Invitation:
    """How a phone joins: a link to scan or send, a code to type at `code_url` or to say."""

    pairing_id: str
    url: str
    url_expires_at: int
    code: str
    code_expires_at: int
    code_url: str


@dataclass(slots=True, eq=False)
class _Command:
    text: str
    type: str
    answer: asyncio.Future[Message | None]
    is_in_flight: bool = False
    retries: int = 0


@dataclass(slots=True, eq=False)
class _Call:
    text: str
    request_id: str
    result: asyncio.Future[Message]
    waiters: int = 0


class CompanionClient:
    """One member of a session, as agent, screen or observer.

    `url` is the server's (`http://localhost:8000`); `token` a token, or a function
    that fetches one and is asked again when it has expired. Without `session_id` a
    session is made. `after` asks for the records after that one first. `tools`
    are the tool names a screen answers (none: any); `device` is what others see.

    Entering connects and waits for the session; afterwards the client reconnects by
    itself until it is left or the server says not to.

    Raises (entering):
        CompanionClosed: the server refuses this client for good.
        ConnectionError: nobody answered within `open_timeout_s`.
    """

    def __init__(
        self,
        url: str,
        *,
        token: Token,
        session_id: str | None = None,
        role: Role | None = "agent",
        device: str | None = None,
        tools: Iterable[str] = (),
        after: int | None = None,
        open_timeout_s: float = 20.0,
    ) -> None:
        self._url = url.rstrip("/")
        self._token_source = token
        self._token = token if isinstance(token, str) else ""
        self._asked_session_id = session_id
        self._role = role
        self._device = device
        self._tools = tuple(tools)
        self._open_timeout_s = open_timeout_s
        self._view = View(after)
        self._commands: dict[str, _Command] = {}
        self._unsent: deque[_Command] = deque()
        self._calls: dict[str, _Call] = {}
        self._room = asyncio.Semaphore(MAX_WAITING)
        self._wake = asyncio.Event()
        self._pause_s = 0.0
        self._spacing_s = 0.0
        self._records_relayed: bool | None = None
        self._barrier = ""
        self._kept: deque[Message] = deque(maxlen=MAX_KEPT)
        self._taken = 0
        self._first_after = 0
        self._snapshot_at = 0
        self._news = asyncio.Condition()
        self._readers: set[asyncio.Queue[Message | None]] = set()
        self._created = False
        self._reason: str | None = None
        self._closed: CompanionClosed | None = None
        self._trouble = "nobody answered"
        self._is_left = False
        self._task: asyncio.Task[None] | None = None

    # Coming and going.

    async def __aenter__(self) -> Self:
        self.loop = asyncio.get_running_loop()
        self._http = aiohttp.ClientSession()
        self._task = self.loop.create_task(self._stay_connected(), name="companion-client")
        try:
            async with asyncio.timeout(self._open_timeout_s):
                await self._wait_for(lambda: bool(self._view.joined))
        except TimeoutError:
            await self.close()
            raise ConnectionError(f"No session at {self._url}: {self._trouble}.") from None
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Leave the session; what was not acknowledged by now is given up."""
        self._is_left = True
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self._http.close()
        await self._finish(CompanionClosed(1000, "the client left"))

    # What it knows.

    @property
    def session_id(self) -> str:
        """The session this client is in; not always the one that was asked for."""
        return self._view.session_id or ""

    @property
    def created(self) -> bool:
        """Whether the first join made a new session."""
        return self._created

    @property
    def reason(self) -> str | None:
        """Why it is another session than the one asked for: `session_unavailable`, or None."""
        return self._reason

    @property
    def joined(self) -> Message:
        """The newest `session_joined`, as the server sent it."""
        return self._view.joined

    @property
    def epoch(self) -> str | None:
        """Names the server's log; it changes when a backup is restored."""
        return self._view.epoch

    @property
    def seq(self) -> int:
        """Of the last record received."""
        return self._view.seq

    @property
    def state(self) -> Mapping[str, Any]:
        """The session's state as this client last heard it: key to value."""
        return {key: entry["value"] for key, entry in self._view.state.items()}

    def revision(self, key: str) -> int:
        """Return the revision of a key as last heard, 0 where it is absent; for `if_revision`."""
        return int(self._view.state.get(key, {"revision": 0})["revision"])

    @property
    def presence(self) -> list[Message]:
        """Who is connected, this client included."""
        return list(self._view.presence.values())

    @property
    def screens(self) -> list[Message]:
        """Those in `presence` that are screens."""
        return [entry for entry in self.presence if entry["role"] == "ui"]

    # What it can say.

    async def contextual_update(
        self,
        text: str,
        data: Any = None,
        *,
        ui: Mapping[str, Any] | None = None,
        context_id: str | None = None,
    ) -> Message:
        """Tell everyone in the session; return the record once it is stored.

        An update with a `context_id` replaces the card of the one before it.
        """
        return await self._record(
            "contextual_update", text=text, data=data, ui=ui, context_id=context_id
        )

    async def set_state(self, key: str, value: Any, if_revision: int | None = None) -> Message:
        """Set a key; return its `state_updated` record.

        Raises:
            RevisionConflict: `if_revision` (0: only if absent) does not hold;
                `details` are the current `value` and `revision`.
        """
        command: Message = {"type": "state_update", "key": key, "value": value}
        return await self._answered(_with(command, if_revision=if_revision))

    async def delete_state(self, key: str, if_revision: int | None = None) -> Message:
        """Remove a key; return its `state_deleted` record.

        Raises:
            RevisionConflict: as `set_state`.
        """
        return await self._record("state_delete", key=key, if_revision=if_revision)

    async def get_state(self, key: str | None = None) -> Any:
        """Ask the server: the value of `key` (None where absent), or all values by key."""
        answer = await self._record("state_get", key=key)
        values = {name: entry["value"] for name, entry in answer["state"].items()}
        return values if key is None else values.get(key)

    async def user_message(self, text: str, in_reply_to: str | None = None) -> Message:
        """Say something as the person; return the record."""
        return await self._record("user_message", text=text, in_reply_to=in_reply_to)

    async def call_tool(
        self, tool_name: str, /, *, timeout_ms: int | None = None, **parameters: Any
    ) -> Any:
        """Call a server tool or ask the screens; return the parsed result.

        There is one within `timeout_ms` (server default 18,000) of the call being stored, also
        when no screen is there: `{"status": "no_screen", "say": "…", …}`.

        Raises:
            ToolFailed: the result says `is_error`.
        """
        record = await self.call(tool_name, parameters, timeout_ms=timeout_ms)
        result = _parsed(record["result"])
        if record["is_error"]:
            raise ToolFailed(tool_name, result)
        return result

    async def call(
        self,
        tool_name: str,
        parameters: Mapping[str, Any],
        *,
        tool_call_id: str | None = None,
        timeout_ms: int | None = None,
    ) -> Message:
        """Call a tool; return the `client_tool_result` record.

        The same `tool_call_id` is one call, however often it is made.
        """
        call_id = tool_call_id or uuid.uuid4().hex
        call = _with(
            {"tool_name": tool_name, "tool_call_id": call_id, "parameters": parameters},
            timeout_ms=timeout_ms,
        )
        request_id = uuid.uuid4().hex
        command = {"type": "client_tool_call", "requestId": request_id, "client_tool_call": call}
        text = _text(command)
        waiting = self._calls.setdefault(
            call_id, _Call(text, request_id, self.loop.create_future())
        )
        waiting.waiters += 1
        try:
            if waiting.request_id == request_id:
                await self.send(command)
            return await asyncio.shield(waiting.result)
        finally:
            waiting.waiters -= 1
            if not waiting.waiters:
                del self._calls[call_id]
                _drop(waiting.result)

    async def answer_tool(self, tool_call_id: str, result: Any, is_error: bool = False) -> Message:
        """Answer a call, as a screen does; what is not a string is sent as its JSON text.

        Returns the `client_tool_result` record, or `user_message` where the agent had been
        released before.

        Raises:
            ToolClosed: somebody was first.
        """
        text = result if isinstance(result, str) else _text(result)
        command: Message = {"type": "client_tool_result", "tool_call_id": tool_call_id}
        return await self._answered({**command, "result": text, "is_error": is_error})

    async def cancel_tool(self, tool_call_id: str) -> Message:
        """Withdraw a call of this agent's."""
        return await self._record("client_tool_cancel", tool_call_id=tool_call_id)

    async def send(self, command: Mapping[str, Any]) -> Message | None:
        """Send any command; return what the server answers, None for what it only passes on.

        A record comes once it is stored. An answer that says `duplicate` counts like the first.

        Raises:
            CompanionError: what the server answered, by its code.
            CompanionClosed: the session cannot be reached any more.
        """
        request_id = str(command.get("requestId") or uuid.uuid4().hex)
        text = _text({**command, "requestId": request_id})
        if request_id in self._commands:
            raise InvalidMessage(f"requestId {request_id} is under way already.")
        async with self._room:
            if self._closed is not None:
                raise self._closed
            pending = _Command(text, str(command.get("type")), self.loop.create_future())
            self._commands[request_id] = pending
            self._unsent.append(pending)
            self._wake.set()
            try:
                return await pending.answer
            finally:
                self._commands.pop(request_id, None)
                self._wake.set()

    async def pair(self, ttl_s: int | None = None) -> Invitation:
        """Open a pairing for this session: a link and a code for a phone.

        Raises:
            CompanionError: the server refused, by its code.
        """
        body = {} if ttl_s is None else {"ttl_s": ttl_s}
        answer = await self.http("POST", f"/sessions/{self.session_id}/pairings", body)
        return Invitation(**{field.name: answer[field.name] for field in fields(Invitation)})

    async def http(self, method: str, path: str, body: Any = None) -> Any:
        """Use a route of the server with this client's token; return the JSON it answers.

        Raises:
            CompanionError: the problem it answered, by its code.
            Unavailable: the server could not be reached.
        """
        headers = {"Authorization": f"Bearer {self._token}"}
        try:
            async with self._http.request(
                method, self._url + path, json=body, headers=headers
            ) as response:
                answer = await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise Unavailable(f"{method} {path}: {error}") from error
        if response.status >= 400:
            details = answer if isinstance(answer, dict) else {}
            raise _error(details.get("code"), details.get("detail") or response.reason or "", {})
        return answer

    # What it hears.

    async def records(self) -> AsyncIterator[Message]:
        """Yield every record from the first join on, in order, each once.

        Own records are among them. A client that was away for so long that the
        server's log was trimmed goes on from the snapshot (`joined["recovery"]` says so).

        Raises:
            SlowConsumer: this reader fell behind what the server still has.
            CompanionClosed: the server ended it; all records before were yielded.
        """
        position, after = 0, self._first_after
        while True:
            behind = self._taken - len(self._kept) - position
            if behind > 0:
                if position < self._snapshot_at:
                    raise SlowConsumer("What this reader has not read is gone from the server.")
                async for record in self._fetch(after, behind):
                    position, after = position + 1, record["seq"]
                    yield record
                continue
            if position == self._taken:
                if self._is_left:
                    return
                await self._beyond(position)
                continue
            record = self._kept[position - self._taken]
            position, after = position + 1, record["seq"]
            yield record

    async def messages(self) -> AsyncIterator[Message]:
        """Yield every message from now on as it arrives, records and others, repeats included.

        Raises:
            SlowConsumer: this reader fell ten thousand messages behind.
            CompanionClosed: the server ended it.
        """
        reader: asyncio.Queue[Message | None] = asyncio.Queue(MAX_UNREAD)
        self._readers.add(reader)
        try:
            while self._closed is None or not reader.empty():
                message = await reader.get()
                if message is not None:
                    yield message
                if reader not in self._readers:
                    raise SlowConsumer("This reader of messages() fell too far behind.")
        finally:
            self._readers.discard(reader)
        if not self._is_left and self._closed is not None:
            raise self._closed

    async def wait_for_screen(self, timeout: float | None = None) -> Message:
        """Wait until a screen is connected; return its presence entry.

        Raises:
            TimeoutError: none came within `timeout` seconds.
        """
        async with asyncio.timeout(timeout):
            await self._wait_for(lambda: bool(self.screens))
        return self.screens[0]

    async def wait_until(
        self, holds: Callable[[CompanionClient], bool], timeout: float | None = None
    ) -> None:
        """Wait until `holds(self)`, asked after everything that arrives.

        Raises:
            TimeoutError: it did not within `timeout` seconds.
        """
        async with asyncio.timeout(timeout):
            await self._wait_for(lambda: holds(self))

    # Inside: one task keeps one connection; while it stands, one reads and one writes.

    async def _stay_connected(self) -> None:
        attempt = 0
        while True:
            started_s, taken = self.loop.time(), self._taken
            code, reason = await self._connect_once()
            final = self._is_final(code)
            if final:
                await self._finish(CompanionClosed(code, reason))
                return
            self._trouble = reason or f"the connection ended ({code})"
            log.info("Connection lost: %s", self._trouble)
            steady = self._taken > taken or self.loop.time() - started_s > STEADY_S
            attempt = 0 if steady else attempt + 1
            await asyncio.sleep(delay_s(attempt, random.random()))  # noqa: S311 - jitter, no secret

    def _is_final(self, code: int | None) -> bool:
        if code == 1009:
            return not self._give_up_largest()
        if code == 4401:
            return isinstance(self._token_source, str)
        if code is not None and code < 1000:  # the status of a refused handshake
            return 400 <= code < 500 and code not in (408, 425, 429)
        return not may_return(code)

    def _give_up_largest(self) -> bool:
        """Refuse the command that was too large; the others go on."""
        on_the_way = [command for command in self._commands.values() if command.is_in_flight]
        if not on_the_way:
            return False
        largest = max(on_the_way, key=lambda command: len(command.text))
        if not largest.answer.done():
            largest.answer.set_exception(BodyTooLarge("The server refuses messages this large."))
        return True

    async def _connect_once(self) -> tuple[int | None, str]:
        """Connect, stay, and return the close code (or HTTP status) and reason."""
        try:
            if not isinstance(self._token_source, str):
                fetched = self._token_source()
                self._token = fetched if isinstance(fetched, str) else await fetched
            async with asyncio.timeout(HEARTBEAT_S):
                ws = await self._http.ws_connect(
                    f"{self._url}/ws",
                    params=self._parameters(),
                    headers={"Authorization": f"Bearer {self._token}"},
                    heartbeat=HEARTBEAT_S,
                    max_msg_size=MAX_MESSAGE_BYTES,
                    timeout=aiohttp.ClientWSTimeout(ws_close=LEAVE_S),
                )
        except aiohttp.WSServerHandshakeError as error:
            return error.status, f"the server answered the handshake with HTTP {error.status}"
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return None, f"{self._url} cannot be reached ({error or type(error).__name__})"
        try:
            return await self._talk(ws)
        finally:
            with suppress(aiohttp.ClientError, OSError):
                await ws.close()

    def _parameters(self) -> dict[str, str]:
        view = self._view
        wanted: dict[str, Any] = {
            "session_id": view.session_id or self._asked_session_id,
            "after": view.after,
            "epoch": view.epoch,
            # Coming back must not land in another session without a word.
            "strict": 1 if view.session_id else None,
            "role": self._role,
            "device": self._device,
            "tools": ",".join(self._tools) or None,
        }
        return {name: str(value) for name, value in wanted.items() if value is not None}

    async def _talk(self, ws: aiohttp.ClientWebSocketResponse) -> tuple[int | None, str]:
        writer: asyncio.Task[None] | None = None
        reason = ""
        try:
            async for frame in ws:
                if frame.type is not aiohttp.WSMsgType.TEXT:
                    continue
                message = json.loads(frame.data)
                if message["type"] == "session_joined":
                    self._join(message)
                    writer = self.loop.create_task(self._write(ws), name="companion-writer")
                if not self._hear(message):
                    return 1006, "a record is missing"
                async with self._news:
                    self._news.notify_all()
        except (ValueError, KeyError, TypeError) as error:
            log.warning("The server sent what is no message: %r", error)
            return 1006, "the server sent what is no message"
        finally:
            if writer is not None:
                writer.cancel()
                await asyncio.gather(writer, return_exceptions=True)
        if isinstance(ws.exception(), aiohttp.WebSocketError):
            reason = str(ws.exception())
        return ws.close_code, reason or _REASONS.get(ws.close_code or 0, "")

    def _join(self, joined: Message) -> None:
        is_first = not self._view.joined
        self._view.join(joined)
        if is_first:
            self._created, self._reason = joined["created"], joined["reason"]
            self._first_after = self._view.seq
        elif joined["recovery"] == "snapshot":
            self._snapshot_at = self._taken
        self._pause_s = self._spacing_s = 0.0
        if not self._records_relayed:
            self._records_relayed = None  # this server may have other settings
        for command in self._commands.values():
            command.is_in_flight = False
        again = [
            _Command(call.text, "client_tool_call", self.loop.create_future())
            for call in self._calls.values()
            if call.request_id not in self._commands and not call.result.done()
        ]
        self._unsent = deque([*self._commands.values(), *again])

    async def _write(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            self._wake.clear()
            if not self._unsent or self._in_flight() >= MAX_IN_FLIGHT:
                await self._wake.wait()
                continue
            if self._pause_s:
                pause_s, self._pause_s = self._pause_s, 0.0
                await asyncio.sleep(pause_s)
            command = self._unsent.popleft()
            if command.answer.done():
                continue
            command.is_in_flight = True
            is_relayed = command.type in _RELAYED
            try:
                await ws.send_str(command.text)
                if is_relayed and self._records_relayed is None:
                    await ws.send_str(self._new_barrier())
            except (aiohttp.ClientError, OSError):
                return  # The reading side sees the end, too, and tells why.
            if command.type in _PASSED or (is_relayed and self._records_relayed is False):
                _answer(command, None)
            await asyncio.sleep(self._spacing_s)

    def _new_barrier(self) -> str:
        """Return a question that is answered after whatever was recorded before it.

        So the client learns whether this server records transcripts or only passes them on.
        """
        self._barrier = uuid.uuid4().hex
        return _text({"type": "state_get", "key": "", "requestId": self._barrier})

    def _in_flight(self) -> int:
        return sum(command.is_in_flight for command in self._commands.values())

    def _hear(self, message: Message) -> bool:
        """Take one message; False where records before it are missing."""
        kind = message["type"]
        if kind == "error":
            self._refuse(message)
        elif kind == "presence":
            self._view.meet(message)
        elif kind == "token_expiring":
            self._unsent.append(
                _Command('{"type":"token_renew"}', "token_renew", self.loop.create_future())
            )
            self._wake.set()
        elif kind == "token_renewed":
            self._token = message["token"]
        elif "seq" in message and kind != "session_joined":
            news = self._view.take(message) if "duplicate" not in message else News.KNOWN
            if news is News.GAP:
                return False
            if news is News.NEW:
                self._kept.append(message)
                self._taken += 1
        self._settle(message)
        for reader in list(self._readers):
            self._hand(reader, message)
        return True

    def _settle(self, message: Message) -> None:
        if message["type"] == "error":
            return
        request_id = message.get("requestId", "")
        if request_id and request_id == self._barrier and self._records_relayed is None:
            self._records_relayed = False
            for command in self._commands.values():
                if command.type in _RELAYED and command.is_in_flight:
                    _answer(command, None)
        if message["type"] in _RELAYED and "seq" in message:
            self._records_relayed = True
        waiting = self._commands.get(request_id)
        if waiting is not None:
            _answer(waiting, message)
        if message["type"] == "client_tool_result":
            call = self._calls.get(message["tool_call_id"])
            if call is not None and not call.result.done():
                call.result.set_result(message)

    def _refuse(self, message: Message) -> None:
        details = {
            name: value
            for name, value in message.items()
            if name not in ("type", "code", "message", "requestId", "session_id", "timestamp")
        }
        error = _error(message["code"], message["message"], details)
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

    def _send_again(self, commands: list[_Command]) -> None:
        again = [command for command in commands if command.is_in_flight]
        for command in again:
            command.is_in_flight = False
        self._unsent.extendleft(reversed(again))
        self._wake.set()

    def _hand(self, reader: asyncio.Queue[Message | None], message: Message) -> None:
        try:
            reader.put_nowait(message)
        except asyncio.QueueFull:
            self._readers.discard(reader)

    async def _finish(self, closed: CompanionClosed) -> None:
        """Tell everyone who waits that it is over."""
        if self._closed is not None:
            return
        self._closed = closed
        for command in self._commands.values():
            if not command.answer.done():
                command.answer.set_exception(closed)
        for call in self._calls.values():
            if not call.result.done():
                call.result.set_exception(closed)
        for reader in list(self._readers):
            if not reader.full():
                reader.put_nowait(None)
        async with self._news:
            self._news.notify_all()

    async def _wait_for(self, holds: Callable[[], bool]) -> None:
        async with self._news:
            await self._news.wait_for(lambda: holds() or self._closed is not None)
        if self._closed is not None and not holds():
            raise self._closed

    async def _beyond(self, position: int) -> None:
        await self._wait_for(lambda: self._is_left or self._taken > position)

    async def _fetch(self, after: int, count: int) -> AsyncIterator[Message]:
        """Yield up to `count` records from the server's log, for a reader that fell behind."""
        path = f"/sessions/{self.session_id}/records?after={after}&limit={min(count, 100)}"
        records = (await self.http("GET", path))["records"]
        if not records or records[0]["seq"] > after + 1:
            raise SlowConsumer("The server's log no longer has what this reader has not read.")
        for record in records:
            yield record

    async def _record(self, kind: str, **fields_: Any) -> Message:
        return await self._answered(_with({"type": kind}, **fields_))

    async def _answered(self, command: Message) -> Message:
        answer = await self.send(command)
        if answer is None:
            raise InvalidMessage(f"{command['type']} has no answer.")
        return answer


_REASONS: Final = {
    1009: "a message was too large",
    4401: "the token has expired",
    4500: "a parameter is malformed",
    4501: "not authenticated, or the token was revoked",
    4503: "this token may not do that here",
    4504: "there is no such session",
    4510: "the session ended or expired",
}


def _with(command: Message, **optional: Any) -> Message:
    return {**command, **{name: value for name, value in optional.items() if value is not None}}


def _text(value: Any) -> str:
    """Return JSON text the server will take.

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


def _answer(command: _Command, answer: Message | None) -> None:
    if not command.answer.done():
        command.answer.set_result(answer)


def _drop(future: asyncio.Future[Message]) -> None:
    """Let go of a future nobody waits for, whatever became of it."""
    if not future.cancel() and not future.cancelled():
        future.exception()


def _parsed(result: str) -> Any:
    try:
        return json.loads(result)
    except ValueError:
        return result


def _error(code: Any, message: str, details: Message) -> CompanionError:
    return ERRORS.get(str(code), CompanionError)(message, **details)
