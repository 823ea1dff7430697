"""Histories of several servers on one PostgreSQL, any part of which is killed.

    PYTHONPATH=.:tests:tests/faults python tests/faults/cluster_storm.py --seed 1 --kills 20

Agents and screens of several sessions (`members.py`) talk to all nodes at once, each request by
another one, over roads that treat connections badly; people with the shipped clients (`people.py`)
talk through HAProxy with `deploy/haproxy-two.cfg`. Meanwhile what the command counts happens to the
cluster (`cluster.py`), in an order that the seed decides. After each of these everybody must be back;
after every ten of them all is answered and read to the end, and the witness (`witness.py`) compares
what was told with what is stored. A history has sessions of its own; the cluster lives on.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp
from cluster import Cluster, Node, free_ports
from members import Stage
from people import INTERRUPTED_S, JavaScriptPerson, Person, PythonPerson
from play import Play, rest
from real_server import PATIENCE_S, ROOT, UNLIMITED
from rough_proxy import RoughProxy
from witness import State, faults

from tests.node_program import NodeProgram

FLAGS: Final = (
    *UNLIMITED, "--limit-records=0", "--limit-log-bytes=0", "--limit-open-calls=0",
    "--limit-open-calls-bytes=0", "--trust-proxy=127.0.0.1",
)  # fmt: skip
TOKEN_S: Final = 24 * 3600.0
BACK_S: Final = 60.0
"""Who is not back by then never will be."""
PATIENT_S: Final = 10.0
"""How long a member waits for an answer: an entrance may hold a request for six seconds."""
PER_HISTORY: Final = 10
STILL_S: Final = 10.0
MOST_SHOWN: Final = 5
LINES_SHOWN: Final = 60


@dataclass(frozen=True, slots=True)
class Plan:
    """What happens: how often each kind of blow falls, in an order that the seed decides."""

    seed: int
    blows: Mapping[str, int]
    nodes: int = 2
    sessions: int = 2
    still_s: float = STILL_S
    waits: bool = True
    """Whether commits wait for the standby; without it a lost primary takes records with it."""

    def histories(self) -> list[list[str]]:
        """Return the blows of each history."""
        order = [name for name, count in self.blows.items() for _ in range(count)]
        random.Random(self.seed).shuffle(order)
        return [order[at : at + PER_HISTORY] for at in range(0, len(order), PER_HISTORY)]


@dataclass(slots=True)
class Report:
    """What was seen."""

    counts: Counter[str] = field(default_factory=Counter)
    back_s: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """By kind of blow and of client, how long each who was interrupted had to wait."""
    unaware: Counter[str] = field(default_factory=Counter)
    """Likewise, how many waited less than INTERRUPTED_S."""
    wrong: list[str] = field(default_factory=list)

    def add(self, other: Report) -> None:
        """Take over what another one saw."""
        self.counts.update(other.counts)
        self.unaware.update(other.unaware)
        for name, waits in other.back_s.items():
            self.back_s[name] += waits
        self.wrong += other.wrong

    def lines(self) -> list[str]:
        """Return it for people."""
        shown = [f"{count:>10,} {name}" for name, count in sorted(self.counts.items())]
        for name in sorted({*self.back_s, *self.unaware}):
            waits = self.back_s[name] or [0.0]
            shown.append(
                f"{name}: {self.unaware[name]} noticed nothing, {len(self.back_s[name])} waited, p50 {statistics.median(waits):.1f} s,"
                f" p99 {percentile(waits, 0.99):.1f} s, longest {max(waits):.1f} s"
            )
        return shown


def percentile(values: list[float], part: float) -> float:
    """Return the smallest of the values that this part of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, min(len(ordered) - 1, round(part * len(ordered) + 0.499999) - 1))]


