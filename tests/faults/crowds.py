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
SESSIONS_FLAGS: Final = ("--limit-records=0", "--limit-log-bytes=0")
PATIENCE_S: Final = 300.0
NOISE: Final = ("error", "Traceback", "never retrieved")


def noise(server: Server) -> list[str]:
    return [line for line in server.output if any(word in line for word in NOISE)]


def client() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))


async def crowd(
    stack: AsyncExitStack, http: aiohttp.ClientSession, server: Server, count: int
) -> list[Screen]:
    """Join so many in sessions of four: an agent and three screens each."""
    screens: list[Screen] = []

    async def session(size: int) -> None:
        agent = await stack.enter_async_context(joined(http, server))
        screens.append(agent)
        for _ in range(size - 1):
            screens.append(
                await stack.enter_async_context(
                    joined(http, server, session_id=agent.joined["session_id"], role="ui")
                )
            )

    sizes = [PER_SESSION] * (count // PER_SESSION)
    sizes += [count % PER_SESSION] if count % PER_SESSION else []
    for start in range(0, len(sizes), 50):
        await asyncio.gather(*map(session, sizes[start : start + 50]))
    return screens


async def speak(screen: Screen, times: int = 1) -> None:
    for number in range(times):
        sent = await screen.send({"type": "contextual_update", "text": f"{number}"})
        await screen.until(requestId=sent)


async def reconnect(count: int, scratch: Path) -> str:
    """The server dies and starts again; all who were there come back in one moment and resume."""
    async with running(scratch / "data", *SESSIONS_FLAGS) as server, client() as http:
        async with AsyncExitStack() as stack:
            screens = await crowd(stack, http, server, count)
            agents = screens_by_session(screens)
            await asyncio.gather(*(speak(members[0], 3) for members in agents.values()))
            await server.kill()
        await server.start()
        attempts: Counter[str] = Counter()
        began_s = time.monotonic()

        async def resume(before: Screen) -> Screen:
            """Come back at once and as often as it takes; read all that was missed."""
            after = before.records[-1]["seq"] if before.records else 0
            while True:
                attempts["attempts"] += 1
                with contextlib.suppress(OSError, aiohttp.ClientError):
                    screen = await after_stack.enter_async_context(
                        joined(
                            http, server, session_id=before.joined["session_id"],
                            role=before.joined["role"], after=after,
                        )
                    )
                    assert screen.joined["recovery"] == "replay", screen.joined
                    while after + len(screen.records) < screen.joined["seq"]:
                        assert await screen.receive() is not None, screen.ws.close_code
                    return screen
                await asyncio.sleep(0.1)

        async with AsyncExitStack() as after_stack:
            async with asyncio.timeout(PATIENCE_S):
                back = await asyncio.gather(*map(resume, screens))
            took_s = time.monotonic() - began_s
            for before, now in zip(screens, back, strict=True):
                seqs = [record["seq"] for record in (*before.records, *now.records)]
                assert seqs == list(range(1, now.joined["seq"] + 1)), seqs
            told = screens_by_session(back)
            await asyncio.gather(*(speak(members[0]) for members in told.values()))
            await asyncio.gather(
                *(one.until(text="0", seq=one.joined["seq"] + 1) for each in told.values() for one in each[1:])
            )
        assert await server.end() == 0
        assert noise(server) == []
    return (
        f"{count:,} came back within {took_s:.1f} s of one moment, {attempts['attempts']:,} attempts;"
        " none missed a record, none had one twice"
    )


def screens_by_session(screens: list[Screen]) -> dict[str, list[Screen]]:
    """Return the members of each session, its agent first."""
    members: dict[str, list[Screen]] = {}
    for screen in sorted(screens, key=lambda each: each.joined["role"]):
        members.setdefault(screen.joined["session_id"], []).append(screen)
    return members


async def stop(count: int, scratch: Path) -> str:
    """SIGTERM while all speak: exit 0, 1012 for everybody, and what was acknowledged is stored."""
    data = scratch / "data"
    async with running(data, *SESSIONS_FLAGS) as server, client() as http:
        async with AsyncExitStack() as stack:
            screens = await crowd(stack, http, server, count)
            sent: dict[int, list[str]] = {}

            async def talk(number: int, screen: Screen) -> None:
                mine = sent[number] = []
                with contextlib.suppress(OSError, aiohttp.ClientError):
                    while not screen.ws.closed:
                        mine.append(await screen.send({"type": "user_message", "text": "x" * 100}))
                        await asyncio.sleep(0.2)

            talking = [asyncio.create_task(talk(*each)) for each in enumerate(screens)]
            reading = [asyncio.create_task(screen.to_the_end()) for screen in screens]
            while not all(screen.records for screen in screens):
                await asyncio.sleep(0.1)
            began_s = time.monotonic()
            code = await server.end()
            took_s = time.monotonic() - began_s
            await asyncio.gather(*reading)
            for task in talking:
                task.cancel()
            assert code == 0, server.output[-20:]
            codes = Counter(screen.ws.close_code for screen in screens)
            assert codes == {1012: count}, codes
        assert noise(server) == []
        await server.start()
        acknowledged = 0
        for session_id, members in screens_by_session(screens).items():
            async with joined(http, server, session_id=session_id, after=0) as again:
                while len(again.records) < again.joined["seq"]:
                    assert await again.receive() is not None
            stored = {record["requestId"]: record["seq"] for record in again.records}
            for member in members:
                for record in member.records:
                    assert stored[record["requestId"]] == record["seq"]
                    acknowledged += 1
    return (
        f"{count:,} sockets at SIGTERM: exit 0 after {took_s:.1f} s, {count:,} closed 1012;"
        f" all {acknowledged:,} records told are stored"
    )


async def silent(count: int, scratch: Path) -> str:
    """Peers that never read, in sessions that go on: they are cut off, and nobody else notices."""
    async with running(scratch / "data", *SESSIONS_FLAGS) as server, client() as http:
        async with AsyncExitStack() as stack:
            screens = await crowd(stack, http, server, max(PER_SESSION, count // 5))
            sessions = screens_by_session(screens)
            before_bytes = most_bytes = server.rss_bytes()
            ids = list(sessions)
            peers = [
                await silent_peer(server, ids[number % len(ids)], role="observer")
                for number in range(count)
            ]
            text, said = "x" * 20_000, 0
            dropped: Counter[str] = Counter()

            async def read(screen: Screen) -> None:
                while (message := await screen.receive()) is not None:
                    if message["type"] == "presence" and message["event"] == "dropped":
                        dropped[screen.joined["session_id"]] += 1
                raise AssertionError(f"cut off with {screen.ws.close_code}")

            reading = [asyncio.create_task(read(screen)) for screen in screens]
            async with asyncio.timeout(PATIENCE_S):
                while await connections(http, server) > len(screens):
                    for members in sessions.values():
                        await members[0].send({"type": "contextual_update", "text": text})
                    said += 1
                    most_bytes = max(most_bytes, server.rss_bytes())
                    await asyncio.sleep(0.02)
                while any(len(screen.records) < said for screen in screens):
                    await asyncio.sleep(0.05)
            assert not any(task.done() for task in reading), "somebody else was cut off"
            for screen in screens:
                assert [record["seq"] for record in screen.records] == list(range(1, said + 1))
            for task in reading:
                task.cancel()
            for peer in peers:
                peer.transport.abort()
        assert await server.end() == 0
        assert noise(server) == []
    grown = (most_bytes - before_bytes) / 1024 / 1024
    return (
        f"{count:,} peers that never read were cut off; {len(screens):,} others got each of"
        f" {said * len(sessions):,} messages of 20 kB once; memory grew by {grown:.0f} MiB at most"
    )


async def half_open(count: int, scratch: Path) -> str:
    """Peers that are not there any more: half answer no ping, half have hung up by half."""
    async with running(scratch / "data", *SESSIONS_FLAGS) as server, client() as http:
        async with AsyncExitStack() as stack:
            screens = await crowd(stack, http, server, PER_SESSION)
            session_id = screens[0].joined["session_id"]
            peers = [await silent_peer(server, session_id, role="observer") for _ in range(count)]
            for peer in peers[::2]:
                peer.write_eof()
            reading = [asyncio.create_task(screen.to_the_end()) for screen in screens]
            began_s = time.monotonic()
            async with asyncio.timeout(PATIENCE_S):
                while await connections(http, server) > len(screens):
                    await asyncio.sleep(0.1)
            took_s = time.monotonic() - began_s
            assert not any(task.done() for task in reading), "somebody else was cut off"
            for task in reading:
                task.cancel()
            for peer in peers:
                peer.transport.abort()
            descriptors = len(os.listdir(f"/proc/{server.pid}/fd"))
        assert await server.end() == 0
        assert noise(server) == []
    return (
        f"{count:,} half-open sockets were gone after {took_s:.1f} s,"
        f" {descriptors} descriptors left; {len(screens)} others stayed"
    )


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
