"""PostgreSQL: one connection that writes, one that reads.

How it works. Several servers may work on one database; which of them has a session is said in
nodes/owners.py. When the connection that writes is lost, nothing is read before there is another one
and it has stored something: a PostgreSQL that starts again shows commits that no standby has
yet, and what was written since is behind them. Whatever the lost connection was asked to commit is
committed or not; what PostgreSQL still has of it is ended, so that nobody waits for its locks.

A commit is: BEGIN; the guards of all units in one round trip; the units that are stale are left
out and all others stored, statement by statement in the order of their first appearance; then
the transactions, each behind a savepoint; COMMIT. Guards lock rows in the order of their units'
`rank`, and gates are passed in the order of their names, so that servers do not wait for each other in a circle; where they do all the same, it is
tried once more. A unit that PostgreSQL refuses spoils that,
and each is committed by itself. A commit whose answer never came may be stored or not: all its
units are refused as not known to be stored.
"""

from __future__ import annotations

import contextlib
import select
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, TypeVar

import psycopg
import structlog
from psycopg import errors, pq

from companion_ws.database.postgres.connect import connected, is_cut_short, parts_of, place_of
from companion_ws.database.postgres.migrations import migrate
from companion_ws.database.postgres.speech import translated
from companion_ws.database.postgres.words import in_words, promise
from companion_ws.database.trouble import CannotOpen
from companion_ws.database.units import Conflict, NotUnique, Params, Read, Transaction, Unit

IDLE_S: Final = 2.0
"""A transaction of a server that stands still keeps no other one waiting for longer."""

_UNIT_ERRORS = (
    Conflict, psycopg.IntegrityError, psycopg.DataError, psycopg.ProgrammingError,
    psycopg.NotSupportedError, errors.ProgramLimitExceeded,
    OverflowError, ValueError, TypeError,
)
"""What a bad unit raises, as against a database that refuses."""
_CIRCLES = (errors.DeadlockDetected, errors.SerializationFailure)

log = structlog.get_logger(__name__)

R = TypeVar("R")
Connection: TypeAlias = "psycopg.Connection[Any]"


class NotWhole(psycopg.OperationalError):
    """The connection that writes is lost, and what is read may not be on a standby yet."""


