"""Brings a database to this version's tables, and keeps a copy of what was before."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Final

import structlog

from companion_ws.database.sqlite.copies import copy_pages
from companion_ws.database.sqlite.space import learn_gaps
from companion_ws.database.trouble import CannotOpen, NewerDatabase

APPLICATION_ID: Final = 0x43574B53
MIGRATION_FACTOR: Final = 4
"""What a migration may take, in sizes of the database: a copy, the log, and new tables beside old."""

log = structlog.get_logger(__name__)


def migrate(
    connection: sqlite3.Connection, path: Path, migrations: Path, *, keeps_before: bool = True
) -> None:
    """Bring a database to this version's tables, one transaction for each step.

    What was stored before is copied first, beside it: a step that goes wrong can be undone.
    What is itself a copy needs none (`keeps_before`).

    Raises:
        NewerDatabase: a newer version has written it.
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
    if version and keeps_before:
        _copy_before(connection, path, len(files))
        learn_gaps(connection)
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
    if version and keeps_before:
        log.info("database_migrated", from_version=version, to_version=len(files))


def _copy_before(connection: sqlite3.Connection, path: Path, version: int) -> None:
    """Copy the database as it is before it becomes `version`; an earlier copy of that stays."""
    copy = path.with_name(f"{path.name}.before-{version}")
    if copy.exists():
        return  # An earlier update stopped half-way; the first copy is the one to keep.
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
    copy_pages(connection, partial)
    os.rename(partial, copy)
