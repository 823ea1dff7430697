"""Copies of a database that are whole and belong to this account alone."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final

COPIED_AT_ONCE: Final = 1000
"""Pages of a copy that is watched, between two looks at it."""


def copy_file(path: Path, target: Path) -> None:
    """Copy the database at `path` as of now, by a connection of its own; see `write_copy`."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        write_copy(connection, target)
    finally:
        connection.close()


def write_copy(
    connection: sqlite3.Connection, target: Path, copied: Callable[[int], None] | None = None
) -> None:
    """Copy a database to a new file that is whole, ours alone, and another log.

    `copied` is told now and then how many pages are done.

    Raises:
        FileExistsError: `target` is there.
        sqlite3.Error: it could not be written; nothing is left of it.
    """
    # What is recorded after it was put back differs from what came after it here.
    copy_pages(connection, target, "UPDATE log SET epoch = lower(hex(randomblob(8)))", copied=copied)


def copy_pages(
    connection: sqlite3.Connection,
    target: Path,
    *then: str,
    copied: Callable[[int], None] | None = None,
) -> None:
    """Copy a database as it is, then run `then` on the copy; see `write_copy`."""
    # 0600 before the first byte: a copy holds what the original holds.
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    os.chmod(target, 0o600)
    copy = sqlite3.connect(target, isolation_level=None)
    try:
        _copy_snapshot(connection, copy, copied)
        copy.execute("PRAGMA journal_mode = DELETE").fetchall()
        for sql in then:
            copy.execute(sql)
    except sqlite3.Error:
        os.unlink(target)
        raise
    finally:
        copy.close()


def _copy_snapshot(
    connection: sqlite3.Connection,
    copy: sqlite3.Connection,
    copied: Callable[[int], None] | None,
) -> None:
    if copied is None:
        connection.backup(copy)
        return
    # The copy is made in steps; one transaction around them keeps every step in the same state,
    # where a writer in between would let it begin again.
    connection.execute("BEGIN")
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchall()
        connection.backup(
            copy,
            pages=COPIED_AT_ONCE,
            progress=lambda _, remaining, pages: copied(pages - remaining),
        )
    finally:
        connection.execute("ROLLBACK")
