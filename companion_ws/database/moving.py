"""Moves all that SQLite's file holds into an empty database of PostgreSQL.

How it works. The file is read in one transaction and never written; one of an earlier version is
copied first, and the copy brought to this version's tables. Everything on PostgreSQL's side is one
transaction, its tables included: it makes them where they are not there yet, streams row by row
(COPY), lets each counter go on behind the numbers that were copied, reads every row again and
compares, table by table, how many there are and what they add up to. What goes wrong anywhere
leaves nothing. Which tables and columns there are is read from the file: a table that a later
version adds is moved, too. What only one of the engines has stays out: Litestream's tables, say,
or the row that names PostgreSQL's server.

The hashes of all rows are added up, so the order in which either side returns them does not count.
Numbers, texts, bytes and NULL differ in that sum; how an engine keeps them does not: what
PostgreSQL cannot hold (NUL in a text) is escaped on its way there and comes back as it was.

The epoch is copied with the rest, so clients resume where they were. That is right as long as no
server writes to the file any more: two logs of one epoch would each be taken for the other.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import sql

from companion_ws.database.looking import newest_step, read_only
from companion_ws.database.postgres.connect import connected, parts_of, place_of
from companion_ws.database.postgres.migrations import migrate as migrate_postgres
from companion_ws.database.postgres.words import in_words
from companion_ws.database.sqlite.copies import copy_pages
from companion_ws.database.sqlite.migrations import migrate as migrate_file
from companion_ws.database.trouble import CannotOpen

TOLD_ROWS: Final = 100
"""How often whoever watches is told how far it is."""
GONE_S: Final = 6.0
"""A server that was killed has a lease for five seconds."""
ONLY_ROW: Final = "only_row"
"""The column of tables that have one row from the start."""

Connection: TypeAlias = "psycopg.Connection[Any]"
Told = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the file."""

    name: str
    columns: tuple[str, ...]
    has_rowid: bool
    refers: bool
    """Whether its rows refer to those of another table, which must be there before them."""
    highest: int
    """The highest number that its counter gave out, 0 without one."""

    def read(self, connection: sqlite3.Connection) -> Iterable[tuple[Any, ...]]:
        """Return its rows, one by one and in the order in which they were made."""
        names = ", ".join(f'"{name}"' for name in self.columns)
        order = " ORDER BY rowid" if self.has_rowid else ""
        return connection.execute(f'SELECT {names} FROM "{self.name}"{order}')  # noqa: S608


@dataclass(slots=True)
class Source:
    """What is to be moved; `rows` counts all of it."""

    connection: sqlite3.Connection
    tables: list[Table]
    rows: int


@dataclass(slots=True)
class Moved:
    """What was moved: rows by table, and tables of others that were left out."""

    place: str
    rows: dict[str, int] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Sum:
    """What rows add up to, in whatever order they come."""

    rows: int = 0
    total: int = 0

    def add(self, row: tuple[Any, ...]) -> None:
        digest = blake2b(repr(row).encode(), digest_size=16).digest()
        self.rows += 1
        self.total = (self.total + int.from_bytes(digest)) % (1 << 128)


def pages_to_update(path: Path, migrations: Path) -> int:
    """Return how many pages have to be copied first; 0 where the file has this version's tables.

    Raises:
        sqlite3.Error: it cannot be read, or is not a database.
    """
    with closing(read_only(path)) as connection:
        [(version,)] = connection.execute("PRAGMA user_version").fetchall()
        [(pages,)] = connection.execute("PRAGMA page_count").fetchall()
        return int(pages) if 0 < version < newest_step(migrations) else 0


