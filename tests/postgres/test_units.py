"""Units on PostgreSQL: one writer, whole units, and a bad one costs only itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from postgres_server import PostgresServer

from companion_ws.database import CannotOpen, Conflict, Database, NotUnique, Read, Statement, Unit
from companion_ws.files import folder

MIGRATIONS = folder("migrations")
NEW = (
    "INSERT INTO sessions (session_id, user, created_at_ms, last_active_at_ms) VALUES (?, ?, 1, 1)"
)
RENAME = "UPDATE sessions SET title = ? WHERE session_id = ?"


@pytest.fixture
async def database(tmp_path: Path, postgres: PostgresServer) -> AsyncIterator[Database]:
    database = Database(postgres.url(tmp_path), MIGRATIONS)
    await database.open()
    yield database
    await database.close()


class Waiting:
    """A unit and its fate."""

    def __init__(self, *rows: tuple[str, tuple[object, ...]], guards: tuple[str, ...] = ()) -> None:
        self.fate: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.unit = Unit(self.fate.set_result, frozenset(guards))
        for sql, params in rows:
            self.unit.add(sql, params)

    def write(self, database: Database) -> Waiting:
        database.write(self.unit)
        return self


async def ids(database: Database) -> list[str]:
    return [row[0] for row in await database.read("SELECT session_id FROM sessions ORDER BY 1")]


async def test_a_stale_unit_is_left_out_and_the_rest_of_its_batch_is_stored(
    database: Database,
) -> None:
    await Waiting((NEW, ("a", "alice"))).write(database).fate
    units = [
        Waiting((RENAME, ("one", "a")), (NEW, ("b", "bob")), guards=(RENAME,)).write(database),
        Waiting((RENAME, ("two", "gone")), (NEW, ("c", "carol")), guards=(RENAME,)).write(database),
        Waiting((NEW, ("d", "dora"))).write(database),
    ]
    first, stale, last = [await unit.fate for unit in units]

    assert first is None
    assert isinstance(stale, Conflict)
    assert last is None
    assert await ids(database) == ["a", "b", "d"]
    assert await database.read("SELECT title FROM sessions WHERE session_id = 'a'") == [("one",)]


@pytest.mark.parametrize(
    "sql, params", [
        (NEW, ("a", None)), (NEW, ("a",)), (NEW, ("\ud800", "x")), (NEW, ("good 1", "again")),
        ("UPDATE sessions SET is_call = ?", (2**70,)), ("UPDATE nothing SET x = ?", (1,)),
    ],
    ids=["nothing where something is needed", "too few", "half a letter", "there already",
         "too large", "no such table"],
)  # fmt: skip
async def test_a_bad_unit_costs_only_itself(
    database: Database, sql: str, params: tuple[object, ...]
) -> None:
    units = [
        Waiting((NEW, ("good 1", "alice"))).write(database),
        Waiting((sql, params)).write(database),
        Waiting((NEW, ("good 2", "alice"))).write(database),
    ]
    fates = [await unit.fate for unit in units]

    assert fates[0] is None
    assert fates[2] is None
    assert fates[1] is not None
    assert await ids(database) == ["good 1", "good 2"]
    assert database.is_writable


async def test_a_transaction_that_finds_something_else_leaves_nothing_and_others_go_on(
    database: Database,
) -> None:
    bad = database.transact(
        [Statement(NEW, ("a", "alice")), Statement(RENAME, ("t", "gone"), expect=1)]
    )
    good = database.transact([Statement(NEW, ("b", "bob"))])
    refused, stored = await asyncio.gather(bad, good, return_exceptions=True)

    assert isinstance(refused, Conflict)
    assert stored is None
    with pytest.raises(NotUnique):
        await database.transact([Statement(NEW, ("b", "bob"))])
    assert await ids(database) == ["b"]


async def test_what_is_read_together_is_of_one_instant(database: Database) -> None:
    await Waiting((NEW, ("a", "alice"))).write(database).fate
    loop = asyncio.get_running_loop()

    def twice(read: Read) -> tuple[int, int]:
        before = len(read("SELECT 1 FROM sessions"))
        # Another unit is stored between the two.
        asyncio.run_coroutine_threadsafe(add(), loop).result(20)
        return before, len(read("SELECT 1 FROM sessions"))

    async def add() -> None:
        await database.transact([Statement(NEW, ("b", "bob"))])

    assert await database.read_with(twice) == (1, 1)
    assert await ids(database) == ["a", "b"]


async def test_texts_are_what_they_were_whatever_they_hold(database: Database) -> None:
    names = ["\x00", "a\x01b", "\x01-\x01+\x00", "%s ? :x '\\", "\U0001f600", "user"]
    await database.transact(
        Statement(NEW, (str(number), name)) for number, name in enumerate(names)
    )
    rows = await database.read("SELECT user FROM sessions ORDER BY session_id")
    assert [user for (user,) in rows] == names
    [(found,)] = await database.read("SELECT session_id FROM sessions WHERE user = ?", ("\x00",))
    assert found == "0"


async def test_a_copy_is_refused_with_what_makes_one(database: Database, tmp_path: Path) -> None:
    with pytest.raises(CannotOpen, match="pg_dump"):
        await database.backup(tmp_path / "copy.db")


def test_steps_of_both_engines_have_the_same_numbers() -> None:
    def newest(files: Path) -> str:
        return max(file.name[:4] for file in files.glob("[0-9]*.sql"))

    assert newest(MIGRATIONS) == newest(MIGRATIONS / "postgres")
