"""One connection from join to leave: its commands in, and what ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog

from companion_ws.access.credential import Credential
from companion_ws.access.limits import Rate
from companion_ws.access.tokens import Claims
from companion_ws.clock import Alarm
from companion_ws.config import Config
from companion_ws.core import protocol
from companion_ws.core.commands import Command, PairingAnswer, Ping, TokenRenew
from companion_ws.core.errors import (
    CompanionError,
    Forbidden,
    InvalidMessage,
    NotFound,
    TokenExpired,
    TooManyRequests,
)
from companion_ws.core.protocol import encode
from companion_ws.metrics import Metrics
from companion_ws.sessions import trail
from companion_ws.sessions.caller import Caller
from companion_ws.sessions.catch_up import catch_up
from companion_ws.sessions.connections import Connection
from companion_ws.sessions.live import LiveSession
from companion_ws.sessions.outbox import CLOSE_S, Outbox
from companion_ws.sessions.sessions import Sessions
from companion_ws.web.guard import token_end
from companion_ws.web.guard.joining import Join, welcome
from companion_ws.web.guard.permissions import check_renewable, is_owner
from companion_ws.web.socket.frames import BINARY, PING, PONG, TEXT, Message
from companion_ws.web.socket.websocket import WebSocket

PACE_S: Final = 0.005
"""How often to look whether a peer has read what it caused."""

log = structlog.get_logger(__name__)


class PairedDevices(Protocol):
    """What a visit must know of paired devices."""

    async def renew(self, claims: Claims) -> tuple[str, Claims]: ...

    async def label(self, device_id: str) -> str: ...

    async def touch(self, device_id: str) -> None: ...


@dataclass(frozen=True, slots=True)
class AppParts:
    """What every visit works with."""

    sessions: Sessions
    devices: PairedDevices
    answer_pairing: Callable[[str, str, bool], Awaitable[None]]
    waiting_devices: Callable[[str], Awaitable[list[dict[str, Any]]]]
    config: Config
    metrics: Metrics
    new_id: Callable[[], str]
    token_left_s: Callable[[Claims], float]


class Visit:
    """One connection from join to leave."""

    __slots__ = (
        "_after", "_control_rate", "_credential", "_epoch", "_joined", "_live", "_parts",
        "_rate", "_sessions", "_timers", "_under_way", "_ws", "connection",
    )

    def __init__(
        self,
        parts: AppParts,
        live: LiveSession,
        credential: Credential,
        join: Join,
        role: Any,
        ws: WebSocket,
        *,
        created: bool,
        reason: str | None,
    ) -> None:
        sessions, config = parts.sessions, parts.config
        self._parts = parts
        self._sessions = sessions
        self._credential = credential
        claims = credential.claims
        # A new session has no past to come back to.
        self._after = None if created else join.after
        self._epoch = join.epoch
        self._live = live
        per_s = config.rated_messages_per_s
        self._rate = Rate(per_s, config.limit_burst)
        # Of its own, so that no keep-alive of a library costs anybody a message.
        self._control_rate = Rate(per_s, config.limit_burst)
        self._ws = ws
        outbox = Outbox(
            ws.transport,
            config.limit_outbox_bytes,
            lambda why: sessions.connections.slow(self.connection, why),
            soon=sessions.connections.soon,
        )
        self.connection = Connection(
            connection_id=parts.new_id(),
            session_id=live.session_id,
            role=role,
            user=claims.user,
            owner=_account(live, claims),
            since_ms=sessions.now_ms(),
            outbox=outbox,
            heard=ws,
            device=join.device,
            device_id=claims.device_id,
            token=claims.ref,
            tools=join.tools,
            is_announced=role != "observer",
            is_ordered=join.ordered,
            is_owner=is_owner(claims, live.row),
        )
        self._timers: list[Alarm] = []
        self._under_way: set[asyncio.Task[None]] = set()
        # In one step with the checks of the limits: nothing awaits between.
        sessions.connections.add(self.connection)
        self._joined = welcome(
            sessions, config, join.session_id, created=created, reason=reason
        )

    async def run(self) -> None:
        """Join, read until the end, leave."""
        connection, live = self.connection, self._live
        event = "dropped"
        try:
            live.join(connection, self._after, self._epoch, self._joined)
            self._trail("joined")
            self._watch_token()
            if self._after is not None:
                self._do(self._catch_up(self._after))
            await self._tell_who_waits()
            self._ws.begin(self._hear)
            await self._ws.over
            event = self._ending()
        except CompanionError as error:
            connection.close(error.close_code or 1013, error.message)
        except Exception:
            log.exception("connection_failed", connection_id=connection.connection_id)
            connection.close(1011, "Something went wrong here; reconnect.")
        finally:
            for timer in self._timers:
                timer.cancel()
            for task in self._under_way:
                task.cancel()
            self._sessions.connections.remove(connection)
            live.leave(connection, event)
            self._sessions.left(live, connection)
            self._trail(event)
            connection.changed.set()
        await self._part()

    def _ending(self) -> str:
        """Note how the connection ended; return how presence tells it."""
        connection, ws = self.connection, self._ws
        if ws.closing is not None and connection.close_code is None:
            connection.close_code = ws.closing.code
            connection.close_reason = ws.closing.reason[:100]
            return "left"
        if ws.error is not None:
            if ws.error.code == 1009:
                self._note(InvalidMessage("The message is too large."))
            connection.close(ws.error.code, ws.error.reason)
        elif connection.close_code is None:
            connection.close_code = 1006
        return "dropped"

    def end(self, reason: CompanionError) -> None:
        """Close it: its token is good for nothing any more."""
        self.connection.close(reason.close_code or 4501, reason.message)

    async def _catch_up(self, after: int) -> None:
        """Wait for one's turn in the line, then replay."""
        connection = self.connection
        while not connection.is_joined and not connection.outbox.is_closed:
            connection.changed.clear()
            await connection.changed.wait()
        if connection.is_subscribed or connection.outbox.is_closed:
            return
        try:
            await catch_up(self._live, self._sessions.store, connection, after)
        except CompanionError as error:
            connection.close(1013, error.message)

    def _hear(self, message: Message) -> None:
        """Take a message or a control frame; stop reading while something has to be awaited."""
        if self.connection.outbox.is_closed:
            return
        unfinished = None
        try:
            if message.opcode in (PING, PONG):
                self._answer_control(message)
            else:
                unfinished = self._take(message)
        except Exception:
            log.exception("connection_failed", connection_id=self.connection.connection_id)
            self.connection.close(1011, "Something went wrong here; reconnect.")
        if unfinished is not None or self._has_no_room():
            self._ws.pause()
            self._do(self._read_on_after(unfinished))

    async def _read_on_after(self, unfinished: Awaitable[None] | None) -> None:
        if unfinished is not None:
            await unfinished
        await self._keep_room()
        self._ws.resume()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        """Do what takes longer than a turn; it ends with the connection."""
        task = asyncio.create_task(self._guarded(work))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception:
            log.exception("connection_failed", connection_id=self.connection.connection_id)
            self.connection.close(1011, "Something went wrong here; reconnect.")

    def _has_no_room(self) -> bool:
        """Whether the disk should catch up first, or the peer read what it caused.

        Source: docs/architecture.md.
        """
        connection = self.connection
        return (
            connection.is_ahead
            or (connection.ahead > 0 and self._live.is_disk_behind)
            or connection.outbox.is_crowded
        )

    async def _keep_room(self) -> None:
        """Read on only when there is room again."""
        connection = self.connection
        while self._has_no_room() and not connection.outbox.is_closed:
            if connection.outbox.is_crowded:
                await asyncio.sleep(PACE_S)
            else:
                connection.changed.clear()
                await connection.changed.wait()

    def _take(self, message: Message) -> Awaitable[None] | None:
        """Do what a message asks for; return what is left to be awaited of a rare one."""
        parsed = None
        try:
            self._check_rate(self._rate)
            if message.opcode == BINARY:
                raise InvalidMessage("Send text frames; binary ones are not read.")
            parsed = protocol.parse(message.payload)
            command, request_id = protocol.decode(parsed)
            connection = self.connection
            if command.by_entrance:
                return self._answer(command, request_id)
            connection.check_turn()
            size_bytes = len(message.payload)
            self._live.submit(
                command,
                Caller(connection.sender, request_id, connection, None, self._note, size_bytes),
            )
        except TooManyRequests as error:
            # Read all the same: who sent it has to know which one to send again.
            self._refused(error, _request_id(parsed, message))
        except CompanionError as error:
            self._refused(error, _request_id(parsed, message))
        return None

    def _answer(self, command: Command, request_id: str | None) -> Awaitable[None] | None:
        """Do what has no place in the session's order; return what has to be awaited of it."""
        if isinstance(command, (TokenRenew, PairingAnswer)):
            return self._settle(command, request_id)
        if isinstance(command, Ping):
            if command.resume:
                self.connection.refusal = None
            self._say("pong", request_id)
        return None

    async def _settle(self, command: TokenRenew | PairingAnswer, request_id: str | None) -> None:
        try:
            if isinstance(command, TokenRenew):
                await self._renew(request_id)
            else:
                await self._allow(command)
        except CompanionError as error:
            self._refused(error, request_id)

    def _answer_control(self, message: Message) -> None:
        """Answer a PING frame, a PONG by nothing; what is too often is refused like messages."""
        try:
            self._check_rate(self._control_rate)
            if message.opcode == PING:
                self.connection.outbox.push_pong(message.payload)
        except TooManyRequests as error:
            if message.opcode == PING:
                self._refused(error, None)

    def _check_rate(self, rate: Rate) -> None:
        retry_after_ms = rate.retry_after_ms()
        if retry_after_ms is None:
            return
        if rate.is_ignored():
            self.connection.close(4429, "You kept sending past the rate limit; reconnect and slow down.")
        raise TooManyRequests("Too many messages; slow down.", retry_after_ms=retry_after_ms)

    async def _renew(self, request_id: str | None) -> None:
        check_renewable(self._credential.claims)
        token, claims = await self._parts.devices.renew(self._credential.claims)
        self._credential.renewed(token, claims)
        self._live.active(self._sessions.clock.running_ms())
        self._watch_token()
        expires_at_ms = self._sessions.clock.shown_ms(claims.expires_at_ms)
        self._say("token_renewed", request_id, token=token, expires_at=expires_at_ms)

    async def _tell_who_waits(self) -> None:
        """Show an owner who comes, or comes back, the devices that wait for a yes."""
        if self._parts.config.pairing == "confirm" and self.connection.is_owner:
            for request in await self._parts.waiting_devices(self._live.session_id):
                self._say("pairing_request", None, **request)

    async def _allow(self, command: PairingAnswer) -> None:
        if not self.connection.is_owner:
            raise Forbidden("Only the session's owner answers a pairing.")
        self._live.active(self._sessions.clock.running_ms())
        try:
            await self._parts.answer_pairing(
                self._live.session_id, command.pairing_id, command.allow
            )
        except NotFound as error:
            # The protocol has no word of its own for it. Source: docs/protocol.md, errors.
            raise InvalidMessage(error.message) from None

    def _watch_token(self) -> None:
        """Tell of the token's end in time, and close when it has come."""
        for timer in self._timers:
            timer.cancel()
        self._timers = token_end.watch(
            self._credential.claims,
            self._parts.token_left_s,
            expiring=self._expiring,
            expired=self._expired,
        )

    def _expiring(self) -> None:
        expires_at_ms = self._sessions.clock.shown_ms(self._credential.claims.expires_at_ms)
        self._say("token_expiring", None, expires_at=expires_at_ms)

    def _expired(self) -> None:
        error = TokenExpired("The token has expired; fetch another and reconnect.")
        self.connection.close(4401, error.message)

    def _refused(self, error: CompanionError, request_id: str | None) -> None:
        self._note(error)
        self.connection.hold(error)
        live, now_ms = self._live, self._sessions.now_ms()
        live.tell_one(
            self.connection, protocol.error_message(error, request_id, live.session_id, now_ms)
        )

    def _note(self, error: CompanionError) -> None:
        self._parts.metrics.refused(error.code)
        log.info(
            "message_refused",
            code=error.code,
            reason=error.message,
            session_id=self._live.session_id,
            connection_id=self.connection.connection_id,
        )

    def _say(self, kind: str, request_id: str | None, **fields: Any) -> None:
        message = {
            "type": kind,
            **fields,
            "session_id": self._live.session_id,
            "timestamp": self._sessions.now_ms(),
        }
        if request_id is not None:
            message["requestId"] = request_id
        self._live.tell_one(self.connection, encode(message))

    def _trail(self, event: str) -> None:
        trail.note(self._sessions.store, self._sessions.now_ms(), self.connection, event)

    async def _part(self) -> None:
        """End the socket: answer the peer's close frame, or wait for it to answer ours."""
        outbox = self.connection.outbox
        if outbox.is_closed:
            self._ws.begin(self._hear)
            await self._ws.until_over(CLOSE_S)
        else:
            outbox.close(1000, "")


def _account(live: LiveSession, claims: Claims) -> str:
    """Return whose limits a connection counts for, "" where no user's."""
    lent = live.row.is_call or claims.kind in ("service", "session")
    return live.row.account if lent else claims.user


def _request_id(parsed: Any, message: Message) -> str | None:
    """Return the sender's own name for what is refused, readable or not."""
    if parsed is None and message.opcode == TEXT:
        return protocol.request_id_in(message.payload)
    return protocol.request_id_of(parsed)

