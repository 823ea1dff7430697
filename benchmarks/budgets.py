"""What one stranger, or one member, costs the server and everybody else.

Each row: memory and disk it grew by, descriptors it held, processor seconds it took of the
server, and how long the pings of somebody else took meanwhile, who asks from another process.
`python -m benchmarks.access` runs them and fails where a row is over its budget; SECURITY.md
has the same table with the settings that bound each.
"""

from __future__ import annotations

import asyncio
import gzip
import hmac
import json
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import aiohttp

if TYPE_CHECKING:
    from benchmarks.access import Server

HOLD_S = 5.0
SAMPLE_S = 0.05
WEBHOOK_SECRET = "wsec-of-the-benchmark"


@dataclass(frozen=True)
class Budget:
    """What a row may cost."""

    memory_mib: float
    disk_mib: float = 1.0
    p99_ms: float = 100.0


@dataclass
class Row:
    """What a row did cost."""

    name: str
    budget: Budget
    memory_mib: float = 0.0
    disk_mib: float = 0.0
    descriptors: int = 0
    processor_s: float = 0.0
    seconds: float = 0.0
    pings: dict[str, float] = field(default_factory=dict)
    note: str = ""

    @property
    def over(self) -> list[str]:
        """What of the budget it broke."""
        found = {
            "memory": self.memory_mib > self.budget.memory_mib,
            "disk": self.disk_mib > self.budget.disk_mib,
            "others' p99": self.pings.get("p99", 0.0) > self.budget.p99_ms,
        }
        return [name for name, is_over in found.items() if is_over]

    def __str__(self) -> str:
        pings = self.pings or {"p50": 0.0, "p99": 0.0}
        return (
            f"{self.name:<42}{self.memory_mib:>+9.1f}{self.disk_mib:>+8.1f}{self.descriptors:>8}"
            f"{self.processor_s:>8.1f}{self.seconds:>7.1f}{pings['p50']:>9.1f}{pings['p99']:>8.1f}"
            f"  {self.note}{' OVER: ' + ', '.join(self.over) if self.over else ''}"
        )


HEAD = (
    f"{'':<42}{'MiB':>9}{'disk':>8}{'descr.':>8}{'cpu s':>8}{'s':>7}{'p50 ms':>9}{'p99 ms':>8}"
)


@asynccontextmanager
async def measured(server: Server, name: str, budget: Budget) -> AsyncIterator[Row]:
    """Measure what happens in the block; the largest growth counts, not what is left."""
    row = Row(name, budget)
    await asyncio.sleep(0.3)
    memory, disk, descriptors = server.memory_mib, server.disk_mib, server.descriptors
    processor_s, began = server.processor_s, time.monotonic()
    pinger = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.budgets", server.url, server.token("user", "good")),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert pinger.stdout is not None
    await pinger.stdout.readline()

    async def sample() -> None:
        while True:
            row.memory_mib = max(row.memory_mib, server.memory_mib - memory)
            row.descriptors = max(row.descriptors, server.descriptors - descriptors)
            row.disk_mib = max(row.disk_mib, server.disk_mib - disk)
            await asyncio.sleep(SAMPLE_S)

    sampling = asyncio.create_task(sample())
    try:
        yield row
    finally:
        row.seconds = time.monotonic() - began
        row.processor_s = server.processor_s - processor_s
        sampling.cancel()
        out, _ = await pinger.communicate(b"\n")
        row.pings = json.loads(out)
        print(row, flush=True)


# Strangers.


