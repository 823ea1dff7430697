"""Brings a PostgreSQL database to this version's tables; numbers are those of SQLite's."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import psycopg
import structlog

from companion_ws.database.trouble import NewerDatabase

LOCK: Final = 0x43574B53

log = structlog.get_logger(__name__)


def migrate(connection: psycopg.Connection[Any], migrations: Path, place: str) -> None:
    """Run the steps that a database has not seen, all in one transaction, one server at a time.

    Raises:
        NewerDatabase: a newer version has written it.
    """
    steps = [(int(file.name[:4]), file) for file in sorted(migrations.glob("[0-9]*.sql"))]
    newest = steps[-1][0]
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (LOCK,))
        connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_version"
            " (only_row int PRIMARY KEY CHECK (only_row = 1), version int NOT NULL)"
        )
        connection.execute("INSERT INTO schema_version VALUES (1, 0) ON CONFLICT DO NOTHING")
        [(version,)] = connection.execute("SELECT version FROM schema_version").fetchall()
        if version > newest:
            raise NewerDatabase(
                f"{place} was written by a newer version ({version} > {newest}); start that one"
            )
        for number, file in steps:
            if number > version:
                # Text of ours, from the package; many statements at once take no parameters.
                connection.execute(file.read_bytes())
                connection.execute("UPDATE schema_version SET version = %s", (number,))
    if 0 < version < newest:
        log.info("database_migrated", from_version=version, to_version=newest)
