"""An entrance: a server that has no session itself, in front of a real one that has them all."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

from aiohttp import web
from running import Running

from companion_ws.access.keys import Keys
from companion_ws.clock import Clock
from companion_ws.nodes.passes import Passes
from companion_ws.nodes.place import Elsewhere, Node
from companion_ws.nodes.splice import Splices
from companion_ws.nodes.verbs import Verbs
from companion_ws.web.guard.passing import Passing
from companion_ws.web.runner import Runner

_number = count()


class Elsewheres:
    """Every session lives on `node`; where that is None it has come here."""

    def __init__(self, node: Node | None, name: str = "entrance") -> None:
        self.me = Node(name, "http://127.0.0.1:1")
        self.is_good = self.is_shared = True
        self.node = node
        self.is_gone = False
        """Whether what is looked for from now on is here, though the other server lives."""
        self.looks = 0

    async def find(self, session_id: str) -> Node | None:
        return self.node

    def others(self) -> list[Node]:
        return [self.node] if self.node is not None else []

    async def open(self) -> None:
        self.looks += 1
        if self.node is not None and not self.is_gone:
            raise Elsewhere(self.node)


class Entrance:
    """Passes every request on, or answers `here`; `caller` is the address it says it saw."""

    def __init__(self, owner: Running, node: Node) -> None:
        keys = Keys.load(owner.config.data, owner.config.secret_key)
        self.places = Elsewheres(node)
        passes = Passes(lambda: keys.all, Clock().now_ms, lambda: f"entrance-{next(_number)}")
        self.verbs = Verbs(self.places, passes, lambda name: None)
        self.splices = Splices(self.places.others, self.verbs.is_deaf)
        self._passing = Passing(self.places, passes, self.splices)
        self.caller = ("203.0.113.9", "https")
        self.url = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        carried = await self._passing.serve(request, self.places.open, self.caller)
        return carried if carried is not None else web.Response(text="here")


def place_of(owner: Running) -> Node:
    """Return what other servers call this one, and where they reach it."""
    return Node(owner.sessions.places.me.name, owner.url)


@asynccontextmanager
async def before(owner: Running, node: Node | None = None) -> AsyncIterator[Entrance]:
    """Put an entrance before a server; `node` is where it believes the sessions to be."""
    entrance = Entrance(owner, node or place_of(owner))
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", entrance.answer)
    runner = Runner(app, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    entrance.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield entrance
    finally:
        await entrance.splices.part_all()
        await entrance.verbs.close()
        await runner.cleanup()


@asynccontextmanager
async def fake_owner(*says: bytes, hangs: bool = False) -> AsyncIterator[Node]:
    """An owner that reads a head, says this, a piece at a time, and hangs up.

    With `hangs` it says that once, and nothing more to anybody, as over a network that is cut.
    """
    said = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            if said.is_set():
                await reader.read()
            if hangs:
                said.set()
            for piece in says:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.01)
            if hangs:
                await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield Node("owner", f"http://127.0.0.1:{port}")
