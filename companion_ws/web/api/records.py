"""A session's records as JSON pages, or as a live stream of server-sent events."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from aiohttp import web
from msgspec import UNSET
from structlog.contextvars import bound_contextvars

from companion_ws.access.keys import Keys
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
from companion_ws.sessions import trail
from companion_ws.sessions.catch_up import catch_up
from companion_ws.sessions.connections import Connection
from companion_ws.sessions.live import LiveSession
from companion_ws.sessions.outbox import Outbox, bound_send_buffer
from companion_ws.sessions.sessions import Sessions
from companion_ws.sessions.summaries import Summary
from companion_ws.web.api.shapes import RecordList, RecordQuery, StreamTicket
from companion_ws.web.api.stream_tickets import StreamTickets
from companion_ws.web.guard import permissions, pieces, token_end
from companion_ws.web.guard.access_log import AccessLog
from companion_ws.web.guard.joining import Join, check_room, read_join, welcome
from companion_ws.web.guard.middleware import CLAIMS, CLIENT, CREDENTIAL, SCHEME
from companion_ws.web.guard.parsing import query_of
from companion_ws.web.guard.passing import Passing
from companion_ws.web.guard.replies import json_reply
from companion_ws.web.guard.route import MEMBER, Route

MAX_PAGE: Final = 1000
COMMENT_S: Final = 10.0
"""How often a quiet stream says that it lives."""


class RecordRoutes:
    """Serves `GET /sessions/{id}/records`."""

    def __init__(
        self,
        sessions: Sessions,
        config: Config,
        new_id: Callable[[], str],
        token_left_s: Callable[[Claims], float],
        passing: Passing,
        keys: Keys,
    ) -> None:
        self._sessions = sessions
        self._passing = passing
        self._config = config
        self._new_id = new_id
        self._token_left_s = token_left_s
        self._tickets = StreamTickets(sessions.clock.running_ms, sessions.verbs, keys)

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/sessions/{session_id}/records", MEMBER, self.records,
                  summary="Read records, or follow them as server-sent events",
                  query=RecordQuery, answer=RecordList, ticket=self._redeemed),
            Route("POST", "/sessions/{session_id}/stream-tickets", MEMBER, self.ticket,
                  summary="Make a ticket for one event stream", answer=StreamTicket, status=201),
        ]

    async def ticket(self, request: web.Request) -> web.Response:
        """Answer with a ticket for an `EventSource`, which can send no token."""
        summary = await permissions.member(self._sessions, request)
        permissions.check_alive(summary)
        text, expires_ms = self._tickets.make(summary.session_id, request[CREDENTIAL].text)
        expires_at_ms = self._sessions.clock.shown_ms(expires_ms)
        return json_reply({"ticket": text, "expires_at": expires_at_ms}, 201)

    async def _redeemed(self, request: web.Request) -> str | None:
        """Return the token that the ticket of a stream's request stands for; None without one."""
        text = request.query.get("ticket")
        if not text or request.method != "GET" or not _wants_events(request):
            return None  # Nothing but a stream uses a ticket up.
        return await self._tickets.redeem(request.match_info["session_id"], text)

    async def records(self, request: web.Request) -> web.StreamResponse:
        summary = await permissions.member(self._sessions, request)
        if _wants_events(request):
            return await self._follow(request, summary.session_id)
        reading = query_of(request.query, RecordQuery)
        after, limit = reading.after or 0, min(reading.limit, MAX_PAGE)
        epoch = self._sessions.store.epoch
        if after and reading.epoch not in ("", epoch):
            # Seqs of another log: what they stand for here are other records.
            page: dict[str, Any] = {"first_seq": await self._sessions.store.first_seq(summary.session_id),
                    "epoch": epoch, "recovery": "snapshot", "records": [], "next": None,
                    "rendered": []}  # fmt: skip
            return json_reply(page)
        return await pieces.send(request, self._page(summary, after, limit))

    async def _page(self, summary: Summary, after: int, limit: int) -> pieces.Pieces:
        session_id = summary.session_id
        store, last, count = self._sessions.store, after, 0
        first_seq = await store.first_seq(session_id)
        is_gap = after > summary.seq or (first_seq is not None and 0 < after < first_seq - 1)
        head = {
            "first_seq": first_seq,
            "epoch": store.epoch,
            "recovery": "snapshot" if is_gap else "replay",
        }
        opening = encode(head)[:-1] + b',"records":['
        async for seq, body in store.each_record(session_id, after, limit):
            yield opening + body
            opening, last, count = b",", seq, count + 1
        is_all = count < limit or not await store.records(session_id, last, 2**62, 1)
        shown = await store.rendered(session_id, after + 1, last) if count else []
        end = b"]," + encode({"next": None if is_all else last, "rendered": shown})[1:]
        yield end if count else opening + end

    async def _follow(self, request: web.Request, session_id: str) -> web.StreamResponse:
        reading, join = query_of(request.query, RecordQuery), read_join(request)
        seen = _last_event(request.headers.get("Last-Event-ID"))
        if seen is not None:
            # Newer than the query, which a browser repeats as it was.
            join = replace(join, epoch=seen[0] or join.epoch, after=seen[1])
        else:
            join = replace(join, after=None if reading.after is UNSET else reading.after)
        claims = request[CLAIMS]
        is_observer = join.role in (None, "observer")
        role = "observer" if is_observer else permissions.role_of(claims, join.role)
        if self._passing.is_needed(request):
            carried = await self._passing.serve(
                request, lambda: self._sessions.open(session_id),
                (request[CLIENT], request[SCHEME]),
                token=request[CREDENTIAL].text if "ticket" in request.query else None,
            )  # fmt: skip
            if carried is not None:
                return carried
        live = await self._sessions.open(session_id)
        if live is None:
            raise SessionEnded("An ended session has no live stream; ask for JSON.")
        if claims.kind != "session" and not permissions.may_join(claims, live.row, role):
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
        bound_send_buffer(transport)
        connection = self._connection(claims, live, transport, join, role)
        alarms = self._alarms(claims, live, connection)
        try:
            request[AccessLog.session] = live.session_id
            request[AccessLog.connection] = connection.connection_id
            with bound_contextvars(connection_id=connection.connection_id):
                await self._serve(live, connection, join, transport)
        finally:
            for alarm in alarms:
                alarm.cancel()
        return response

    def _alarms(self, claims: Claims, live: LiveSession, connection: Connection) -> list[Alarm]:
        """Tell of the token's end in time, and close when it has come."""
        def expiring() -> None:
            message = {
                "type": "token_expiring",
                "expires_at": self._sessions.clock.shown_ms(claims.expires_at_ms),
                "session_id": live.session_id,
                "timestamp": self._sessions.now_ms(),
            }
            live.tell_one(connection, encode(message))

        return token_end.watch(
            claims,
            self._token_left_s,
            expiring=expiring,
            expired=lambda: connection.close(4401, "The token has expired."),
        )

    def _connection(
        self, claims: Claims, live: LiveSession, transport: asyncio.Transport, join: Join, role: permissions.Role
    ) -> Connection:
        outbox = Outbox(
            transport,
            self._config.limit_outbox_bytes,
            lambda why: self._sessions.connections.slow(connection, why),
            events_of=self._sessions.store.epoch,
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
        live: LiveSession,
        connection: Connection,
        join: Join,
        transport: asyncio.Transport,
    ) -> None:
        after = join.after
        connections = self._sessions.connections
        connections.add(connection)
        joined = welcome(
            self._sessions, self._config, live.session_id, created=False, reason=None
        )
        try:
            live.join(connection, after, join.epoch, joined)
            self._trail(connection, "joined")
            while not connection.is_joined and not connection.outbox.is_closed:
                connection.changed.clear()
                await connection.changed.wait()
            if not connection.is_subscribed and after is not None:
                await catch_up(live, self._sessions.store, connection, after)
            while not connection.outbox.is_closed and not transport.is_closing():
                connection.changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(COMMENT_S / 10):
                        await connection.changed.wait()
                if connection.outbox.is_idle(COMMENT_S):
                    connection.outbox.push_comment()
        except CompanionError:
            connection.outbox.abort()
        finally:
            connections.remove(connection)
            live.leave(connection, "dropped")
            self._sessions.left(live, connection)
            self._trail(connection, "dropped")

    def _trail(self, connection: Connection, event: str) -> None:
        trail.note(self._sessions.store, self._sessions.now_ms(), connection, event)


def _wants_events(request: web.Request) -> bool:
    return "text/event-stream" in request.headers.get("Accept", "").lower()


def _last_event(text: str | None) -> tuple[str | None, int] | None:
    """Return epoch and seq of the last event seen; servers before 0.2 gave the seq alone."""
    if not text:
        return None
    found = re.fullmatch(r"(?:([0-9A-Za-z_-]{1,64}):)?([0-9]{1,15})", text)
    if found is None:
        raise BadRequest("Last-Event-ID is the `id` of an event: the log's epoch and a seq.")
    return found[1], int(found[2])
