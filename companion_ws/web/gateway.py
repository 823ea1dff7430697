"""WebSocket in, WebSocket out.

Rules of this file:

1. Accept first, then close with our code: a browser is never shown the status
   of a refused handshake. Before the upgrade there is only 400, 403 and 421.
2. Nobody waits in aiohttp's drain: frames go to the transport by the outbox.
3. The gateway never waits for its own commands; it stops reading when too many
   of them wait for the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final, Protocol

import structlog
from aiohttp import WSMessage, WSMsgType, web

from companion_ws import __version__
from companion_ws.access.limits import Rate
from companion_ws.access.tokens import Claims, Tokens
from companion_ws.config import Config
from companion_ws.core import protocol
from companion_ws.core.errors import (
    CompanionError,
    Forbidden,
    InvalidMessage,
    Overloaded,
    SessionEnded,
    SessionForbidden,
    SessionNotFound,
    TokenExpired,
    TooManyConnections,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
)
from companion_ws.core.protocol import PairingAnswer, Ping, Rendered, TokenRenew, encode
from companion_ws.metrics import Metrics
from companion_ws.sessions.catch_up import catch_up
from companion_ws.sessions.connections import Connection
from companion_ws.sessions.live import Live
from companion_ws.sessions.outbox import SEND_BUFFER_BYTES, Outbox, close_frame
from companion_ws.sessions.sessions import Sessions
from companion_ws.web.joining import Join, check_once, read_join, role_of
from companion_ws.web.middleware import carried_token
from companion_ws.web.routes import PUBLIC, Route

HEARTBEAT_S: Final = 10.0
"""A dead peer is noticed within 1.58 times this. Source: research/security-reliability.md 4.1."""
EXPIRING_S: Final = 300.0
"""How long before its end a session token is told to renew. Source: contract section 2."""
CLOSE_S: Final = 1.5
SUBPROTOCOL: Final = "companion.v1"
NEVER_DRAIN: Final = 2**62

log = structlog.get_logger(__name__)


class PairedDevices(Protocol):
    """What the gateway must know of paired devices."""

    async def renew(self, claims: Claims) -> tuple[str, Claims]: ...

    async def label(self, device_id: str) -> str: ...

    async def saw(self, device_id: str) -> None: ...


AnswerPairing = Callable[[str, str, bool], Awaitable[None]]


class Gateway:
    """Serves `GET /ws`."""

    def __init__(
        self,
        sessions: Sessions,
        tokens: Tokens,
        devices: PairedDevices,
        answer_pairing: AnswerPairing,
        config: Config,
        metrics: Metrics,
        new_id: Callable[[], str],
    ) -> None:
        self._sessions = sessions
        self._tokens = tokens
        self._devices = devices
        self._answer_pairing = answer_pairing
        self._config = config
        self._metrics = metrics
        self._new_id = new_id
        self.is_stopping = False

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/ws", PUBLIC, self.serve, summary="Join a session (WebSocket)"),
        ]

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Join, read commands until the connection ends, leave."""
        check_once(request)
        token = carried_token(request)
        limit = self._config.limit_message_bytes
        ws = web.WebSocketResponse(
            heartbeat=HEARTBEAT_S,
            autoclose=False,
            compress=False,
            # aiohttp refuses a message of exactly max_msg_size.
            max_msg_size=limit + 1 if limit else 0,
            writer_limit=NEVER_DRAIN,
            timeout=CLOSE_S,
            protocols=(SUBPROTOCOL,),
        )
        await ws.prepare(request)
        transport = request.transport
        if transport is None:
            return ws
        _bound_send_buffer(transport)
        try:
            visit = await self._admit(request, token, transport)
        except CompanionError as error:
            self._refuse(transport, error)
            await _until_closed(ws)
            _let_go(transport)
            return ws
        try:
            await visit.run(ws)
        finally:
            _let_go(transport)
        return ws

    async def _admit(
        self, request: web.Request, token: str | None, transport: asyncio.Transport
    ) -> Visit:
        if self.is_stopping:
            raise Overloaded("The server is stopping; come back.")
        if token is None:
            raise Unauthenticated("A token is needed to join.")
        claims = self._tokens.verify(token)
        try:
            return await self._admitted(request, claims, transport)
        except CompanionError as error:
            if claims.session_id is not None:
                self._trail_refusal(claims, error)
            raise

    def _trail_refusal(self, claims: Claims, error: CompanionError) -> None:
        details = {
            "role": claims.role,
            "user": claims.user,
            "device_id": claims.device_id,
            "code": error.close_code,
            "reason": error.message,
        }
        self._sessions.store.trail(
            claims.session_id or "", self._sessions.now_ms(), "refused", encode(details)
        )

    async def _admitted(
        self, request: web.Request, claims: Claims, transport: asyncio.Transport
    ) -> Visit:
        join = read_join(request)
        role = role_of(claims, join.role)
        if claims.device_id is not None:
            label = join.device or await self._devices.label(claims.device_id)
            join = replace(join, device=label)
            # A disk that refuses keeps nobody from joining and reading.
            with contextlib.suppress(Unavailable):
                await self._devices.saw(claims.device_id)
        live, created, reason = await self._find(claims, join, role)
        # In one step with joining: whoever revokes now finds this connection and closes it.
        self._tokens.check(claims)
        return Visit(self, live, claims, join, role, transport, created=created, reason=reason)

    async def _find(self, claims: Claims, join: Join, role: str) -> tuple[Live, bool, str | None]:
        """Return the session to join, whether it is new, and why it is another than asked for."""
        if claims.kind == "session":
            return await self._own_session(claims, join), False, None
        if join.session_id is not None:
            live = await self._sessions.open(join.session_id)
            if live is not None and _may_enter(claims, live, role):
                self._check_room(live.row.user, live.session_id)
                if claims.kind == "admin" and live.row.user != claims.user:
                    log.info("admin_observes", user=claims.user, session_id=live.session_id)
                return live, False, None
            log.info(
                "session_unavailable",
                session_id=join.session_id,
                user=claims.user,
                cause="unknown or expired" if live is None else "owned by somebody else",
            )
            if join.strict:
                raise SessionNotFound("There is no such session.")
        if claims.kind == "service":
            raise SessionForbidden("A service token opens sessions by POST /sessions.")
        self._check_room(claims.user, None)
        summary = await self._sessions.create(claims.user)
        live = await self._sessions.open(summary.session_id)
        if live is None:
            raise Overloaded("The session could not be opened; come back.")
        # Others of this user may have come while the session was stored.
        self._check_room(claims.user, None)
        return live, True, None if join.session_id is None else "session_unavailable"

    async def _own_session(self, claims: Claims, join: Join) -> Live:
        if join.session_id is not None and join.session_id != claims.session_id:
            raise SessionForbidden("This token belongs to another session.")
        live = await self._sessions.open(claims.session_id or "")
        if live is None:
            raise SessionEnded("The session has ended.")
        self._check_room(live.row.user, live.session_id)
        return live

    def _check_room(self, owner: str, session_id: str | None) -> None:
        """Refuse a connection beyond the limits of its session and its owner."""
        connections, config = self._sessions.connections, self._config
        most = config.limit_connections_per_session
        if session_id and most and len(connections.of_session(session_id)) >= most:
            raise TooManyConnections(f"This session has {most} connections, which is the limit.")
        most = config.limit_connections_per_user
        if most and connections.count_of_owner(owner) >= most:
            raise TooManyConnections(f"This user has {most} connections, which is the limit.")

    def _refuse(self, transport: asyncio.Transport, error: CompanionError) -> None:
        self._metrics.refused(error.code)
        log.info("join_refused", code=error.code, reason=error.message)
        code = error.close_code if error.close_code is not None else 1013
        if not transport.is_closing():
            transport.write(close_frame(code, error.message))


