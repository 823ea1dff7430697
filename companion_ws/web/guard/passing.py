"""Requests that another server of the database has to answer: passed on, and recognised there.

The entrance is a proxy that the owner was told of: a signed pass (`nodes/passes.py`) says who
asks, and host and origin have been looked at already. What the entrance passes on is a request's
head; from there on `nodes/splice.py` carries bytes.

An owner that turns out to be none any more says `LOOK_AGAIN` instead of passing a request on a
second time, and the entrance looks again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog
from aiohttp import hdrs, web

from companion_ws.core.errors import NotFound, Unavailable
from companion_ws.nodes import splice
from companion_ws.nodes.passes import HEADER, Caller, Pass, Passes
from companion_ws.nodes.place import Elsewhere, Node, Places, Vigil
from companion_ws.nodes.splice import Link, Splices
from companion_ws.nodes.verbs import ALIVE_S, HINT, HOLD_S, LOOK_S
from companion_ws.sessions.outbox import bound_send_buffer
from companion_ws.web.guard.upgrade import early_bytes

PASS: Final = web.RequestKey("PASS", Pass)
"""What another server says of a request that it passed on."""
LOOK_AGAIN: Final = "X-Companion-Look-Again"
_LEFT_OUT: Final = frozenset(
    {
        b"forwarded", b"x-forwarded-for", b"x-forwarded-proto",
        b"expect", b"content-length", b"transfer-encoding",
    }
)  # fmt: skip
"""What the pass says, what this server has answered, and what announces a body: none is passed on."""

log = structlog.get_logger(__name__)


class Passing:
    """Finds out whether a request is for here, and serves it from elsewhere where it is not."""

    def __init__(self, places: Places, passes: Passes, splices: Splices) -> None:
        self._places = places
        self._passes = passes
        self._splices = splices
        self.is_stopping = False

    @property
    def _is_owner(self) -> bool:
        """Whether this server can have a session at all."""
        return self._places.is_good and not self.is_stopping

    def recognised(self, request: web.Request) -> Pass | None:
        """Return the pass that came with a request, None without one.

        Raises:
            NotFound: it is not valid, whatever is wrong with it.
        """
        given = request.headers.getall(HEADER, [])
        if not given:
            return None
        found = self._passes.read(given[0], self._places.me.name, request.method, request.raw_path)
        if len(given) != 1 or found is None:
            log.info("pass_not_accepted", peer=request.remote)
            raise NotFound("There is nothing here.")
        return found

    def is_needed(self, request: web.Request) -> bool:
        """Whether the session of a request may live elsewhere at all."""
        return PASS in request or (not self.is_stopping and self._places.is_shared)

    async def serve(
        self,
        request: web.Request,
        open_session: Callable[[], Awaitable[Any]],
        caller: tuple[str, str],
        *,
        token: str | None = None,
    ) -> web.StreamResponse | None:
        """Answer a request from where `open_session` finds its session; None where that is here.

        A server that cannot be reached is looked for as long as its lease may run. `caller` is
        the address and scheme of who asks; `token` is given on where a ticket brought it.

        Raises:
            Unavailable: nobody answered in time.
            CompanionError: the session cannot be opened.
        """
        loop = asyncio.get_running_loop()
        until_s = loop.time() + HOLD_S
        while True:
            try:
                if PASS in request and not self._is_owner:
                    return _look_again()
                await open_session()
                return None
            except Elsewhere as where:
                node = where.node
            if PASS in request:
                return _look_again()
            if self.is_stopping:
                raise Unavailable("The server is stopping; try again.")
            try:
                link = await self._connected(node, self._head(node, request, caller, token))
            except OSError as error:
                log.info("owner_not_reached", node=node.url, reason=type(error).__name__)
            else:
                # An owner whose keys are newer than ours for a moment knows of no such request.
                if not link.says(LOOK_AGAIN) and link.status != 404:
                    return await self._joined(link, request)
                link.abort()
            if loop.time() >= until_s:
                log.warning("owner_does_not_answer", node=node.url, hint=HINT)
                raise Unavailable("The server that has this session does not answer; try again.")
            await asyncio.sleep(LOOK_S)

    async def _connected(self, node: Node, head: bytes) -> Link:
        """Send a head to a server, and wait for its answer's head as long as that server lives.

        One that stands still takes connections and answers none of them.

        Raises:
            OSError: it could not be reached, did not answer in time, or its lease has run out.
        """
        loop = asyncio.get_running_loop()
        vigil = Vigil(node, loop.time())
        connecting = asyncio.ensure_future(splice.connect(node, head))
        try:
            while not vigil.is_dead(self._places.others(), loop.time()):
                done, _ = await asyncio.wait({connecting}, timeout=ALIVE_S)
                if done:
                    return connecting.result()
            raise ConnectionAbortedError("its lease has run out")
        except BaseException:
            connecting.cancel()
            connecting.add_done_callback(_let_go)
            raise

    def _head(
        self, node: Node, request: web.Request, caller: tuple[str, str], token: str | None
    ) -> bytes:
        """Return a request's head as it came, with a pass."""
        path = request.raw_path if token is None else _without_ticket(request.raw_path)
        seen = Caller(*caller, request.headers.get(hdrs.HOST, ""))
        signed = self._passes.sign(
            self._places.me.name, node.name, request.method, path, caller=seen
        )
        own = HEADER.lower().encode()
        kept = [
            (name, value) for name, value in request.raw_headers
            if name.lower() != own and name.lower() not in _LEFT_OUT
        ]  # fmt: skip
        kept.append((HEADER.encode(), signed.encode()))
        if token is not None:
            kept.append((b"Authorization", b"Bearer " + token.encode()))
        line = f"{request.method} {path} HTTP/{request.version.major}.{request.version.minor}"
        fields = b"".join(name + b": " + value + b"\r\n" for name, value in kept)
        return line.encode("utf-8", "surrogateescape") + b"\r\n" + fields + b"\r\n"

    async def _joined(self, link: Link, request: web.Request) -> web.StreamResponse:
        """Join the client to the owner, until the client's connection is lost."""
        transport, http = request.transport, request.protocol
        if transport is None or transport.is_closing():
            link.abort()
            raise ConnectionResetError("The peer went before its session was found.")
        bound_send_buffer(transport)
        early = early_bytes(request) if link.status == 101 else b""
        joined = self._splices.join(link, transport, early)
        joined.lost.add_done_callback(lambda _: http.connection_lost(None))
        try:
            await joined.lost
        finally:
            joined.abort()
        return _Carried(link.status)


class _Carried(web.StreamResponse):
    """An answer that the owner gave: nothing of it is left to be sent."""

    def __init__(self, status: int) -> None:
        super().__init__(status=status)
        self.force_close()

    async def prepare(self, request: web.BaseRequest) -> None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None


def _let_go(connecting: asyncio.Future[Link]) -> None:
    """Let go of a connection that nobody waits for any more."""
    if not connecting.cancelled() and connecting.exception() is None:
        connecting.result().abort()


def _look_again() -> web.Response:
    return web.Response(status=503, headers={LOOK_AGAIN: "1"})


def _without_ticket(path: str) -> str:
    """Return a path whose query has no ticket any more: it has been used."""
    bare, _, query = path.partition("?")
    kept = [part for part in query.split("&") if not part.startswith("ticket=")]
    return f"{bare}?{'&'.join(kept)}" if any(kept) else bare
