"""Thousands at once, on the real server: `PYTHONPATH=. python tests/faults/crowds.py`.

    python tests/faults/crowds.py reconnect 2000   # the server is killed; all come back in one moment
    python tests/faults/crowds.py stop 1000        # SIGTERM with so many sockets, which all speak
    python tests/faults/crowds.py silent 100       # peers that never read what their sessions say
    python tests/faults/crowds.py half_open 200    # peers that answer no ping, or have hung up by half

Without a name, all of them, with these counts. Each prints what was counted and fails where a promise
is broken: nobody misses a record or gets one twice, what was acknowledged is stored, everybody
hears why it ends, and who is silent is cut off alone. Times are printed, never judged.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import aiohttp
from real_server import Screen, Server, joined, running, silent_peer

PER_SESSION: Final = 4
FLAGS: Final = ("--limit-records=0", "--limit-log-bytes=0")
PATIENCE_S: Final = 300.0
NOISE: Final = ("error", "Traceback", "never retrieved")


def noise(server: Server) -> list[str]:
    return [line for line in server.output if any(word in line for word in NOISE)]


def client() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))


class Member:
    """Somebody who reads all the time, as clients do: nobody else would answer the server's pings."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self._news = asyncio.Event()
        self.reading = asyncio.create_task(self._read())

    @classmethod
    async def joined(
        cls, stack: AsyncExitStack, http: aiohttp.ClientSession, server: Server, **query: Any
    ) -> Member:
        """Join; it reads until the stack ends."""
        member = cls(await stack.enter_async_context(joined(http, server, **query)))
        stack.callback(member.reading.cancel)
        return member

    @property
    def session_id(self) -> str:
        return str(self.screen.joined["session_id"])

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Read on until it is so."""
        async with asyncio.timeout(PATIENCE_S):
            while not is_so():
                assert not self.reading.done(), f"closed {self.screen.ws.close_code}"
                self._news.clear()
                await self._news.wait()

    async def caught_up(self, after: int) -> None:
        """Read all that came after that record, one by one."""
        screen = self.screen
        assert screen.joined["recovery"] == "replay", screen.joined
        await self.until(lambda: after + len(screen.records) >= screen.joined["seq"])

    async def speak(self, times: int = 1) -> None:
        """Say something, and hear that it is stored."""
        for number in range(times):
            sent = await self.screen.send({"type": "contextual_update", "text": f"{number}"})
            await self.until(
                lambda sent=sent: any(r["requestId"] == sent for r in self.screen.records[-4:])
            )

    async def _read(self) -> None:
        while await self.screen.receive() is not None:
            self._news.set()
        self._news.set()


async def crowd(
    stack: AsyncExitStack, http: aiohttp.ClientSession, server: Server, count: int
) -> list[Member]:
    """Join so many in sessions of four: an agent and three screens each."""
    members: list[Member] = []

    async def session(size: int) -> None:
        agent = await Member.joined(stack, http, server)
        members.append(agent)
        for _ in range(size - 1):
            members.append(
                await Member.joined(stack, http, server, session_id=agent.session_id, role="ui")
            )

    sizes = [PER_SESSION] * (count // PER_SESSION)
    sizes += [count % PER_SESSION] if count % PER_SESSION else []
    for start in range(0, len(sizes), 25):
        await asyncio.gather(*map(session, sizes[start : start + 25]))
    return members


def by_session(members: list[Member]) -> dict[str, list[Member]]:
    """Return the members of each session, its agent first."""
    found: dict[str, list[Member]] = {}
    for member in sorted(members, key=lambda each: str(each.screen.joined["role"])):
        found.setdefault(member.session_id, []).append(member)
    return found


async def reconnect(count: int, scratch: Path) -> str:
    """The server dies and starts again; all who were there come back in one moment and resume."""
    async with running(scratch / "data", *FLAGS) as server, client() as http:
        async with AsyncExitStack() as stack:
            members = await crowd(stack, http, server, count)
            await asyncio.gather(*(each[0].speak(3) for each in by_session(members).values()))
            await server.kill()
            for member in members:
                await asyncio.wait([member.reading])
        await server.start()
        attempts = 0

        async def resume(before: Screen) -> Member:
            """Come back at once and as often as it takes; read all that was missed."""
            nonlocal attempts
            after = before.records[-1]["seq"] if before.records else 0
            while True:
                attempts += 1
                with contextlib.suppress(OSError, aiohttp.ClientError):
                    member = await Member.joined(
                        stack, http, server, session_id=before.joined["session_id"],
                        role=before.joined["role"], after=after,
                    )
                    await member.caught_up(after)
                    return member
                await asyncio.sleep(0.1)

        async with AsyncExitStack() as stack:
            began_s = time.monotonic()
            async with asyncio.timeout(PATIENCE_S):
                back = await asyncio.gather(*(resume(member.screen) for member in members))
            took_s = time.monotonic() - began_s
            for before, now in zip(members, back, strict=True):
                seqs = [r["seq"] for r in (*before.screen.records, *now.screen.records)]
                assert seqs == list(range(1, now.screen.joined["seq"] + 1)), seqs
            sessions = by_session(back).values()
            await asyncio.gather(*(each[0].speak() for each in sessions))
            for each in sessions:
                last = each[0].screen.records[-1]
                for member in each:
                    await member.until(lambda member=member, last=last: last in member.screen.records)
        assert await server.end() == 0
        assert noise(server) == []
    return (
        f"{count:,} came back within {took_s:.1f} s of one moment, in {attempts:,} attempts;"
        " none missed a record, none had one twice"
    )


async def stop(count: int, scratch: Path) -> str:
    """SIGTERM while all speak: exit 0, 1012 for everybody, and what was acknowledged is stored."""
    async with running(scratch / "data", *FLAGS) as server, client() as http:
        async with AsyncExitStack() as stack:
            members = await crowd(stack, http, server, count)

            async def talk(screen: Screen) -> None:
                with contextlib.suppress(OSError, aiohttp.ClientError):
                    while not screen.ws.closed:
                        await screen.send({"type": "user_message", "text": "x" * 100})
                        await asyncio.sleep(0.2 * count / 100)

            talking = [asyncio.create_task(talk(member.screen)) for member in members]
            for member in members:
                await member.until(lambda member=member: bool(member.screen.records))
            began_s = time.monotonic()
            code = await server.end()
            took_s = time.monotonic() - began_s
            await asyncio.gather(*(member.reading for member in members))
            for task in talking:
                task.cancel()
            assert code == 0, server.output[-20:]
            codes = Counter(member.screen.ws.close_code for member in members)
            assert codes == {1012: count}, codes
        assert noise(server) == []
        await server.start()
        told = 0
        for session_id, each in by_session(members).items():
            async with joined(http, server, session_id=session_id, after=0) as again:
                while len(again.records) < again.joined["seq"]:
                    assert await again.receive() is not None
            stored = {record["requestId"]: record["seq"] for record in again.records}
            for member in each:
                for record in member.screen.records:
                    assert stored[record["requestId"]] == record["seq"]
                    told += 1
    return (
        f"{count:,} sockets at SIGTERM: exit 0 after {took_s:.1f} s, {count:,} closed 1012;"
        f" all {told:,} records told are stored"
    )


async def silent(count: int, scratch: Path) -> str:
    """Peers that never read, in sessions that go on: they are cut off, and nobody else notices."""
    async with running(scratch / "data", *FLAGS) as server, client() as http:
        async with AsyncExitStack() as stack:
            members = await crowd(stack, http, server, max(PER_SESSION, count // 5))
            sessions = by_session(members)
            before_bytes = most_bytes = server.rss_bytes()
            ids = list(sessions)
            for number in range(count):
                peer = await silent_peer(server, ids[number % len(ids)], role="observer")
                stack.callback(hang_up, peer)
            text, said = "x" * 20_000, 0
            async with asyncio.timeout(PATIENCE_S):
                while await connections(http, server) < len(members) + count:
                    await asyncio.sleep(0.05)
                while await connections(http, server) > len(members):
                    for each in sessions.values():
                        await each[0].screen.send({"type": "contextual_update", "text": text})
                    said += 1
                    most_bytes = max(most_bytes, server.rss_bytes())
                    await asyncio.sleep(0.02)
            for member in members:
                await member.until(lambda member=member: len(member.screen.records) >= said)
                records = member.screen.records
                assert [record["seq"] for record in records] == list(range(1, said + 1))
        assert await server.end() == 0
        assert noise(server) == []
    grown = (most_bytes - before_bytes) / 1024 / 1024
    return (
        f"{count:,} peers that never read were cut off; {len(members):,} others got each of their"
        f" {said:,} messages of 20 kB once; memory grew by {grown:.0f} MiB at most"
    )


async def half_open(count: int, scratch: Path) -> str:
    """Peers that are not there any more: half answer no ping, half have hung up by half."""
    async with running(scratch / "data", *FLAGS) as server, client() as http:
        async with AsyncExitStack() as stack:
            members = await crowd(stack, http, server, PER_SESSION)
            for number in range(count):
                peer = await silent_peer(server, members[0].session_id, role="observer")
                stack.callback(hang_up, peer)
                if number % 2:
                    peer.write_eof()
            async with asyncio.timeout(PATIENCE_S):
                while await connections(http, server) < len(members) + count // 2:
                    await asyncio.sleep(0.05)
                began_s = time.monotonic()
                while await connections(http, server) > len(members):
                    await asyncio.sleep(0.1)
            took_s = time.monotonic() - began_s
            await asyncio.gather(*(member.speak() for member in members))
            descriptors = len(os.listdir(f"/proc/{server.pid}/fd"))
        assert await server.end() == 0
        assert noise(server) == []
    return (
        f"{count:,} half-open sockets were gone {took_s:.1f} s after the last of them came,"
        f" {descriptors} descriptors left; {len(members)} others stayed"
    )


def hang_up(peer: asyncio.StreamWriter) -> None:
    peer.transport.abort()


async def connections(http: aiohttp.ClientSession, server: Server) -> int:
    """How many the server counts."""
    headers = {"Authorization": f"Bearer {server.token('root', 'admin')}"}
    async with http.get(f"{server.url}/metrics", headers=headers) as answer:
        lines = (await answer.text()).splitlines()
    return sum(
        int(float(line.rpartition(" ")[2])) for line in lines
        if line.startswith("companion_connections") and not line.startswith("companion_connections_")
    )


KINDS: Final[dict[str, tuple[Callable[[int, Path], Awaitable[str]], int]]] = {
    "reconnect": (reconnect, 2000), "stop": (stop, 1000), "silent": (silent, 100),
    "half_open": (half_open, 200),
}  # fmt: skip


async def run(name: str, count: int | None = None) -> str:
    kind, usual = KINDS[name]
    with tempfile.TemporaryDirectory() as scratch:
        return await kind(usual if count is None else count, Path(scratch))


def main(arguments: list[str]) -> Any:
    names = arguments[:1] or list(KINDS)
    count = int(arguments[1]) if len(arguments) > 1 else None
    for name in names:
        print(asyncio.run(run(name, count)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
