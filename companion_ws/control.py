"""How a verb reaches the data: through the running server, or with the data folder to itself.

Rules of this file:

1. Whoever touches the data folder holds `data/lock`; the operating system lets
   go of it when the holder dies, however it dies.
2. A server leaves its address in `data/server.json`. A verb talks to it over
   HTTP with a token that lives one minute.
3. With no server, the verb takes the lock and starts the same application on a
   loopback port for as long as it needs: one way to do everything.
"""

from __future__ import annotations

import asyncio
import json
import shlex
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import aiohttp

from companion_ws.access.keys import Keys
from companion_ws.access.tokens import Kind, Tokens
from companion_ws.config import Config
from companion_ws.core.errors import ERRORS, CompanionError, Unauthenticated
from companion_ws.data_folder import (
    DataInUse,
    DataLock,
    RunningServer,
    StartRefused,
    in_use,
    is_data_folder,
    servers_here,
)

LOCAL_USER: Final = "local"
"""Who works on the server's own machine."""
TOKEN_TTL_S: Final = 60.0
"""A verb is done within a minute."""
STAY_S: Final = 12 * 3600.0
"""For those that stay: a watcher, a screen, the demo's agent."""
REACH_WAIT_S: Final = 10.0
"""How long a verb waits for a server that is just starting."""
_POLL_S: Final = 0.05


class Reached:
    """A server a verb can talk to, as a person of its choice."""

    def __init__(
        self,
        url: str,
        tokens: Tokens,
        http: aiohttp.ClientSession,
        fingerprint: str | None,
        *,
        is_running: bool,
    ) -> None:
        self.url = url
        self.is_running = is_running
        """Whether it was there before and stays; False where this verb started it."""
        self._tokens = tokens
        self._http = http
        self.ssl = aiohttp.Fingerprint(bytes.fromhex(fingerprint)) if fingerprint else True
        """What proves that it is this server, for other requests to it."""

    def token(
        self, kind: Kind = "admin", user: str = LOCAL_USER, ttl_s: float = TOKEN_TTL_S
    ) -> str:
        """Return a token, for one minute unless somebody means to stay."""
        return self._tokens.issue(kind, user, ttl_s)[0]

    async def sign_in_link(self) -> str:
        """Return a link that signs in once as admin, on this machine, within ten minutes."""
        answer = await self.ask("POST", "/sign-in-links")
        return f"{self.url}/#signin={answer['ticket']}"

    async def ask(
        self, method: str, path: str, body: Any = None, *, token: str | None = None
    ) -> Any:
        """Use a route as admin (or with `token`); return the JSON it answers, None for nothing.

        Raises:
            CompanionError: the problem it answered, by its code.
        """
        headers = {"Authorization": f"Bearer {token or self.token()}"}
        async with self._http.request(
            method, self.url + path, json=body, headers=headers, ssl=self.ssl
        ) as response:
            text = await response.text()
        answer = json.loads(text) if text else None
        if response.status >= 400:
            problem = answer if isinstance(answer, dict) else {}
            kind = ERRORS.get(str(problem.get("code")), CompanionError)
            if kind is Unauthenticated and token is None:
                raise kind(
                    "The server does not accept this data folder's key. Is COMPANION_SECRET_KEY"
                    " set as it was for the server?"
                )
            raise kind(problem.get("detail") or f"{method} {path}: HTTP {response.status}")
        return answer

    async def is_alive(self) -> bool:
        """Return whether it answers."""
        with suppress(aiohttp.ClientError, OSError, TimeoutError):
            async with self._http.get(
                self.url + "/healthz", ssl=self.ssl, timeout=aiohttp.ClientTimeout(2.0)
            ) as response:
                return response.status == 200
        return False


def require_data(data: Path) -> None:
    """Refuse to work where there is nothing to work on: a new key there would open no door.

    Raises:
        StartRefused: no server has ever worked in `data`; the sentence names one that runs.
    """
    if is_data_folder(data):
        return
    running = [
        f"A server runs at {server.admin_url}; for that one give --data {shlex.quote(str(folder))}."
        for folder, server in servers_here().items()
    ]
    way_out = "Give its folder with --data (or COMPANION_DATA); companion-ws serve makes one."
    raise StartRefused(
        " ".join([f"There is no data of a server in {data.absolute()}.", *(running or [way_out])])
    )


@asynccontextmanager
async def reach(config: Config, *, may_make: bool = False) -> AsyncIterator[Reached]:
    """Reach the server of `config.data`; with none running, be it for the time of the block.

    With `may_make` the folder need not be there before.

    Raises:
        StartRefused: there is no such data folder, or it or its key cannot be used.
        DataInUse: somebody holds the data folder and does not answer.
    """
    if not may_make:
        require_data(config.data)
    with DataLock(config.data) as lock:
        deadline_s = asyncio.get_running_loop().time() + REACH_WAIT_S
        async with aiohttp.ClientSession() as http:
            while True:
                if lock.try_acquire():
                    async with _own(config, lock, http) as reached:
                        yield reached
                    return
                running = RunningServer.read(config.data)
                if running is not None:
                    tokens = Tokens(Keys.load(config.data, config.secret_key))
                    reached = Reached(
                        running.admin_url, tokens, http, running.fingerprint, is_running=True
                    )
                    if await reached.is_alive():
                        yield reached
                        return
                if asyncio.get_running_loop().time() > deadline_s:
                    raise DataInUse(in_use(config.data))
                await asyncio.sleep(_POLL_S)


@asynccontextmanager
async def _own(
    config: Config, lock: DataLock, http: aiohttp.ClientSession
) -> AsyncIterator[Reached]:
    # A verb that finds a server needs none of this.
    from aiohttp import web

    from companion_ws.app import create_app

    RunningServer.remove(config.data)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        # Whom the settings let in from outside does not matter here: nobody knows of this port.
        inside = replace(
            config,
            host="127.0.0.1",
            port=port,
            admin_port=port,
            lan=False,
            public_url=None,
            trust_proxy=(),
            tunnel=None,
            tools=None,
            tls_cert=None,
            tls_key=None,
        )
        runner = web.AppRunner(
            await create_app(inside, lock), access_log=None, shutdown_timeout=1.0
        )
        await runner.setup()
        try:
            await web.SockSite(runner, listener).start()
            tokens = Tokens(Keys.load(config.data, config.secret_key))
            yield Reached(f"http://127.0.0.1:{port}", tokens, http, None, is_running=False)
        finally:
            await runner.cleanup()
