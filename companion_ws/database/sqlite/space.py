"""Room in the file that nothing stands in any more: it is used again, and given back where it is much.

How it works. SQLite fills the pages of what was deleted with what comes next, so the file of a
server whose sessions come and go keeps its size. Where more than a quarter of it is empty, it is
given back a bite at a time, each a short transaction between two commits: pages from the end move
into the gaps. The file itself is cut at a checkpoint.
"""

from __future__ import annotations

import sqlite3
from typing import Final

SPARE_PAGES: Final = 1024
"""4 MiB: as much may be empty however small the file is."""
SPARE_PART: Final = 4
"""A quarter of the file may be empty: what goes now comes again in a moment."""
BITE_PAGES: Final = 512
"""2 MiB: what other commits wait for, some milliseconds."""

_INCREMENTAL: Final = 2


def keep_gaps(connection: sqlite3.Connection) -> None:
    """Make a new database one that can give room back; before its first table."""
    connection.execute(f"PRAGMA auto_vacuum = {_INCREMENTAL}")


def learn_gaps(connection: sqlite3.Connection) -> None:
    """Make a database of an earlier version one that can; it is rewritten, once."""
    [(mode,)] = connection.execute("PRAGMA auto_vacuum").fetchall()
    if mode != _INCREMENTAL:
        connection.execute(f"PRAGMA auto_vacuum = {_INCREMENTAL}")
        connection.execute("VACUUM")


def give_back(connection: sqlite3.Connection) -> None:
    """Give a bite back, if there is much that is empty."""
    if not _has_much(connection):
        return
    # It has to be stepped on for each page, which `execute` does not do: its rows have no columns.
    connection.executescript(f"PRAGMA incremental_vacuum({BITE_PAGES})")
    if not _has_much(connection):
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def _has_much(connection: sqlite3.Connection) -> bool:
    [(empty,)] = connection.execute("PRAGMA freelist_count").fetchall()
    if empty <= SPARE_PAGES:
        return False
    [(pages,)] = connection.execute("PRAGMA page_count").fetchall()
    return bool(empty > pages // SPARE_PART)
