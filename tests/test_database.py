"""The one writer: what is acknowledged is stored, whatever a unit or the disk does."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from small_disk import SmallDisk

from companion_ws.core.errors import Unavailable
from companion_ws.database import (
    MAX_WAITING_BYTES,
    CannotOpen,
    Conflict,
    Database,
    NotUnique,
    Statement,
    Unit,
)
from companion_ws.database.database import LOOK_S
from companion_ws.files import folder

MIGRATIONS = folder("migrations")
NEW = (
    "INSERT INTO sessions (session_id, user, created_at_ms, last_active_at_ms) VALUES (?, ?, 0, 0)"
)
RENAME = "UPDATE sessions SET title = ? WHERE session_id = ? AND ended_at_ms IS NULL"


@asynccontextmanager
async def opened(path: Path, migrations: Path = MIGRATIONS) -> AsyncIterator[Database]:
    database = Database(path, migrations)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with opened(tmp_path / "companion.db") as database:
        yield database


class Waiting:
    """A unit and what became of it."""

    def __init__(self, sql: str, *params: object, guarded: bool = False) -> None:
        self.fate: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.unit = Unit(
            hear=self.fate.set_result, guards=frozenset({sql}) if guarded else frozenset()
        )
        self.unit.add(sql, params)

    def write(self, database: Database) -> Waiting:
        database.write(self.unit)
        return self


async def ids(database: Database) -> list[str]:
    return [row[0] for row in await database.read("SELECT session_id FROM sessions ORDER BY 1")]


def on_disk(path: Path) -> list[str]:
    """What a program of its own finds in the file."""
    script = "import sqlite3, sys; print(*[row[0] for row in sqlite3.connect(sys.argv[1]).execute("
    script += "'SELECT session_id FROM sessions ORDER BY 1')])"
    found = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    return found.stdout.split()


async def test_a_unit_hears_of_its_commit_once_another_program_can_read_it(
    database: Database, tmp_path: Path
) -> None:
    assert await Waiting(NEW, "a", "alice").write(database).fate is None
    assert on_disk(tmp_path / "companion.db") == ["a"]


async def test_everything_that_waits_while_a_commit_runs_shares_the_next_one(
    database: Database,
) -> None:
    commits: list[str] = []
    is_under_way, may_end = threading.Event(), threading.Event()
    connection = database._engine.connection
    assert connection is not None

    def trace(sql: str) -> None:
        if sql == "COMMIT":
            commits.append(sql)
            is_under_way.set()
            may_end.wait(20)

    connection.set_trace_callback(trace)

    first = Waiting(NEW, "first", "alice").write(database)
    assert await asyncio.to_thread(is_under_way.wait, 20)
    others = [Waiting(NEW, f"{n:03}", "alice").write(database) for n in range(200)]
    await asyncio.sleep(0)
    may_end.set()

    assert {await waiting.fate for waiting in (first, *others)} == {None}
    assert len(commits) == 2
    assert len(await ids(database)) == 201


@pytest.mark.parametrize(
    "params",
    [("good 1", "a key that is there"), (2**70, "no such integer"), ("\ud800", "x"), ({}, "x")],
)
async def test_a_bad_unit_costs_only_itself(database: Database, params: tuple[object, ...]) -> None:
    units = [
        Waiting(NEW, "good 1", "alice"),
        Waiting(NEW, *params),
        Waiting(NEW, "good 2", "alice"),
    ]
    fates = [await waiting.write(database).fate for waiting in units]
    together = [Waiting(NEW, "good 3", "a"), Waiting(NEW, *params), Waiting(NEW, "good 4", "a")]
    for waiting in together:
        waiting.write(database)
    fates += [await waiting.fate for waiting in together]

    assert [fate is None for fate in fates] == [True, False, True] * 2
    assert not isinstance(fates[1], Unavailable)
    assert await ids(database) == ["good 1", "good 2", "good 3", "good 4"]
    assert database.is_writable


async def test_a_unit_that_rests_on_something_gone_is_refused_alone(database: Database) -> None:
    await Waiting(NEW, "a", "alice").write(database).fate
    stale = Waiting(RENAME, "title", "gone", guarded=True)
    stale.unit.add(NEW, ("never", "alice"))
    fresh = Waiting(RENAME, "title", "a", guarded=True)
    for waiting in (stale, fresh):
        waiting.write(database)

    assert isinstance(await stale.fate, Conflict)
    assert await fresh.fate is None
    assert await ids(database) == ["a"]


async def test_a_transaction_that_finds_something_else_leaves_nothing(database: Database) -> None:
    with pytest.raises(Conflict):
        await database.transact(
            [Statement(NEW, ("a", "alice")), Statement(RENAME, ("t", "gone"), expect=1)]
        )
    with pytest.raises(NotUnique):
        await database.transact([Statement(NEW, ("a", "alice")), Statement(NEW, ("a", "alice"))])
    assert await ids(database) == []


async def test_a_caller_who_gives_up_does_not_undo_its_work_nor_that_of_others(
    database: Database,
) -> None:
    impatient = asyncio.create_task(database.transact([Statement(NEW, ("a", "alice"))]))
    patient = asyncio.create_task(database.transact([Statement(NEW, ("b", "alice"))]))
    await asyncio.sleep(0)
    impatient.cancel()
    await patient
    with pytest.raises(asyncio.CancelledError):
        await impatient
    assert await ids(database) == ["a", "b"]


async def test_a_listener_that_fails_does_not_stop_the_writer(database: Database) -> None:
    def fail(error: Exception | None) -> None:
        raise RuntimeError("a fault of the listener")

    unit = Unit(fail)
    unit.add(NEW, ("a", "alice"))
    database.write(unit)
    await Waiting(NEW, "b", "alice").write(database).fate
    assert await ids(database) == ["a", "b"]


async def test_what_waits_is_counted_until_it_is_stored(database: Database) -> None:
    waiting = Waiting(NEW, "a", "alice").write(database)
    database.note_bytes(waiting.unit, MAX_WAITING_BYTES + 1)
    assert database.is_full
    await waiting.fate
    assert not database.is_full


async def test_closing_stores_what_was_accepted_and_takes_nothing_more(tmp_path: Path) -> None:
    database = Database(tmp_path / "companion.db", MIGRATIONS)
    await database.open()
    waiting = [Waiting(NEW, str(n), "alice").write(database) for n in range(5)]
    await database.close()

    assert [await unit.fate for unit in waiting] == [None] * 5
    assert on_disk(tmp_path / "companion.db") == ["0", "1", "2", "3", "4"]
    assert not (tmp_path / "companion.db-wal").exists()
    with pytest.raises(Unavailable):
        Waiting(NEW, "late", "alice").write(database)
    with pytest.raises(Unavailable):
        await database.read("SELECT 1")


# A disk that is full.


async def fill_up(database: Database, again: int = 0) -> int:
    """Write until the disk refuses; return how many were acknowledged."""
    for number in range(10_000):
        try:
            await database.transact([Statement(NEW, (f"{again}-{number:05}", "x" * 500))])
        except Unavailable:
            return number
    raise AssertionError("the disk never refused")


async def writable(database: Database) -> None:
    async with asyncio.timeout(5):
        while not database.is_writable:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("kind", ["tmpfs", "limit"])
async def test_a_full_disk_refuses_reads_on_and_takes_writes_again_without_a_restart(
    kind: str, tmp_path: Path
) -> None:
    with SmallDisk(kind, tmp_path) as disk:
        async with opened(disk.folder / "companion.db") as database:
            await database.transact([Statement(NEW, ("before", "alice"))])
            disk.fill()
            stored = 1 + await fill_up(database)

            assert not database.is_writable
            assert len(await ids(database)) == stored
            with pytest.raises(Unavailable):
                Waiting(NEW, "meanwhile", "alice").write(database)
            await asyncio.sleep(1.2)  # one attempt of the writer, which may give the log's room back
            for again in range(5):
                if not database.is_writable:
                    break
                stored += await fill_up(database, again + 1)
                await asyncio.sleep(1.2)
            assert not database.is_writable

            disk.free()
            await writable(database)
            await database.transact([Statement(NEW, ("after", "alice"))])
            assert len(await ids(database)) == stored + 1
            assert await database.read("PRAGMA integrity_check") == [("ok",)]
        assert len(on_disk(disk.folder / "companion.db")) == stored + 1


async def test_a_server_stopped_on_a_full_disk_stops_and_keeps_what_it_acknowledged(
    tmp_path: Path,
) -> None:
    with SmallDisk("tmpfs", tmp_path) as disk:
        async with asyncio.timeout(20), opened(disk.folder / "companion.db") as database:
            disk.fill()
            stored = await fill_up(database)
        disk.free()
        assert len(on_disk(disk.folder / "companion.db")) == stored


async def test_somebody_who_looks_into_the_file_does_not_take_the_log_away(tmp_path: Path) -> None:
    """The last program to close a database removes its WAL; it must see that we are here."""
    with SmallDisk("limit", tmp_path) as disk:
        path = disk.folder / "companion.db"
        async with opened(path) as database:
            assert await ids(database) == []
            disk.fill()
            stored = await fill_up(database)
            disk.free()
            await writable(database)

            assert len(on_disk(path)) == stored
            await database.transact([Statement(NEW, ("after", "alice"))])
            assert len(on_disk(path)) == stored + 1
        assert len(on_disk(path)) == stored + 1


# Files.


@pytest.mark.parametrize("umask", [0o000, 0o077])
async def test_the_files_are_ours_alone_whatever_the_umask(umask: int, tmp_path: Path) -> None:
    before = os.umask(umask)
    try:
        async with opened(tmp_path / "companion.db") as database:
            await database.transact([Statement(NEW, ("a", "alice"))])
            await database.backup(tmp_path / "copy.db")
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert set(modes) == {"companion.db", "companion.db-wal", "companion.db-shm", "copy.db"}
    assert set(modes.values()) == {0o600}


async def test_a_backup_is_whole_one_file_and_another_log(
    database: Database, tmp_path: Path
) -> None:
    await database.transact([Statement(NEW, ("a", "alice"))])
    copy = tmp_path / "copy.db"
    writing = [Waiting(NEW, f"{n}", "alice").write(database) for n in range(20)]
    await database.backup(copy)
    await asyncio.gather(*(waiting.fate for waiting in writing))

    with sqlite3.connect(copy) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert ("a",) in connection.execute("SELECT session_id FROM sessions").fetchall()
        [(epoch,)] = connection.execute("SELECT epoch FROM log").fetchall()
    connection.close()
    assert [(epoch,)] != await database.read("SELECT epoch FROM log")
    assert {path.name for path in tmp_path.glob("copy*")} == {"copy.db"}
    with pytest.raises(FileExistsError):
        await database.backup(copy)

    async with opened(copy) as restored:
        assert "a" in await ids(restored)


async def test_a_backup_that_does_not_fit_leaves_nothing(
    database: Database, tmp_path: Path
) -> None:
    for number in range(100):
        await database.transact([Statement(NEW, (str(number), "x" * 10_000))])
    with SmallDisk("tmpfs", tmp_path) as disk:
        disk.fill()
        with pytest.raises(sqlite3.Error):
            await database.backup(disk.folder / "copy.db")
        assert not (disk.folder / "copy.db").exists()
    await database.transact([Statement(NEW, ("after", "alice"))])


async def test_a_checkpoint_gives_the_wal_back(database: Database, tmp_path: Path) -> None:
    for number in range(50):
        await database.transact([Statement(NEW, (str(number), "x" * 1000))])
    assert (tmp_path / "companion.db-wal").stat().st_size > 0
    await database.purge()
    assert (tmp_path / "companion.db-wal").stat().st_size == 0


# A start that fails.


async def test_a_file_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "companion.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(CannotOpen, match="newer version"):
        await Database(path, MIGRATIONS).open()
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    connection.close()


async def test_a_migration_that_fails_leaves_nothing_of_itself(tmp_path: Path) -> None:
    path, migrations = tmp_path / "companion.db", tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, migrations)
    number = len(list(migrations.glob("[0-9]*.sql"))) + 1
    bad = migrations / f"{number:04}_bad.sql"
    bad.write_text("CREATE TABLE extra (a) STRICT; INSERT INTO nowhere VALUES (1);")
    with pytest.raises(sqlite3.Error):
        await Database(path, migrations).open()

    bad.unlink()
    async with opened(path, migrations) as database:
        assert await database.read("PRAGMA user_version") == [(number - 1,)]
        assert await database.read("SELECT name FROM sqlite_master WHERE name = 'extra'") == []


def test_a_program_ends_after_a_start_that_failed(tmp_path: Path) -> None:
    (tmp_path / "companion.db").write_bytes(b"this is no database, " * 100)
    script = (
        "import asyncio, pathlib, sys\n"
        "from companion_ws.database import Database\n"
        "from companion_ws.files import folder\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "asyncio.run(Database(path, folder('migrations')).open())\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "companion.db")],
        capture_output=True,
        text=True,
        timeout=20,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
    )
    assert ended.returncode == 1
    assert "file is not a database" in ended.stderr


def test_a_loop_that_is_ended_from_within_leaves_no_thread_that_keeps_the_process(
    tmp_path: Path,
) -> None:
    before = set(threading.enumerate())

    async def work() -> None:
        async with opened(tmp_path / "companion.db") as database:
            await database.transact([Statement(NEW, ("s", "alice"))])
            asyncio.get_running_loop().call_soon(sys.exit, 3)
            await asyncio.Event().wait()

    with pytest.raises(SystemExit):
        asyncio.run(work())
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
        assert not thread.is_alive(), thread


def test_no_statement_binds_in_a_way_that_python_warns_of() -> None:
    """Numbered places with a sequence of values are deprecated from Python 3.12 on."""
    sources = (Path(__file__).parents[1] / "companion_ws").rglob("*.py")
    numbered = [
        f"{path.name}: {line.strip()}"
        for path in sources
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"\?[0-9]+\b", line)
    ]
    assert numbered == []


async def test_a_file_that_lost_its_content_is_not_taken_for_a_new_one(tmp_path: Path) -> None:
    path = tmp_path / "companion.db"
    path.touch(0o600)
    with pytest.raises(CannotOpen, match=r"0 bytes.*Restore a backup"):
        await Database(path, folder("migrations")).open()
    path.unlink()
    Path(f"{path}-wal").write_bytes(b"what was stored last")
    with pytest.raises(CannotOpen, match=r"missing.*log companion.db-wal"):
        await Database(path, folder("migrations")).open()
    assert not path.exists()
    Path(f"{path}-wal").unlink()
    async with opened(path) as database:
        assert await ids(database) == []
        assert not path.with_name("companion.db.new").exists()


def test_both_engines_have_the_same_tables_and_columns_after_steps_of_the_same_numbers() -> None:
    steps = sorted(MIGRATIONS.glob("[0-9]*.sql"))
    of_postgres = sorted((MIGRATIONS / "postgres").glob("[0-9]*.sql"))
    assert of_postgres[-1].name[:4] == steps[-1].name[:4]
    with closing(sqlite3.connect(":memory:")) as connection:
        for step in steps:
            connection.executescript(step.read_text(encoding="utf-8"))
        tables = {
            name: {row[1] for row in connection.execute(f"PRAGMA table_info({name})")}
            for (name,) in connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
            )
        }
    found: dict[str, set[str]] = {}
    text = "".join(step.read_text(encoding="utf-8") for step in of_postgres)
    for name, body in re.findall(r"CREATE TABLE (\w+) \((.*?)^\)", text, re.DOTALL | re.MULTILINE):
        found[name] = set(re.findall(r'^    "?([a-z_]+)"? [A-Z]', body, re.MULTILINE))
    for name, column in re.findall(r"ALTER TABLE (\w+) ADD COLUMN (\w+)", text):
        found[name].add(column)
    for name in re.findall(r"DROP TABLE (\w+)", text):
        del found[name]
    for of_many_servers in (
        "nodes", "news", "news_count", "call_places", "guesses", "guess_pause", "turns",
        "connection_counts", "key_steps", "key_boxes",
    ):  # fmt: skip
        del found[of_many_servers]
    found["pictures"].remove("rowid")  # which tables of SQLite have by themselves
    assert found == tables


FILL = "INSERT INTO sessions (session_id, user, title, created_at_ms, last_active_at_ms) VALUES (?, 'alice', ?, 0, 0)"


async def filled_and_emptied(database: Database, rows: int) -> None:
    """Let many sessions come and go."""
    for start in range(0, rows, 500):
        many = range(start, min(start + 500, rows))
        await database.transact(Statement(FILL, (f"s{n}", "x" * 4000)) for n in many)
    await database.transact([Statement("DELETE FROM sessions")])


async def until_smaller(path: Path, size_bytes: int) -> None:
    async with asyncio.timeout(20):
        while path.stat().st_size > size_bytes:
            await asyncio.sleep(0.05)


async def test_the_file_shrinks_after_what_filled_it_is_gone(
    database: Database, tmp_path: Path
) -> None:
    path = tmp_path / "companion.db"
    await filled_and_emptied(database, 3_000)

    await until_smaller(path, 5 * 1024 * 1024)
    assert await database.read("PRAGMA integrity_check") == [("ok",)]


async def test_the_file_of_an_earlier_version_shrinks_too(tmp_path: Path) -> None:
    earlier = tmp_path / "earlier"
    earlier.mkdir()
    for script in sorted(MIGRATIONS.glob("[0-9]*.sql"))[:-1]:
        shutil.copy(script, earlier)
    path = tmp_path / "companion.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        for number, script in enumerate(sorted(earlier.iterdir()), start=1):
            old.executescript(f"{script.read_text()};PRAGMA user_version = {number};")

    async with opened(path) as database:
        await filled_and_emptied(database, 3_000)
        await until_smaller(path, 5 * 1024 * 1024)


async def test_room_for_what_comes_next_is_not_given_back(database: Database) -> None:
    await filled_and_emptied(database, 1000)
    [(empty,)] = await database.read("PRAGMA freelist_count")
    await asyncio.sleep(3 * LOOK_S)
    assert await database.read("PRAGMA freelist_count") == [(empty,)]
    assert empty > 900
