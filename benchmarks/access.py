"""What strangers and members cost: `python -m benchmarks.access` measures it.

A server in a process of its own. First times and memory beside the targets of the research
(SEC-7, 13, 19, 20), which assert nothing; then the budgets of SECURITY.md, one row each, and
exit status 1 where one is over. `--budgets` measures those alone.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.budgets import HEAD, ROWS, WEBHOOK_SECRET, Row
from companion_ws.access.keys import Keys
from companion_ws.access.tokens import Tokens
from companion_ws.web.accepting import raise_descriptor_limit

ROOT = Path(__file__).resolve().parent.parent
FLOOD_S = 10.0


class Server:
    """`run.py serve` on a free port; its memory is read from /proc."""

    def __init__(self, data: Path, *flags: str) -> None:
        self._data = data
        self._flags = flags
        self.url = ""

    async def __aenter__(self) -> Server:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(ROOT / "run.py"), "serve", "--port", "0"),
            *("--data", str(self._data), *self._flags),
            cwd=ROOT,
            env={**os.environ, "COMPANION_ELEVENLABS_WEBHOOK_SECRET": WEBHOOK_SECRET},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            found = re.match(rb"Companion is ready at (\S+)", line)
            if found:
                self.url = found[1].decode()
                break
        self._reading = asyncio.create_task(self._drain(self._process.stdout))
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._process.terminate()
        await self._process.wait()
        await self._reading

    async def _drain(self, output: asyncio.StreamReader) -> None:
        while await output.read(65536):
            continue

    def token(self, kind: Any, user: str) -> str:
        return Tokens(Keys.load(self._data)).issue(kind, user, 3600)[0]

    @property
    def disk_mib(self) -> float:
        return sum(file.stat().st_size for file in self._data.iterdir() if file.exists()) / 2**20

    @property
    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self._process.pid}/fd"))

    @property
    def processor_s(self) -> float:
        stat = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="utf-8")
        fields = stat.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def memory_mib(self) -> float:
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="utf-8")
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]


async def alike(server: Server, http: aiohttp.ClientSession) -> None:
    """Unknown and foreign session ids: the same answer, and how far apart in time."""
    mine = {"Authorization": f"Bearer {server.token('user', 'ann')}"}
    theirs = {"Authorization": f"Bearer {server.token('user', 'bob')}"}
    async with http.post(f"{server.url}/sessions", headers=theirs) as made:
        foreign = (await made.json())["session_id"]
    took: dict[str, list[float]] = {"foreign": [], "unknown": []}
    for number in range(1000):
        for name, session_id in (
            ("foreign", foreign),
            ("unknown", f"{number:08x}-0000-4000-8000-000000000000"),
        ):
            began = time.perf_counter()
            async with http.get(f"{server.url}/sessions/{session_id}", headers=mine) as answer:
                await answer.read()
            took[name].append(time.perf_counter() - began)
    gap_ms = 1000 * abs(statistics.median(took["foreign"]) - statistics.median(took["unknown"]))
    print(f"foreign and unknown ids, medians apart: {gap_ms:.3f} ms (target < 1)")


async def pinged(server: Server, http: aiohttp.ClientSession, until: Callable[[], bool]) -> str:
    """Ping over a good connection while something else goes on; return its percentiles."""
    took = []
    url = f"{server.url}/ws?token={server.token('user', 'good')}"
    async with http.ws_connect(url) as ws:
        await ws.receive()
        while not until():
            began = time.perf_counter()
            await ws.send_str('{"type":"ping"}')
            while json.loads((await ws.receive()).data)["type"] != "pong":
                continue
            took.append(1000 * (time.perf_counter() - began))
            await asyncio.sleep(0.01)
    took.sort()
    return f"p50 {took[len(took) // 2]:.1f} ms, p99 {took[int(len(took) * 0.99)]:.1f} ms"


async def dripping(server: Server, http: aiohttp.ClientSession) -> None:
    """300 connections that send a header byte every three seconds."""
    host, port = server.url.removeprefix("http://").split(":")

    async def drip() -> float:
        began = time.perf_counter()
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n")
        ended = asyncio.create_task(reader.read())
        while not ended.done() and time.perf_counter() - began < 30:
            writer.write(b"X")
            await asyncio.wait({ended}, timeout=3)
        writer.close()
        return time.perf_counter() - began

    drips = asyncio.gather(*(drip() for _ in range(300)))
    good = await pinged(server, http, drips.done)
    print(f"dripping headers: all of 300 closed after {max(await drips):.1f} s (target 12), {good}")


async def flood(server: Server, http: aiohttp.ClientSession) -> None:
    """Handshakes without a token, as fast as one process makes them."""
    before, ends, count = server.memory_mib, time.monotonic() + FLOOD_S, 0

    async def knock() -> None:
        nonlocal count
        while time.monotonic() < ends:
            async with http.ws_connect(f"{server.url}/ws") as ws:
                await ws.receive()
                count += 1

    knocking = asyncio.gather(*(knock() for _ in range(16)))
    good = await pinged(server, http, knocking.done)
    await knocking
    grown = server.memory_mib - before
    print(
        f"{count / FLOOD_S:.0f} handshakes/s without a token for {FLOOD_S:g} s:"
        f" {grown:+.1f} MiB (target 20), {good}"
    )


async def signed_out(server: Server, http: aiohttp.ClientSession) -> None:
    """A thousand sockets of one user, and "sign out everywhere"."""
    token = server.token("user", "crowd")
    headers = {"Authorization": f"Bearer {token}"}
    async with http.post(f"{server.url}/sessions", headers=headers) as made:
        session_id = (await made.json())["session_id"]
    url = f"{server.url}/ws?token={token}&session_id={session_id}&role=observer"
    before = server.memory_mib
    sockets = [await http.ws_connect(url) for _ in range(1000)]
    each_kib = 1024 * (server.memory_mib - before) / len(sockets)

    async def closed(ws: aiohttp.ClientWebSocketResponse) -> None:
        while (await ws.receive()).type is aiohttp.WSMsgType.TEXT:
            continue
        assert ws.close_code == 4501

    waiting = [asyncio.create_task(closed(ws)) for ws in sockets]
    began = time.perf_counter()
    admin = {"Authorization": f"Bearer {server.token('admin', 'local')}"}
    async with http.delete(f"{server.url}/tokens?user=crowd", headers=admin) as answer:
        assert answer.status == 204
    await asyncio.gather(*waiting)
    took_s = time.perf_counter() - began
    print(f"1,000 idle sockets: {each_kib:.1f} KiB each (target 24)")
    print(f"1,000 sockets of a user signed out after {took_s:.2f} s (target 1)")


UNLIMITED = (
    "--limit-connections-per-user=0", "--limit-connections-per-session=0",
    "--limit-messages-per-s=0",
)  # fmt: skip


async def targets(http: aiohttp.ClientSession) -> None:
    """The steps of this file."""
    steps: tuple[Callable[[Server, aiohttp.ClientSession], Awaitable[None]], ...] = (
        alike, signed_out, dripping, flood,
    )
    with tempfile.TemporaryDirectory() as folder:
        async with Server(Path(folder) / "data", *UNLIMITED) as server:
            for step in steps:
                await step(server, http)


async def budgets(http: aiohttp.ClientSession) -> list[Row]:
    """The rows of budgets.py, each on a server of its own with the limits it ships with."""
    print(HEAD)
    rows = []
    for measure in ROWS:
        with tempfile.TemporaryDirectory() as folder:
            async with Server(Path(folder) / "data") as server:
                rows.append(await measure(server, http))
    return rows


async def main() -> int:
    raise_descriptor_limit()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as http:
        if "--budgets" not in sys.argv:
            await targets(http)
        return int(any(row.over for row in await budgets(http)))


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
