"""What stands on the disk: its fence, what it adds up to, and what older versions stored."""

from __future__ import annotations

import json
import sqlite3
from collections import namedtuple
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from postgres_server import place
from stored_before import filled

from companion_ws.core.session import Event, Session, apply
from companion_ws.database import CannotOpen, Conflict, Database, Statement
from companion_ws.files import folder
from companion_ws.sessions.checks import faults_of
from companion_ws.sessions.store import ABANDON, PendingWrite, Row, Store, deletion

MIGRATIONS = folder("migrations")
SESSION = "00000000-0000-4000-8000-000000000001"


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(place(tmp_path / "companion.db"), MIGRATIONS, "process")
    await database.open()
    yield database
    await database.close()


@pytest.fixture
async def store(database: Database) -> Store:
    store = Store(database)
    await store.open()
    return store


async def made(store: Store, session_id: str = SESSION) -> tuple[Row, Session]:
    row = await store.create(Row(session_id, "alice", None, "", None, 1, 1, None, 0, None))
    return row, Session(session_id, "alice")


class Unit:
    """A unit of some records, and what became of it."""

    def __init__(self, database: Database, row: Row, session: Session, count: int = 1) -> None:
        self.fate: Exception | str | None = "waiting"
        self._database = database
        self.write = PendingWrite(row.number, session, self._told)
        for _ in range(count):
            event = Event("user_message", {"text": "x"})
            body = json.dumps({"type": event.type, "text": "x", "seq": session.seq + 1}).encode()
            apply(session, event, body, 1)
            self.write.record(session, event, body, 1, (None, None))

    def _told(self, write: PendingWrite, error: Exception | None) -> None:
        self.fate = error

    async def settled(self) -> Exception | str | None:
        self._database.write(self.write)
        await self._database.transact(())
        return self.fate


async def seqs(database: Database) -> list[int]:
    return [seq for (seq,) in await database.read("SELECT seq FROM records ORDER BY number, seq")]


async def test_a_unit_behind_a_refused_one_is_refused(database: Database, store: Store) -> None:
    row, session = await made(store)
    assert await Unit(database, row, session, 4).settled() is None
    Unit(database, row, session, 2)  # 5 and 6 are never written
    assert isinstance(await Unit(database, row, session).settled(), Conflict)
    assert await seqs(database) == [1, 2, 3, 4]


async def test_a_unit_that_was_stored_already_is_refused(database: Database, store: Store) -> None:
    row, session = await made(store)
    stale = Session(SESSION, "alice")
    assert await Unit(database, row, session, 3).settled() is None
    assert isinstance(await Unit(database, row, stale).settled(), Conflict)
    assert await seqs(database) == [1, 2, 3]


async def test_a_unit_is_refused_that_stands_where_records_have_been_removed(
    database: Database, store: Store
) -> None:
    row, session = await made(store)
    stale = Session(SESSION, "alice")
    assert await Unit(database, row, session, 40).settled() is None
    session.first_seq = 40
    unit = Unit(database, row, session)
    unit.write.trim(session, 1)
    assert await unit.settled() is None
    assert await seqs(database) == [40, 41]
    assert isinstance(await Unit(database, row, stale, 2).settled(), Conflict)
    assert await seqs(database) == [40, 41]


async def test_nothing_is_written_into_a_session_that_has_ended(
    database: Database, store: Store
) -> None:
    row, session = await made(store)
    ended = Unit(database, row, session)
    event = Event("session_ended", {"reason": "enough"})
    apply(session, event, b"{}", 1)
    ended.write.record(session, event, b"{}", 1, (None, None))
    assert await ended.settled() is None
    assert isinstance(await Unit(database, row, session).settled(), Conflict)
    assert await seqs(database) == [1, 2]


async def test_nothing_is_written_into_a_session_that_was_erased(
    database: Database, store: Store
) -> None:
    row, session = await made(store)
    assert await Unit(database, row, session).settled() is None
    await database.transact(deletion(SESSION))
    assert isinstance(await Unit(database, row, session).settled(), Conflict)
    again, _ = await made(store)
    assert again.number > row.number, "a number that was used names another session now"
    assert isinstance(await Unit(database, row, session).settled(), Conflict)
    assert await seqs(database) == []


async def test_a_refused_unit_costs_the_others_of_its_commit_nothing(
    database: Database, store: Store
) -> None:
    row, session = await made(store)
    other_row, other = await made(store, SESSION[:-1] + "2")
    gap = Session(SESSION, "alice", seq=7)
    units = [
        Unit(database, row, session), Unit(database, row, gap), Unit(database, other_row, other),
    ]  # fmt: skip
    for unit in units:
        database.write(unit.write)
    await database.transact(())
    assert [unit.fate is None for unit in units] == [True, False, True]
    assert await seqs(database) == [1, 1]


# What 0.1.0 stored.


