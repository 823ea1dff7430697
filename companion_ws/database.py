"""Opens SQLite, migrates it, and owns the one writer.

Rules of this file:

1. One thread holds the only connection that writes or checkpoints; a unit of
   work reaches it whole, so no transaction ever spans an `await`.
2. Everything that waits when a commit begins goes into it (group commit; see
   writer.py). A unit hears of its fate after the commit, never before.
3. A unit that breaks a constraint, or meets a broken page, costs only itself; a
   disk that refuses costs every unit of the batch, and the writer opens the file
   again each second until it takes writes.
4. What is written must be in the files that stand in the folder: ones that were
   removed or replaced are noticed before a commit, and twice a second without one.
5. Trouble is said once when it begins, in SQLite's own words, and once when it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import structlog

from companion_ws.core.errors import Unavailable
from companion_ws.writer import Fates, Worker, WriterThread

APPLICATION_ID: Final = 0x43574B53
RETRY_S: Final = 1.0
"""How long the writer waits before it tries a refusing disk again."""
NEEDED_BYTES: Final = 1024 * 1024
"""What a start takes of a disk at most."""
LOOK_S: Final = 0.4
"""How often it is seen whether the files are still there and what was broken is whole."""
CALM_S: Final = 3.0
"""A disk that takes writes again may refuse the next one; it is over after so long without."""
MAX_WAITING_BYTES: Final = 16 * 1024 * 1024
"""Accepted but not yet durable, in the whole process; beyond it new work is refused."""
MIGRATION_FACTOR: Final = 4
"""What a migration may take, in sizes of the database: a copy, the log, and new tables beside old."""
PURGE_TRIES: Final = 3
"""Each waits for whoever reads, up to `busy_timeout`."""
CHECKPOINT_PAGES: Final = 4000
"""16 MiB: pages that many commits touch are moved once for all of them."""
JOURNAL_LIMIT_BYTES: Final = 64 * 1024 * 1024

log = structlog.get_logger(__name__)

Params = Sequence[Any] | Mapping[str, Any]
Settle = Callable[[Exception | None], None]
Read = Callable[..., list[Any]]
"""Takes SQL and its parameters, returns all rows."""
R = TypeVar("R")


class CannotOpen(sqlite3.OperationalError):
    """The database cannot be used as it stands; the message names cause and way out."""


class NewerDatabase(CannotOpen):
    """A newer version has written it; this one leaves it alone."""


class FilesGone(OSError):
    """The files that are open are not those in the folder any more."""


class Conflict(Exception):
    """A statement of a unit did not touch as many rows as it had to."""


class Unit:
    """Statements that are stored together or not at all.

    `rows` maps SQL to the parameters it runs with; SQL texts run in the order
    of their first appearance. `guards` texts must touch exactly one row for
    each of their parameters, else the unit is stale (`Conflict`).
    """

    __slots__ = ("_hear", "guards", "rows", "size_bytes", "taken")

    def __init__(self, hear: Settle | None = None, guards: frozenset[str] = frozenset()) -> None:
        self._hear = hear
        self.rows: dict[str, list[Params]] = {}
        self.guards = guards
        self.size_bytes = 0
        self.taken = False
        """Whether the writer has it; from then on nothing may be added."""

    def add(self, sql: str, params: Params) -> None:
        self.rows.setdefault(sql, []).append(params)

    def seal(self) -> None:
        """Fill in what is known only now: the writer takes it."""

    def settle(self, error: Exception | None) -> None:
        """Hear whether it was stored."""
        hear, self._hear = self._hear, None
        if hear is not None:
            hear(error)


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a transaction; `expect` rows touched, or any number."""

    sql: str
    params: Params = ()
    expect: int | None = None