class ClusterStorm:
    """A cluster that lives through one history after the other."""

    def __init__(self, scratch: Path, plan: Plan, total: Report) -> None:
        """`total` is told of each history once it has been judged."""
        self.rng = random.Random(plan.seed)
        self.plan, self._total = plan, total
        self.report = Report()
        self._scratch = scratch
        self.cluster = Cluster(scratch, plan.nodes, *FLAGS, waits=plan.waits)
        self._plays: list[Play] = []
        self._people: list[Person] = []

    async def run(self) -> None:
        async with (
            self.cluster as cluster,
            aiohttp.ClientSession() as self._http,
            NodeProgram() as self._program,
            contextlib.AsyncExitStack() as stack,
        ):
            self._roads = [
                await stack.enter_async_context(
                    RoughProxy(random.Random(self.rng.random()), node.server.url)
                )
                for node in cluster.nodes
            ]
            self._front = await stack.enter_async_context(balanced(self._scratch, cluster.nodes))
            histories = self.plan.histories()
            for number, blows in enumerate(histories, 1):
                self.report = Report(Counter(histories=1))
                await self._history(blows)
                self._total.add(self.report)
                if self._total.wrong:
                    return
                print(f"{number} of {len(histories)} histories", file=sys.stderr, flush=True)
            for node in cluster.nodes:
                await node.stop()

    async def _history(self, blows: list[str]) -> None:
        server = self.cluster.nodes[0].server
        self._headers = {"Authorization": f"Bearer {server.token(ttl_s=TOKEN_S)}"}
        await self.cluster.until_ready(self._http)
        self._plays = [await self._play(number) for number in range(self.plan.sessions)]
        self._people = self._crowd(server.token(ttl_s=TOKEN_S))
        try:
            for person in self._people:
                await self._join(person)
            await asyncio.gather(*(play.begin() for play in self._plays))
            for name in blows:
                await rest(self._plays, self.rng.uniform(0.3, 1.5))
                await self._strike(name)
        finally:
            await asyncio.gather(*(play.end() for play in self._plays))
        for road in self._roads:
            road.is_rough = False
            road.cut_all()
        await self._judge()
        for road in self._roads:
            road.is_rough = True

    async def _play(self, number: int) -> Play:
        """Return the cast of a session made by one of the nodes."""
        node = self.cluster.nodes[number % len(self.cluster.nodes)]
        async with self._http.post(
            f"{node.server.url}/sessions", headers=self._headers, json={}
        ) as answer:
            assert answer.status in (200, 201), await answer.text()
            session_id = (await answer.json())["session_id"]
        stage = Stage(
            self._http, [road.url for road in self._roads], self._headers, session_id,
            random.Random(self.rng.random()), patience_s=PATIENT_S,
        )  # fmt: skip
        return Play(stage, self.rng, lambda: self.cluster.texts(session_id))

    def _crowd(self, token: str) -> list[Person]:
        """Return two pairs of people: an agent and a screen each, one in either language."""
        url, program = self._front, self._program
        return [
            PythonPerson("Ada", url, token, "agent"),
            JavaScriptPerson(program, "Joe", url, token, "ui"),
            JavaScriptPerson(program, "Jin", url, token, "agent"),
            PythonPerson("Abe", url, token, "ui"),
        ]

    async def _join(self, person: Person) -> None:
        place = self._people.index(person)
        if place % 2:
            person.session_id = self._people[place - 1].session_id
        await person.begin()

    async def _strike(self, name: str) -> None:
        """Let one blow fall, and wait until everybody is back."""
        began_s = time.time()
        await BLOWS[name](self)
        self.report.counts[f"blow: {name}"] += 1
        await self._everybody_back(name)
        for person in self._people:
            waited_s = await person.waited_s(began_s)
            language = "Python" if isinstance(person, PythonPerson) else "JavaScript"
            if waited_s >= INTERRUPTED_S:
                self.report.back_s[f"{name}, {language}"].append(waited_s)
            else:
                self.report.unaware[f"{name}, {language}"] += 1

    async def _everybody_back(self, what: str) -> None:
        from_s = time.time()
        try:
            async with asyncio.timeout(BACK_S):
                await asyncio.gather(*(person.until_back(from_s) for person in self._people))
        except TimeoutError:
            late = [p.name for p in self._people if not (await p.heard())[-1].sent_s > from_s]
            raise AssertionError(f"after {what} these never were back: {late}") from None

    async def _judge(self) -> None:
        """Let all be answered and read to its end, and note what is wrong."""
        wrong = self.report.wrong
        for person in self._people:
            await person.end()
            assert person.session_id is not None
            wrong += await person.faults(await self.cluster.texts(person.session_id))
            self.report.counts["updates acknowledged to people"] += len(await person.heard())
        for play in self._plays:
            state = await play.calm()
            session_id = play.stage.session_id
            stored = await self.cluster.texts(session_id)
            self.report.counts.update(play.counted(stored))
            wrong += faults(play.stage.history, stored, state)
            if state != await self._state_in(session_id):
                wrong.append("the state in the database is another than the one shown")
        for road in self._roads:
            self.report.counts.update(road.met)
            road.met.clear()
        for node in self.cluster.nodes:
            wrong += tracebacks(node)

    async def _state_in(self, session_id: str) -> State:
        rows = await asyncio.to_thread(
            self.cluster.database.query,
            "SELECT key, value, revision FROM state WHERE session_id = %s",
            session_id,
        )
        return {key: (json.loads(bytes(value)), revision) for key, value, revision in rows}

    # The blows.

    def _somebody(self) -> Node:
        return self.rng.choice(self.cluster.nodes)

    async def kill(self) -> None:
        """Kill a node; it is started again when people are back, if others are left to them."""
        node = self._somebody()
        await node.kill()
        if len(self.cluster.nodes) > 1:
            await self._everybody_back("a kill")
        await node.start()

    async def lose_primary(self) -> None:
        """Kill the primary and promote its standby."""
        behind_s = self.rng.choice((0.0, self.rng.uniform(0.1, 0.8)))
        await self.cluster.fail_over(behind_s, after_s=self.rng.uniform(0, 1))
        await self._everybody_back("a primary lost")
        await self.cluster.restore_standby()

    async def stand_still(self) -> None:
        """Let a node stand still for longer than its lease."""
        node = self._somebody()
        node.stand_still()
        await asyncio.sleep(self.plan.still_s)
        node.go_on()

    async def restart(self) -> None:
        """Stop and start one node after the other, each once HAProxy sends people to the last."""
        for node in self.cluster.nodes:
            await node.stop()
            await node.start()
            await self._until_chosen(node)

    async def _until_chosen(self, node: Node) -> None:
        """Wait until HAProxy sends requests to a node: it prefers who has fewest connections."""
        async with asyncio.timeout(BACK_S):
            while True:
                with contextlib.suppress(OSError, aiohttp.ClientError):
                    async with self._http.get(f"{self._front}/readyz") as answer:
                        if answer.headers.get("X-Served-By") == node.name:
                            return
                await asyncio.sleep(0.2)

    async def cut_database(self) -> None:
        await self._without(self._somebody().roads, RoughProxy.cut)

    async def silence_database(self) -> None:
        await self._without(self._somebody().roads, RoughProxy.silence)

    async def cut_nodes(self) -> None:
        await self._without([self._somebody().door], RoughProxy.cut)

    async def silence_nodes(self) -> None:
        await self._without([self._somebody().door], RoughProxy.silence)

    async def _without(self, roads: list[RoughProxy], how: Callable[[RoughProxy], None]) -> None:
        """Take roads away for a while: shorter or longer than a lease, and than a request is held."""
        for road in roads:
            how(road)
        await asyncio.sleep(self.rng.choice((0.5, 3.0, 8.0)))
        for road in roads:
            road.heal()


