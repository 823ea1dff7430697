"""Copies of a database that are whole and belong to this account alone."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path


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
    copy_pages(connection, target, "UPDATE log SET epoch = lower(hex(randomblob(8)))")


def copy_pages(connection: sqlite3.Connection, target: Path, *then: str) -> None:
    """Copy a database as it is, then run `then` on the copy; see `write_copy`."""
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
