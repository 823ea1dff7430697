"""Where `companion-ws mcp` finds its server: the one on the data folder, or one of its own inside."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from types import TracebackType
from typing import Any, Final, Self

import aiohttp

from companion_ws.access.keys import Keys
from companion_ws.access.tokens import Tokens
from companion_ws.cli.server import ReadyServer, run_server
from companion_ws.cli.terminal import say
from companion_ws.config import Config
from companion_ws.control import Reached
from companion_ws.data_folder import DataInUse, RunningServer, StartRefused

RETURN_S: Final = 10.0
"""How long a server that was there may be away: whoever looks after it starts it again, and its
folder is not taken from it meanwhile."""
START_S: Final = 20.0
"""How long another one may take to start."""
POLL_S: Final = 0.1
PORTS: Final = (*range(8010, 8100, 10), 0)
"""Tried after the usual one, in this order, so that a phone mostly finds it again on the same."""


class Home:
    """Reaches the server of a data folder, and runs it where nobody else does."""

    def __init__(
        self, config: Config, http: aiohttp.ClientSession, *, is_any_port: bool
    ) -> None:
        self._config = config
        self._http = http
        self._is_any_port = is_any_port
        self._lock = asyncio.Lock()
        self._others = False
        """Whether the server that was reached last was somebody else's."""
        self._known: Reached | None = None
        self._own: asyncio.Task[None] | None = None
        self._leave = asyncio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._leave.set()
        if self._own is not None:
            await asyncio.gather(self._own, return_exceptions=True)

    async def reached(self) -> Reached:
        """Return a server that answers.

        Raises:
            StartRefused: there is none, and none can be started; the message says why.
            DataInUse: somebody has the data folder and does not answer.
        """
        async with self._lock:
            if self._known is not None:
                return self._known
            loop = asyncio.get_running_loop()
            began_s = loop.time()
            while True:
                running = RunningServer.read(self._config.data)
                if running is not None:
                    reached = self._reached(running)
                    if await reached.is_alive():
                        self._others = self._own is None or self._own.done()
                        self._known = reached
                        say(f"The server is at {reached.url}", err=True)
                        return reached
                passed_s = loop.time() - began_s
                try:
                    if not self._others or passed_s >= RETURN_S:
                        await self._start()
                        continue
                except DataInUse:
                    if passed_s >= START_S:
                        raise
                await asyncio.sleep(POLL_S)

    def lost(self, reached: Reached) -> None:
        """This server did not answer: look for one again."""
        if self._known is reached:
            self._known = None

    def _reached(self, running: RunningServer) -> Reached:
        tokens = Tokens(Keys.load(self._config.data, self._config.secret_key))
        return Reached(
            running.admin_url, tokens, self._http, running.fingerprint, is_running=True
        )

    async def _start(self) -> None:
        """Run a server inside, on the first port that is free."""
        *earlier, last = self._configs()
        for config in earlier:
            try:
                return await self._start_with(config)
            except StartRefused:
                continue  # Mostly the port; what else it may be is said of the last one.
        return await self._start_with(last)

    def _configs(self) -> Iterator[Config]:
        yield self._config
        if self._is_any_port:
            for port in PORTS:
                yield replace(self._config, port=port)

    async def _start_with(self, config: Config) -> None:
        ready: asyncio.Future[ReadyServer] = asyncio.get_running_loop().create_future()
        self._own = asyncio.create_task(self._run(config, ready), name="server")
        either: list[asyncio.Future[Any]] = [self._own, ready]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if self._own.done():
            await self._own

    async def _run(self, config: Config, ready: asyncio.Future[ReadyServer]) -> None:
        # One task from beginning to end: what it opens it closes.
        async with run_server(config, self._left) as server:
            ready.set_result(server)
            await self._left()

    async def _left(self) -> None:
        await self._leave.wait()
