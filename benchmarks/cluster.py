"""One server on PostgreSQL beside SQLite, and two beside one: `python -m benchmarks.cluster`.

Every session has an agent and a phone. Each arrangement is loaded twice: until it takes no more
(agents keep 4 messages in flight), and at a steady rate, where the way of each message from the
agent's socket to the phone's is timed. All programs share this machine, the generator too: compare
rows of one run. Processor time is that of all servers, and that of all PostgreSQL's processes.

It needs PostgreSQL's programs and the extra `[postgres]`. The databases wait for their disks, and
the standby is one of this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import re
import shutil
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import aiohttp

from benchmarks.__main__ import TICK_S, USER
from benchmarks.generator import Peer, Sender, request
from benchmarks.steady import Agent, Phone
from companion_ws.access.keys import Keys
from companion_ws.access.tokens import Revocations, Tokens
from companion_ws.data_folder import prepare_data_folder
from tests.postgres_server import PostgresServer
from tests.replicated import Replicated

FLAGS: Final = (
    "--limit-messages-per-s=1000000", "--limit-burst=1000000", "--limit-connections-per-user=0",
    "--limit-sessions-per-user=0", "--limit-connections-per-session=0",
)  # fmt: skip
WINDOW: Final = 4
WARM_S: Final = 1.0
READY_S: Final = 30.0


@dataclass(frozen=True)
class Arrangement:
    """`nodes` servers; `is_apart` puts agent and phone of a session on different ones."""

    name: str
    engine: Literal["sqlite", "postgres", "standby"]
    nodes: int = 1
    is_apart: bool = False


ARRANGEMENTS: Final = (
    Arrangement("SQLite, one server", "sqlite"),
    Arrangement("PostgreSQL, one server", "postgres"),
    Arrangement("PostgreSQL + standby, one", "standby"),
    Arrangement("PostgreSQL + standby, two", "standby", nodes=2),
    Arrangement("the same, phones on the other", "standby", nodes=2, is_apart=True),
)


class Machine:
    """Servers that run, their database, and who talks to them."""

    def __init__(self, pids: list[int], database: list[int], ports: list[int], token: str) -> None:
        self._pids, self._database = pids, database
        self.ports, self.token = ports, token

    @property
    def cpu_s(self) -> float:
        return sum(map(cpu_s, self._pids))

    @property
    def database_cpu_s(self) -> float:
        """Return the time of each PostgreSQL's processes that still run, and of those that ended."""
        return sum(cpu_s(pid) + cpu_s(pid, of_children=True) + sum(map(cpu_s, children(pid)))
                   for pid in self._database)  # fmt: skip


def cpu_s(pid: int, *, of_children: bool = False) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    at = 13 if of_children else 11
    return (int(fields[at]) + int(fields[at + 1])) * TICK_S


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@asynccontextmanager
async def machine(arrangement: Arrangement) -> AsyncIterator[Machine]:
    """Start everything an arrangement needs."""
    async with contextlib.AsyncExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        flags, pids = [*FLAGS], list[int]()
        if arrangement.engine == "postgres":
            server = await asyncio.to_thread(PostgresServer)
            stack.callback(server.stop)
            flags.append(f"--database={server.url('benchmark')}")
            pids = [server.pid]
        elif arrangement.engine == "standby":
            pair = await asyncio.to_thread(Replicated)
            stack.callback(pair.close)
            flags.append(f"--database={pair.primary.url('cluster')}")
            pids = [pair.primary.pid, pair.standby.pid]
        first = scratch / "n0"
        prepare_data_folder(first)
        keys = Keys.load(first, None)
        token, _ = Tokens(keys, Revocations(keys)).issue("user", USER, 86_400)
        servers, ports = list[int](), list[int]()
        for number in range(arrangement.nodes):
            data = scratch / f"n{number}"
            if number:
                data.mkdir(mode=0o700)
                shutil.copy(first / "secret.key", data)
            pid, port = await stack.enter_async_context(program(data, *flags))
            servers.append(pid)
            ports.append(port)
        yield Machine(servers, pids, ports, token)