BLOWS: Final[dict[str, Callable[[ClusterStorm], Awaitable[None]]]] = {
    "a node killed": ClusterStorm.kill,
    "the primary killed": ClusterStorm.lose_primary,
    "a node stands still": ClusterStorm.stand_still,
    "a rolling restart": ClusterStorm.restart,
    "database cut off": ClusterStorm.cut_database,
    "database silent": ClusterStorm.silence_database,
    "nodes cut off": ClusterStorm.cut_nodes,
    "nodes silent": ClusterStorm.silence_nodes,
}


def tracebacks(node: Node) -> list[str]:
    """Return the first traceback of a node's log, as a fault."""
    output = node.server.output
    for place, line in enumerate(output):
        if "Traceback" in line:
            shown = "".join(output[max(place - 1, 0) : place + LINES_SHOWN])
            return [f"the log of {node.name} has a traceback:\n{shown}"]
    return []


@asynccontextmanager
async def balanced(scratch: Path, nodes: list[Node], *, by_session: bool = False) -> AsyncIterator[str]:
    """Run HAProxy with the configuration we ship before these nodes; yield its URL."""
    [port] = free_ports(1)
    text = (ROOT / "deploy" / "haproxy-two.cfg").read_text(encoding="utf-8")
    text = text.replace("bind :443 ssl crt /etc/ssl/companion-with-key.pem", f"bind 127.0.0.1:{port}")
    lines = [line for line in text.splitlines() if not line.startswith("    server ")]
    if by_session:
        lines = [line for line in lines if "balance leastconn" not in line]
        lines = [re.sub(r"# (http-request set-var|balance|hash-type)", r"\1", line) for line in lines]
    lines += ["    http-response set-header X-Served-By %s"]
    lines += [f"    server {n.name} {n.server.url.removeprefix('http://')}" for n in nodes]
    config = scratch / "haproxy.cfg"
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    program = shutil.which("haproxy") or "/usr/sbin/haproxy"
    process = await asyncio.create_subprocess_exec(
        program, "-db", "-q", "-f", str(config), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(PATIENCE_S), aiohttp.ClientSession() as http:
            while True:
                assert process.returncode is None, "HAProxy refused its configuration"
                with contextlib.suppress(OSError, aiohttp.ClientError):
                    async with http.get(f"http://127.0.0.1:{port}/readyz") as answer:
                        if answer.status == 200:
                            break
                await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def live_through(plan: Plan) -> Report:
    """Run all histories of a plan and return what was seen.

    Raises:
        AssertionError: naming the seed and what is wrong.
    """
    report = Report()
    with tempfile.TemporaryDirectory() as scratch:
        storm = ClusterStorm(Path(scratch), plan, report)
        try:
            asyncio.run(storm.run())
        except KeyboardInterrupt:
            print("stopped; what was not judged is not counted")
        except Exception as error:
            report.wrong.append(f"{type(error).__name__}: {error}")
            raise AssertionError(f"seed {plan.seed} failed: {error!r}") from error
    shown = "\n".join(report.wrong[:MOST_SHOWN])
    assert not report.wrong, f"seed {plan.seed} failed in {len(report.wrong)} ways:\n{shown}"
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--sessions", type=int, default=2, help="sessions in bad weather (2)")
    options = {
        "--kills": "a node killed", "--primaries": "the primary killed",
        "--stops": "a node stands still", "--restarts": "a rolling restart",
        "--cut-database": "database cut off", "--silent-database": "database silent",
        "--cut-nodes": "nodes cut off", "--silent-nodes": "nodes silent",
    }  # fmt: skip
    for option, name in options.items():
        parser.add_argument(option, type=int, default=0, dest=name, metavar="N", help=name)
    parser.add_argument("--asynchronous", action="store_true", help="the control: no commit waits"
                        " for the standby, so that losses of the primary must be found")  # fmt: skip
    given = vars(parser.parse_args())
    blows = {name: given[name] for name in options.values()}
    plan = Plan(given["seed"], blows, given["nodes"], given["sessions"], waits=not given["asynchronous"])
    began_s = time.monotonic()
    report = live_through(plan)
    print("\n".join(report.lines()))
    print(f"{time.monotonic() - began_s:.0f} s, none failed")


if __name__ == "__main__":
    sys.exit(main())
