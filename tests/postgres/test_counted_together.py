"""Bounds that hold over all servers of a database: two that ask at once are never both the last one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from postgres_server import PostgresServer

from companion_ws.access.guesses import SharedGuesses
from companion_ws.access.keys import Keys
from companion_ws.core.errors import TooManyRequests
from companion_ws.database import Conflict, Database, Statement, one_at_a_time
from companion_ws.files import folder
from companion_ws.nodes.place import Node
from companion_ws.nodes.turns import SharedTurns
from companion_ws.sessions.phone_calls import SILENCE_S
from companion_ws.sessions.shared_calls import NOTE_MS, SharedPhoneCalls

SERVERS = 3


class Seat:
    """A server's place among the others; its lease is a row that the test writes."""

    is_good = True
    is_shared = True

    def __init__(self, name: str) -> None:
        self.me = Node(name, "")


class Clock:
    """Milliseconds that pass when a test says so."""

    def __init__(self) -> None:
        self.at_ms = 1_700_000_000_000

    def __call__(self) -> int:
        return self.at_ms


class Cluster:
    """A database with several servers' connections to it."""

    def __init__(self, postgres: PostgresServer, path: Path) -> None:
        self._postgres, self._name = postgres, postgres.name(path)
        self.url = postgres.url(path)
        self.clock = Clock()
        self.databases: list[Database] = []

    def query(self, sql: str, *params: object) -> list[tuple[object, ...]]:
        return self._postgres.query(self._name, sql, params)

    def lease(self, name: str, seconds: float = 60.0) -> Seat:
        self.query(
            "INSERT INTO nodes (node, url, until, key_mark)"
            " VALUES (%s, '', clock_timestamp() + %s * interval '1 s', '')"
            " ON CONFLICT (node) DO UPDATE SET until = excluded.until",
            name, seconds,
        )  # fmt: skip
        return Seat(name)


@pytest.fixture
async def cluster(postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[Cluster]:
    cluster = Cluster(postgres, tmp_path)
    for _ in range(SERVERS):
        database = Database(cluster.url, folder("migrations"))
        await database.open()
        cluster.databases.append(database)
    yield cluster
    for database in cluster.databases:
        await database.close()


async def counted(tries: list[Callable[[], Awaitable[object]]]) -> int:
    """Try all at once; return how many were let."""

    async def let(one: Callable[[], Awaitable[object]]) -> bool:
        try:
            await one()
        except TooManyRequests:
            return False
        return True

    return sum(await asyncio.gather(*map(let, tries)))


async def test_guesses_of_one_source_and_of_all_are_bounded_over_all_servers(
    cluster: Cluster,
) -> None:
    keys = Keys([b"k" * 32])
    guesses = [SharedGuesses(each, keys, cluster.clock) for each in cluster.databases]

    def tries(sources: list[str]) -> list[Callable[[], Awaitable[object]]]:
        return [
            lambda place=place, source=source: guesses[place % SERVERS].begin(source)
            for place, source in enumerate(sources)
        ]

    assert await counted(tries(["10.0.0.1"] * 12)) == 5
    with pytest.raises(TooManyRequests) as refused:
        await guesses[1].begin("10.0.0.1")
    assert refused.value.details["retry_after_ms"] == 900_000
    right = await guesses[0].begin("10.0.0.2")
    await guesses[2].forgive(right)

    # 5 are counted; with the 95th of these it is a hundred, and nobody's code is looked up.
    assert await counted(tries([f"10.1.{n // 256}.{n % 256}" for n in range(120)])) == 95
    with pytest.raises(TooManyRequests) as paused:
        await guesses[2].begin("10.0.0.3")
    assert paused.value.details["retry_after_ms"] == 300_000
    cluster.clock.at_ms += 300_000
    await guesses[0].begin("10.0.0.3")
    # A day later everything has been forgotten.
    cluster.clock.at_ms += 86_400_000
    assert await counted(tries(["10.0.0.1"] * 6)) == 5
    assert cluster.query("SELECT count(*) FROM guesses") == [(5,)]
    assert "10.0.0.1" not in str(cluster.query("SELECT source FROM guesses"))


async def test_as_many_telephone_calls_are_under_way_as_the_limit_allows_on_all_servers_together(
    cluster: Cluster,
) -> None:
    calls = [
        SharedPhoneCalls(each, 5, cluster.clock, cluster.clock) for each in cluster.databases
    ]
    for number in range(20):
        cluster.query(
            'INSERT INTO sessions (session_id, "user", created_at_ms, last_active_at_ms)'
            " VALUES (%s, 'phone', 0, 0)", str(number),
        )  # fmt: skip

    async def ring(number: int) -> None:
        async with calls[number % SERVERS].place() as place:
            await calls[number % SERVERS].begin(str(number), place)

    assert await counted([lambda number=number: ring(number) for number in range(12)]) == 5
    assert cluster.query("SELECT count(*) FROM call_places") == [(0,)]
    [begun, *others] = [number for (number,) in cluster.query("SELECT session_id FROM phone_calls")]
    for each in calls:
        assert await each.is_live(str(begun))

    # What one server hears keeps the call alive for all; the others fall silent.
    cluster.clock.at_ms += int(SILENCE_S * 500)
    calls[2].heard(str(begun))
    async with asyncio.timeout(20):
        while cluster.query(
            "SELECT heard_at_ms FROM phone_calls WHERE session_id = %s", begun
        ) != [(cluster.clock.at_ms,)]:
            await asyncio.sleep(0.01)
    cluster.clock.at_ms += int(SILENCE_S * 500) + NOTE_MS
    assert await calls[0].is_live(str(begun))
    assert not any([await calls[1].is_live(str(each)) for each in others])
    assert await counted([lambda number=number: ring(number) for number in range(12, 20)]) == 4
    # Whoever calls and finds no session gives the place back.
    await calls[0].over(str(begun), ())
    with contextlib.suppress(KeyError):
        async with calls[0].place():
            raise KeyError
    assert await counted([lambda: ring(19), lambda: ring(18)]) >= 1


async def test_a_turn_is_one_servers_at_a_time_and_goes_on_to_others_when_its_lease_has_run_out(
    cluster: Cluster,
) -> None:
    turns = [
        SharedTurns(database, cluster.lease(str(number)))
        for number, database in enumerate(cluster.databases)
    ]
    inside = most = done = 0

    async def take(number: int) -> None:
        nonlocal inside, most, done
        async with turns[number % SERVERS].taken("one", f"of {number % 4}"):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.002)
            inside -= 1
            done += 1

    async with asyncio.timeout(60):
        await asyncio.gather(*map(take, range(12)))
    assert (most, done) == (1, 12)
    assert cluster.query("SELECT count(*) FROM turns") == [(0,)]

    # A server that stands still holds a turn no longer than its lease, and is stopped by the fence.
    async with turns[0].taken("two") as turn:
        other = turns[1].taken("two")
        waiting = asyncio.ensure_future(other.__aenter__())
        await asyncio.sleep(0.1)
        assert not waiting.done()
        cluster.lease("0", 0.0)
        async with asyncio.timeout(20):
            theirs = await waiting
        with pytest.raises(Conflict):
            await cluster.databases[0].transact(turn.ends())
        await cluster.databases[1].transact(theirs.ends())
        await other.__aexit__(None, None, None)
    assert cluster.query("SELECT count(*) FROM turns") == [(0,)]


