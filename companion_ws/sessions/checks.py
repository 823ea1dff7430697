"""What must hold of everything that is stored, whichever engine keeps it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from companion_ws.database import Read
from companion_ws.sessions.store import BY_ID, BY_NUMBER, loaded

PAGE: Final = 256

_LOGS: Final = """
    SELECT session_id, tips.seq, first_seq, count(records.seq), max(records.seq)
    FROM sessions JOIN tips USING (number) LEFT JOIN records
        ON records.number = tips.number AND records.seq >= first_seq
    WHERE ended_at_ms IS NULL OR ended_at_ms >= 0
    GROUP BY session_id, tips.seq, first_seq
    HAVING count(records.seq) <> tips.seq - first_seq + 1
        OR coalesce(max(records.seq), first_seq - 1) <> tips.seq
    ORDER BY session_id"""
"""Sessions whose records are not one for each seq that is shown. Erased ones are on their way out."""
_WITHOUT_TIP: Final = """
    SELECT session_id FROM sessions
    WHERE NOT EXISTS (SELECT 1 FROM tips WHERE tips.number = sessions.number) ORDER BY 1"""
_AHEAD: Final = """
    SELECT session_id FROM sessions JOIN tips USING (number) JOIN folds USING (number)
    WHERE folds.seq > tips.seq ORDER BY 1"""


def sessions_stored(read: Read) -> int:
    """Return how many sessions `faults_of` looks at."""
    [(count,)] = read("SELECT count(*) FROM sessions")
    return int(count)


def faults_of(read: Read, told: Callable[[int], None] = lambda sessions: None) -> Iterator[str]:
    """Yield a sentence for each thing that does not hold; `told` hears how many sessions are done.

    `read` reads all of one instant.
    """
    for session_id, seq, first_seq, count, newest in read(_LOGS):
        yield (
            f"session {session_id}: its log should hold the records {first_seq} to {seq};"
            f" it holds {count}, the newest of them {newest or 'none'}"
        )
    for (session_id,) in read(_WITHOUT_TIP):
        yield f"session {session_id}: the row that says how long its log is is missing"
    for (session_id,) in read(_AHEAD):
        yield f"session {session_id}: what was noted of its log is newer than the log"
    yield from _strays(read)
    yield from _not_loaded(read, told)


def _strays(read: Read) -> Iterator[str]:
    by = {**dict.fromkeys(BY_NUMBER, "number"), **dict.fromkeys(BY_ID, "session_id")}
    for table, key in by.items():
        [(count,)] = read(
            f"SELECT count(*) FROM {table} AS held WHERE NOT EXISTS"  # noqa: S608 - names of ours
            f" (SELECT 1 FROM sessions WHERE sessions.{key} = held.{key})"
        )
        if count:
            yield f"{table}: {count} rows belong to no session"


def _not_loaded(read: Read, told: Callable[[int], None]) -> Iterator[str]:
    done, last = 0, ""
    while page := read(
        "SELECT session_id FROM sessions WHERE session_id > ? ORDER BY session_id LIMIT ?",
        (last, PAGE),
    ):
        for (session_id,) in page:
            try:
                loaded(read, session_id)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                yield f"session {session_id} cannot be loaded: {type(error).__name__}: {error}"
            done += 1
        last = page[-1][0]
        told(done)
