"""One command, `python -m benchmarks`: the product against plain aiohttp, in interleaved rounds.

What is compared is work per second of processor time of the server process
(all its threads), not per second of the clock: other programs on the machine
then matter little, and rounds that alternate cancel most of the rest.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from benchmarks.generator import Traffic
from companion_ws.access.keys import Keys
from companion_ws.access.tokens import Revocations, Tokens
from companion_ws.data_folder import prepare_data_folder
from companion_ws.database import Database
from companion_ws.files import folder
from companion_ws.sessions.store import Row, creation

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
USER = "bench"


@dataclass(frozen=True)
class Scenario:
    """What is measured: `goal` is the ratio the product aims at."""

    name: str
    sessions: int
    receivers: int
    window: int
    goal: float
    unit: Literal["messages", "deliveries", "joins"]


SCENARIOS = (
    Scenario("500 sessions x 2 connections", 500, 1, 4, 0.7, "messages"),
    Scenario("fan-out 1 -> 100", 1, 100, 64, 10.0, "deliveries"),
    Scenario("fan-out 1 -> 5", 1, 5, 64, 3.0, "deliveries"),
    Scenario("250 sessions x 2, come and go", 250, 1, 4, 0.7, "joins"),
)


class Contender:
    """A server process and the traffic on it."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, traffic: Traffic) -> None:
        self._process = process
        self.traffic = traffic

    @property
    def cpu_s(self) -> float:
        stat = Path(f"/proc/{self._process.pid}/stat").read_text()
        fields = stat.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * TICK_S

    async def measure(self, scenario: Scenario, seconds: float) -> float:
        """Return work per processor second, from a running start to the last delivery."""
        if scenario.unit == "joins":
            return await self._measure_joins(seconds)
        traffic = self.traffic
        traffic.go()
        await asyncio.sleep(min(0.5, seconds / 4))
        before, cpu_s = self._work(scenario), self.cpu_s
        await asyncio.sleep(seconds)
        done, spent_s = self._work(scenario) - before, self.cpu_s - cpu_s
        await traffic.stop()
        return done / spent_s

    async def _measure_joins(self, seconds: float) -> float:
        """Let everybody leave and join until the time is over; return joins a processor second."""
        traffic, joins, cpu_s = self.traffic, 0, self.cpu_s
        ends_s = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < ends_s:
            traffic.leave()
            traffic.senders.clear()
            traffic.receivers.clear()
            await traffic.join()
            joins += len(traffic.senders) + len(traffic.receivers)
        return joins / (self.cpu_s - cpu_s)

    def _work(self, scenario: Scenario) -> int:
        deliveries = self.traffic.deliveries
        return deliveries if scenario.unit == "deliveries" else deliveries // 2


@asynccontextmanager
async def contender(kind: str, loop: str, scenario: Scenario) -> AsyncIterator[Contender]:
    """A started server with everybody joined."""
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "data"
        prepare_data_folder(data)
        keys = Keys.load(data, None)
        token, _ = Tokens(keys, Revocations(keys)).issue("user", USER, 86_400)
        session_ids = [str(uuid.uuid4()) for _ in range(scenario.sessions)]
        await store_sessions(data / "companion.db", session_ids)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.servers", kind, loop, str(data),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            port = int(await process.stdout.readline())
            traffic = Traffic(port, token, session_ids, scenario.receivers, scenario.window)
            await traffic.join()
            yield Contender(process, port, traffic)
            traffic.leave()
        finally:
            process.stdin.close()
            try:
                async with asyncio.timeout(15):
                    await process.wait()
            except TimeoutError:
                process.kill()


async def store_sessions(path: Path, session_ids: list[str]) -> None:
    """Let the sessions exist, so that both servers are joined in the same way."""
    database = Database(path, folder("migrations"))
    await database.open()
    [(now_ms,)] = await database.read("SELECT unixepoch() * 1000")
    await database.transact(
        statement
        for session_id in session_ids
        for statement in creation(
            Row(session_id, USER, None, "", None, now_ms, now_ms, None, 0, None)
        )
    )
    await database.close()


async def compare(scenario: Scenario, loop: str, rounds: int, seconds: float) -> float:
    """Print one line and return the ratio."""
    figures: dict[str, list[float]] = {"plain": [], "product": []}
    ratios = []
    async with contender("plain", loop, scenario) as plain:
        async with contender("product", loop, scenario) as product:
            for _ in range(rounds):
                figures["plain"].append(await plain.measure(scenario, seconds))
                figures["product"].append(await product.measure(scenario, seconds))
                ratios.append(figures["product"][-1] / figures["plain"][-1])
    plain_work, product_work = (statistics.median(figures[kind]) for kind in figures)
    ratio = statistics.median(ratios)
    print(
        f"{scenario.name:30} {loop:8} {plain_work:>12,.0f} {product_work:>12,.0f}"
        f" {ratio:>8.2f}x {min(ratios):>7.2f}-{max(ratios):.2f} {scenario.goal:>7.1f}x"
        f"   {scenario.unit}",
        flush=True,
    )
    return ratio


def main() -> None:
    """Parse the command line, compare, and fail below `--at-least` times the goals."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="about 40 s instead of some minutes")
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], help="only this event loop")
    parser.add_argument("--scenario", type=int, help="only this one, from 0")
    parser.add_argument("--at-least", type=float, default=0.0, metavar="F",
                        help="fail when a ratio is below F times its goal")
    options = parser.parse_args()
    rounds, seconds = (3, 1.0) if options.quick else (7, 3.0)
    loops = [options.loop] if options.loop else ["asyncio"]
    if not options.loop and find_spec("uvloop"):
        loops.append("uvloop")
    scenarios = SCENARIOS if options.scenario is None else [SCENARIOS[options.scenario]]
    print(f"Work per processor second of the server, median of {rounds} interleaved rounds\n")
    print(f"{'':30} {'loop':8} {'plain':>12} {'product':>12} {'ratio':>9} {'range':>12} {'goal':>8}")
    failed = False
    for loop in loops:
        for scenario in scenarios:
            ratio = asyncio.run(compare(scenario, loop, rounds, seconds))
            failed |= ratio < scenario.goal * options.at_least
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
