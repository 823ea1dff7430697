"""A connection of its own: what it does waits for no one that writes, and they do not wait for it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, Final, TypeAlias, TypeVar

import psycopg
from psycopg import pq

from companion_ws.core.errors import Unavailable
from companion_ws.database.postgres.connect import connected, is_cut_short, parts_of
from companion_ws.database.postgres.speech import translated
from companion_ws.database.units import Params, Read

R = TypeVar("R")
Connection: TypeAlias = "psycopg.Connection[Any]"

LOCK_WAIT_S: Final = 2.0
"""How long a statement waits for a row that another connection has locked."""


class Apart:
    """One connection, made when it is needed, again where it was lost; one thread at a time uses it."""

    def __init__(self, url: str) -> None:
        """`url` is that of the database.

        Raises:
            CannotOpen: it is none that PostgreSQL understands.
        """
        self._parts = parts_of(url)
        self._connection: Connection | None = None
        self._is_cut_short = False

    def transact(self, work: Callable[[Read], R]) -> R:
        """Return what `work` makes of the statements it runs, all in one transaction, once stored.

        What `work` raises undoes them.

        Raises:
            Unavailable: not known to be stored, or a row was locked for too long.
        """
        try:
            connection = self._begun()
        except (psycopg.Error, OSError) as error:
            raise _unavailable(error) from error
        is_whole = False
        try:
            result = work(lambda sql, params=(): _rows(connection, sql, params))
            connection.execute("COMMIT")
            is_whole = True
        except (psycopg.Error, OSError) as error:
            raise _unavailable(error) from error
        finally:
            if not is_whole:
                self._undo(connection)
        if self._is_cut_short:
            raise Unavailable("Not known to be stored: PostgreSQL did not wait for its standby.")
        return result

    def close(self) -> None:
        """Let go of the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(psycopg.Error, OSError):
                connection.close()

    def _begun(self) -> Connection:
        """Return the connection in a transaction, or another where this one was lost meanwhile."""
        self._is_cut_short = False
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error, OSError):
                self._connection.execute("BEGIN")
                return self._connection
            self.close()
        self._connection = connection = connected(self._parts)
        connection.add_notice_handler(self._hear)
        connection.execute(f"SET lock_timeout = {LOCK_WAIT_S * 1000:.0f}".encode())
        [(waits_for,)] = connection.execute("SHOW synchronous_commit").fetchall()
        if waits_for == "off":
            # Who owns what must not be forgotten: two servers would have the same generation.
            connection.execute("SET synchronous_commit = on")
        connection.execute("BEGIN")
        return connection

    def _undo(self, connection: Connection) -> None:
        if connection.info.transaction_status in (
            pq.TransactionStatus.INTRANS, pq.TransactionStatus.INERROR,
        ):  # fmt: skip
            with contextlib.suppress(psycopg.Error, OSError):
                connection.execute("ROLLBACK")
                return
        self.close()

    def _hear(self, notice: psycopg.errors.Diagnostic) -> None:
        self._is_cut_short = self._is_cut_short or is_cut_short(notice)


def _rows(connection: Connection, sql: str, params: Params) -> list[Any]:
    cursor = connection.execute(translated(sql).encode(), params or ())
    return cursor.fetchall() if cursor.description else []


def _unavailable(error: Exception) -> Unavailable:
    reason = Unavailable("The database is not to be had at the moment; try again.")
    reason.__cause__ = error
    return reason
