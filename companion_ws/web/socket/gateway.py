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
from dataclasses import replace
from typing import Final

import structlog
from aiohttp import web
from structlog.contextvars import bound_contextvars

from companion_ws.access.credential import Credential
from companion_ws.access.tokens import Claims, Tokens
from companion_ws.core.errors import (
    CompanionError,
    Overloaded,
    SessionEnded,
    SessionForbidden,
    SessionNotFound,
    Unauthenticated,
    Unavailable,
)
from companion_ws.core.protocol import encode
from companion_ws.core.text import label
from companion_ws.nodes.place import Elsewhere
from companion_ws.sessions.live import LiveSession
from companion_ws.sessions.outbox import CLOSE_S, bound_send_buffer, close_frame
from companion_ws.web.guard import permissions
from companion_ws.web.guard.access_log import AccessLog
from companion_ws.web.guard.carriers import carried_token
from companion_ws.web.guard.joining import Join, check_once, check_room, read_join
from companion_ws.web.guard.middleware import CLIENT, SCHEME
from companion_ws.web.guard.passing import Passing
from companion_ws.web.guard.route import PUBLIC, Route
from companion_ws.web.socket.frames import Message
from companion_ws.web.socket.visit import AppParts, Visit
from companion_ws.web.socket.websocket import WebSocket, accept

SUBPROTOCOL: Final = "companion.v1"

log = structlog.get_logger(__name__)


