"""Accepts connections while descriptors are left, with some kept for those already inside.

asyncio's own server goes on accepting where none is left: a thousand failures, each with a
traceback, for every event, while nobody who is inside is served. Here a connection too many
waits in the kernel's backlog. The kernel hands out the lowest free descriptor, so its number
tells how many are taken, by whatever.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import sys
from typing import Final

import structlog
from aiohttp import web

RESERVE: Final = 64
"""Descriptors kept for files, the database and calls to others; an eighth where few are allowed."""
AT_ONCE: Final = 16
"""Connections taken in one turn of the loop; those inside have the next."""
LOOK_S: Final = 0.05
"""How often to look whether descriptors are free again."""
CALM_S: Final = 5.0
"""After this long without waiting the scarcity is over, and worth a line in the log."""
HANDSHAKE_S: Final = 10.0
"""How long a TLS handshake may take, as headers may."""

_GONE: Final = frozenset({errno.ECONNABORTED, errno.EPROTO, errno.ECONNRESET, errno.EPERM})

log = structlog.get_logger(__name__)


def raise_descriptor_limit() -> int | None:
    """Raise the soft limit of descriptors to the hard one; return it, None where there is none."""
    if sys.platform == "win32":
        return None
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError):
            pass  # Some systems allow less than they say.
    return None if soft == resource.RLIM_INFINITY else soft


class PatientSite(web.SockSite):
    """A `SockSite` that lets newcomers wait when descriptors run out."""

    __slots__ = ()

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        if sys.platform == "win32":
            await super().start()
            return
        await web.BaseSite.start(self)
        assert self._runner.server is not None
        door = _Door(loop, self._sock, self._runner.server, self._ssl_context, self._backlog)
        door.open()
        self._server = door  # type: ignore[assignment]  # what a site asks of it is there


class _Door:
    """A listening socket; closing it leaves who is inside alone."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        listening: socket.socket,
        server: web.Server,
        tls: object,
        backlog: int,
    ) -> None:
        self._loop = loop
        self._listening = listening
        self._server = server
        self._tls = tls
        self._backlog = backlog
        self._entering: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._is_scarce = False
        self._is_open = False

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        return (self._listening,)

    def open(self) -> None:
        self._listening.setblocking(False)
        self._listening.listen(self._backlog)
        self._is_open = True
        self._loop.add_reader(self._listening.fileno(), self._accept)

    def close(self) -> None:
        if not self._is_open:
            return
        self._is_open = False
        self._loop.remove_reader(self._listening.fileno())
        if self._timer is not None:
            self._timer.cancel()
        if self._tls:
            for task in self._entering:
                task.cancel()  # A handshake would hold the stop up.
        # Others are in within a turn. Cancelled, uvloop would close the handle of a connection
        # whose request is being answered, and neither tell the protocol nor say so when asked.
        self._listening.close()

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            try:
                connection, _ = self._listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _GONE:
                    continue
                self._wait(error.strerror or str(error))
                return
            connection.setblocking(False)
            task = self._loop.create_task(self._enter(connection))
            self._entering.add(task)
            task.add_done_callback(self._entering.discard)
            if connection.fileno() >= _most():
                self._wait("few descriptors are left")
                return

    async def _enter(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._server,
                connection,
                ssl=self._tls,  # type: ignore[arg-type]
                ssl_handshake_timeout=HANDSHAKE_S if self._tls else None,
            )
        except (OSError, EOFError) as error:
            # It went away, or speaks no TLS of ours.
            logging.getLogger(__name__).debug("not entered: %s", type(error).__name__)
            connection.close()

    def _wait(self, why: str) -> None:
        self._loop.remove_reader(self._listening.fileno())
        if not self._is_scarce:
            self._is_scarce = True
            log.warning("newcomers_wait", reason=why, connections=len(self._server.connections))
        self._look_later()

    def _look_later(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(LOOK_S, self._look)

    def _look(self) -> None:
        if not self._has_room():
            self._look_later()
            return
        self._loop.add_reader(self._listening.fileno(), self._accept)
        self._timer = self._loop.call_later(CALM_S, self._calm)

    def _calm(self) -> None:
        self._timer = None
        self._is_scarce = False
        log.info("newcomers_enter", connections=len(self._server.connections))

    def _has_room(self) -> bool:
        try:
            free = os.dup(self._listening.fileno())
        except OSError:
            return False
        os.close(free)
        return free < _most()


def _most() -> int:
    """Return the lowest number of those descriptors that are kept."""
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return sys.maxsize
    return soft - min(RESERVE, soft // 8)
