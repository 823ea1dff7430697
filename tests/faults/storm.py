"""Histories of the real server in bad weather: `PYTHONPATH=. python tests/faults/storm.py 100`.

One seed is one history: agents and screens (`members.py`) send and read through a proxy that
treats connections badly (`rough_proxy.py`), while the server is killed, loses power, stands
still, finds its clock set and its disk full, slow or read-only (`hostile.py`, `power_loss.py`).
Then the weather clears, everybody sends again what was not answered, and the witness
(`witness.py`) compares what was told with what is stored.

A seed repeats what is sent and what is done to whom. When the machine does what it does is its
own affair, so a failure may need its seed more than once: `storm.py 20 SEED --same`.

With `--durability process` nothing is synced, and the lost records are found, which shows that
losses are losses and that the witness sees them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import json
import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
from hostile import CHANGES, Call, Machine
from members import Stage
from play import Play, rest
from power_loss import compiled, lose_power
from real_server import UNLIMITED, Server
from rough_proxy import RoughProxy
from test_kill import intact
from witness import State, faults, newest

FLAGS: Final = (
    *UNLIMITED, "--limit-records=0", "--limit-log-bytes=0", "--limit-open-calls=0",
    "--limit-open-calls-bytes=0",
)  # fmt: skip
TOKEN_S: Final = 24 * 3600.0
MOST_SHOWN: Final = 5
LINES_SHOWN: Final = 60


@dataclass(frozen=True, slots=True)
class Plan:
    """What a history is made from; `kinds` of blows, all of them where none is named."""

    seed: int
    blows: int = 10
    kinds: tuple[str, ...] = ()
    durability: str = "power"


class Storm:
    """One history; `counts` says what happened in it."""

    def __init__(self, scratch: Path, plan: Plan) -> None:
        self.rng = random.Random(plan.seed)
        self.blows = plan.blows
        self._kinds = plan.kinds or tuple(BLOWS)
        self.counts: Counter[str] = Counter()
        self._scratch = scratch
        self._journal = scratch / "journal"
        self._machine = Machine(scratch, scratch / "data")
        environment = {**self._machine.environment, "POWER_LOSS_JOURNAL": str(self._journal)}
        environment["LD_PRELOAD"] += f":{compiled(scratch)}"
        self._server = Server(
            scratch / "data", *FLAGS, f"--durability={plan.durability}", environment=environment
        )

    async def run(self) -> list[str]:
        """Live through it and return what is wrong."""
        server = self._server
        with self._machine:
            await server.start()
            try:
                async with (
                    RoughProxy(random.Random(self.rng.random())) as self._proxy,
                    aiohttp.ClientSession() as http,
                ):
                    self._proxy.target = server.url
                    self._stage = stage = await self._opened(http)
                    play = Play(stage, self.rng, self._texts)
                    await self._weather(play)
                    self._machine.heal()
                    self._proxy.is_rough = False
                    self._proxy.cut_all()
                    state = await play.calm()
                assert await server.end() == 0, server.output[-20:]
            finally:
                await server.kill()
        stored = texts_of(server.data, stage.session_id)
        self.counts.update(self._proxy.met)
        self.counts.update(play.counted(stored))
        wrong = faults(stage.history, stored, state)
        if state != state_in(server.data, stage.session_id):
            wrong.append("the state in the database is another than the one shown")
        for place, line in enumerate(server.output):
            if "Traceback" in line:
                shown = "".join(server.output[max(place - 1, 0) : place + LINES_SHOWN])
                return [*wrong, f"the server's log has a traceback:\n{shown}"]
        return wrong

    async def _opened(self, http: aiohttp.ClientSession) -> Stage:
        headers = {"Authorization": f"Bearer {self._server.token(ttl_s=TOKEN_S)}"}
        async with http.post(f"{self._server.url}/sessions", headers=headers, json={}) as answer:
            session_id = (await answer.json())["session_id"]
        return Stage(http, [self._proxy.url], headers, session_id, self.rng)

    async def _weather(self, play: Play) -> None:
        """Let all live while blow after blow falls."""
        try:
            await play.begin()
            for _ in range(self.blows):
                await rest([play], self.rng.uniform(0.1, 0.8))
                name = self.rng.choice(self._kinds)
                await BLOWS[name](self)
                self.counts[name] += 1
        finally:
            await play.end()

    async def _texts(self) -> list[str]:
        return texts_of(self._server.data, self._stage.session_id)

    # The blows.

    async def kill(self) -> None:
        """End the process, and start it again."""
        await self._server.kill()
        await self._after()

    async def lose_power(self) -> None:
        """End the process, and take back whatever no sync had confirmed."""
        await self._server.kill()
        if self._journal.exists():
            self.counts["writes undone"] += lose_power(self._journal)
        await self._after()

    async def stop(self) -> None:
        """End it as a service manager does."""
        assert await self._server.end() == 0, self._server.output
        await self._after()

    async def _after(self) -> None:
        """Look at what is left, and start again."""
        self._machine.heal()
        intact(self._server.data, self._scratch / "intact")
        told = newest(self._stage.history)
        stored = len(texts_of(self._server.data, self._stage.session_id))
        assert stored >= told, f"{told} records had been told, and {stored} are stored"
        await self._server.start()
        self._proxy.target = self._server.url

    async def freeze(self) -> None:
        os.kill(self._server.pid, signal.SIGSTOP)
        await asyncio.sleep(self.rng.uniform(0.1, 1))
        os.kill(self._server.pid, signal.SIGCONT)

    async def set_clock(self) -> None:
        self._machine.step(self.rng.uniform(-300, 300))

    async def sleep(self) -> None:
        """Suspend the machine for as long as calls wait."""
        self._machine.sleep(self.rng.uniform(0.5, 5))

    async def cut(self) -> None:
        """Reset every connection at once."""
        self._proxy.cut_all()

    async def fill_disk(self) -> None:
        await self._refuse(Call.WRITE | Call.ALLOCATE | Call.TRUNCATE, errno.ENOSPC)

    async def refuse_sync(self) -> None:
        await self._refuse(Call.SYNC, errno.EIO)

    async def refuse_all(self) -> None:
        await self._refuse(CHANGES, errno.EROFS)

    async def refuse_descriptors(self) -> None:
        await self._refuse(Call.ACCEPT, errno.EMFILE)

    async def _refuse(self, calls: Call, error: int) -> None:
        """Refuse a few of these calls, the first or the n-th, or all for a while."""
        rng = self.rng
        count = rng.choice((1, 3, 10_000))
        self._machine.refuse(calls, error, after=rng.choice((0, 0, 1, 7)), count=count)
        await asyncio.sleep(rng.uniform(0.1, 0.8))
        self.counts["calls refused"] += self._machine.refused
        self._machine.heal()

    async def hold(self) -> None:
        """Let a commit take its time; then it goes well, or is refused, or the power fails."""
        self._machine.hold(Call.SYNC)
        await asyncio.sleep(self.rng.uniform(0.05, 0.5))
        end = self.rng.choice(("well", "refused", "power"))
        if end == "power":
            await self.lose_power()
            return
        if end == "refused":
            self._machine.refuse(Call.SYNC, errno.EIO)
        self._machine.hold(Call(0))
        await asyncio.sleep(0.1)
        self._machine.heal()


BLOWS: Final[dict[str, Callable[[Storm], Awaitable[None]]]] = {
    "kill -9": Storm.kill,
    "loss of power": Storm.lose_power,
    "SIGTERM": Storm.stop,
    "SIGSTOP": Storm.freeze,
    "clock set": Storm.set_clock,
    "suspend": Storm.sleep,
    "all connections reset": Storm.cut,
    "disk full": Storm.fill_disk,
    "sync refused": Storm.refuse_sync,
    "read-only disk": Storm.refuse_all,
    "no descriptor left": Storm.refuse_descriptors,
    "commit held": Storm.hold,
}


def texts_of(data: Path, session_id: str) -> list[str]:
    """Return the texts of the log as they are stored."""
    with closing(sqlite3.connect(data / "companion.db")) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'records'").fetchall():
            return []  # A loss of power took even the tables.
        rows = connection.execute(
            "SELECT body FROM records JOIN sessions USING (number) WHERE session_id = ? ORDER BY seq",
            (session_id,),
        ).fetchall()
    return [body if isinstance(body, str) else body.decode() for (body,) in rows]


def state_in(data: Path, session_id: str) -> State:
    """Return the state as it is stored."""
    with closing(sqlite3.connect(data / "companion.db")) as connection:
        rows = connection.execute(
            "SELECT key, value, revision FROM state WHERE session_id = ?", (session_id,)
        ).fetchall()
    return {key: (json.loads(value), revision) for key, value, revision in rows}


def live_through(plan: Plan) -> Counter[str]:
    """Run one history and return its counts.

    Raises:
        AssertionError: naming the seed and what is wrong.
    """
    with tempfile.TemporaryDirectory() as scratch:
        storm = Storm(Path(scratch), plan)
        try:
            wrong = asyncio.run(storm.run())
        except Exception as error:
            raise AssertionError(f"history {plan.seed} failed: {error!r}") from error
    shown = "\n".join(wrong[:MOST_SHOWN])
    assert not wrong, f"history {plan.seed} failed in {len(wrong)} ways:\n{shown}"
    return storm.counts


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("histories", type=int, nargs="?", default=100)
    parser.add_argument("first_seed", type=int, nargs="?", default=0)
    parser.add_argument("--blows", type=int, default=10, help="faults in each history (10)")
    parser.add_argument("--same", action="store_true", help="the same seed each time")
    parser.add_argument("--durability", choices=("power", "process"), default="power")
    parser.add_argument("--only", action="append", choices=BLOWS, help="this kind of fault")
    given = parser.parse_args()
    kinds = tuple(given.only or ())
    counts: Counter[str] = Counter()
    failed: list[int] = []
    began_s = time.monotonic()
    with contextlib.suppress(KeyboardInterrupt):
        for number in range(given.histories):
            seed = given.first_seed + (0 if given.same else number)
            try:
                counts += live_through(Plan(seed, given.blows, kinds, given.durability))
            except AssertionError as error:
                failed.append(seed)
                traceback.print_exception(error)
                print(flush=True)
            counts["histories"] += 1
    for name, count in sorted(counts.items()):
        print(f"{count:>10,} {name}")
    print(f"{time.monotonic() - began_s:.0f} s, {len(failed)} failed: {failed}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
