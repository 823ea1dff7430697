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
from companion_ws.database import Database, spoken

MOST_TOOLS: Final = 200
"""Tools that are listed, those called most first: agents make up names."""

NOTE_TROUBLE: Final = """
    INSERT INTO troubles (session_id, seq, kind, tool_name) VALUES (?, ?, ?, ?)
    ON CONFLICT DO NOTHING"""
NOTE_TROUBLE_LATER: Final = """
    INSERT INTO troubles (session_id, seq, kind, tool_name)
    SELECT session_id, ?, ?, ? FROM sessions WHERE session_id = ?
    ON CONFLICT DO NOTHING"""
NOTE_TIME: Final = """
    INSERT INTO tool_times (session_id, seq, tool_name, took_ms) VALUES (?, ?, ?, ?)
    ON CONFLICT DO NOTHING"""
TRIM_TROUBLES: Final = "DELETE FROM troubles WHERE session_id = ? AND seq < ?"
TRIM_TIMES: Final = "DELETE FROM tool_times WHERE session_id = ? AND seq < ?"

_COUNTS: Final = spoken(
    """
    SELECT session_id, kind, count(*) FROM troubles
    WHERE session_id IN (SELECT value FROM json_each(?)) GROUP BY session_id, kind""",
    postgres="""
    SELECT session_id, kind, count(*) FROM troubles
    WHERE session_id IN (SELECT json_array_elements_text(CAST(? AS json)))
    GROUP BY session_id, kind""",
)
_SESSIONS: Final = "SELECT kind, count(DISTINCT session_id) FROM troubles GROUP BY kind"
_TOOLS: Final = """
    SELECT tool_name, count(*) AS calls, count(took_ms) FROM tool_times
    GROUP BY tool_name ORDER BY calls DESC, tool_name LIMIT ?"""
_TIME_AT: Final = """
    SELECT took_ms FROM tool_times WHERE tool_name = ? AND took_ms IS NOT NULL
    ORDER BY took_ms LIMIT 1 OFFSET ?"""
"""Read off the index, tool by tool: what others read meanwhile waits for one of them at most."""
_TROUBLED_TOOLS: Final = "SELECT tool_name, kind, count(*) FROM troubles GROUP BY tool_name, kind"

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
        troubles: dict[str, Counts] = {}
        for tool_name, kind, count in await self._database.read(_TROUBLED_TOOLS):
            troubles.setdefault(tool_name, no_trouble())[kind] = count
        return [
            ToolFigures(
                tool_name,
                calls,
                troubles.get(tool_name, no_trouble()),
                await self._time_at(tool_name, answered, 50),
                await self._time_at(tool_name, answered, 95),
            )
            for tool_name, calls, answered in await self._database.read(_TOOLS, (MOST_TOOLS,))
        ]

    async def _time_at(self, tool_name: str, answered: int, percent: int) -> int | None:
        rank = -(-answered * percent // 100)  # rounded up
        rows = await self._database.read(_TIME_AT, (tool_name, max(0, rank - 1)))
        return int(rows[0][0]) if rows else None


def no_trouble() -> Counts:
    """Return counts of nothing."""
    return dict.fromkeys(TROUBLES, 0)