async def test_a_turn_whose_holder_was_cancelled_or_is_gone_keeps_nobody_waiting(
    cluster: Cluster,
) -> None:
    one, two = [
        SharedTurns(database, cluster.lease(str(number)))
        for number, database in enumerate(cluster.databases[:2])
    ]

    async def hold(turns: SharedTurns) -> None:
        async with turns.taken("three"):
            await asyncio.sleep(3600)

    for _ in range(20):  # on the way in, inside, and while it waits for the other server
        holders = [asyncio.create_task(hold(each)) for each in (one, two)]
        await asyncio.sleep(0.003)
        for holder in holders:
            holder.cancel()
        await asyncio.gather(*holders, return_exceptions=True)
        async with asyncio.timeout(20), two.taken("three"):
            pass
    cluster.query("INSERT INTO turns (name_hash, node) VALUES ('left', 'dead')")
    await one.tidy("0")
    assert cluster.query("SELECT count(*) FROM turns") == [(0,)]


async def test_servers_that_pass_the_same_gates_in_any_order_never_wait_for_each_other_in_a_circle(
    cluster: Cluster, postgres: PostgresServer
) -> None:
    log = postgres.folder / "log"
    already = log.read_text().count("deadlock detected")

    async def pass_gates(database: Database, names: list[str]) -> None:
        for _ in range(40):
            await asyncio.gather(
                *(database.transact([one_at_a_time(name), Statement("SELECT 1")]) for name in names)
            )

    turns = [
        SharedTurns(database, cluster.lease(str(number)))
        for number, database in enumerate(cluster.databases)
    ]

    async def take(each: SharedTurns, name: str) -> None:
        async with each.taken(name) as turn:
            if name != "a":
                await cluster.databases[turns.index(each)].transact(turn.ends())

    async def take_turns(each: SharedTurns, names: list[str]) -> None:
        for _ in range(8):
            await asyncio.gather(*(take(each, name) for name in names))

    async with asyncio.timeout(60):
        await asyncio.gather(*map(take_turns, turns, (["a", "b", "c"], ["c", "b", "a"], ["b", "c", "a"])))
        await asyncio.gather(
            *(pass_gates(database, names) for database, names in zip(
                cluster.databases, (["a", "b", "c"], ["c", "b", "a"], ["b", "c", "a"]), strict=True
            ))
        )  # fmt: skip
    assert log.read_text().count("deadlock detected") == already, log.read_text()[-3000:]
