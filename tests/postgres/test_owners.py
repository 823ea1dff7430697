"""Several servers of one database: who has which session, and what a race between them comes to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from postgres_server import PostgresServer

from companion_ws.clock import since_boot_s
from companion_ws.core.errors import Unavailable
from companion_ws.core.session import Event, apply
from companion_ws.data_folder import StartRefused
from companion_ws.database import Conflict, Database, Statement
from companion_ws.database.postgres.apart import Apart
from companion_ws.files import folder
from companion_ws.nodes.last import LastName
from companion_ws.nodes.lease import Lease
from companion_ws.nodes.owners import Owners
from companion_ws.nodes.place import Elsewhere
from companion_ws.sessions.store import PendingWrite, Row, Store, Stored
from companion_ws.sessions.undone import Undone

PATIENCE_S = 20.0
SESSION = "00000000-0000-4000-8000-000000000001"
OTHER = "00000000-0000-4000-8000-000000000002"
RUN_OUT = "UPDATE nodes SET until = clock_timestamp() - interval '1 s' WHERE url = %s"
EXTEND = "UPDATE nodes SET until = clock_timestamp() + interval '5 s' WHERE url = %s"


class Member:
    """What a server has of ownership, under the test's own clock."""

    def __init__(self, url: str, name: str, data: Path, key_mark: str = "key") -> None:
        self.url = f"http://{name}"
        self.ahead_s = 0.0
        self.names = 0
        self.lost = 0

        def new_name() -> str:
            self.names += 1
            return f"{name}-{self.names}"

        self.database = Database(url, folder("migrations"))
        self.lease = Lease(
            Apart(url), self.url, lambda: key_mark, new_name, LastName(data),
            since_boot_s=lambda: since_boot_s() + self.ahead_s,
        )  # fmt: skip
        self.owners = Owners(self.database, self.lease, lambda: Apart(url))
        self.owners.on_lost(self._lose)
        self.store = Store(self.database, self.owners)
        self.undone = Undone(self.database, self.owners)

    def _lose(self) -> None:
        assert not self.owners.is_good
        self.lost += 1

    async def start(self) -> None:
        await self.database.open()
        await self.owners.start()
        await self.store.open()

    async def stop(self) -> None:
        await self.owners.stop()
        await self.database.close()

    async def made(self, session_id: str = SESSION) -> Stored:
        await self.store.create(Row(session_id, "alice", None, "", None, 1, 1, None, 0, None))
        return await self.loaded(session_id)

    async def loaded(self, session_id: str = SESSION) -> Stored:
        stored = await self.store.load(session_id)
        assert stored is not None
        return stored

    def write(self, stored: Stored) -> asyncio.Future[Exception | None]:
        """Write the next record; the future is its fate."""
        fate: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        session = stored.session
        write = PendingWrite(
            stored.row.number, session, lambda _, error: fate.set_result(error), stored.generation
        )
        event = Event("user_message", {"text": self.url})
        body = json.dumps({"type": event.type, "text": self.url, "seq": session.seq + 1}).encode()
        apply(session, event, body, 1)
        write.record(session, event, body, 1, (None, None))
        self.database.write(write)
        return fate


class Pair:
    """Two servers, and a connection beside them."""

    def __init__(self, url: str, folder: Path) -> None:
        (folder / "one").mkdir()
        (folder / "two").mkdir()
        self.one = Member(url, "one", folder / "one")
        self.two = Member(url, "two", folder / "two")
        self.beside = psycopg.connect(url)

    def at_once(self, sql: str, *params: Any) -> None:
        self.beside.execute(sql.encode(), params)
        self.beside.commit()


@pytest.fixture
async def pair(tmp_path: Path, postgres: PostgresServer) -> AsyncIterator[Pair]:
    pair = Pair(postgres.url(tmp_path), tmp_path)
    # Both at once, on a database without tables.
    await asyncio.gather(pair.one.start(), pair.two.start())
    yield pair
    pair.beside.close()
    for member in (pair.one, pair.two):
        await member.stop()


async def is_waiting(task: asyncio.Future[Any]) -> bool:
    await asyncio.wait({task}, timeout=0.3)
    return not task.done()


async def until(is_so: Any) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():
            await asyncio.sleep(0.02)


async def test_a_session_is_taken_once_its_server_is_no_more_and_that_one_writes_nothing_then(
    pair: Pair,
) -> None:
    one, two = pair.one, pair.two
    mine, kept = await one.made(), await two.made(OTHER)
    assert await one.write(mine) is None
    with pytest.raises(Elsewhere) as refused:
        await two.loaded()
    assert refused.value.node.url == one.url
    assert await two.owners.find(SESSION) == one.owners.me
    assert await one.owners.find(SESSION) is None

    name = one.owners.me.name
    pair.at_once(RUN_OUT, one.url)
    assert await two.owners.find(SESSION) is None
    taken = await two.loaded()
    assert (taken.session.seq, taken.last) == (1, name)
    assert taken.generation == mine.generation + 1
    stale, good = one.write(mine), two.write(taken)
    assert isinstance(await stale, Conflict)
    assert await good is None
    assert await two.write(kept) is None


