"""What SQLite's errors mean, in words."""

from __future__ import annotations

import sqlite3

from companion_ws.database.sqlite.files import FilesGone


def in_words(error: BaseException) -> str:
    """Return what SQLite, or the system, says is wrong."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    name = getattr(error, "sqlite_errorname", None)
    return f"{error} ({name})" if name else f"{error}" or type(error).__name__


def is_damage(error: BaseException | None) -> bool:
    """Whether pages are broken: that costs whoever needs them, and no retry mends it."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def way_out(error: Exception) -> str:
    """Return what an operator can do about it."""
    if isinstance(error, FilesGone):
        return "put that very file back, or stop the server and restore a backup"
    if is_damage(error):
        return "stop the server, run `companion-ws db check`, restore a backup"
    return "writing and reading are tried again each second"
