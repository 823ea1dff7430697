"""What went wrong in sessions, and how long their tools took: SQL of `troubles` and `tool_times`.

Rows are written with the record they sum up, in the same transaction, so that an operator who
asks a thousand sessions never reads their logs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from companion_ws.core.trouble import TROUBLES, Trouble
from companion_ws.database import Database

MOST_CALLS: Final = 100_000
"""The newest calls, which figures are made of: a tenth of a second on one core."""
MOST_TOOLS: Final = 200
"""Tools that are listed, those called most first: agents make up names."""

NOTE_TROUBLE: Final = "INSERT OR IGNORE INTO troubles (session_id, seq, kind) VALUES (?, ?, ?)"
NOTE_TROUBLE_LATER: Final = """
    INSERT OR IGNORE INTO troubles (session_id, seq, kind)
    SELECT session_id, ?, ? FROM sessions WHERE session_id = ?"""
NOTE_TIME: Final = """
    INSERT OR IGNORE INTO tool_times (session_id, seq, tool_name, took_ms) VALUES (?, ?, ?, ?)"""
TRIM_TROUBLES: Final = "DELETE FROM troubles WHERE session_id = ? AND seq < ?"
TRIM_TIMES: Final = "DELETE FROM tool_times WHERE session_id = ? AND seq < ?"

_COUNTS: Final = """
    SELECT session_id, kind, count(*) FROM troubles
    WHERE session_id IN (SELECT value FROM json_each(?)) GROUP BY session_id, kind"""
_SESSIONS: Final = "SELECT kind, count(DISTINCT session_id) FROM troubles GROUP BY kind"
_TIMES: Final = """
    WITH newest AS (
        SELECT tool_name, took_ms FROM tool_times ORDER BY number DESC LIMIT ?
    ), ranked AS (
        SELECT tool_name, took_ms,
            row_number() OVER (PARTITION BY tool_name ORDER BY took_ms NULLS LAST) AS place,
            count(*) OVER (PARTITION BY tool_name) AS calls,
            count(took_ms) OVER (PARTITION BY tool_name) AS answered
        FROM newest
    )
    SELECT tool_name, max(calls),
        min(CASE WHEN place * 2 >= answered THEN took_ms END),
        min(CASE WHEN place * 20 >= answered * 19 THEN took_ms END)
    FROM ranked GROUP BY tool_name ORDER BY max(calls) DESC, tool_name LIMIT ?"""
_TROUBLED_TOOLS: Final = """
    WITH newest AS (
        SELECT session_id, seq, tool_name FROM tool_times ORDER BY number DESC LIMIT ?
    )
    SELECT tool_name, kind, count(*) FROM troubles JOIN newest USING (session_id, seq)
    GROUP BY tool_name, kind"""

Counts = dict[Trouble, int]


@dataclass(frozen=True, slots=True)
class ToolFigures:
    """One tool over the sessions kept; times are in ms, None where no call was answered."""

    tool_name: str
    calls: int
    troubles: Counts
    p50_ms: int | None
    p95_ms: int | None


class Troubles:
    """Counts what is stored; decides nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_sessions(self, session_ids: Iterable[str]) -> dict[str, Counts]:
        """Return how many records of each session are in trouble, by kind."""
        counts = {session_id: no_trouble() for session_id in session_ids}
        for session_id, kind, count in await self._database.read(
            _COUNTS, (json.dumps([*counts]),)
        ):
            counts[session_id][kind] = count
        return counts

    async def sessions(self) -> Counts:
        """Return how many sessions have trouble of each kind."""
        return no_trouble() | dict(await self._database.read(_SESSIONS))

    async def tools(self) -> list[ToolFigures]:
        """Return the figures of each tool, the one called most first.

        Percentiles are times that occurred (nearest rank), of calls that a tool or a person answered.
        """
        times = await self._database.read(_TIMES, (MOST_CALLS, MOST_TOOLS))
        troubles: dict[str, Counts] = {}
        for tool_name, kind, count in await self._database.read(_TROUBLED_TOOLS, (MOST_CALLS,)):
            troubles.setdefault(tool_name, no_trouble())[kind] = count
        return [
            ToolFigures(tool_name, calls, troubles.get(tool_name, no_trouble()), p50_ms, p95_ms)
            for tool_name, calls, p50_ms, p95_ms in times
        ]


def no_trouble() -> Counts:
    """Return counts of nothing."""
    return dict.fromkeys(TROUBLES, 0)
