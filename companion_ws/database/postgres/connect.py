"""Connections to PostgreSQL: where it is, without telling its password, and how values go there."""

from __future__ import annotations

from typing import Any, Final

import psycopg
from psycopg import conninfo
from psycopg.types.numeric import Int8Dumper, IntLoader
from psycopg.types.string import StrDumperUnknown, TextLoader

from companion_ws.database.postgres.speech import escaped, unescaped
from companion_ws.database.trouble import CannotOpen

_DEFAULTS: Final = {
    "application_name": "companion-ws",
    "connect_timeout": "5",
    # A machine that is gone is noticed in seconds: nobody is answered from what it may not hold.
    "keepalives_idle": "2",
    "keepalives_interval": "1",
    "keepalives_count": "3",
    "tcp_user_timeout": "5000",
    "target_session_attrs": "read-write",
}
_SETTINGS: Final = ("client_encoding = 'UTF8'", "statement_timeout = 0", "idle_session_timeout = 0")


def parts_of(url: str) -> dict[str, Any]:
    """Return what a URL says, with what it does not say filled in.

    Raises:
        CannotOpen: it is none that PostgreSQL understands; the words do not repeat it.
    """
    try:
        given = conninfo.conninfo_to_dict(url)
    except psycopg.Error:
        # The driver's words repeat the URL, and the password in it.
        raise CannotOpen("the database's URL is not one that PostgreSQL understands") from None
    return {**_DEFAULTS, **given}


def place_of(parts: dict[str, Any]) -> str:
    """Return where a database is, for people: nothing secret."""
    host = parts.get("host") or parts.get("hostaddr") or "the local socket"
    return f"{parts.get('dbname') or parts.get('user') or 'the database'} at {host}"


def connected(parts: dict[str, Any]) -> psycopg.Connection[Any]:
    """Return a new connection, outside of any transaction."""
    # Nothing is prepared: what a pipeline prepares behind an error, psycopg believes to be there.
    connection = psycopg.connect(**parts, autocommit=True, prepare_threshold=None)
    try:
        _adapt(connection)
        for setting in _SETTINGS:
            connection.execute(f"SET {setting}".encode())
    except BaseException:
        connection.close()
        raise
    return connection


async def connected_async(parts: dict[str, Any]) -> psycopg.AsyncConnection[Any]:
    """Return a new connection for the event loop, outside of any transaction."""
    connection = await psycopg.AsyncConnection.connect(
        **parts, autocommit=True, prepare_threshold=None
    )
    try:
        _adapt(connection)
        for setting in _SETTINGS:
            await connection.execute(f"SET {setting}".encode())
    except BaseException:
        await connection.close()
        raise
    return connection


def _adapt(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> None:
    adapters = connection.adapters
    adapters.register_dumper(int, Int8Dumper)  # One type, so one plan for each statement.
    adapters.register_dumper(bool, _FlagDumper)
    adapters.register_dumper(str, _TextDumper)
    adapters.register_loader("text", _TextLoader)
    adapters.register_loader("numeric", IntLoader)  # Sums of integers, and nothing else.


def is_cut_short(notice: psycopg.errors.Diagnostic) -> bool:
    """Whether PostgreSQL gave up waiting for a standby, and called that a success."""
    # Cancelled it is a warning like any other (01000), and its words are translated; a warning that
    # says something else costs a commit its acknowledgement, not more.
    return notice.severity_nonlocalized == "WARNING" and notice.sqlstate in ("01000", "57P01")


class _FlagDumper(Int8Dumper):
    """Flags are 0 and 1 in both engines."""

    def dump(self, obj: Any) -> bytes:
        return b"1" if obj else b"0"


class _TextDumper(StrDumperUnknown):
    def dump(self, obj: str) -> Any:
        return super().dump(escaped(obj))


class _TextLoader(TextLoader):
    def load(self, data: Any) -> Any:
        text = super().load(data)
        return unescaped(text) if isinstance(text, str) else text