@contextmanager
def opened(path: Path, migrations: Path, told: Told = lambda pages: None) -> Iterator[Source]:
    """Open SQLite's file to be moved; one of an earlier version becomes a copy, in a folder beside it.

    `told` hears how many pages of such a copy are done.

    Raises:
        CannotOpen: there is nothing in it, or a newer version has written it.
        sqlite3.Error: it cannot be read, or is not a database.
    """
    with closing(read_only(path)) as connection:
        connection.isolation_level = None
        [(version,)] = connection.execute("PRAGMA user_version").fetchall()
        if not version:
            raise CannotOpen(f"{path} holds nothing")
        if version >= newest_step(migrations):
            migrate_file(connection, path, migrations)  # It refuses a newer one.
            yield _source(connection)
            return
        with TemporaryDirectory(prefix=f"{path.name}.", dir=path.parent) as folder:
            copy = Path(folder) / path.name
            copy_pages(connection, copy, copied=told)
            with closing(sqlite3.connect(copy, isolation_level=None)) as updated:
                migrate_file(updated, copy, migrations, keeps_before=False)
                yield _source(updated)


def move(source: Source, url: str, migrations: Path, told: Told = lambda rows: None) -> Moved:
    """Move everything into the database that `url` names, or nothing.

    `told` hears how many rows were written or read again: in the end twice `source.rows`.

    Raises:
        CannotOpen: it cannot be reached, holds something, or differs from what was to be stored.
    """
    parts = parts_of(url)
    place = place_of(parts)
    moved, is_whole = Moved(place), False
    try:
        with closing(connected(parts)) as connection, connection.transaction():
            _move(source, connection, migrations, told, moved)
            is_whole = True
    except psycopg.Error as error:
        fate = "nothing was copied"
        if is_whole:
            fate = "whether it was copied is not known: copy again, which is refused if it was"
        raise CannotOpen(f"{place}: {in_words(error)}; {fate}") from error
    return moved


def _move(
    source: Source, connection: Connection, migrations: Path, told: Told, moved: Moved
) -> None:
    connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
    _keep_for_us(connection, moved.place)
    migrate_postgres(connection, migrations / "postgres", moved.place)
    there = _columns(connection)
    tables = [table for table in source.tables if table.name in there]
    moved.left_out = [table.name for table in source.tables if table.name not in there]
    _refuse_full(connection, tables, moved.place)
    sums: dict[str, _Sum] = {}
    progress = _Progress(told)
    for table in tables:
        sums[table.name] = _copied(source, table, connection, progress)
    for table in tables:
        found = _read_again(table, there[table.name], connection, progress)
        if found != sums[table.name]:
            raise CannotOpen(
                f"{moved.place}: {table.name} differs from what was copied"
                f" ({found.rows} rows of {sums[table.name].rows}); nothing was stored"
            )
        _go_on_behind(table, there[table.name], connection)
        connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(table.name)))
        moved.rows[table.name] = found.rows


