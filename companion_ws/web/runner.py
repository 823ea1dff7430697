"""Runs an application so that malformed requests are answered and logged without a word of theirs.

aiohttp repeats the bad line of a request in its 400 and in the log. A line
that breaks the parser may still hold a token.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from companion_ws.web.guard import headers
from companion_ws.web.guard.access_log import AccessLog
from companion_ws.web.guard.problems import problem

KEEP_ALIVE_S: Final = 10.0
"""Also how long a new connection may take to send its headers."""
DOOR_STOP_S: Final = 1.0
"""How long a verb's request may take when the program that embeds us stops."""
LINGERING_S: Final = 1.0
"""How long the rest of a refused body is read, so that the refusal is not lost."""
UNREAD_S: Final = 30.0
"""How long a peer may take nothing of what was sent before the kernel lets go of its socket: an
answer nobody reads would keep a descriptor forever. Sockets of sessions are watched closer."""
READ_BYTES: Final = 32 * 1024
"""What is read of a socket at once, and half of what waits of a body nobody reads yet. Each of
ten thousand strangers may have that much; and no handful of frames holds the loop for long."""

log = logging.getLogger(__name__)


class Runner(web.AppRunner):
    """An `AppRunner` with our access log, our time limits and answers that repeat nothing."""

    __slots__ = ()

    def __init__(self, app: web.Application, **options: Any) -> None:
        options.setdefault("keepalive_timeout", KEEP_ALIVE_S)
        options.setdefault("lingering_time", LINGERING_S)
        options.setdefault("read_bufsize", READ_BYTES)
        super().__init__(
            app,
            access_log_class=AccessLog,
            access_log=logging.getLogger("companion_ws.access"),
            **options,
        )

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _DiscreetServer(
            made.request_handler, request_factory=made.request_factory, **self._kwargs
        )


@asynccontextmanager
async def verbs_door(app: web.Application) -> AsyncIterator[str]:
    """Serve `app` on a free loopback port for the time of the block; yield its URL.

    A program that embeds us listens where it likes, perhaps on no port at all; this is
    where the verbs of this machine find it.
    """
    runner = Runner(app, shutdown_timeout=DOOR_STOP_S, handle_signals=False)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        await runner.setup()
        try:
            await web.SockSite(runner, listener).start()
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            await runner.cleanup()


class _DiscreetServer(web.Server):
    def __call__(self) -> RequestHandler:
        return _DiscreetProtocol(self, loop=asyncio.get_running_loop(), **self._kwargs)


class _DiscreetProtocol(RequestHandler):
    __slots__ = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if hasattr(transport, "max_size"):
            # asyncio's own sockets read 256 KiB at once; TLS and uvloop have bounds of their own.
            transport.max_size = READ_BYTES
        sock = transport.get_extra_info("socket")
        if sock is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
            with contextlib.suppress(OSError):
                sock.setsockopt(
                    socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(UNREAD_S * 1000)
                )

    def leave_body(self) -> None:
        """Read no more of a body that is refused: unpacking it only to forget it has a price."""
        self._lingering_time = 0.0

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        transport = request.transport
        if isinstance(exc, ConnectionError) and (transport is None or transport.is_closing()):
            # The client is gone, which happens all day; nobody is left to answer.
            log.info("peer gone before its answer: %s", request.remote)
            raise ConnectionError("The peer is gone.") from None
        if status >= 500:
            log.error("request failed", exc_info=exc)
        else:
            log.info("malformed request from %s: %s", request.remote, type(exc).__name__)
        if request.writer.output_size > 0:
            raise ConnectionError("The answer was under way already.")
        sentence = (
            "The server does not understand this HTTP request."
            if status < 500
            else "Something went wrong here. It has been logged."
        )
        response = problem(status, "bad_request" if status < 500 else "internal", sentence)
        headers.secure(response.headers, "", is_tls=False, is_embeddable=False, embedders=())
        response.force_close()
        return response
