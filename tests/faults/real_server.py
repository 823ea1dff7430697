"""The real program in a process of its own, to be killed, starved and watched."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from companion_ws.access.keys import Keys
from companion_ws.access.tokens import Kind, Revocations, Tokens
from companion_ws.data_folder import prepare_data_folder

ROOT = Path(__file__).parent.parent.parent
UNLIMITED = (
    "--limit-messages-per-s=0", "--limit-connections-per-session=0",
    "--limit-connections-per-user=0", "--limit-sessions-per-user=0",
)
PATIENCE_S = 30.0

Message = dict[str, Any]


class Server:
    """`python run.py serve` on a data folder; every start may have another port."""

    def __init__(
        self,
        data: Path,
        *flags: str,
        environment: Mapping[str, str] | None = None,
        under: tuple[str, ...] = (),
    ) -> None:
        self.data = data
        self._under = under
        self.flags = flags
        self._environment = dict(environment or {})
        self.url = ""
        self.output: list[str] = []
        prepare_data_folder(data)
        keys = Keys.load(data, None)
        self._tokens = Tokens(keys, Revocations(keys))
        self._process: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def token(self, user: str = "alice", kind: Kind = "user", ttl_s: float = 3600.0) -> str:
        return self._tokens.issue(kind, user, ttl_s)[0]

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        self._process = await asyncio.create_subprocess_exec(
            *self._under, sys.executable, str(ROOT / "run.py"),
            "serve", "--port=0", f"--data={self.data}", *self.flags,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            env={
                **os.environ, "PYTHONUNBUFFERED": "1",
                "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
                **self._environment,
            },
        )
        ready = asyncio.Event()
        self._listening = asyncio.create_task(self._listen(self._process, ready))
        async with asyncio.timeout(PATIENCE_S):
            await ready.wait()
        assert self.url, "".join(self.output[-20:])

    async def _listen(self, process: asyncio.subprocess.Process, ready: asyncio.Event) -> None:
        assert process.stdout is not None
        self.url = ""
        async for line in process.stdout:
            text = line.decode()
            self.output.append(text)
            found = re.match(r"Companion is ready at (http://\S+)", text)
            if found is not None:
                self.url = found[1]
                ready.set()
        ready.set()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, and wait for nothing."""
        os.kill(self.pid, number)

    async def kill(self) -> None:
        """End it as the loss of the process does."""
        await self.end(signal.SIGKILL)

    async def wait(self) -> int:
        """Wait until it has ended by itself; return its exit code, negative for a signal's."""
        process, self._process = self._process, None
        assert process is not None
        async with asyncio.timeout(PATIENCE_S):
            code = await process.wait()
            if self._listening is not None:
                await self._listening
        return code

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send it a signal and return its exit code."""
        process, self._process = self._process, None
        if process is None:
            return 0
        with contextlib.suppress(ProcessLookupError):  # it has ended by itself
            process.send_signal(number)
        async with asyncio.timeout(PATIENCE_S):
            code = await process.wait()
            if self._listening is not None:
                await self._listening
        return code

    def rss_bytes(self) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def running(
    data: Path,
    *flags: str,
    environment: Mapping[str, str] | None = None,
    under: tuple[str, ...] = (),
) -> AsyncIterator[Server]:
    """A started server that is gone at the end of the block; `under` another command."""
    server = Server(data, *UNLIMITED, *flags, environment=environment, under=under)
    await server.start()
    try:
        yield server
    finally:
        await server.kill()


class Screen:
    """A WebSocket and everything it was told."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws
        self.messages: list[Message] = []
        self.joined: Message = {}

    @property
    def records(self) -> list[Message]:
        return [m for m in self.messages if "seq" in m and not m.get("duplicate")]

    async def send(self, message: Message) -> str:
        """Send a command; return its requestId."""
        request_id = message.setdefault("requestId", str(uuid.uuid4()))
        await self.ws.send_str(json.dumps(message))
        return str(request_id)

    async def receive(self) -> Message | None:
        """Return the next message, None when the connection is over."""
        frame = await self.ws.receive()
        if frame.type is not aiohttp.WSMsgType.TEXT:
            return None
        message: Message = json.loads(frame.data)
        if message["type"] == "session_joined":
            self.joined = message
        else:
            self.messages.append(message)
        return message

    async def until(self, **fields: Any) -> Message:
        """Read on to the first message with these fields."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                message = await self.receive()
                assert message is not None, f"closed {self.ws.close_code} before {fields}"
                if all(message.get(name) == value for name, value in fields.items()):
                    return message

    async def to_the_end(self) -> None:
        while await self.receive() is not None:
            continue


@asynccontextmanager
async def joined(
    http: aiohttp.ClientSession, server: Server, *, token: str | None = None, **query: Any
) -> AsyncIterator[Screen]:
    """Join by WebSocket; the first message has been read."""
    headers = {"Authorization": f"Bearer {token or server.token()}"}
    params = {name: str(value) for name, value in query.items() if value is not None}
    async with http.ws_connect(
        f"{server.url}/ws", params=params, headers=headers, max_msg_size=0, timeout=ws_timeout(),
    ) as ws:
        screen = Screen(ws)
        first = await screen.receive()
        if first is None:
            raise ConnectionResetError(f"closed {ws.close_code}")
        assert first["type"] == "session_joined"
        yield screen


def ws_timeout() -> aiohttp.ClientWSTimeout:
    return aiohttp.ClientWSTimeout(ws_close=2.0)


async def silent_peer(server: Server, session_id: str, **query: Any) -> asyncio.StreamWriter:
    """Join and never read again."""
    host, _, port = server.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
    more = "".join(f"&{name}={value}" for name, value in query.items())
    writer.write(
        f"GET /ws?session_id={session_id}{more} HTTP/1.1\r\nHost: {host}:{port}\r\n"
        f"Authorization: Bearer {server.token()}\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
    )
    answer = await reader.readuntil(b"\r\n\r\n")
    assert b" 101 " in answer, answer
    transport = writer.transport
    assert isinstance(transport, asyncio.ReadTransport)
    transport.pause_reading()
    return writer