class Postgres:
    """The database that `url` names; all but `look`, `backup` and `reading` run on the writer's thread."""

    errors: Final = (psycopg.Error, OSError)
    in_words = staticmethod(in_words)

    def __init__(self, url: str, migrations: Path, durability: Literal["power", "process"]) -> None:
        self._parts = parts_of(url)
        self._place = place_of(self._parts)
        self._migrations = migrations
        self._durability = durability
        self._busy = threading.Lock()
        self._last: tuple[int, str] = (0, "")
        """The process PostgreSQL has for the connection that writes, and since when."""
        self._is_cut_short = False
        """Whether PostgreSQL gave up waiting for a standby, and called that a success."""
        self.connection: Connection | None = None

    # On any thread.

    def way_out(self, error: Exception) -> str:
        """Return what an operator can do about it."""
        return "connecting is tried again each second"

    def is_damage(self, error: BaseException | None) -> bool:
        """Whether stored pages are broken."""
        return isinstance(error, (errors.DataCorrupted, errors.IndexCorrupted))

    def is_disks(self, error: Exception) -> bool:
        """Whether it is the connection's doing, not the statement's."""
        if isinstance(error, NotWhole):
            return False  # The writer is in trouble, and says so.
        return isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError, OSError))

    def how_unreadable(self, error: Exception) -> str:
        """Return the event for broken pages, or the one for a connection that is lost."""
        return "database_damaged" if self.is_damage(error) else "database_unreachable"

    def why_not_opened(self, error: Exception) -> CannotOpen | None:
        """Return `error` with where the database is."""
        if isinstance(error, psycopg.Error) and not isinstance(error, CannotOpen):
            return CannotOpen(f"{self._place}: {self.in_words(error)}")
        return None

    def look(self) -> None:
        """Raise OSError where the connection that writes has ended."""
        connection = self.connection
        if connection is None or not self._busy.acquire(blocking=False):
            return
        try:
            if connection.closed:
                raise ConnectionResetError("the connection to PostgreSQL is lost")
            poll = select.poll()
            poll.register(connection.fileno(), select.POLLIN)
            # Between statements PostgreSQL has something to say only when it ends.
            if poll.poll(0):
                raise ConnectionResetError("the connection to PostgreSQL is lost")
        except psycopg.Error as error:
            raise ConnectionResetError("the connection to PostgreSQL is lost") from error
        finally:
            self._busy.release()

    def backup(self, target: Path) -> None:
        """Refuse: copies are PostgreSQL's own business."""
        raise CannotOpen("copies of a PostgreSQL database are made with pg_dump or pg_basebackup")

    def reading(self) -> Reading:
        """Return another connection, for the thread that calls."""
        return Reading(self)

    def reading_connection(self) -> Connection:
        """Return a new connection that writes nothing."""
        connection = connected(self._parts)
        connection.execute("SET default_transaction_read_only = on")
        return connection

    # On the writer's thread.

    def open(self) -> None:
        """Bring the database to this version's tables, and say what is promised."""
        connection = connected(self._parts)
        try:
            migrate(connection, self._migrations, self._place)
            self._settle_durability(connection)
            self._tell_promise(connection)
        except BaseException:
            connection.close()
            raise
        self._begin_with(connection)

    def reopen(self) -> None:
        """Connect again; what it raises says why that is not possible yet."""
        self.close()
        connection = connected(self._parts)
        try:
            # Where it runs on, it holds locks; its number may be another's by now.
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE pid = %s AND backend_start::text = %s",
                self._last,
            )
            self._settle_durability(connection)
            # Proves that a write is taken, and waits for a standby as every commit does.
            connection.execute("UPDATE log SET epoch = epoch")
        except BaseException:
            connection.close()
            raise
        self._begin_with(connection)

    def close(self) -> None:
        """Let go of the connection."""
        connection, self.connection = self.connection, None
        if connection is not None:
            with contextlib.suppress(*self.errors):
                connection.close()

    def purge(self) -> None:
        """Do nothing: when what was deleted leaves PostgreSQL's files is its own business."""

    def tidy(self) -> None:
        """Nothing: its server vacuums."""

    def commit(self, batch: list[Unit]) -> list[Exception | None]:
        """Commit the batch in one transaction, or each unit in its own if one is bad."""
        with self._busy:
            try:
                with contextlib.suppress(*_CIRCLES):
                    return self.commit_together(batch)
                return self.commit_together(batch)
            except _UNIT_ERRORS:
                return [self._commit_alone(unit) for unit in batch]
            except BaseException:
                # Its fate is not known: nobody works over this connection again.
                self.close()
                raise

    def _commit_alone(self, unit: Unit) -> Exception | None:
        try:
            [fate] = self.commit_together([unit])
        except errors.UniqueViolation as error:
            taken = NotUnique(self.in_words(error))
            taken.__cause__ = error
            return taken
        except _UNIT_ERRORS as error:
            return error
        return fate

    def commit_together(self, batch: list[Unit]) -> list[Exception | None]:
        """Commit the batch in one transaction but for units that are stale, or none of it."""
        connection = self._raw()
        if not any(isinstance(unit, Transaction) or unit.rows for unit in batch):
            connection.execute("SELECT 1")  # That it can be asked is all there is to know.
            return [None] * len(batch)
        fates: list[Exception | None] = [None] * len(batch)
        self._is_cut_short = False
        try:
            with connection.pipeline():
                connection.execute("BEGIN")
                self._guard(connection, batch, fates)
                self._store(connection, batch, fates)
                transactions = [
                    (place, unit) for place, unit in enumerate(batch) if isinstance(unit, Transaction)
                ]
                for place, unit in sorted(transactions, key=lambda each: each[1].gate):
                    fates[place] = _run(unit, connection)
                connection.execute("COMMIT")
        except BaseException:
            if not connection.closed and _is_in_transaction(connection):
                connection.execute("ROLLBACK")
            raise
        if self._is_cut_short:
            raise psycopg.OperationalError("PostgreSQL did not wait for its standby")
        return fates

    def _guard(
        self, connection: Connection, batch: list[Unit], fates: list[Exception | None]
    ) -> None:
        """Run what units rest on, and note those that are stale."""
        asked = [
            (place, sql, connection.execute(translated(sql), params))
            for place, unit in sorted(enumerate(batch), key=lambda each: each[1].rank)
            for sql in unit.guards
            for params in unit.rows.get(sql, ())
        ]
        if not asked:
            return
        _arrive(connection)
        for place, sql, cursor in asked:
            if cursor.rowcount != 1:
                if len(batch[place].rows.get(sql, ())) > 1 or len(batch[place].guards) > 1:
                    raise Conflict(sql)  # Half of what it moved on may be moved on.
                fates[place] = Conflict(sql)

    def _store(
        self, connection: Connection, batch: list[Unit], fates: list[Exception | None]
    ) -> None:
        merged: dict[str, list[Params]] = {}
        for unit, fate in zip(batch, fates, strict=True):
            if fate is None:
                for sql, params in unit.rows.items():
                    if sql not in unit.guards:
                        merged.setdefault(sql, []).extend(params)
        for sql, params in merged.items():
            if params:
                with connection.cursor() as cursor:
                    cursor.executemany(translated(sql), params)

    def _raw(self) -> Connection:
        if self.connection is None:
            raise psycopg.OperationalError("there is no connection to PostgreSQL")
        return self.connection

    def _begin_with(self, connection: Connection) -> None:
        connection.add_notice_handler(self._hear)
        connection.execute(f"SET idle_in_transaction_session_timeout = {IDLE_S * 1000:.0f}".encode())
        [self._last] = connection.execute(
            "SELECT pid, backend_start::text FROM pg_stat_activity WHERE pid = pg_backend_pid()"
        ).fetchall()
        self.connection = connection

    def _hear(self, notice: psycopg.errors.Diagnostic) -> None:
        self._is_cut_short = self._is_cut_short or is_cut_short(notice)

    def _settle_durability(self, connection: Connection) -> None:
        """Set what a commit waits for: what the database says, but never nothing without being asked."""
        [(waits_for,)] = connection.execute("SHOW synchronous_commit").fetchall()
        if self._durability == "process":
            connection.execute("SET synchronous_commit = off")
        elif waits_for == "off":
            connection.execute("SET synchronous_commit = on")

    def _tell_promise(self, connection: Connection) -> None:
        """Log what an acknowledgement survives."""
        shown = {
            name: connection.execute(f"SHOW {name}").fetchall()[0][0]
            for name in ("synchronous_commit", "synchronous_standby_names", "fsync")
        }
        log.info("database_opened", database=self._place, **shown, survives=promise(**shown))
        if shown["fsync"] != "on":
            log.warning("database_without_fsync", database=self._place)


