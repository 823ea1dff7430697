"""The load the product is for, `python -m benchmarks.steady`: many calls, each saying little.

Every session has an agent and a phone, and its agent speaks at its own steady rate, spread
over the second. Printed: how long a message takes from the agent's socket to the phone's
(p50, p99, longest), the processor time the server spent on it, the longest pause of the
server's loop, and its memory. The server has one core to itself, the generator the other,
where the machine has two. Nothing here fails on a time: machines are shared; compare rows
of one run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from benchmarks.__main__ import TICK_S, USER, store_sessions
from benchmarks.generator import MASK, Peer, request
from companion_ws.access.keys import Keys
from companion_ws.access.tokens import Revocations, Tokens
from companion_ws.data_folder import prepare_data_folder

MARK = b'"sent_ns":"'
TEXT = '{"type":"contextual_update","text":"quote_ready","data":{"carrier":"FedEx","service":"Ground","cost":12.99,"sent_ns":"%020d"},"requestId":"%s-%09d"}'


@dataclass(frozen=True)
class Load:
    """`sessions` pairs, each agent saying `per_s` messages a second."""

    name: str
    sessions: int
    per_s: float


LOADS = (
    Load("500 sessions, 4 a second each", 500, 4.0),
    Load("1,000 calls, 1 a second each", 1_000, 1.0),
    Load("2,500 calls, 1 a second each", 2_500, 1.0),
    Load("5,000 calls, 1 a second each", 5_000, 1.0),
)
QUICK = (Load("100 sessions, 4 a second each", 100, 4.0),)


class Agent(Peer):
    """Says a message every period, from its own moment on."""

    def __init__(self, request: bytes, name: str, per_s: float) -> None:
        super().__init__(request)
        self._name, self._period_s = name, 1 / per_s
        self.sent = 0
        self._timer: asyncio.TimerHandle | None = None

    def go(self, after_s: float) -> None:
        self._at = asyncio.get_running_loop().time() + after_s
        self._timer = asyncio.get_running_loop().call_at(self._at, self._say)

    def _say(self) -> None:
        payload = (TEXT % (time.monotonic_ns(), self._name, self.sent)).encode()
        self.transport.write(b"\x81\xfe" + len(payload).to_bytes(2) + MASK + payload)
        self.sent += 1
        self._at += self._period_s
        self._timer = asyncio.get_running_loop().call_at(self._at, self._say)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


class Phone(Peer):
    """Notes how long each message was on its way."""

    def __init__(self, request: bytes, latencies_ns: list[int]) -> None:
        super().__init__(request)
        self._latencies_ns = latencies_ns

    def counts(self, data: bytes, start: int, size: int) -> int:
        at = data.find(MARK, start, start + size)
        if at >= 0 and self.is_joined.done():
            begin = at + len(MARK)
            self._latencies_ns.append(time.monotonic_ns() - int(data[begin : begin + 20]))
        return super().counts(data, start, size)


@dataclass(frozen=True)
class Figures:
    """What one run came to."""

    messages: int
    p50_ms: float
    p99_ms: float
    longest_ms: float
    cpu_us: float
    pauses_ms: list[float]
    memory_mib: float
    lost: int


class Server:
    """The product in a process of its own; `end` prints what its loop noticed."""

    def __init__(self, data: Path, loop: str, durability: str) -> None:
        self._arguments = ("product", loop, str(data), durability, "--pauses")

    async def __aenter__(self) -> Server:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.servers", *self._arguments,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )
        assert self.process.stdout is not None
        self.port = int(await self.process.stdout.readline())
        if os.cpu_count() != 1:
            os.sched_setaffinity(self.process.pid, {0})
            for task in Path(f"/proc/{self.process.pid}/task").iterdir():
                os.sched_setaffinity(int(task.name), {0})
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    @property
    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * TICK_S

    @property
    def memory_mib(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    async def pauses_ms(self) -> list[float]:
        """Return the pauses since the last time this was asked, longest first."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(b"pauses\n")
        answer: list[float] = json.loads(await self.process.stdout.readline())
        return answer


@contextmanager
def core_of_its_own(number: int) -> Iterator[None]:
    """Keep this process on one core, where there are several."""
    before = os.sched_getaffinity(0)
    if len(before) > 1:
        os.sched_setaffinity(0, {number})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