async def test_of_a_batch_only_the_stale_unit_is_dropped(pair: Pair) -> None:
    one = pair.one
    first, second = await one.made(), await one.made(OTHER)
    pair.at_once("UPDATE tips SET generation = generation + 1 WHERE number = %s", first.row.number)
    stale, good = one.write(first), one.write(second)
    assert isinstance(await stale, Conflict)
    assert await good is None


async def test_a_commit_under_way_is_waited_for_and_seen_by_who_takes_the_session(pair: Pair) -> None:
    mine = await pair.one.made()
    pair.at_once(RUN_OUT, pair.one.url)
    pair.beside.execute("UPDATE tips SET seq = 7 WHERE number = %s", (mine.row.number,))
    taking = asyncio.ensure_future(pair.two.loaded())
    assert await is_waiting(taking)
    pair.beside.commit()
    assert (await taking).row.seq == 7


async def test_a_renewal_under_way_is_waited_for_and_keeps_the_session(pair: Pair) -> None:
    one, two = pair.one, pair.two
    await one.made()
    one.lease._is_stopping = True  # The test renews, and nobody else.
    await until(lambda: not one.lease._thread.is_alive())
    name = one.owners.me.name
    pair.at_once(
        "INSERT INTO nodes (node, url, until, key_mark)"
        " VALUES (%s, %s, clock_timestamp() - interval '1 s', 'key')", name, one.url,
    )  # fmt: skip
    pair.beside.execute(EXTEND, (one.url,))
    taking = asyncio.ensure_future(two.loaded())
    assert await is_waiting(taking)
    pair.beside.commit()
    with pytest.raises(Elsewhere):
        await taking


async def test_a_commit_behind_a_taking_under_way_is_refused(pair: Pair) -> None:
    mine = await pair.one.made()
    pair.beside.execute(
        "UPDATE tips SET node = 'x', generation = generation + 1 WHERE number = %s", (mine.row.number,)
    )
    fate = pair.one.write(mine)
    assert await is_waiting(fate)
    pair.beside.commit()
    assert isinstance(await fate, Conflict)


async def test_a_row_that_stays_locked_is_not_waited_for_without_end(pair: Pair) -> None:
    mine = await pair.one.made()
    pair.beside.execute("UPDATE tips SET seq = 7 WHERE number = %s", (mine.row.number,))
    with pytest.raises(Unavailable):
        await pair.one.loaded()
    pair.beside.rollback()
    assert (await pair.one.loaded()).generation == mine.generation + 1


async def test_a_lease_that_ran_out_is_not_renewed_and_everything_is_dropped_before_the_next_begins(
    pair: Pair,
) -> None:
    one = pair.one
    await one.made()
    first = one.owners.me
    pair.at_once(RUN_OUT, one.url)
    await until(lambda: one.lost)
    await until(lambda: one.owners.is_good)
    assert one.lost == 1
    assert one.owners.me.name != first.name
    # Its own session, which it had under another name.
    assert (await one.loaded()).last == first.name


async def test_a_server_gives_up_before_anybody_else_can_have_its_sessions(pair: Pair) -> None:
    one, two = pair.one, pair.two
    await one.made()
    one.ahead_s = 4.2  # It stood still for so long, and wakes.
    assert not one.owners.is_good
    with pytest.raises(Unavailable):
        await one.loaded()
    with pytest.raises(Elsewhere):
        await two.loaded()
    await until(lambda: one.lost)
    await until(lambda: one.owners.is_good)


async def test_what_was_read_counts_for_nothing_where_the_lease_was_lost_meanwhile(pair: Pair) -> None:
    one = pair.one
    stored = await one.made()
    pair.beside.execute("UPDATE tips SET seq = seq WHERE number = %s", (stored.row.number,))
    taking = asyncio.ensure_future(one.loaded())
    assert await is_waiting(taking)
    one.ahead_s = 4.2
    pair.beside.commit()
    with pytest.raises(Unavailable):
        await taking


async def test_a_lease_that_was_not_good_for_a_moment_is_lost(pair: Pair) -> None:
    one = pair.one
    one.ahead_s = 4.2
    assert not one.owners.is_good
    one.ahead_s = 0.0  # As if a renewal had come in after all.
    assert not one.owners.is_good
    await until(lambda: one.lost)
    await until(lambda: one.owners.is_good)


