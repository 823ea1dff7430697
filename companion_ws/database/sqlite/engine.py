"""SQLite: one file, one connection that writes or checkpoints, one that reads.

Rules of this file:

1. A unit that breaks a constraint, or meets a broken page, costs only itself; a disk that
   refuses costs every unit of the batch.
2. What is written must be in the files that stand in the folder: ones that were
   removed or replaced are noticed before a commit, and twice a second without one.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import structlog

from companion_ws.database.sqlite.copies import copy_file
from companion_ws.database.sqlite.files import OpenFiles, make_private
from companion_ws.database.sqlite.migrations import migrate
from companion_ws.database.sqlite.space import give_back, keep_gaps
from companion_ws.database.sqlite.words import in_words, is_damage, way_out
from companion_ws.database.trouble import CannotOpen
from companion_ws.database.units import Conflict, NotUnique, Params, Read, Transaction, Unit

NEEDED_BYTES: Final = 1024 * 1024
"""What a start takes of a disk at most."""
PURGE_TRIES: Final = 3
"""Each waits for whoever reads, up to `busy_timeout`."""
CHECKPOINT_PAGES: Final = 4000
"""16 MiB: pages that many commits touch are moved once for all of them."""
JOURNAL_LIMIT_BYTES: Final = 64 * 1024 * 1024

_UNIT_ERRORS = (
    Conflict, sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError,
    sqlite3.DataError, OverflowError, ValueError, TypeError,
)
"""What a bad unit raises, as against a disk that refuses."""

_NOT_UNIQUE: Final = ("SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY")

log = structlog.get_logger(__name__)

R = TypeVar("R")


class SQLite:
    """The file at `path`; all but `look`, `reading` and `backup` run on the writer's thread."""

    errors: Final = (sqlite3.Error, OSError)
    in_words = staticmethod(in_words)
    way_out = staticmethod(way_out)
    is_damage = staticmethod(is_damage)

    def __init__(self, path: Path, migrations: Path, durability: Literal["power", "process"]) -> None:
        self._path = path
        self._migrations = migrations
        self._synchronous = "FULL" if durability == "power" else "NORMAL"
        self._files = OpenFiles(path)
        self.connection: sqlite3.Connection | None = None

    def is_disks(self, error: Exception) -> bool:
        """Whether it is the disk's doing, not the statement's."""
        return isinstance(error, (sqlite3.OperationalError, OSError))

    def how_unreadable(self, error: Exception) -> str:
        """Return one event for all: a file that cannot be read and a broken one need the same."""
        return "database_damaged"

    def why_not_opened(self, error: Exception) -> CannotOpen | None:
        """Return what keeps it from being opened, and what to do about it; None if it says so itself."""
        if isinstance(error, CannotOpen) or not isinstance(error, sqlite3.Error):
            return None
        return CannotOpen(self._why(error))

    def look(self) -> None:
        """Raise FilesGone unless what was opened is what stands in the folder."""
        self._files.check()

    def backup(self, target: Path) -> None:
        """Write a copy, by a connection of its own; see `write_copy`."""
        copy_file(self._path, target)

    def reading(self) -> Reading:
        """Return another connection, for the thread that calls."""
        return Reading(self._path)

    def open(self) -> None:
        """Make the file if it is not there, and bring it to this version's tables."""
        self._check_stored()
        if not self._path.exists():
            self._make()
        self._connect()
        migrate(self._raw(), self._path, self._migrations)

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
                keep_gaps(connection)
                migrate(connection, fresh, self._migrations)
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
        if is_damage(error):
            return f"{self._path}: {words}. Run `companion-ws db check`, restore a backup"
        return f"{self._path}: {words}"

    def _connect(self) -> None:
        self._files.check()
        # Nothing but SQLite opens these files: closing any descriptor of them gives up the
        # locks of every connection this process has.
        for suffix in ("", "-wal", "-shm"):
            make_private(f"{self._path}{suffix}")
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
        self.connection = connection
        if not self._files.are_known:
            # Read once: the log beside the file is made when it is first looked into.
            connection.execute("PRAGMA user_version").fetchone()
            self._files.note()

    def _raw(self) -> sqlite3.Connection:
        if self.connection is None:
            raise sqlite3.OperationalError("the database is not open")
        return self.connection

    def reopen(self) -> None:
        """Open the same file again; what it raises says why it takes no writes yet."""
        self._files.check()
        if self.connection is not None:
            try:
                self.connection.close()
            finally:
                self.connection = None
        self._connect()
        connection = self._raw()
        # Proves that a write reaches the disk, and gives the WAL's space back first.
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(f"PRAGMA user_version = {version}")
        connection.execute("COMMIT")

    def close(self) -> None:
        """Checkpoint, and let go of the file."""
        if self.connection is None:
            return
        # A disk that refuses loses nothing here: the WAL is replayed at the next start.
        connection, self.connection = self.connection, None
        with contextlib.suppress(sqlite3.Error, OSError):
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        with contextlib.suppress(sqlite3.Error, OSError):
            connection.close()

    def purge(self) -> None:
        """Let nothing that was deleted stay in any file."""
        for copy in self._path.parent.glob(f"{self._path.name}.before-*"):
            copy.unlink(missing_ok=True)
        for _ in range(PURGE_TRIES):
            [(is_busy, *_)] = self._raw().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            if not is_busy:
                return
        log.warning("log_not_emptied", reason="it was being read")

    def tidy(self) -> None:
        """Give the disk back a little of what nothing stands in any more."""
        self._files.check()
        give_back(self._raw())

    def commit(self, batch: list[Unit]) -> list[Exception | None]:
        """Commit the batch in one transaction, or each unit in its own if one is bad."""
        self._files.check()
        try:
            self.commit_together(batch)
        except _UNIT_ERRORS:
            return [self._commit_alone(unit) for unit in batch]
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            return [self._commit_alone(unit) for unit in batch]
        return [None] * len(batch)

    def _commit_alone(self, unit: Unit) -> Exception | None:
        try:
            self.commit_together([unit])
        except _UNIT_ERRORS as error:
            return _named(error)
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            return error
        return None

    def commit_together(self, batch: list[Unit]) -> None:
        """Commit the batch in one transaction, or none of it."""
        connection = self._raw()
        connection.execute("BEGIN IMMEDIATE")
        try:
            merged: dict[str, list[Params]] = {}
            guards: set[str] = set()
            for unit in batch:
                if isinstance(unit, Transaction):
                    continue
                guards |= unit.guards
                for sql, params in unit.rows.items():
                    merged.setdefault(sql, []).extend(params)
            for sql, params in merged.items():
                touched = connection.executemany(sql, params).rowcount
                if sql in guards and touched != len(params):
                    raise Conflict(sql)
            for unit in batch:
                if isinstance(unit, Transaction):
                    _run(unit, connection)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _named(error: Exception) -> Exception:
    if getattr(error, "sqlite_errorname", "") in _NOT_UNIQUE:
        taken = NotUnique(str(error))
        taken.__cause__ = error
        return taken
    return error


def _run(transaction: Transaction, connection: sqlite3.Connection) -> None:
    for statement in transaction.statements:
        touched = connection.execute(statement.sql, statement.params).rowcount
        if statement.expect is not None and touched != statement.expect:
            raise Conflict(statement.sql)


class Reading:
    """The connection that reads; the thread that made it is the only one to use it."""

    def __init__(self, path: Path) -> None:
        self._connection = connection = sqlite3.connect(
            path, isolation_level=None, cached_statements=256
        )
        try:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("PRAGMA wal_autocheckpoint = 0").fetchall()
            # It has the log open from here on, so that none is removed when the writer reopens.
            connection.execute("PRAGMA user_version").fetchall()
        except BaseException:
            connection.close()
            raise

    def rows(self, sql: str, params: Params = ()) -> list[Any]:
        """Return all rows; a half-read cursor would stop the WAL from shrinking."""
        return self._connection.execute(sql, params).fetchall()

    def of_one_instant(self, function: Callable[[Read], R]) -> R:
        """Return what a function makes of rows it reads."""
        self._connection.execute("BEGIN")
        try:
            return function(self.rows)
        finally:
            # It ends whatever was found: a transaction left open would stop the WAL from shrinking.
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def close(self) -> None:
        self._connection.close()
