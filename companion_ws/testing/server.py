"""A companion server inside a test: real sockets, real database, gone when the test is."""

from __future__ import annotations

import dataclasses
import socket
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

from aiohttp import web

from companion_ws.access.keys import Keys
from companion_ws.access.tokens import Tokens
from companion_ws.app import SESSIONS, create_app
from companion_ws.client import CompanionClient
from companion_ws.config import Config
from companion_ws.internet import Internet
from companion_ws.sessions.sessions import Sessions
from companion_ws.web.runner import Runner

TOKEN_TTL_S: Final = 3600.0

_Kind = Literal["user", "service", "admin"]


class CompanionServer:
    """A server on a free port of 127.0.0.1, with its data in a folder of its own.

    Settings are those of `Config`, for instance
    `CompanionServer(tools="my_shop.tools", elevenlabs_tool_secret="s3cret")`.
    `internet` is how pictures are fetched, with `images="fetch"`; see `companion_ws.internet`.

        async with CompanionServer() as server:
            async with server.client() as companion:
                await companion.contextual_update("quote_ready")
    """

    def __init__(self, *, internet: Internet | None = None, **settings: Any) -> None:
        self._internet = internet
        self._folder = tempfile.TemporaryDirectory(prefix="companion-")
        settings = {"data": Path(self._folder.name) / "data", "port": 0, **settings}
        self.config = Config(**settings)
        self._runner: Runner | None = None
        self.app: web.Application | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()
        self._folder.cleanup()

    async def start(self) -> None:
        """Start it; after `stop` again, with the same data and on the same port."""
        # Links that the server makes carry its port, so it is taken first, and kept:
        # one that is only looked up may be gone by the time it is needed.
        listening = socket.create_server(("127.0.0.1", self.config.port))
        self.config = dataclasses.replace(self.config, port=listening.getsockname()[1])
        try:
            self.app = await create_app(self.config, internet=self._internet)
            self._runner = Runner(self.app, shutdown_timeout=2.0)
            await self._runner.setup()
            await web.SockSite(self._runner, listening).start()
        except BaseException:
            listening.close()
            raise

    async def stop(self) -> None:
        """Stop it as SIGTERM would: sockets close 1012, data stay."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def url(self) -> str:
        """`http://127.0.0.1:PORT`."""
        return f"http://127.0.0.1:{self.config.port}"

    @property
    def sessions(self) -> Sessions:
        """What embedders get as `app[SESSIONS]`."""
        assert self.app is not None, "the server has not been started"
        return self.app[SESSIONS]

    def token(self, user: str = "alice", kind: _Kind = "user") -> str:
        """Return a token that the server accepts for an hour."""
        keys = Keys.load(self.config.data, self.config.secret_key)
        return Tokens(keys).issue(kind, user, TOKEN_TTL_S)[0]

    def client(self, user: str = "alice", **options: Any) -> CompanionClient:
        """Return a client of this server, to be entered; options as of `CompanionClient`."""
        return CompanionClient(self.url, token=self.token(user), **options)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