class _Progress:
    """Tells now and then how many rows are done."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._rows = 0

    def step(self) -> None:
        self._rows += 1
        if self._rows % TOLD_ROWS == 0:
            self._told(self._rows)

    def say(self) -> None:
        self._told(self._rows)


# Of the file.


def _source(connection: sqlite3.Connection) -> Source:
    connection.execute("BEGIN")  # Ended with the connection: all of it is of one instant.
    tables = sorted(_tables(connection), key=lambda table: table.refers)
    counts = [
        connection.execute(f'SELECT count(*) FROM "{table.name}"').fetchall()[0][0]  # noqa: S608
        for table in tables
    ]
    return Source(connection, tables, sum(counts))


def _tables(connection: sqlite3.Connection) -> Iterator[Table]:
    highest = dict(connection.execute("SELECT name, seq FROM sqlite_sequence").fetchall())
    for _, name, kind, _, is_without_rowid, _ in connection.execute("PRAGMA table_list").fetchall():
        if kind != "table" or name.startswith("sqlite_"):
            continue
        columns = connection.execute(f'PRAGMA table_info("{name}")').fetchall()
        refers = connection.execute(f'PRAGMA foreign_key_list("{name}")').fetchall()
        yield Table(
            name, tuple(column[1] for column in columns), not is_without_rowid, bool(refers),
            highest.get(name, 0),
        )  # fmt: skip


# Of PostgreSQL.


@dataclass(frozen=True, slots=True)
class _Column:
    kind: str
    counts: bool


def _keep_for_us(connection: Connection, place: str) -> None:
    """See to it that no server works on the database, and none begins to before this is over."""
    others = connection.execute(
        "SELECT relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace"
        " WHERE nspname = current_schema() AND relkind IN ('r', 'p', 'f') AND NOT EXISTS ("
        " SELECT 1 FROM pg_depend WHERE objid = pg_class.oid AND deptype = 'e') ORDER BY 1"
    ).fetchall()
    names = [name for (name,) in others]
    if "schema_version" in names:
        # The first thing a server does is to look there.
        connection.execute("LOCK TABLE schema_version IN ACCESS EXCLUSIVE MODE")
    elif names:
        raise CannotOpen(f"{place} holds tables of another program ({_listed(names)})")
    until_s = time.monotonic() + GONE_S
    while _is_used(connection, has_nodes="nodes" in names):
        if time.monotonic() > until_s:
            raise CannotOpen(f"a server works on {place}; stop it first")
        time.sleep(0.2)


def _is_used(connection: Connection, *, has_nodes: bool) -> bool:
    # What a transaction saw of others it sees again, unless it is told to look.
    connection.execute("SELECT pg_stat_clear_snapshot()")
    asked = [
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND application_name = 'companion-ws'"
    ]
    if has_nodes:  # A server that has lost its connection will be back.
        asked.append("SELECT count(*) FROM nodes WHERE until > clock_timestamp()")
    return any(connection.execute(query.encode()).fetchall() != [(0,)] for query in asked)


def _columns(connection: Connection) -> dict[str, dict[str, _Column]]:
    """Return the columns of each table, by their names."""
    found: dict[str, dict[str, _Column]] = {}
    for table, name, kind, counts in connection.execute(
        "SELECT relname, attname, format_type(atttypid, atttypmod), attidentity <> ''"
        " FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace"
        " JOIN pg_attribute ON attrelid = pg_class.oid"
        " WHERE nspname = current_schema() AND relkind = 'r' AND attnum > 0 AND NOT attisdropped"
    ):
        found.setdefault(table, {})[name] = _Column(kind, counts)
    return found


def _refuse_full(connection: Connection, tables: list[Table], place: str) -> None:
    """Refuse a database in which anything was stored; what its tables began with goes."""
    full = [
        table.name
        for table in tables
        if ONLY_ROW not in table.columns
        and connection.execute(
            sql.SQL("SELECT 1 FROM {} LIMIT 1").format(sql.Identifier(table.name))
        ).fetchall()
    ]
    if full:
        raise CannotOpen(
            f"{place} already holds something (in {_listed(full)}). Give an empty database:"
            " createdb makes one"
        )
    for table in tables:
        if ONLY_ROW in table.columns:
            connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table.name)))


def _copied(source: Source, table: Table, connection: Connection, progress: _Progress) -> _Sum:
    written = _Sum()
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table.name), _names(table))
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for row in table.read(source.connection):
            copy.write_row(row)
            written.add(row)
            progress.step()
    progress.say()
    return written


def _read_again(
    table: Table, columns: dict[str, _Column], connection: Connection, progress: _Progress
) -> _Sum:
    found = _Sum()
    statement = sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT").format(
        _names(table), sql.Identifier(table.name)
    )
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types([columns[name].kind for name in table.columns])
        for row in copy.rows():
            found.add(row)
            progress.step()
    progress.say()
    return found


def _go_on_behind(table: Table, columns: dict[str, _Column], connection: Connection) -> None:
    """Let what counts in a table go on behind the highest number it ever gave out."""
    for name in table.columns:
        if not columns[name].counts:
            continue
        column = sql.Identifier(name)
        [(highest,)] = connection.execute(
            sql.SQL("SELECT coalesce(max({}), 0) FROM {}").format(column, sql.Identifier(table.name))
        ).fetchall()
        # Not by setval(), which a transaction that fails does not take back.
        connection.execute(
            sql.SQL("ALTER TABLE {} ALTER COLUMN {} RESTART WITH {}").format(
                sql.Identifier(table.name), column, sql.Literal(max(highest, table.highest) + 1)
            )
        )


def _names(table: Table) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, table.columns))


def _listed(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (" …" if len(names) > most else "")