async def run(load: Load, loop: str, durability: str, seconds: float) -> Figures:
    """Join everybody, speak for `seconds`, return what came of it."""
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "data"
        prepare_data_folder(data)
        keys = Keys.load(data, None)
        token, _ = Tokens(keys, Revocations(keys)).issue("user", USER, 86_400)
        session_ids = [str(uuid.uuid4()) for _ in range(load.sessions)]
        await store_sessions(data / "companion.db", session_ids)
        async with Server(data, loop, durability) as server:
            with core_of_its_own(1):
                return await _speak(load, server, token, session_ids, seconds)


async def _speak(
    load: Load, server: Server, token: str, session_ids: list[str], seconds: float
) -> Figures:
    loop, latencies_ns = asyncio.get_running_loop(), list[int]()
    agents = [
        Agent(request(server.port, session_id, token, "agent"), f"{number:06}", load.per_s)
        for number, session_id in enumerate(session_ids)
    ]
    phones = [Phone(request(server.port, each, token, "ui"), latencies_ns) for each in session_ids]
    for agent, phone in zip(agents, phones, strict=True):
        for peer in (agent, phone):
            await loop.create_connection(lambda peer=peer: peer, "127.0.0.1", server.port)
            async with asyncio.timeout(30):
                await peer.is_joined
    chance = random.Random(1)
    for agent in agents:
        agent.go(chance.random() / load.per_s)
    await asyncio.sleep(2.0)
    latencies_ns.clear()
    await server.pauses_ms()
    sent, cpu_s = sum(agent.sent for agent in agents), server.cpu_s
    await asyncio.sleep(seconds)
    sent, cpu_s = sum(agent.sent for agent in agents) - sent, server.cpu_s - cpu_s
    taken = sorted(latencies_ns)
    pauses, memory = await server.pauses_ms(), server.memory_mib
    for agent in agents:
        agent.stop()
    deadline = loop.time() + 20
    while any(a.sent > p.received for a, p in zip(agents, phones, strict=True)):
        if loop.time() > deadline:
            break
        await asyncio.sleep(0.05)
    lost = sum(a.sent - p.received for a, p in zip(agents, phones, strict=True))
    for peer in (*agents, *phones):
        peer.transport.abort()
    return Figures(
        len(taken), taken[len(taken) // 2] / 1e6, taken[len(taken) * 99 // 100] / 1e6,
        taken[-1] / 1e6, cpu_s / sent * 1e6, pauses, memory, lost,
    )


def main() -> None:
    """Parse the command line, run the loads, print one row each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.steady", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one small load for 5 s")
    parser.add_argument("--seconds", type=float, help="how long each load lasts (default 60)")
    parser.add_argument("--load", type=int, help="only this load, from 0")
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], help="only this event loop")
    parser.add_argument("--durability", choices=["power", "process"], default="power")
    parser.add_argument("--pauses", action="store_true", help="list the ten longest pauses as well")
    options = parser.parse_args()
    loop = options.loop or ("uvloop" if find_spec("uvloop") else "asyncio")
    seconds = options.seconds or (5.0 if options.quick else 60.0)
    loads = QUICK if options.quick else LOADS
    if options.load is not None:
        loads = (LOADS[options.load],)
    print(f"{loop}, durability {options.durability}, {seconds:g} s each\n")
    print(f"{'':32}{'messages':>9}{'p50 ms':>8}{'p99 ms':>8}{'longest':>9}{'CPU us':>8}"
          f"{'pause ms':>10}{'MiB':>7}{'lost':>6}")
    for load in loads:
        got = asyncio.run(run(load, loop, options.durability, seconds))
        longest = got.pauses_ms[0] if got.pauses_ms else 0.0
        print(f"{load.name:32}{got.messages:>9,}{got.p50_ms:>8.2f}{got.p99_ms:>8.1f}"
              f"{got.longest_ms:>9.1f}{got.cpu_us:>8.0f}{longest:>10.1f}{got.memory_mib:>7.0f}"
              f"{got.lost:>6}", flush=True)
        if options.pauses:
            print("    pauses of the loop, ms:", *(f"{ms:.1f}" for ms in got.pauses_ms[:10]))


if __name__ == "__main__":
    main()