async def test_a_commit_that_did_not_wait_for_its_standby_is_not_acknowledged_and_found_by_taking(
    tmp_path: Path,
) -> None:
    server = PostgresServer("wal_level=replica", "max_wal_senders=4")
    url = server.url(tmp_path)

    def wait_for(standby: str) -> None:
        server.query("postgres", f"ALTER SYSTEM SET synchronous_standby_names = '{standby}'")
        server.query("postgres", "SELECT pg_reload_conf()")

    one = Member(url, "one", tmp_path)
    try:
        await one.start()
        stored = await one.made()
        await asyncio.to_thread(wait_for, "away")
        await asyncio.sleep(0.2)  # Every process has read it by then.
        fate = one.write(stored)
        assert await is_waiting(fate)
        # The lease waits as well, and so does everything: this is cut short, not that.
        server.query(
            "postgres",
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity"
            " WHERE wait_event = 'SyncRep' AND query = 'COMMIT' AND datname = %s",
            (server.name(tmp_path),),
        )
        assert isinstance(await fate, Unavailable)
        await asyncio.to_thread(wait_for, "")
        await until(lambda: one.database.is_writable)
        async with asyncio.timeout(PATIENCE_S):
            while not one.owners.is_good:
                await asyncio.sleep(0.1)
        taken = await one.loaded()
        assert taken.session.seq == 1
        assert taken.generation > stored.generation
    finally:
        await one.stop()
        server.stop()


async def test_a_session_that_is_released_or_given_away_is_anybodys(pair: Pair) -> None:
    one, two = pair.one, pair.two
    stored = await one.made()
    one.owners.release(stored.row.number, stored.generation)
    await one.database.transact(())
    taken = await two.loaded()
    assert taken.last == ""
    # What it says of an earlier time is nothing to whoever has it now.
    one.owners.release(stored.row.number, stored.generation)
    await one.database.transact(())
    assert await one.owners.find(SESSION) == two.owners.me

    await two.owners.give_away()
    assert not two.owners.is_good
    assert (await one.loaded()).last == ""
    assert await one.database.read("SELECT url FROM nodes") == [(one.url,)]


async def test_what_is_due_or_idle_is_for_the_server_that_has_the_session(pair: Pair) -> None:
    one, two = pair.one, pair.two
    await one.made()
    due = "INSERT INTO due (session_id, kind, ref, at_ms) VALUES (?, 'deadline', 'a', 5)"
    await one.database.transact([Statement(due, (SESSION,))])
    await until(lambda: two.owners.others())
    for undone, found in ((one.undone, [(SESSION, "deadline", "a")]), (two.undone, [])):
        assert await undone.due_by(10) == found
        assert await undone.next_due_ms() == (5 if found else None)
        assert await undone.idle_since(10, 9) == ([SESSION] if found else [])
    await one.owners.give_away()
    await until(lambda: not two.owners.others())
    assert await two.undone.due_by(10) == [(SESSION, "deadline", "a")]
    assert await two.undone.idle_since(10, 9) == [SESSION]


async def test_a_server_that_is_started_again_need_not_wait_for_its_own_lease(
    pair: Pair, tmp_path: Path, postgres: PostgresServer
) -> None:
    await pair.one.made()
    again = Member(postgres.url(tmp_path), "again", tmp_path / "one")
    await again.start()
    assert (await again.loaded()).last == pair.one.owners.me.name
    copied = tmp_path / "copied"
    copied.mkdir()
    (copied / "node").write_bytes((tmp_path / "one" / "node").read_bytes())
    assert LastName(copied).read() is None
    await again.stop()


async def test_a_server_with_another_key_is_refused_in_words(
    pair: Pair, tmp_path: Path, postgres: PostgresServer
) -> None:
    (tmp_path / "three").mkdir()
    stranger = Member(postgres.url(tmp_path), "three", tmp_path / "three", key_mark="another")
    await stranger.start()
    with pytest.raises(StartRefused, match="signs with another key"):
        await stranger.owners.check(["another", "and an older one"])
    # Who was there before goes on, also where the key is replaced on one after the other.
    await pair.one.owners.check(["key"])
    await stranger.owners.check(["another", "key"])
    await stranger.stop()


async def test_a_server_at_the_address_of_another_one_is_refused_in_words(
    pair: Pair, tmp_path: Path, postgres: PostgresServer
) -> None:
    (tmp_path / "three").mkdir()
    double = Member(postgres.url(tmp_path), "one", tmp_path / "three")
    await double.start()
    with pytest.raises(StartRefused, match="--node-url"):
        await double.owners.check(["key"])
    # The other one goes away in time: it was what is left of the last server here.
    checking = asyncio.create_task(double.owners.check(["key"]))
    assert await is_waiting(checking)
    await pair.one.owners.give_away()
    await checking
    await double.stop()
