"""A server as a process of its own, which a test can kill like a power cut would."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path

import aiohttp

from companion_ws.access.keys import Keys
from companion_ws.access.tokens import Tokens
from companion_ws.client import CompanionClient

ROOT = Path(__file__).parents[2]


class KillableServer:
    """`python run.py` on a port it keeps."""

    def __init__(self, data: Path, **environment: str) -> None:
        self._data = data
        self._environment = environment
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(ROOT / "run.py"),
            f"--data={self._data}",
            f"--port={self._port}",
            stdout=asyncio.subprocess.DEVNULL,
            env={**os.environ, **self._environment},
        )
        async with asyncio.timeout(20), aiohttp.ClientSession() as http:
            while True:
                try:
                    async with http.get(f"{self.url}/readyz") as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientError:
                    await asyncio.sleep(0.05)

    async def kill(self) -> None:
        """SIGKILL: nothing is said, nothing is finished."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
        await self._process.wait()

    def token(self) -> str:
        return Tokens(Keys.load(self._data, None)).issue("user", "alice", 600)[0]

    def client(self, **options: object) -> CompanionClient:
        return CompanionClient(self.url, token=self.token(), **options)  # type: ignore[arg-type]
