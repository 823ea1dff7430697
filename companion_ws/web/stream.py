"""A session's records as JSON pages, or as a live stream of server-sent events."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from aiohttp import web
from msgspec import UNSET

from companion_ws import __version__
from companion_ws.access.tokens import Claims
from companion_ws.clock import Alarm
from companion_ws.config import Config
from companion_ws.core.errors import (
    BadRequest,
    CompanionError,
    SessionEnded,
    SessionForbidden,
)
from companion_ws.core.protocol import encode
from companion_ws.sessions.catch_up import catch_up
from companion_ws.sessions.connections import Connection
from companion_ws.sessions.live import Live
from companion_ws.sessions.outbox import SEND_BUFFER_BYTES, Outbox
from companion_ws.sessions.sessions import Sessions
from companion_ws.web import pieces
from companion_ws.web.api import member
from companion_ws.web.joining import Join, Role, check_room, read_join, role_of
from companion_ws.web.middleware import CLAIMS
from companion_ws.web.routes import MEMBER, Route
from companion_ws.web.shapes import Reading, Records, query_of
from companion_ws.web.visit import EXPIRING_S, trail

MAX_PAGE: Final = 1000
COMMENT_S: Final = 10.0
"""How often a quiet stream says that it lives."""


class Stream:
    """Serves `GET /sessions/{id}/records`."""

    def __init__(
        self,
        sessions: Sessions,
        config: Config,
        new_id: Callable[[], str],
        token_left_s: Callable[[Claims], float],
    ) -> None:
        self._sessions = sessions
        self._config = config
        self._new_id = new_id
        self._token_left_s = token_left_s

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/sessions/{session_id}/records", MEMBER, self.records,
                  summary="Read records, or follow them as server-sent events",
                  query=Reading, answer=Records),
        ]

    async def records(self, request: web.Request) -> web.StreamResponse:
        summary = await member(self._sessions, request)
        if "text/event-stream" in request.headers.get("Accept", "").lower():
            return await self._follow(request, summary.session_id)
        reading = query_of(request.query, Reading)
        after, limit = reading.after or 0, min(reading.limit, MAX_PAGE)
        return await pieces.send(request, self._page(summary.session_id, after, limit))

    async def _page(self, session_id: str, after: int, limit: int) -> pieces.Pieces:
        store, last, count = self._sessions.store, after, 0
        first_seq = await store.first_seq(session_id)
        opening = encode({"first_seq": first_seq})[:-1] + b',"records":['
        async for seq, body in store.each_record(session_id, after, limit):
            yield opening + body
            opening, last, count = b",", seq, count + 1
        is_all = count < limit or not await store.records(session_id, last, 2**62, 1)
        shown = await store.rendered(session_id, after + 1, last) if count else []
        end = b"]," + encode({"next": None if is_all else last, "rendered": shown})[1:]
        yield end if count else opening + end

    async def _follow(self, request: web.Request, session_id: str) -> web.StreamResponse:
        after = _last_event(request.headers.get("Last-Event-ID"))
        reading = query_of(request.query, Reading)
        if after is None:
            after = None if reading.after is UNSET else reading.after
        join = replace(read_join(request), after=after)
        claims = request[CLAIMS]
        role = role_of(claims, join.role) if join.role not in (None, "observer") else "observer"
        live = await self._sessions.open(session_id)
        if live is None:
            raise SessionEnded("An ended session has no live stream; ask for JSON.")
        if role != "observer" and claims.kind == "admin" and claims.user != live.row.user:
            raise SessionForbidden("An admin watches other people's sessions, and no more.")
        check_room(self._sessions.connections, self._config, live.row.account, session_id)
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}
        )
        if request.method == "HEAD":
            return response
        response.enable_chunked_encoding()
        # It ends when its connection does, so nobody may count on that for a next request.
        response.force_close()
        await response.prepare(request)
        transport = request.transport
        if transport is None:
            return response
        sock = transport.get_extra_info("socket")
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        connection = self._connection(claims, live, transport, join, role)
        alarms = self._alarms(claims, live, connection)
        try:
            await self._serve(live, connection, join, transport)
        finally:
            for alarm in alarms:
                alarm.cancel()
        return response

    def _alarms(self, claims: Claims, live: Live, connection: Connection) -> list[Alarm]:
        """Tell of the token's end in time, and close when it has come."""
        left_s = self._token_left_s(claims)
        warn_s = EXPIRING_S if left_s > EXPIRING_S else left_s / 2

        def warn() -> None:
            message = {
                "type": "token_expiring",
                "expires_at": self._sessions.clock.shown_ms(claims.expires_at_ms),
                "session_id": live.session_id,
                "timestamp": self._sessions.now_ms(),
            }
            live.tell_one(connection, encode(message))

        alarms = [
            Alarm(
                lambda: self._token_left_s(claims),
                lambda: connection.close(4401, "The token has expired."),
            )
        ]
        if claims.kind == "session":
            alarms.append(Alarm(lambda: self._token_left_s(claims) - warn_s, warn))
        return alarms

    def _connection(
        self, claims: Claims, live: Live, transport: asyncio.Transport, join: Join, role: Role
    ) -> Connection:
        outbox = Outbox(
            transport,
            self._config.limit_outbox_bytes,
            lambda why: self._sessions.connections.slow(connection, why),
            as_events=True,
        )
        connection = Connection(
            connection_id=self._new_id(),
            session_id=live.session_id,
            role=role,
            user=claims.user,
            owner=live.row.account,
            since_ms=self._sessions.now_ms(),
            outbox=outbox,
            device=join.device,
            tools=join.tools,
            is_announced=role != "observer",
        )
        connection.device_id = claims.device_id
        return connection

    async def _serve(
        self,
        live: Live,
        connection: Connection,
        join: Join,
        transport: asyncio.Transport,
    ) -> None:
        after = join.after
        connections = self._sessions.connections
        connections.add(connection)
        joined: dict[str, Any] = {
            "protocol": 1,
            "server": __version__,
            "created": False,
            "requested_session_id": live.session_id,
            "reason": None,
            "limits": {"message_bytes": self._config.limit_message_bytes},
            "expires_at": self._sessions.now_ms() + int(self._sessions.rules.ttl_s * 1000),
        }
        try:
            live.join(connection, after, join.epoch, joined)
            trail(self._sessions, connection, "joined")
            while not connection.is_joined and not connection.outbox.is_closed:
                connection.room.clear()
                await connection.room.wait()
            if not connection.is_subscribed and after is not None:
                await catch_up(live, self._sessions.store, connection, after)
            while not connection.outbox.is_closed and not transport.is_closing():
                connection.room.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(COMMENT_S / 10):
                        await connection.room.wait()
                if connection.outbox.is_idle(COMMENT_S):
                    connection.outbox.push_comment()
        except CompanionError:
            connection.outbox.abort()
        finally:
            connections.remove(connection)
            live.leave(connection, "dropped")
            self._sessions.left(live, connection)
            trail(self._sessions, connection, "dropped")


def _last_event(text: str | None) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 15:
        raise BadRequest("Last-Event-ID is a seq: a whole number from 0.")
    return int(text)
