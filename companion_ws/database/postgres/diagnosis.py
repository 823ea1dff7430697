"""Looks whether a server can rest on a database of PostgreSQL, and what it could promise there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final, NamedTuple, TypeAlias

import psycopg

from companion_ws.database.postgres.connect import connected, parts_of, place_of
from companion_ws.database.postgres.words import in_words, promise
from companion_ws.database.trouble import CannotOpen

OLDEST: Final = 14
"""The oldest PostgreSQL that is tried."""
CLOCK_S: Final = 1.0
"""How far clocks of servers and database may differ: leases are counted in seconds."""

Connection: TypeAlias = "psycopg.Connection[Any]"


class Seen(NamedTuple):
    """What one look showed; `is_good` None is a remark."""

    is_good: bool | None
    text: str


def seen_of(url: str, newest: int) -> Iterator[Seen]:
    """Look whether a server can work on the database that `url` names, and what it could promise.

    `newest` is the number of this version's last migration.
    """
    try:
        parts = parts_of(url)
    except CannotOpen as error:
        yield Seen(False, str(error))
        return
    place = place_of(parts)
    try:
        with closing(connected(parts)) as connection:
            yield from _seen(connection, place, newest)
    except psycopg.Error as error:
        yield Seen(False, f"the database {place}: {in_words(error)}")


def _seen(connection: Connection, place: str, newest: int) -> Iterator[Seen]:
    number = connection.info.server_version
    version = f"{number // 10000}.{number % 10000}"
    yield Seen(number // 10000 >= OLDEST, f"the database is {place}, PostgreSQL {version}")
    if _shown(connection, "server_encoding") != "UTF8":
        yield Seen(False, "its encoding is not UTF8: createdb --encoding=UTF8 makes one that is")
    yield _tables(connection, newest)
    yield from _servers(connection)
    yield from _durability(connection)
    yield _clock(connection)


def _tables(connection: Connection, newest: int) -> Seen:
    [(is_there, may_make)] = connection.execute(
        "SELECT to_regclass('schema_version') IS NOT NULL,"
        " coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)"
    ).fetchall()
    version = 0
    if is_there:
        [(version,)] = connection.execute(
            "SELECT coalesce(max(version), 0) FROM schema_version"
        ).fetchall()
    if version > newest:
        return Seen(False, f"a newer version has written it ({version} > {newest}); start that one")
    if version == newest:
        return Seen(True, f"its tables are those of this version ({version})")
    if not may_make:
        return Seen(False, "its tables are not there, and this role may not make any")
    if version:
        return Seen(None, f"its tables are of step {version}; the next start brings them to {newest}")
    return Seen(None, "its tables are not there yet; the first start makes them")


def _servers(connection: Connection) -> Iterator[Seen]:
    [(is_there,)] = connection.execute("SELECT to_regclass('nodes') IS NOT NULL").fetchall()
    if not is_there:
        return
    urls = connection.execute(
        "SELECT url FROM nodes WHERE until > clock_timestamp() ORDER BY began_at"
    ).fetchall()
    if urls:
        yield Seen(None, f"servers that work on it: {', '.join(url for (url,) in urls)}")


def _durability(connection: Connection) -> Iterator[Seen]:
    names = ("synchronous_commit", "synchronous_standby_names", "fsync")
    shown = {name: _shown(connection, name) for name in names}
    if shown["synchronous_commit"] == "off":
        shown["synchronous_commit"] = "on"  # As the server does, unless it is told otherwise.
    yield Seen(
        shown["fsync"] == "on", f"what is acknowledged there survives {promise(**shown)}"
    )
    standbys = connection.execute(
        "SELECT application_name, state, sync_state FROM pg_stat_replication ORDER BY 1"
    ).fetchall()
    if any(state is None for _, state, _ in standbys):
        yield Seen(None, "which standby is connected is told to members of pg_monitor alone")
        return
    streaming = [(name, kind) for name, state, kind in standbys if state == "streaming"]
    waited_for = [name for name, kind in streaming if kind in ("sync", "quorum")]
    if shown["synchronous_standby_names"]:
        told = f"commits wait for {', '.join(waited_for)}, which is connected"
        if not waited_for:
            told = "commits wait for a standby, and none is connected: nothing can be stored"
        yield Seen(bool(waited_for), told)
    elif streaming:
        connected_ = ", ".join(name for name, _ in streaming)
        yield Seen(None, f"a standby is connected ({connected_}), and commits do not wait for it")
    else:
        yield Seen(None, "no standby is connected: what the machine loses is lost")


def _clock(connection: Connection) -> Seen:
    asked_s = time.time()
    [(theirs_s,)] = connection.execute(
        "SELECT extract(epoch FROM clock_timestamp())::float8"
    ).fetchall()
    took_s = time.time() - asked_s
    ahead_s = theirs_s - asked_s - took_s / 2
    side = "ahead of" if ahead_s > 0 else "behind"
    is_close = abs(ahead_s) < CLOCK_S + took_s / 2
    return Seen(is_close, f"its clock is {abs(ahead_s):.1f} s {side} this machine's")


def _shown(connection: Connection, name: str) -> str:
    [(value,)] = connection.execute("SELECT current_setting(%s)", (name,)).fetchall()
    return str(value)
