"""`python -m benchmarks.durable`: the product beside peers that store before they acknowledge.

All servers run at once and idle while one is measured; rounds go through them in turn, so
that what the machine does meanwhile falls on all alike. Three loads of 200-byte messages,
each acknowledged after it is on disk: one alone, 50 clients with one in flight, 500 clients
with four. Printed: the median time to an acknowledgement, messages a second, messages per
processor second of the server (children included), and that figure's ratio to the product.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.durable import peers
from benchmarks.durable.peers import NotHere, Running

LOADS = ((1, 1), (50, 1), (500, 4))


@dataclass
class Figures:
    """Of one server at one load, a value per round."""

    p50_us: list[float] = field(default_factory=list)
    per_s: list[float] = field(default_factory=list)
    per_cpu_s: list[float] = field(default_factory=list)


async def measure(running: Running, clients: int, window: int, seconds: float, into: Figures) -> None:
    """One round of one server."""
    active = running.clients[:clients]
    for client in active:
        client.latencies_ns.clear()
        client.go(window)
    await asyncio.sleep(min(0.5, seconds / 4))
    for client in active:
        client.latencies_ns.clear()
    cpu_s = running.cpu_s
    await asyncio.sleep(seconds)
    spent_s = running.cpu_s - cpu_s
    taken = [ns for client in active for ns in client.latencies_ns]
    for client in active:
        client.is_sending = False
    async with asyncio.timeout(60):
        while any(client.in_flight for client in active):
            for client in active:
                if client.in_flight and client.transport.is_closing():
                    raise NotHere(f"hung up: {client.lost_by}")
            await asyncio.sleep(0.005)
    if taken:
        into.p50_us.append(statistics.median(taken) / 1000)
        into.per_s.append(len(taken) / seconds)
        into.per_cpu_s.append(len(taken) / max(spent_s, peers.TICK_S))


async def sqlite_alone(folder: Path, batch: int, seconds: float, into: Figures) -> None:
    """One round of SQLite without a server."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.durable.sqlite_alone", str(folder), str(batch), str(seconds),
        stdout=subprocess.PIPE,
    )
    out, _ = await process.communicate()
    figures = json.loads(out)
    into.p50_us.append(figures["p50_us"])
    into.per_s.append(figures["messages"] / seconds)
    into.per_cpu_s.append(figures["messages"] / figures["cpu_s"])


async def compare(folder: Path, rounds: int, seconds: float, only: str | None) -> None:
    """Start everybody, measure in turn, print the tables."""
    running = [await peers.start_product(folder, each) for each in ("power", "process")]
    try:
        for start in peers.STARTS:
            name = start.__name__.removeprefix("start_")
            if only is not None and only not in name:
                continue
            try:
                running.append(await start(folder))
            except (NotHere, TimeoutError, OSError) as error:
                print(f"left out: {name}: {error}")
        for clients, window in LOADS:
            await _load(running, folder, clients, window, rounds, seconds)
    finally:
        for each in running:
            await each.stop()


async def _load(
    running: list[Running], folder: Path, clients: int, window: int, rounds: int, seconds: float
) -> None:
    figures = {each.name: Figures() for each in running}
    alone = figures["SQLite alone, one thread"] = Figures()
    for each in running:
        await each.join(clients)
    measured = list(running)
    for _ in range(rounds):
        for each in list(measured):
            try:
                await measure(each, clients, window, seconds, figures[each.name])
            except (NotHere, TimeoutError) as error:
                print(f"left out at {clients} x {window}: {each.name}: {error or 'took too long'}")
                measured.remove(each)
        await sqlite_alone(folder, clients * window, seconds, alone)
    print(f"\n{clients} x {window} in flight, median of {rounds} interleaved rounds of {seconds:g} s")
    print(f"{'':30}{'p50 us':>9}{'per s':>10}{'per CPU s':>11}{'ratio':>8}")
    product = statistics.median(figures[running[0].name].per_cpu_s)
    for name, got in figures.items():
        if not got.per_s:
            print(f"{name:30}  acknowledged nothing")
            continue
        work = statistics.median(got.per_cpu_s)
        print(f"{name:30}{statistics.median(got.p50_us):>9,.0f}{statistics.median(got.per_s):>10,.0f}"
              f"{work:>11,.0f}{work / product:>7.2f}x", flush=True)


def main() -> None:
    """Parse the command line and compare."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.durable", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of 1 s each")
    parser.add_argument("--only", metavar="PEER", help="beside the product only this peer")
    options = parser.parse_args()
    rounds, seconds = (1, 1.0) if options.quick else (5, 3.0)
    with tempfile.TemporaryDirectory() as scratch:
        asyncio.run(compare(Path(scratch), rounds, seconds, options.only))


if __name__ == "__main__":
    main()