class Database:
    """One SQLite file: `read` from it, `write` units or `transact` statements."""

    def __init__(
        self,
        path: Path,
        migrations: Path,
        durability: Literal["power", "process"] = "power",
    ) -> None:
        self._path = path
        self._migrations = migrations
        self._synchronous = "FULL" if durability == "power" else "NORMAL"
        self._thread: WriterThread[Unit] = WriterThread(self._commit, self._hear)
        self._connection: sqlite3.Connection | None = None
        self._waiting: list[Unit] = []
        """What this turn of the loop writes."""
        self._waiting_bytes = 0
        self._reopening: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._files = _OpenFiles(path)
        self._is_writable = False
        self._is_closing = False
        self._refusal = _Episode("database_refuses", "database_writes_again")
        self._damage = _Episode("database_damaged", "database_readable_again")
        self._reader = _Reader(path, self._files, self._damage)

    @property
    def is_writable(self) -> bool:
        """False from a refused commit until the disk takes writes again."""
        return self._is_writable

    @property
    def trouble(self) -> str | None:
        """What is wrong with the files or their disk, in SQLite's words; None if nothing is."""
        if self._is_writable and self._damage.reason is None:
            return None
        return self._damage.reason or self._refusal.reason or "the database is not open"

    @property
    def is_full(self) -> bool:
        """True while too much waits for the disk; who can wait should."""
        return self._waiting_bytes > MAX_WAITING_BYTES

    async def open(self) -> None:
        """Open, migrate and start the writer; a disk that takes no writes is tried on.

        Raises:
            CannotOpen: the file is not one to work on, or its disk is full; the message says so.
            sqlite3.Error, OSError: it cannot be read, is no database or belongs to a newer version.
        """
        try:
            await self._thread.run(self._open)
            await self._reader.open()
        except BaseException as error:
            # A thread that outlives a failed start would keep the process alive.
            await self.close()
            if isinstance(error, sqlite3.Error) and not isinstance(error, CannotOpen):
                raise CannotOpen(self._why(error)) from error
            raise
        self._is_writable = True
        self._watcher = asyncio.create_task(self._watch(), name="database-watcher")

    async def close(self) -> None:
        """Store what was accepted, checkpoint, and let go of the file."""
        self._is_closing = True
        for task in (self._watcher, self._reopening):
            if task is not None:
                task.cancel()
        self._hand_over()
        await self._reader.close()
        await self._thread.run(self._close)
        self._thread.stop()

    async def read(self, sql: str, params: Params = ()) -> list[Any]:
        """Return all rows; a half-read cursor would stop the WAL from shrinking.

        Raises:
            Unavailable: the disk does not let us read.
        """
        return await self._reader.run(lambda connection: connection.execute(sql, params).fetchall())

    async def read_with(self, function: Callable[[Read], R]) -> R:
        """Return what a function makes of rows it reads, all of one instant.

        It runs on the thread that reads, and must touch nothing that the loop works on.

        Raises:
            Unavailable: the disk does not let us read.
        """
        return await self._reader.run(lambda connection: _of_one_instant(connection, function))

    def write(self, unit: Unit) -> None:
        """Queue a unit; `unit.settle` is called with None or the reason it was refused.

        Raises:
            Unavailable: the disk refuses at the moment, or the server stops.
        """
        if not self._is_writable or self._is_closing:
            raise Unavailable("The server cannot store anything at the moment; try again.")
        self._queue(unit)

    def _queue(self, unit: Unit) -> None:
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._hand_over)
        self._waiting.append(unit)

    def note_bytes(self, unit: Unit, count: int) -> None:
        """Count `count` more bytes of `unit` against what may wait."""
        unit.size_bytes += count
        self._waiting_bytes += count

    async def transact(self, statements: Iterable[Statement]) -> None:
        """Store all statements or none, durable when this returns.

        Cancelling the caller does not undo it.

        Raises:
            Conflict: a statement touched another number of rows than it expects.
            Unavailable: not known to be stored.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def settle(error: Exception | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

        future.add_done_callback(outlive)
        unit = _Transaction(settle, tuple(statements))
        self.write(unit)
        await asyncio.shield(future)

    async def purge(self) -> None:
        """Let nothing that was deleted stay in any file: the log is emptied, copies of before go."""
        await self._thread.run(self._purge)

    async def backup(self, target: Path) -> None:
        """Write a consistent copy to `target`, which must not exist; it gets another epoch.

        Raises:
            FileExistsError: `target` is there.
            sqlite3.Error: it could not be written; nothing is left of it.
        """
        # Beside the writer, which goes on: a copy takes as long as the file is large.
        await asyncio.to_thread(copy_file, self._path, target)

    # To the writer's thread and back.

    def _hand_over(self) -> None:
        """Give what waits to the thread; what comes while it commits waits for the end of that."""
        if self._thread.is_committing and not self._is_closing:
            return
        batch, self._waiting = self._waiting, []
        if batch:
            for unit in batch:
                unit.taken = True
                unit.seal()
            self._thread.put(batch)

    def _hear(self, batch: list[Unit], fates: Fates | Exception) -> None:
        """Tell each unit of a commit what became of it."""
        if isinstance(fates, Exception):
            self._refuse(batch, fates)
            return
        self._hand_over()
        broken = [fate for fate in fates if fate is not None and _is_damage(fate)]
        if broken:
            self._damage.begin(broken[0])
        else:
            self._refusal.end()
        self._is_writable = True
        for unit, fate in zip(batch, fates, strict=True):
            self._settle(unit, _unavailable(fate) if _is_damage(fate) else fate)

    def _settle(self, unit: Unit, fate: Exception | None) -> None:
        self._waiting_bytes -= unit.size_bytes
        try:
            unit.settle(fate)
        except Exception:  # one listener's fault must not stop the writer of all
            log.exception("settle_failed")

    def _refuse(self, batch: list[Unit], error: Exception) -> None:
        self._is_writable = False
        self._refusal.begin(error)
        refused = [*batch, *self._waiting]
        self._waiting = []
        reason = _unavailable(error)
        for unit in refused:
            unit.taken = True
            self._settle(unit, reason)
        if self._reopening is None and not self._is_closing:
            self._reopening = asyncio.create_task(self._until_writable(), name="database-reopening")

    async def _until_writable(self) -> None:
        while not self._is_writable:
            await asyncio.sleep(RETRY_S)
            try:
                await self._thread.resume(self._reopen)
            except Exception as error:
                self._refusal.begin(error)
                continue
            self._refusal.calm()
            self._is_writable = True
        self._reopening = None

    async def _watch(self) -> None:
        """See to it that trouble is noticed where nobody writes, and that it is over where it is."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                if self._is_writable:
                    await asyncio.to_thread(self._files.check)
                    self._refusal.end_if_calm()
            except OSError as error:
                # The writer finds the same, and waits until they are back.
                self._refusal.begin(error)
                self._is_writable = False
                self._queue(Unit())
            await self._reader.look_again()

    # What runs on the writer's thread.

    def _open(self) -> None:
        self._check_stored()
        if not self._path.exists():
            self._make()
        self._connect()
        _migrate(self._raw(), self._path, self._migrations)

    def _check_stored(self) -> None:
        """Raise CannotOpen where something was stored once and is not there any more."""
        way_out = "Restore a backup; to begin without what was stored, remove"
        log_path = Path(f"{self._path}-wal")
        if not self._path.exists():
            if log_path.exists() and log_path.stat().st_size:
                raise CannotOpen(
                    f"{self._path} is missing, but its log {log_path.name} is there."
                    f" {way_out} {log_path.name}"
                )
        elif not self._path.stat().st_size:
            raise CannotOpen(f"{self._path} is empty (0 bytes). {way_out} it")

    def _make(self) -> None:
        """Make a new database beside its place, and put it there whole."""
        fresh = self._path.with_name(f"{self._path.name}.new")
        for suffix in ("", "-journal"):
            Path(f"{fresh}{suffix}").unlink(missing_ok=True)
        # The folder's files are ours alone whatever the umask (contract section 1).
        os.close(os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            with contextlib.closing(sqlite3.connect(fresh, isolation_level=None)) as connection:
                _migrate(connection, fresh, self._migrations)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
        os.rename(fresh, self._path)

    def _why(self, error: sqlite3.Error) -> str:
        """Return what keeps the database from being opened, and what to do about it."""
        words, folder = in_words(error), self._path.parent
        with contextlib.suppress(OSError):
            disk = os.statvfs(folder)
            if disk.f_flag & os.ST_RDONLY:
                return f"the file system of {folder} is read-only ({words})"
            if disk.f_bavail * disk.f_frsize < NEEDED_BYTES:
                return f"the disk of {folder} is full ({words}). Make room and start again"
        if _is_damage(error):
            return f"{self._path}: {words}. Run `companion-ws db check`, restore a backup"
        return f"{self._path}: {words}"

    def _connect(self) -> None:
        self._files.check()
        # Nothing but SQLite opens these files: closing any descriptor of them gives up the
        # locks of every connection this process has.
        for suffix in ("", "-wal", "-shm"):
            _make_private(f"{self._path}{suffix}")
        connection = sqlite3.connect(
            self._path, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        for pragma in (
            "journal_mode = WAL",
            f"synchronous = {self._synchronous}",
            "busy_timeout = 5000",
            "foreign_keys = ON",
            "trusted_schema = OFF",
            "cell_size_check = ON",
            "secure_delete = ON",
            f"wal_autocheckpoint = {CHECKPOINT_PAGES}",
            f"journal_size_limit = {JOURNAL_LIMIT_BYTES}",
        ):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        self._connection = connection
        if not self._files.are_known:
            # Read once: the log beside the file is made when it is first looked into.
            connection.execute("PRAGMA user_version").fetchone()
            self._files.note()

    def _raw(self) -> sqlite3.Connection:
        if self._connection is None:
            raise sqlite3.OperationalError("the database is not open")
        return self._connection

    def _reopen(self) -> None:
        self._files.check()
        if self._connection is not None:
            try:
                self._connection.close()
            finally:
                self._connection = None
        self._connect()
        connection = self._raw()
        # Proves that a write reaches the disk, and gives the WAL's space back first.
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(f"PRAGMA user_version = {version}")
        connection.execute("COMMIT")

    def _close(self) -> None:
        if self._connection is None:
            return
        # A disk that refuses loses nothing here: the WAL is replayed at the next start.
        connection, self._connection = self._connection, None
        with contextlib.suppress(sqlite3.Error, OSError):
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        with contextlib.suppress(sqlite3.Error, OSError):
            connection.close()

    def _purge(self) -> None:
        for copy in self._path.parent.glob(f"{self._path.name}.before-*"):
            copy.unlink(missing_ok=True)
        for _ in range(PURGE_TRIES):
            [(is_busy, *_)] = self._raw().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            if not is_busy:
                return
        log.warning("log_not_emptied", reason="it was being read")


    def _commit(self, batch: list[Unit]) -> list[Exception | None]:
        """Commit the batch in one transaction, or each unit in its own if one is bad."""
        self._files.check()
        try:
            self._commit_together(batch)
        except _UNIT_ERRORS:
            return [self._commit_alone(unit) for unit in batch]
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            return [self._commit_alone(unit) for unit in batch]
        return [None] * len(batch)

    def _commit_alone(self, unit: Unit) -> Exception | None:
        try:
            self._commit_together([unit])
        except _UNIT_ERRORS as error:
            return error
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            return error
        return None

    def _commit_together(self, batch: list[Unit]) -> None:
        connection = self._raw()
        connection.execute("BEGIN IMMEDIATE")
        try:
            merged: dict[str, list[Params]] = {}
            guards: set[str] = set()
            for unit in batch:
                if isinstance(unit, _Transaction):
                    continue
                guards |= unit.guards
                for sql, params in unit.rows.items():
                    merged.setdefault(sql, []).extend(params)
            for sql, params in merged.items():
                touched = connection.executemany(sql, params).rowcount
                if sql in guards and touched != len(params):
                    raise Conflict(sql)
            for unit in batch:
                if isinstance(unit, _Transaction):
                    unit.run(connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


class _Reader:
    """The connection that reads, on a thread of its own, and what it could not read."""

    def __init__(self, path: Path, files: _OpenFiles, damage: _Episode) -> None:
        self._path = path
        self._files = files
        self._damage = damage
        self._thread = Worker("companion-reader")
        self._connection: sqlite3.Connection | None = None
        self._broken: Callable[[sqlite3.Connection], Any] | None = None
        self._is_closing = False

    async def open(self) -> None:
        self._connection = await self._thread.run(self._opened)

    async def close(self) -> None:
        self._is_closing = True
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error, OSError):
                await self._thread.run(connection.close)
        self._thread.stop()

    async def run(self, function: Callable[[sqlite3.Connection], R]) -> R:
        """Return what a function reads.

        Raises:
            Unavailable: the disk does not let us read.
        """
        if self._connection is None:
            raise Unavailable("The database is not open.")
        try:
            return await self._thread.run(function, self._connection)
        except (sqlite3.Error, OSError) as error:
            is_disks = isinstance(error, (sqlite3.OperationalError, OSError))
            if not self._is_closing and (is_disks or _is_damage(error)):
                self._broken = self._broken or function
                self._damage.begin(error)
            raise Unavailable("The server cannot read at the moment; try again.") from error

    async def look_again(self) -> None:
        """See whether what could not be read can be."""
        if self._broken is None or self._connection is None:
            return
        try:
            await self._thread.run(self._broken, self._connection)
        except (sqlite3.Error, OSError) as error:
            if not _is_damage(error):
                await self._reopen()
            return
        self._broken = None
        self._damage.end()

    async def _reopen(self) -> None:
        """Read through a connection of its own from now on, if the files are the same."""
        with contextlib.suppress(sqlite3.Error, OSError):
            await asyncio.to_thread(self._files.check)
            old, self._connection = self._connection, await self._thread.run(self._opened)
            if old is not None:
                await self._thread.run(old.close)

    def _opened(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, cached_statements=256)
        try:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("PRAGMA wal_autocheckpoint = 0").fetchall()
            # It has the log open from here on, so that none is removed when the writer reopens.
            connection.execute("PRAGMA user_version").fetchall()
        except BaseException:
            connection.close()
            raise
        return connection


def _of_one_instant(connection: sqlite3.Connection, function: Callable[[Read], R]) -> R:
    connection.execute("BEGIN")
    try:
        return function(lambda sql, params=(): connection.execute(sql, params).fetchall())
    finally:
        # It ends whatever was found: a transaction left open would stop the WAL from shrinking.
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def outlive(future: asyncio.Future[Any]) -> None:
    """Let nobody be told of a fault that whoever waited for it did not wait for."""
    if not future.cancelled():
        future.exception()


class _OpenFiles:
    """The files of the database as they were opened: device and inode of each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened: dict[str, tuple[int, int]] = {}

    @property
    def are_known(self) -> bool:
        return bool(self._opened)

    def note(self) -> None:
        """These are the ones."""
        self._opened = self._found()

    def check(self) -> None:
        """Raise FilesGone unless what was opened is what stands in the folder."""
        found = self._found()
        for suffix, opened in self._opened.items():
            if found.get(suffix) != opened:
                name = f"{self._path.name}{suffix}"
                how = "replaced" if suffix in found else "removed"
                raise FilesGone(f"{name} was {how} while the server works on it")

    def _found(self) -> dict[str, tuple[int, int]]:
        found = {}
        for suffix in ("", "-wal"):
            with contextlib.suppress(FileNotFoundError):
                state = os.stat(f"{self._path}{suffix}")
                found[suffix] = (state.st_dev, state.st_ino)
        return found


class _Episode:
    """Trouble from its beginning to its end; one line of the log for each."""

    def __init__(self, began: str, ended: str) -> None:
        self._began = began
        self._ended = ended
        self._began_s = 0.0
        self._calm_since_s: float | None = None
        self.reason: str | None = None

    def begin(self, error: Exception) -> None:
        """It goes wrong, or still does."""
        self._calm_since_s = None
        if self.reason is not None:
            return
        self._began_s = time.monotonic()
        self.reason = in_words(error)
        log.error(self._began, reason=self.reason, way_out=_way_out(error))

    def calm(self) -> None:
        """It may be over; the next refusal would be the same trouble."""
        self._calm_since_s = time.monotonic()

    def end_if_calm(self) -> None:
        if self._calm_since_s is not None and time.monotonic() - self._calm_since_s > CALM_S:
            self.end()

    def end(self) -> None:
        """It is over, if there was any."""
        if self.reason is not None:
            after_s = round(time.monotonic() - self._began_s, 1)
            log.warning(self._ended, after_s=after_s, reason=self.reason)
        self.reason = None
        self._calm_since_s = None


def in_words(error: BaseException) -> str:
    """Return what SQLite, or the system, says is wrong."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    name = getattr(error, "sqlite_errorname", None)
    return f"{error} ({name})" if name else f"{error}" or type(error).__name__


def _is_damage(error: BaseException | None) -> bool:
    """Whether pages are broken: that costs whoever needs them, and no retry mends it."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _way_out(error: Exception) -> str:
    if isinstance(error, FilesGone):
        return "put that very file back, or stop the server and restore a backup"
    if _is_damage(error):
        return "stop the server, run `companion-ws db check`, restore a backup"
    return "writing and reading are tried again each second"


def _unavailable(error: BaseException | None) -> Unavailable:
    reason = Unavailable("Not known to be stored; send the same requestId again.")
    reason.__cause__ = error
    return reason


def _make_private(path: str) -> None:
    """Let this account alone read a file, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        # A disk that lets nobody write refuses a change of mode, needed or not.
        if stat.S_IMODE(os.stat(path).st_mode) != 0o600:
            os.chmod(path, 0o600)


def _migrate(connection: sqlite3.Connection, path: Path, migrations: Path) -> None:
    """Bring a database to this version's tables, one transaction for each step.

    What was stored before is copied first, beside it: a step that goes wrong can be undone.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    files = sorted(migrations.glob("[0-9]*.sql"))
    if version > len(files):
        raise NewerDatabase(
            f"{path} was written by a newer version ({version} > {len(files)});"
            " start that one, or restore a backup of before"
        )
    if version == len(files):
        return
    if version:
        _copy_before(connection, path, len(files))
    # Tables that are made again are dropped; what refers to them must not go with them.
    connection.execute("PRAGMA foreign_keys = OFF")
    for number, file in enumerate(files[version:], start=version + 1):
        script = file.read_text(encoding="utf-8")
        try:
            connection.executescript(
                f"BEGIN IMMEDIATE;\n{script}\n;PRAGMA user_version = {number};"
                f"PRAGMA application_id = {APPLICATION_ID};COMMIT;"
            )
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    connection.execute("PRAGMA foreign_keys = ON")
    if version:
        log.info("database_migrated", from_version=version, to_version=len(files))


def _copy_before(connection: sqlite3.Connection, path: Path, version: int) -> None:
    """Copy the database as it is before it becomes `version`; an earlier copy of that stays."""
    copy = path.with_name(f"{path.name}.before-{version}")
    if copy.exists():
        return  # A step behind it was broken off; what is there now is no better.
    [(pages,)] = connection.execute("PRAGMA page_count").fetchall()
    [(page_bytes,)] = connection.execute("PRAGMA page_size").fetchall()
    disk = os.statvfs(path.parent)
    needed, free = pages * page_bytes * MIGRATION_FACTOR, disk.f_bavail * disk.f_frsize
    if free < needed:
        raise CannotOpen(
            f"{path} has to be brought to this version, which takes {needed >> 20} MiB beside it"
            f" (a copy as it was, and the log); {free >> 20} MiB are free. Make room and start again"
        )
    log.info("database_migrating", to_version=version, copy=copy.name, size_bytes=pages * page_bytes)
    partial = path.with_name(f"{copy.name}.part")
    partial.unlink(missing_ok=True)
    _copy_pages(connection, partial)
    os.rename(partial, copy)


class _Transaction(Unit):
    """Statements in their own order, as `transact` takes them."""

    __slots__ = ("statements",)

    def __init__(self, hear: Settle, statements: tuple[Statement, ...]) -> None:
        super().__init__(hear)
        self.statements = statements

    def run(self, connection: sqlite3.Connection) -> None:
        for statement in self.statements:
            touched = connection.execute(statement.sql, statement.params).rowcount
            if statement.expect is not None and touched != statement.expect:
                raise Conflict(statement.sql)


_UNIT_ERRORS = (
    Conflict, sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError,
    sqlite3.DataError, OverflowError, ValueError, TypeError,
)
"""What a bad unit raises, as against a disk that refuses."""


def copy_file(path: Path, target: Path) -> None:
    """Copy the database at `path` as of now, by a connection of its own; see `write_copy`."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        write_copy(connection, target)
    finally:
        connection.close()


def write_copy(connection: sqlite3.Connection, target: Path) -> None:
    """Copy a database to a new file that is whole, ours alone, and another log.

    Raises:
        FileExistsError: `target` is there.
        sqlite3.Error: it could not be written; nothing is left of it.
    """
    # What is recorded after it was put back differs from what came after it here.
    _copy_pages(connection, target, "UPDATE log SET epoch = lower(hex(randomblob(8)))")


def _copy_pages(connection: sqlite3.Connection, target: Path, *then: str) -> None:
    # 0600 before the first byte: a copy holds what the original holds.
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    os.chmod(target, 0o600)
    copy = sqlite3.connect(target, isolation_level=None)
    try:
        connection.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE").fetchall()
        for sql in then:
            copy.execute(sql)
    except sqlite3.Error:
        os.unlink(target)
        raise
    finally:
        copy.close()