class Gateway:
    """Serves `GET /ws`."""

    def __init__(self, tokens: Tokens, parts: AppParts, passing: Passing) -> None:
        self._tokens = tokens
        self._parts = parts
        self._passing = passing
        self._sessions = parts.sessions
        self._config = parts.config
        self.is_stopping = False

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/ws", PUBLIC, self.serve, summary="Join a session (WebSocket)"),
        ]

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Join, read commands until the connection ends, leave."""
        check_once(request)
        token = carried_token(request)
        unfound: CompanionError | None = None
        if token is not None and self._passing.is_needed(request):
            try:
                carried = await self._passing.serve(
                    request, lambda: self._open_own(request, token),
                    (request[CLIENT], request[SCHEME]),
                )  # fmt: skip
                if carried is not None:
                    return carried
            except CompanionError as error:
                unfound = error
        ws = await accept(request, SUBPROTOCOL, self._config.limit_message_bytes)
        bound_send_buffer(ws.transport)
        try:
            if unfound is not None:
                raise unfound
            credential, visit = await self._admit(request, token, ws)
        except CompanionError as error:
            self._refuse(ws.transport, error)
            ws.begin(_pass_over)
            await ws.until_over(CLOSE_S)
        else:
            request[AccessLog.session] = visit.connection.session_id
            request[AccessLog.connection] = visit.connection.connection_id
            with credential, bound_contextvars(connection_id=visit.connection.connection_id):
                await visit.run()
        finally:
            ws.let_go(CLOSE_S)
        await ws.lost
        return ws.response

    async def _open_own(self, request: web.Request, token: str) -> None:
        """Open the session that this token may join, before anything is answered.

        What is to be refused is refused later, once there is a socket to say it on.

        Raises:
            Elsewhere: it lives on another server.
        """
        try:
            claims, join = self._tokens.verify(token), read_join(request)
            session_id = claims.session_id if claims.kind == "session" else join.session_id
            if claims.kind != "session" and session_id is not None:
                role = permissions.role_of(claims, join.role)
                summary = await self._sessions.summary(session_id)
                if summary is None or not permissions.may_join(claims, summary, role):
                    return
        except Unavailable:
            raise
        except CompanionError:
            return
        if session_id is not None:
            request[AccessLog.session] = session_id
            await self._sessions.open(session_id)

    async def _admit(
        self, request: web.Request, token: str | None, ws: WebSocket
    ) -> tuple[Credential, Visit]:
        if self.is_stopping:
            raise Overloaded("The server is stopping; reconnect.")
        if token is None:
            raise Unauthenticated("A token is needed to join.")
        claims = self._tokens.read(token)
        try:
            credential = self._tokens.show(token, claims)
            try:
                # Held while it joins; from the next step on the visit is what it closes.
                with credential.held():
                    visit = await self._admitted(request, credential, ws)
            except BaseException:
                credential.let_go()
                raise
            credential.on_end = visit.end
        except Elsewhere:
            raise Overloaded("The session has just moved to another server; reconnect.") from None
        except CompanionError as error:
            with contextlib.suppress(Unavailable):
                await self._trail_refusal(request, claims, error)
            raise
        return credential, visit

    async def _trail_refusal(
        self, request: web.Request, claims: Claims, error: CompanionError
    ) -> None:
        """Note it where the owner will look for it; strangers leave no trail."""
        session_id = claims.session_id or request.query.get("session_id", "")
        if claims.session_id is None:
            summary = await self._sessions.summary(session_id)
            if summary is None or claims.user not in (summary.user, summary.service):
                return
        details = {
            "role": claims.role or request.query.get("role"),
            "user": claims.user,
            "device": label(request.query.get("device", "")),
            "device_id": claims.device_id,
            "code": error.close_code,
            "reason": error.message,
        }
        self._sessions.store.trail(
            session_id, self._sessions.now_ms(), "refused", encode(details)
        )

    async def _admitted(
        self, request: web.Request, credential: Credential, ws: WebSocket
    ) -> Visit:
        claims, join = credential.claims, read_join(request)
        role = permissions.role_of(claims, join.role)
        if claims.device_id is not None:
            label = join.device or await self._parts.devices.label(claims.device_id)
            join = replace(join, device=label)
            # A disk that refuses keeps nobody from joining and reading.
            with contextlib.suppress(Unavailable):
                await self._parts.devices.touch(claims.device_id)
        live, created, reason = await self._find(request, claims, join, role)
        return Visit(
            self._parts, live, credential, join, role, ws, created=created, reason=reason
        )

    async def _find(
        self, request: web.Request, claims: Claims, join: Join, role: permissions.Role
    ) -> tuple[LiveSession, bool, str | None]:
        """Return the session to join, whether it is new, and why it is another than asked for."""
        if claims.kind == "session":
            return await self._own_session(claims, join), False, None
        if join.session_id is not None:
            # Somebody else's by its row alone, from the disk: it takes as long as looking in vain.
            summary = self._sessions.summary_of_live(join.session_id)
            may_join = summary is not None and permissions.may_join(claims, summary, role)
            if not may_join:
                summary = await self._sessions.summary(join.session_id)
                may_join = summary is not None and permissions.may_join(claims, summary, role)
            live = await self._sessions.open(join.session_id) if may_join else None
            if live is not None:
                self._check_room(live.row.account, live.session_id)
                permissions.note_admin(request, claims, live.row)
                return live, False, None
            is_foreign = summary is not None and not may_join
            log.info(
                "session_unavailable",
                session_id=join.session_id,
                user=claims.user,
                cause="owned by somebody else" if is_foreign else "unknown or expired",
            )
            if join.strict:
                raise SessionNotFound
        if claims.kind == "service":
            raise SessionForbidden("A service token opens sessions by POST /sessions.")
        self._check_room(claims.user)
        created = await self._sessions.create(claims.user)
        live = await self._sessions.open(created.session_id)
        if live is None:
            raise Overloaded("The session could not be opened; reconnect.")
        # Others of this user may have come while the session was stored.
        self._check_room(claims.user)
        return live, True, None if join.session_id is None else "session_unavailable"

    async def _own_session(self, claims: Claims, join: Join) -> LiveSession:
        if join.session_id is not None and join.session_id != claims.session_id:
            raise SessionForbidden("This token belongs to another session.")
        live = await self._sessions.open(claims.session_id or "")
        if live is None:
            raise SessionEnded
        self._check_room(live.row.account, live.session_id)
        return live

    def _check_room(self, owner: str, session_id: str | None = None) -> None:
        check_room(self._sessions.connections, self._parts.config, owner, session_id)

    def _refuse(self, transport: asyncio.Transport, error: CompanionError) -> None:
        self._parts.metrics.refused(error.code)
        log.info("join_refused", code=error.code, reason=error.message)
        code = error.close_code if error.close_code is not None else 1013
        if not transport.is_closing():
            transport.write(close_frame(code, error.message))


def _pass_over(message: Message) -> None:
    """Take nothing of what a refused peer still says before its close frame."""