async def test_what_version_0_1_0_stored_is_there_after_the_update(tmp_path: Path) -> None:
    path = filled(tmp_path / "companion.db")
    with closing(sqlite3.connect(path)) as old:
        rows = old.execute(
            "SELECT session_id, seq, first_seq, cards FROM sessions ORDER BY session_id"
        ).fetchall()
        bodies = old.execute(
            "SELECT session_id, seq, body FROM records ORDER BY session_id, seq"
        ).fetchall()
        state = old.execute("SELECT * FROM state ORDER BY 1, 2").fetchall()

    database = Database(path, MIGRATIONS, "process")
    await database.open()
    try:
        store = Store(database)
        await store.open()
        assert await database.read(
            "SELECT session_id, records.seq, body FROM records JOIN sessions USING (number)"
            " ORDER BY session_id, records.seq"
        ) == bodies
        assert await database.read("SELECT * FROM state ORDER BY 1, 2") == state
        assert len(await database.read("SELECT * FROM bindings")) == 1
        assert await database.read("PRAGMA foreign_key_check") == []
        for session_id, seq, first_seq, cards in rows:
            stored = await store.load(session_id)
            assert stored is not None
            assert (stored.session.seq, stored.session.first_seq) == (seq, first_seq)
            assert list(stored.session.cards) == json.loads(cards)
            row, session = stored.row, stored.session
            is_over = row.ended_at_ms is not None
            assert (await Unit(database, row, session).settled() is None) is not is_over
        long = max(rows, key=lambda row: int(row[1]))
        stored = await store.load(long[0])
        assert stored is not None
        # As many as were remembered, of records that are gone and of those that are there.
        assert len(stored.session.requests) == 110
        sender = '["alice","agent",null]'
        assert await store.request(long[0], sender, "r0") == (1, "contextual_update")
        assert await store.request(long[0], sender, "r169") == (170, "state_updated")
        assert await store.request(long[0], sender, "r170") is None
        questions = [s for r in rows if (s := await store.load(r[0])) and s.session.unclosed]
        assert [list(found.session.unclosed) for found in questions] == [["call-1"]]
    finally:
        await database.close()


async def test_an_update_leaves_a_copy_of_what_was_there_that_erasing_removes(
    tmp_path: Path,
) -> None:
    path = filled(tmp_path / "companion.db")
    with closing(sqlite3.connect(path)) as old:
        before = list(old.iterdump())
    database = Database(path, MIGRATIONS, "process")
    await database.open()
    version = len(list(MIGRATIONS.glob("[0-9]*.sql")))
    copy = tmp_path / f"companion.db.before-{version}"
    try:
        assert copy.stat().st_mode & 0o777 == 0o600
        with closing(sqlite3.connect(copy)) as kept:
            assert list(kept.iterdump()) == before
        assert {file.name for file in tmp_path.iterdir()} <= {
            "companion.db", "companion.db-wal", "companion.db-shm", copy.name,
        }
        await database.transact([Statement("UPDATE sessions SET title = 'x'")])
        await database.purge()
        assert not copy.exists()
    finally:
        await database.close()
    await (again := Database(path, MIGRATIONS, "process")).open()
    await again.close()
    assert not copy.exists(), "nothing was to be brought up to date"


async def test_an_update_without_room_for_the_copy_is_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = filled(tmp_path / "companion.db")
    with closing(sqlite3.connect(path)) as old:
        before = list(old.iterdump())
    small = namedtuple("small", "f_bavail f_frsize f_flag")(10, 4096, 0)
    monkeypatch.setattr("os.statvfs", lambda folder: small)
    database = Database(path, MIGRATIONS, "process")
    with pytest.raises(CannotOpen, match="Make room and start again"):
        await database.open()
    with closing(sqlite3.connect(path)) as same:
        assert list(same.iterdump()) == before
    assert {file.name for file in tmp_path.iterdir()} <= {
        "companion.db", "companion.db-wal", "companion.db-shm",
    }


# What must hold of all of it.


async def faults(database: Database) -> list[str]:
    return await database.read_with(lambda read: list(faults_of(read)))


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("DELETE FROM records WHERE seq = 2", "should hold the records 1 to 4; it holds 3, the newest of them 4"),
        ("DELETE FROM records", "should hold the records 1 to 4; it holds 0, the newest of them none"),
        ("UPDATE tips SET seq = 3", "should hold the records 1 to 3; it holds 4, the newest of them 4"),
        ("UPDATE records SET seq = 5 WHERE seq = 4", "it holds 4, the newest of them 5"),
        ("UPDATE folds SET seq = 9", "what was noted of its log is newer than the log"),
        ("DELETE FROM tips", "the row that says how long its log is is missing"),
        ("UPDATE folds SET locked = '[[1], {'", "cannot be loaded: JSONDecodeError"),
        ("INSERT INTO state VALUES ('gone', 'k', NULL, 1)", "state: 1 rows belong to no session"),
        ("INSERT INTO folds VALUES (99, 1, '[]', '')", "folds: 1 rows belong to no session"),
    ],
)
async def test_a_log_that_does_not_hold_together_is_told_in_words(
    database: Database, store: Store, broken: str, said: str
) -> None:
    row, session = await made(store)
    unit = Unit(database, row, session, 4)
    unit.write.fold(session)
    assert await unit.settled() is None
    await made(store, SESSION[:-1] + "2")
    assert await faults(database) == []

    await database.transact([Statement(broken)])

    assert any(said in fault for fault in await faults(database)), await faults(database)


async def test_a_trimmed_log_and_an_erased_one_hold(database: Database, store: Store) -> None:
    row, session = await made(store)
    assert await Unit(database, row, session, 40).settled() is None
    session.first_seq = 30
    unit = Unit(database, row, session)
    unit.write.trim(session, 1)
    assert await unit.settled() is None
    other, its = await made(store, SESSION[:-1] + "2")
    assert await Unit(database, other, its, 3).settled() is None
    await database.transact([Statement(sql, ("alice",)) for sql in ABANDON])
    await database.transact([Statement("DELETE FROM records WHERE number = ?", (other.number,))])
    assert await faults(database) == []