class Reading:
    """The connection that reads; it reads nothing while the one that writes is lost."""

    def __init__(self, engine: Postgres) -> None:
        self._engine = engine
        self._connection = engine.reading_connection()

    def rows(self, sql: str, params: Params = ()) -> list[Any]:
        """Return all rows."""
        return self._persistently(lambda: self._rows(sql, params))

    def of_one_instant(self, function: Callable[[Read], R]) -> R:
        """Return what a function makes of rows it reads."""
        return self._persistently(lambda: self._of_one_instant(function))

    def _rows(self, sql: str, params: Params = ()) -> list[Any]:
        rows: list[Any] = self._connection.execute(translated(sql), params or ()).fetchall()
        self._check_whole()
        return rows

    def _of_one_instant(self, function: Callable[[Read], R]) -> R:
        self._connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        try:
            return function(self._rows)
        finally:
            if not self._connection.closed and _is_in_transaction(self._connection):
                self._connection.execute("ROLLBACK")

    def _persistently(self, read: Callable[[], R]) -> R:
        """Read, once more over another connection where this one turns out to be lost."""
        self._check_whole()
        try:
            return read()
        except self._engine.errors:
            if not self._connection.closed:
                raise
        self._connection = self._engine.reading_connection()
        self._engine.look()  # Both end where PostgreSQL does, and the other may not know it yet.
        return read()

    def close(self) -> None:
        self._connection.close()

    def _check_whole(self) -> None:
        if self._engine.connection is None:
            raise NotWhole("the connection that writes is lost")


def _run(transaction: Transaction, connection: Connection) -> Exception | None:
    """Run a transaction behind a savepoint; a statement that finds something else undoes it."""
    connection.execute("SAVEPOINT unit")
    for statement in transaction.statements:
        # Not prepared: the driver forgets what it has prepared when a savepoint is rolled back.
        cursor = connection.execute(
            translated(statement.sql), statement.params or (), prepare=False
        )
        if statement.expect is None:
            continue
        _arrive(connection)  # What comes after it may fail only because this found nothing.
        if cursor.rowcount != statement.expect:
            connection.execute("ROLLBACK TO SAVEPOINT unit")
            return Conflict(statement.sql)
    connection.execute("RELEASE SAVEPOINT unit")
    return None


def _arrive(connection: Connection) -> None:
    """Wait for the answers to everything that was sent."""
    with connection.pipeline():
        pass  # The end of an inner pipeline is where answers are taken.


def _is_in_transaction(connection: Connection) -> bool:
    return connection.info.transaction_status in (
        pq.TransactionStatus.INTRANS, pq.TransactionStatus.INERROR,
    )

