"""What PostgreSQL says, in words: what is wrong, and what an acknowledgement survives."""

from __future__ import annotations

import psycopg


def in_words(error: Exception) -> str:
    """Return what PostgreSQL says is wrong, on one line, and never what was to be stored."""
    said = error.diag.message_primary if isinstance(error, psycopg.Error) else None
    return " ".join((said or str(error)).split()) or type(error).__name__


def promise(synchronous_commit: str, synchronous_standby_names: str, fsync: str) -> str:
    """Return what an acknowledgement survives.

    >>> promise("on", "", "on")
    'the loss of power of the machine PostgreSQL runs on'
    """
    if synchronous_commit == "off":
        return "the loss of this server's process, not of PostgreSQL's machine"
    if fsync != "on":
        return "the loss of this server's process and of PostgreSQL's, not of power"
    if synchronous_standby_names and synchronous_commit in ("on", "remote_apply"):
        return "the loss of the machine PostgreSQL runs on: it is stored on a standby too"
    if synchronous_standby_names and synchronous_commit == "remote_write":
        return "the loss of one machine, as long as the standby keeps its power"
    return "the loss of power of the machine PostgreSQL runs on"