@asynccontextmanager
async def program(data: Path, *flags: str) -> AsyncIterator[tuple[int, int]]:
    """Run a server; yield its process and its port."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "run.py", "serve", "--port=0", f"--data={data}", *flags,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        port = None
        async with asyncio.timeout(READY_S):
            while port is None:
                line = (await process.stdout.readline()).decode()
                assert line, "a server ended before it was ready"
                found = re.match(r"Companion is ready at http://[^:]+:(\d+)", line)
                port = int(found[1]) if found else None
        draining = asyncio.create_task(process.stdout.read())
        yield process.pid, port
        draining.cancel()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def sessions(where: Machine, count: int) -> list[str]:
    """Make sessions, on one server after the other."""
    headers = {"Authorization": f"Bearer {where.token}"}
    made = []
    async with aiohttp.ClientSession(headers=headers) as http:
        for number in range(count):
            port = where.ports[number % len(where.ports)]
            async with http.post(f"http://127.0.0.1:{port}/sessions", json={}) as answer:
                made.append((await answer.json())["session_id"])
    return made


async def join(port: int, peer: Peer) -> None:
    await asyncio.get_running_loop().create_connection(lambda: peer, "127.0.0.1", port)
    async with asyncio.timeout(READY_S):
        await peer.is_joined


def roads(where: Machine, arrangement: Arrangement, number: int) -> tuple[int, int]:
    """Return the ports of the agent and of the phone of a session."""
    at = number % len(where.ports)
    other = (at + 1) % len(where.ports) if arrangement.is_apart else at
    return where.ports[at], where.ports[other]


@dataclass(frozen=True)
class Figures:
    """What one arrangement came to."""

    per_s: float
    server_us: float
    database_us: float
    p50_ms: float
    p99_ms: float
    lost: int


async def measure(arrangement: Arrangement, count: int, seconds: float, per_s: float) -> Figures:
    """Load an arrangement until it takes no more, and then at a steady rate."""
    async with machine(arrangement) as where:
        saturated = await _saturate(where, arrangement, count, seconds)
        return Figures(*saturated, *await _speak(where, arrangement, count, seconds, per_s))


async def _saturate(
    where: Machine, arrangement: Arrangement, count: int, seconds: float
) -> tuple[float, float, float]:
    senders, phones = list[Sender](), list[Peer]()
    for number, session_id in enumerate(await sessions(where, count)):
        near, far = roads(where, arrangement, number)
        senders.append(Sender(request(near, session_id, where.token, "agent"), uuid.uuid4().hex, WINDOW))
        phones.append(Peer(request(far, session_id, where.token, "ui")))
        await join(near, senders[-1])
        await join(far, phones[-1])
    loop = asyncio.get_running_loop()
    for sender in senders:
        sender.go()
    await asyncio.sleep(WARM_S)
    began_s, arrived = loop.time(), sum(phone.received for phone in phones)
    server_s, database_s = where.cpu_s, where.database_cpu_s
    await asyncio.sleep(seconds)
    took_s, arrived = loop.time() - began_s, sum(phone.received for phone in phones) - arrived
    server_s, database_s = where.cpu_s - server_s, where.database_cpu_s - database_s
    for peer in (*senders, *phones):
        peer.transport.abort()
    return arrived / took_s, server_s / arrived * 1e6, database_s / arrived * 1e6


async def _speak(
    where: Machine, arrangement: Arrangement, count: int, seconds: float, per_s: float
) -> tuple[float, float, int]:
    latencies_ns = list[int]()
    agents, phones = list[Agent](), list[Phone]()
    for number, session_id in enumerate(await sessions(where, count)):
        near, far = roads(where, arrangement, number)
        agents.append(Agent(request(near, session_id, where.token, "agent"), uuid.uuid4().hex, per_s))
        phones.append(Phone(request(far, session_id, where.token, "ui"), latencies_ns))
        await join(near, agents[-1])
        await join(far, phones[-1])
    chance = random.Random(1)
    for agent in agents:
        agent.go(chance.random() / per_s)
    await asyncio.sleep(WARM_S)
    latencies_ns.clear()
    await asyncio.sleep(seconds)
    taken = sorted(latencies_ns)
    for agent in agents:
        agent.stop()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(20):
            while any(a.sent > p.received for a, p in zip(agents, phones, strict=True)):
                await asyncio.sleep(0.05)
    lost = sum(a.sent - p.received for a, p in zip(agents, phones, strict=True))
    for peer in (*agents, *phones):
        peer.transport.abort()
    return taken[len(taken) // 2] / 1e6, taken[len(taken) * 99 // 100] / 1e6, lost


def main() -> None:
    """Parse the command line, measure each arrangement, print one row each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__)
    parser.add_argument("--sessions", type=int, default=100)
    parser.add_argument("--per-s", type=float, default=2.0, help="messages of each agent at the steady rate")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--only", type=int, help="only this arrangement, from 0")
    given = parser.parse_args()
    chosen = ARRANGEMENTS if given.only is None else (ARRANGEMENTS[given.only],)
    print(f"{given.sessions} sessions, an agent and a phone each; steady: {given.per_s:g} a second each\n")
    print(f"{'':32}{'messages/s':>11}{'server us':>11}{'database us':>13}{'p50 ms':>9}{'p99 ms':>9}{'lost':>6}")
    for each in chosen:
        got = asyncio.run(measure(each, given.sessions, given.seconds, given.per_s))
        print(f"{each.name:32}{got.per_s:>11,.0f}{got.server_us:>11.0f}{got.database_us:>13.0f}"
              f"{got.p50_ms:>9.2f}{got.p99_ms:>9.1f}{got.lost:>6}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