class Visit:
    """One connection from join to leave."""

    def __init__(
        self,
        gateway: Gateway,
        live: Live,
        claims: Claims,
        join: Join,
        role: Any,
        transport: asyncio.Transport,
        *,
        created: bool,
        reason: str | None,
    ) -> None:
        sessions, config = gateway._sessions, gateway._config
        self._gateway = gateway
        self._sessions = sessions
        self._claims = claims
        # A new session has no past to come back to.
        self._after = None if created else join.after
        self._epoch = join.epoch
        self._live = live
        self._rate = Rate(
            config.limit_messages_per_s,
            config.limit_burst if config.limit_messages_per_s else 0,
        )
        outbox = Outbox(
            transport,
            config.limit_outbox_bytes,
            lambda why: sessions.connections.slow(self.connection, why),
        )
        self.connection = Connection(
            connection_id=gateway._new_id(),
            session_id=live.session_id,
            role=role,
            user=claims.user,
            owner=live.row.user if claims.kind in ("service", "session") else claims.user,
            since_ms=sessions.now_ms(),
            outbox=outbox,
            device=join.device,
            device_id=claims.device_id,
            token_id=claims.id,
            tools=join.tools,
            is_announced=role != "observer",
        )
        self._timers: list[asyncio.TimerHandle] = []
        # In one step with the checks of the limits: nothing awaits between.
        sessions.connections.add(self.connection)
        self._joined = {
            "protocol": 1,
            "server": __version__,
            "created": created,
            "requested_session_id": join.session_id,
            "reason": reason,
            "expires_at": sessions.now_ms() + int(sessions.rules.ttl_s * 1000),
        }

    async def run(self, ws: web.WebSocketResponse) -> None:
        """Join, read until the end, leave."""
        connection, live = self.connection, self._live
        event = "dropped"
        catching_up: asyncio.Task[None] | None = None
        try:
            live.join(connection, self._after, self._epoch, self._joined)
            self._trail("joined")
            self._watch_token()
            if self._after is not None:
                catching_up = asyncio.create_task(self._catch_up(self._after))
            event = await self._read(ws)
        except CompanionError as error:
            connection.close(error.close_code or 1013, error.message)
        except Exception:
            log.exception("connection_failed", connection_id=connection.connection_id)
            connection.close(1011, "Something went wrong here; come back.")
        finally:
            for timer in self._timers:
                timer.cancel()
            if catching_up is not None:
                catching_up.cancel()
            self._sessions.connections.remove(connection)
            live.leave(connection, event)
            self._sessions.left(live, connection)
            self._trail(event)
            connection.room.set()
        await self._part(ws)

    async def _catch_up(self, after: int) -> None:
        """Wait for one's turn in the line, then replay."""
        connection = self.connection
        while not connection.is_joined and not connection.outbox.is_closed:
            connection.room.clear()
            await connection.room.wait()
        if connection.is_subscribed or connection.outbox.is_closed:
            return
        try:
            await catch_up(self._live, self._sessions.store, connection, after)
        except CompanionError as error:
            connection.close(1013, error.message)

    async def _read(self, ws: web.WebSocketResponse) -> str:
        """Read commands; return how the connection ended."""
        connection = self.connection
        while True:
            message = await ws.receive()
            match message.type:
                case WSMsgType.TEXT | WSMsgType.BINARY:
                    if not connection.outbox.is_closed:
                        await self._take(message)
                        await self._keep_room()
                case WSMsgType.CLOSE:
                    if connection.close_code is None:
                        connection.close_code = message.data
                        connection.close_reason = (message.extra or "")[:100]
                        return "left"
                    return "dropped"
                case _:
                    if ws.close_code == 1009:
                        self._note(InvalidMessage("The message is too large."))
                    connection.close_code = connection.close_code or ws.close_code
                    return "dropped"

    async def _keep_room(self) -> None:
        """Read on only when the disk keeps up. Source: house.md "The line", rule 7."""
        connection = self.connection
        while connection.is_ahead and not connection.outbox.is_closed:
            connection.room.clear()
            await connection.room.wait()

    async def _take(self, message: WSMessage) -> None:
        parsed = None
        try:
            self._check_rate()
            if message.type is WSMsgType.BINARY:
                raise InvalidMessage("Send text frames; binary ones are not read.")
            parsed = protocol.parse(message.data)
            command, request_id = protocol.decode(parsed)
            await self._do(command, request_id, len(message.data))
        except TooManyRequests as error:
            # Read all the same: who sent it has to know which one to send again.
            with contextlib.suppress(InvalidMessage):
                parsed = protocol.parse(message.data)
            self._refused(error, protocol.request_id_of(parsed))
        except CompanionError as error:
            self._refused(error, protocol.request_id_of(parsed))

    async def _do(self, command: protocol.Command, request_id: str | None, size: int) -> None:
        match command:
            case Ping():
                self._say("pong", request_id)
            case TokenRenew():
                await self._renew(request_id)
            case PairingAnswer():
                await self._allow(command)
            case _:
                self._live.submit(
                    command, self.connection.sender, request_id,
                    connection=self.connection, size_bytes=size,
                )
                if isinstance(command, Rendered):
                    await self._measure(command.of_seq)

    def _check_rate(self) -> None:
        retry_after_ms = self._rate.retry_after_ms()
        if retry_after_ms is None:
            return
        if self._rate.is_ignored():
            self.connection.close(4429, "You kept sending past the limit; come back more slowly.")
        raise TooManyRequests("Too many messages; slow down.", retry_after_ms=retry_after_ms)

    async def _renew(self, request_id: str | None) -> None:
        if self._claims.kind != "session":
            raise Forbidden("Only session tokens are renewed here.")
        token, claims = await self._gateway._devices.renew(self._claims)
        self._claims = claims
        self._live.active(self._sessions.now_ms())
        self.connection.token_id = claims.id
        self._watch_token()
        self._say("token_renewed", request_id, token=token, expires_at=claims.expires_at_ms)

    async def _allow(self, command: PairingAnswer) -> None:
        claims = self._claims
        is_owner = claims.kind != "session" and (
            claims.user == self._live.row.user or claims.user == self._live.row.service
        )
        if not is_owner:
            raise Forbidden("Only the session's owner answers a pairing.")
        self._live.active(self._sessions.now_ms())
        await self._gateway._answer_pairing(
            self._live.session_id, command.pairing_id, command.allow
        )

    async def _measure(self, of_seq: int) -> None:
        body = await self._live.record_text(of_seq)
        if body is not None:
            appended_ms = protocol.parse(body)["timestamp"]
            self._gateway._metrics.rendered((self._sessions.now_ms() - appended_ms) / 1000)

    def _watch_token(self) -> None:
        """Tell of the token's end in time, and close when it has come."""
        for timer in self._timers:
            timer.cancel()
        loop = asyncio.get_running_loop()
        left_s = (self._claims.expires_at_ms - self._sessions.now_ms()) / 1000
        self._timers = [loop.call_later(max(0.0, left_s), self._expired)]
        if self._claims.kind == "session":
            warn_s = left_s - EXPIRING_S if left_s > EXPIRING_S else left_s / 2
            self._timers.append(loop.call_later(max(0.0, warn_s), self._expiring))

    def _expiring(self) -> None:
        self._say("token_expiring", None, expires_at=self._claims.expires_at_ms)

    def _expired(self) -> None:
        error = TokenExpired("The token has expired; fetch another and come back.")
        self.connection.close(4401, error.message)

    def _refused(self, error: CompanionError, request_id: str | None) -> None:
        self._note(error)
        self._live.tell_error(self.connection, error, request_id)

    def _note(self, error: CompanionError) -> None:
        self._gateway._metrics.refused(error.code)
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
        self.connection.outbox.push_text(encode(message))

    def _trail(self, event: str) -> None:
        connection = self.connection
        details: dict[str, Any] = {
            "connection_id": connection.connection_id,
            "role": connection.role,
            "user": connection.user,
            "device": connection.device,
            "device_id": connection.device_id,
        }
        if event != "joined":
            details["code"] = connection.close_code
            details["reason"] = connection.close_reason
        self._sessions.store.trail(
            self._live.session_id, self._sessions.now_ms(), event, encode(details)
        )

    async def _part(self, ws: web.WebSocketResponse) -> None:
        """End the socket: answer the peer's close frame, or wait for it to answer ours."""
        outbox = self.connection.outbox
        if outbox.is_closed:
            await _until_closed(ws)
            return
        outbox.is_closed = True
        code = ws.close_code
        # These codes are never sent, so nobody may be answered with them (RFC 6455, 7.4.1).
        answer = 1002 if code in (1005, 1006, 1015) and code != 1005 else 1000
        with contextlib.suppress(ConnectionError, RuntimeError, TimeoutError):
            await ws.close(code=answer, drain=False)


async def _until_closed(ws: web.WebSocketResponse) -> None:
    """Read to the peer's close frame, for as long as it has to answer ours."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_S):
            while (await ws.receive()).type in (WSMsgType.TEXT, WSMsgType.BINARY):
                continue


def _let_go(transport: asyncio.Transport) -> None:
    """Flush what the peer still takes, then be rid of the socket for certain."""
    transport.close()
    asyncio.get_running_loop().call_later(CLOSE_S, transport.abort)


def _may_enter(claims: Claims, live: Live, role: str) -> bool:
    if claims.kind == "service":
        return live.row.service == claims.user
    if live.row.user == claims.user:
        return True
    return claims.kind == "admin" and role == "observer"


def _bound_send_buffer(transport: asyncio.Transport) -> None:
    sock = transport.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
