"""Looks into a database from beside the server that works on it, and writes nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from companion_ws.database.trouble import extra_needed
from companion_ws.database.units import Read


@contextmanager
def looking(place: Path | str) -> Iterator[Read]:
    """Yield what reads a database, all of it of one instant; `place` as `Database` takes it.

    Raises:
        CannotOpen: PostgreSQL cannot be reached, or not be read.
        sqlite3.Error: the file cannot be read.
    """
    if isinstance(place, Path):
        with closing(read_only(place)) as connection:
            connection.isolation_level = None
            connection.execute("BEGIN")
            yield lambda sql, params=(): connection.execute(sql, params).fetchall()
        return
    with extra_needed():
        from companion_ws.database.postgres.looking import looking_at
    with looking_at(place) as read:
        yield read


def read_only(path: Path) -> sqlite3.Connection:
    """Return a connection to SQLite's file that does not disturb who writes it."""
    return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)


def step_of(place: Path | str, read: Read) -> int:
    """Return the number of the migration that a database has seen last, 0 without one."""
    if isinstance(place, Path):
        [(step,)] = read("PRAGMA user_version")
        return int(step)
    [(is_there,)] = read("SELECT to_regclass('schema_version') IS NOT NULL")
    return int(read("SELECT version FROM schema_version")[0][0]) if is_there else 0


def newest_step(migrations: Path) -> int:
    """Return the number of the newest migration of this version."""
    return max(int(file.name[:4]) for file in migrations.glob("[0-9]*.sql"))
