"""Hours of mixed load on the real server: `PYTHONPATH=. python tests/faults/soak.py --hours 2`.

Telephone calls come and go, as in a day's work: each is a session with an agent that speaks,
sets values, asks and is answered, a phone that is paired and comes and goes, a reader of the event
stream, and now and then a peer that resets its connection or never reads. A call ends; a sixth is
abandoned and expires; what is kept of the ended goes after `--keep` seconds. So many calls run at once that
the server is busy but not saturated.

Every half minute it is seen what the process holds: memory, descriptors, threads, the
write-ahead log and the database file. Printed is each of them in quarters of the run: flat
means that the last quarter is no higher than the second was. At the end all calls end, and the
file has to shrink. It exits with 1 where something grows, an answer is wrong or missing, or the log has an
error.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
from real_server import Screen, Server, joined, silent_peer

EVERY_S: Final = 30.0
SETTLE_S: Final = 60.0
"""How long the file has to shrink after the last session ended."""
NOISE: Final = ("error", "Traceback", "never retrieved")
ROOM: Final = {"memory": 1.10, "descriptors": 1.25, "threads": 1.0, "log": 1.25, "file": 1.25}
"""How much higher than in the second quarter a figure may stand in the last one."""


@dataclass(frozen=True, slots=True)
class Look:
    """What the process held at a moment."""

    memory: int
    descriptors: int
    threads: int
    log: int
    file: int

    @classmethod
    def at(cls, server: Server) -> Look:
        process = Path(f"/proc/{server.pid}")
        database = server.data / "companion.db"
        return cls(
            memory=server.rss_bytes(),
            descriptors=len(list((process / "fd").iterdir())),
            threads=len(list((process / "task").iterdir())),
            log=Path(f"{database}-wal").stat().st_size,
            file=database.stat().st_size,
        )


class Load:
    """Calls that come and go until told to stop; `counts` says what happened."""

    def __init__(self, server: Server, http: aiohttp.ClientSession, seed: int) -> None:
        self._server = server
        self._http = http
        self._rng = random.Random(seed)
        self._headers = {"Authorization": f"Bearer {server.token(ttl_s=30 * 24 * 3600.0)}"}
        self.counts: Counter[str] = Counter()
        self.is_over = False

    async def one_after_another(self) -> None:
        while not self.is_over:
            await self._call()

    async def _call(self) -> None:
        """Live through one telephone call, from its first word to its last."""
        rng, server, http = self._rng, self._server, self._http
        async with joined(http, server) as agent:
            session_id = agent.joined["session_id"]
            path = f"{server.url}/sessions/{session_id}"
            watching = asyncio.create_task(self._watch(path))
            phone = asyncio.create_task(self._phone(session_id))
            for number in range(rng.randrange(4, 12)):
                await self._say(agent, path, number)
                await asyncio.sleep(rng.uniform(0.05, 0.4))
            if rng.random() < 0.3:
                await self._misbehave(session_id)
            await self._ask(agent)
            phone.cancel()
            if rng.random() < 1 / 6:
                self.counts["calls abandoned"] += 1
            else:
                async with http.delete(path, headers=self._headers) as answer:
                    assert answer.status in (200, 204), answer.status
                self.counts["calls ended"] += 1
            watching.cancel()
            await asyncio.gather(phone, watching, return_exceptions=True)
            for task in (phone, watching):
                if not task.cancelled() and task.exception() is not None:
                    raise task.exception() or AssertionError

    async def _say(self, agent: Screen, path: str, number: int) -> None:
        """Say something by one of the doors, and hear that it is stored."""
        rng = self._rng
        text = "word " * rng.randrange(1, 1200)
        match rng.randrange(4):
            case 0:
                command = {"type": "state_update", "key": rng.choice("abc"), "value": text}
            case 1:
                command = {"type": "user_message", "text": text}
            case 2:
                command = {"type": "contextual_update", "text": text, "data": {"n": number}}
            case _:
                body = {"type": "contextual_update", "text": text}
                async with self._http.post(
                    f"{path}/messages", json=body, headers=self._headers
                ) as answer:
                    assert answer.status in (200, 201), await answer.text()
                self.counts["messages over HTTP"] += 1
                return
        await agent.until(requestId=await agent.send(command))
        self.counts["messages"] += 1

    async def _ask(self, agent: Screen) -> None:
        """Ask the phone, which answers; one in five is answered by nobody and cancelled."""
        call_id = f"c{self._rng.randrange(1 << 60)}"
        call = {"tool_name": "pick_one", "tool_call_id": call_id, "parameters": {"n": 1}}
        await agent.until(
            requestId=await agent.send({"type": "client_tool_call", "client_tool_call": call})
        )
        answer = {"type": "client_tool_result", "tool_call_id": call_id, "result": "one"}
        if self._rng.random() < 0.2:
            answer = {"type": "client_tool_cancel", "tool_call_id": call_id}
        await agent.until(requestId=await agent.send(answer))
        self.counts["questions"] += 1

    async def _phone(self, session_id: str) -> None:
        """A screen that comes, reads, is lost and resumes."""
        after: int | None = None
        while True:
            async with joined(
                self._http, self._server, session_id=session_id, role="ui", after=after
            ) as screen:
                self.counts["phones joined" if after is None else "phones resumed"] += 1
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._rng.uniform(0.2, 2)):
                        if await self._read(screen):
                            return
                after = screen.records[-1]["seq"] if screen.records else screen.joined["seq"]
                if screen.ws._response.connection is not None and self._rng.random() < 0.5:
                    transport = screen.ws._response.connection.transport
                    if transport is not None:
                        transport.abort()

    async def _read(self, screen: Screen) -> bool:
        """Read until the end, which is True; records come one by one."""
        last: int | None = None
        while (message := await screen.receive()) is not None:
            if "seq" in message and message["type"] != "session_joined":
                assert last is None or message["seq"] == last + 1, (last, message)
                last = message["seq"]
                self.counts["records read"] += 1
        return True

    async def _watch(self, path: str) -> None:
        """Read the event stream until cancelled, or the session ends."""
        headers = {**self._headers, "Accept": "text/event-stream"}
        async with self._http.get(f"{path}/records", headers=headers) as answer:
            async for line in answer.content:
                self.counts["events read"] += line.startswith(b"id:")

    async def _misbehave(self, session_id: str) -> None:
        writer = await silent_peer(self._server, session_id, role="observer")
        await asyncio.sleep(self._rng.uniform(0, 0.5))
        writer.transport.abort()
        self.counts["peers that never read"] += 1


def quarters(looks: list[Look]) -> dict[str, list[float]]:
    """Return the mean of each figure in each quarter of the run."""
    size = max(1, len(looks) // 4)
    parts = [looks[place * size : (place + 1) * size or None] for place in range(4)]
    return {
        name: [sum(getattr(look, name) for look in part) / len(part) for part in parts if part]
        for name in ROOM
    }


def shown(name: str, value: float) -> str:
    return f"{value / 1024 / 1024:.1f} MiB" if name in ("memory", "log", "file") else f"{value:.1f}"


async def soak(arguments: argparse.Namespace, scratch: Path) -> list[str]:
    """Run it; return what is wrong."""
    flags = (
        "--limit-messages-per-s=0", "--limit-connections-per-user=0", "--limit-sessions-per-user=0",
        "--session-ttl=30s", f"--keep-ended={arguments.keep}s",
    )  # fmt: skip
    server = Server(scratch / "data", *flags)
    await server.start()
    looks: list[Look] = []
    wrong: list[str] = []
    try:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector) as http:
            load = Load(server, http, arguments.seed)
            callers = [
                asyncio.create_task(load.one_after_another()) for _ in range(arguments.calls)
            ]
            ends_s = time.monotonic() + arguments.hours * 3600
            while time.monotonic() < ends_s:
                left_s = min(arguments.every, ends_s - time.monotonic())
                failed, _ = await asyncio.wait(
                    callers, timeout=left_s, return_when=asyncio.FIRST_EXCEPTION
                )
                for task in failed:
                    await task
                looks.append(Look.at(server))
                server.output[:-100] = [
                    line for line in server.output[:-100] if any(word in line for word in NOISE)
                ]
            load.is_over = True
            await asyncio.gather(*callers)
            full_bytes = Look.at(server).file
            empty_bytes = await shrunk(server, arguments)
        print(", ".join(f"{count:,} {what}" for what, count in sorted(load.counts.items())))
        for name, means in quarters(looks).items():
            print(f"{name}: " + ", ".join(shown(name, mean) for mean in means))
            if len(means) == 4 and means[3] > means[1] * ROOM[name]:
                wrong.append(f"{name} grows")
        print(f"file: {shown('file', full_bytes)} at the end, {shown('file', empty_bytes)} empty")
        if empty_bytes > max(full_bytes * 0.8, 6 * 1024 * 1024):
            wrong.append("the file does not shrink")
        if (code := await server.end()) != 0:
            wrong.append(f"it exited with {code}")
        wrong += [line for line in server.output if any(word in line for word in NOISE)]
    finally:
        await server.kill()
    return wrong


async def shrunk(server: Server, arguments: argparse.Namespace) -> int:
    """Wait until all sessions have gone and the file stays as it is; return its size."""
    size, since_s = Look.at(server).file, time.monotonic()
    ends_s = since_s + 2 * 30 + arguments.keep + SETTLE_S
    while time.monotonic() < ends_s:
        await asyncio.sleep(1)
        now = Look.at(server).file
        if now != size:
            size, since_s = now, time.monotonic()
        elif time.monotonic() - since_s > 2 * 30 + arguments.keep:
            break
    return size


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--calls", type=int, default=30, help="how many at once")
    parser.add_argument("--keep", type=float, default=60, help="seconds that ended sessions are kept")
    parser.add_argument("--every", type=float, default=EVERY_S, help="seconds between two looks")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        wrong = asyncio.run(soak(arguments, Path(scratch)))
    print(*(wrong or ["flat"]), sep="\n")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