async def hold(
    server: Server, path: str, body: bytes, head: str = ""
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send all of a request but its last byte."""
    host, port = server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n{head}\r\n"
        .encode()
    )
    writer.write(body[:-1])
    with suppress(OSError):
        await writer.drain()
    return reader, writer


async def bodies(server: Server, http: aiohttp.ClientSession) -> Row:
    """150 strangers hold zipped post-calls whose signature might be one."""
    body = gzip.compress(b'{"type": "' + b"a" * 4_000_000)
    signed = hmac.new(b"guessed", b"", sha256).hexdigest()
    budget = Budget(memory_mib=80)
    async with measured(server, "150 strangers hold bodies of 4 MB, zipped", budget) as row:
        head = (
            f"ElevenLabs-Signature: t={int(time.time())},v0={signed}\r\nContent-Encoding: gzip\r\n"
        )
        held = [await hold(server, "/elevenlabs/post-call", body, head) for _ in range(150)]
        await asyncio.sleep(HOLD_S)
        took = await timed(http, f"{server.url}/healthz")
        row.note = f"healthz {took:.0f} ms"
        for _, writer in held:
            writer.transport.abort()
    return row


async def small_bodies(server: Server, http: aiohttp.ClientSession) -> Row:
    """1,000 strangers hold what may be a code."""
    body = json.dumps({"code": "1" * 60_000}).encode()
    async with measured(server, "1,000 strangers hold bodies of 60 KB", Budget(80)) as row:
        held = [await hold(server, "/pair", body) for _ in range(1000)]
        await asyncio.sleep(HOLD_S)
        for _, writer in held:
            writer.transport.abort()
    return row


async def silent(server: Server, http: aiohttp.ClientSession) -> Row:
    """2,000 connections that never say a word."""
    host, port = server.url.removeprefix("http://").split(":")
    async with measured(server, "2,000 connections that say nothing", Budget(60)) as row:
        opened = [await asyncio.open_connection(host, int(port)) for _ in range(2000)]
        began = time.monotonic()
        await asyncio.gather(*(reader.read() for reader, _ in opened))
        row.note = f"all closed after {time.monotonic() - began:.1f} s"
        for _, writer in opened:
            writer.close()
    return row


async def readers(server: Server, http: aiohttp.ClientSession) -> Row:
    """20 strangers read the documents and pages as fast as they get them."""
    paths = ("/openapi.json", "/asyncapi.json", "/docs", "/", "/ui", "/static/css/base.css")
    count = 0
    async with measured(server, "20 readers of documents and pages", Budget(20)) as row:
        ends = time.monotonic() + HOLD_S

        async def read(number: int) -> None:
            nonlocal count
            while time.monotonic() < ends:
                number += 1
                async with http.get(server.url + paths[number % len(paths)]) as answer:
                    await answer.read()
                count += 1

        await asyncio.gather(*(read(number) for number in range(20)))
        row.note = f"{count / HOLD_S:.0f} answers/s"
    return row


# Members.


async def ping_flood(server: Server, http: aiohttp.ClientSession) -> Row:
    """A phone sends PING frames as fast as it can and never reads."""
    session_id, token = await a_session(server, http, "pinger")
    async with measured(server, "a flood of PING frames, never read", Budget(10)) as row:
        reader, writer = await raw_socket(server, token, session_id)
        frame = b"\x89\xfd" + bytes(4) + b"x" * 125
        began = time.monotonic()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(HOLD_S * 2):
                while True:
                    writer.write(frame * 500)
                    await writer.drain()
                    await asyncio.sleep(0)
        row.note = f"cut after {time.monotonic() - began:.1f} s"
        writer.transport.abort()
        del reader
    return row


async def open_calls(server: Server, http: aiohttp.ClientSession) -> Row:
    """1,500 questions of 30 KB stay open, then twelve screens join."""
    session_id, token = await a_session(server, http, "caller")
    url = f"{server.url}/ws?token={token}&session_id={session_id}"
    budget = Budget(memory_mib=30, disk_mib=16)
    async with measured(server, "1,500 open calls of 30 KB, 12 joins", budget) as row:
        taken, joined = 0, 0
        async with http.ws_connect(url, max_msg_size=0) as ws:
            await ws.receive()
            for number in range(1500):
                call = {
                    "tool_name": "companion_choose",
                    "tool_call_id": f"c{number}",
                    "parameters": {"title": f"{number} " + "x" * 30_000, "options": ["a", "b"]},
                }
                await ws.send_json({"type": "client_tool_call", "requestId": f"r{number}",
                                    "client_tool_call": call})  # fmt: skip
                answer = await answer_to(ws, f"r{number}")
                if answer is None:
                    break
                taken += answer["type"] == "client_tool_call"
                if answer["type"] == "error":
                    await asyncio.sleep(0.02)
        for _ in range(12):
            async with http.ws_connect(f"{url}&role=observer", max_msg_size=0) as ws:
                first = await ws.receive()
                joined = max(joined, len(first.data or ""))
        row.note = f"{taken} taken, a join has {joined / 1024:.0f} KiB"
    return row


async def idempotency_keys(server: Server, http: aiohttp.ClientSession) -> Row:
    """600 requests, each with a key and 60 KB of its own."""
    session_id, token = await a_session(server, http, "repeater")
    headers = {"Authorization": f"Bearer {token}"}
    budget = Budget(memory_mib=40, disk_mib=32)
    async with measured(server, "600 idempotency keys with 60 KB", budget) as row:
        statuses: dict[int, int] = {}
        for number in range(600):
            update = {"type": "contextual_update", "text": f"{number}" + "x" * 60_000}
            async with http.post(
                f"{server.url}/sessions/{session_id}/messages",
                json=update,
                headers={**headers, "Idempotency-Key": str(uuid.uuid4())},
            ) as answer:
                await answer.read()
                statuses[answer.status] = statuses.get(answer.status, 0) + 1
        row.note = ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items()))
    return row


async def long_export(server: Server, http: aiohttp.ClientSession) -> Row:
    """A person with five full logs is exported, then erased."""
    token = server.token("user", "writer")
    headers = {"Authorization": f"Bearer {token}"}
    for _ in range(5):
        session_id, _ = await a_session(server, http, "writer")
        await fill(server, http, session_id, token)
    size = 0
    budget = Budget(memory_mib=30, disk_mib=80)
    async with measured(server, "an export of 40 MB, and its erasing", budget) as row:
        async with http.get(f"{server.url}/me/export", headers=headers) as answer:
            async for part in answer.content.iter_any():
                size += len(part)
        async with http.delete(f"{server.url}/me", headers=headers) as answer:
            assert answer.status == 204
        row.note = f"{size / 2**20:.0f} MiB"
    return row


async def fill(
    server: Server, http: aiohttp.ClientSession, session_id: str, token: str
) -> None:
    url = f"{server.url}/ws?token={token}&session_id={session_id}"
    async with http.ws_connect(url, max_msg_size=0) as ws:
        await ws.receive()
        for number in range(160):
            text = f"{number}" + "x" * 60_000
            await ws.send_json({"type": "contextual_update", "text": text, "requestId": f"{number}"})
            await answer_to(ws, f"{number}")
            await asyncio.sleep(0.02)


ROWS: tuple[Callable[[Server, aiohttp.ClientSession], Awaitable[Row]], ...] = (
    bodies, small_bodies, silent, readers, ping_flood, open_calls, idempotency_keys, long_export,
)  # fmt: skip


async def a_session(
    server: Server, http: aiohttp.ClientSession, user: str
) -> tuple[str, str]:
    """Return a new session of `user` and a token of theirs."""
    token = server.token("user", user)
    headers = {"Authorization": f"Bearer {token}"}
    async with http.post(f"{server.url}/sessions", headers=headers) as made:
        return (await made.json())["session_id"], token


async def answer_to(
    ws: aiohttp.ClientWebSocketResponse, request_id: str
) -> dict[str, Any] | None:
    """Return the record or error of a command, None where the socket is closed first."""
    while (frame := await ws.receive()).type is aiohttp.WSMsgType.TEXT:
        message: dict[str, Any] = json.loads(frame.data)
        if message.get("requestId") == request_id:
            return message
    return None


async def raw_socket(
    server: Server, token: str, session_id: str
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Join by hand, and read no further than the handshake."""
    host, port = server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
    writer.write(
        f"GET /ws?token={token}&session_id={session_id}&role=ui HTTP/1.1\r\nHost: localhost\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
    )
    await reader.readuntil(b"\r\n\r\n")
    transport: Any = writer.transport
    transport.pause_reading()
    return reader, writer


async def timed(http: aiohttp.ClientSession, url: str) -> float:
    """Return how many milliseconds a request takes."""
    began = time.perf_counter()
    async with http.get(url) as answer:
        await answer.read()
    return 1000 * (time.perf_counter() - began)


# Somebody else, in a process of its own.


async def ping(url: str, token: str) -> None:
    """Ping until a line comes; print how long the pongs took, in ms."""
    took: list[float] = []
    loop = asyncio.get_running_loop()
    async with aiohttp.ClientSession() as http:
        async with http.ws_connect(f"{url}/ws?token={token}") as ws:
            await ws.receive()
            print("ready", flush=True)
            ended = loop.run_in_executor(None, sys.stdin.readline)
            while not ended.done():
                began = time.perf_counter()
                await ws.send_str('{"type":"ping"}')
                while json.loads((await ws.receive()).data)["type"] != "pong":
                    continue
                took.append(1000 * (time.perf_counter() - began))
                await asyncio.sleep(0.025)
    took.sort()
    at = {"p50": 0.5, "p99": 0.99, "most": 1.0}
    print(json.dumps({name: took[min(len(took) - 1, int(len(took) * q))] for name, q in at.items()}))


if __name__ == "__main__":
    asyncio.run(ping(*sys.argv[1:3]))
