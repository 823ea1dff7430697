"""The SQL of agents without a connection: what they were told and heard, and sessions of callers."""

from __future__ import annotations

from collections.abc import Iterable

from companion_ws.database import Database, Statement


class VoiceStore:
    """The tables `told`, `unheard`, `callers` and `call_numbers`; all go with their session."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def told(self, session_id: str) -> int:
        """Return the seq up to which a session's agent knows what screens did, 0 for nothing."""
        rows = await self._database.read("SELECT seq FROM told WHERE session_id = ?", (session_id,))
        return int(rows[0][0]) if rows else 0

    async def tell(self, session_id: str, seq: int, also: Iterable[Statement] = ()) -> None:
        """Store that the agent has been told of what screens did up to `seq`, with what else is so.

        Raises:
            Conflict: something of `also` is not as it expects; then nothing is stored.
        """
        told = Statement(
            "INSERT INTO told (session_id, seq) VALUES (?, ?) "
            "ON CONFLICT (session_id) DO UPDATE SET seq = excluded.seq",
            (session_id, seq),
        )
        await self._database.transact([told, *also])

    async def unheard(self, session_id: str) -> list[str]:
        """Return the questions whose asker has not been given the answer."""
        rows = await self._database.read(
            "SELECT tool_call_id FROM unheard WHERE session_id = ?", (session_id,)
        )
        return [tool_call_id for (tool_call_id,) in rows]

    async def ask(self, session_id: str, tool_call_id: str) -> None:
        """Store that somebody wants the answer to a question."""
        await self._database.transact(
            [
                Statement(
                    "INSERT INTO unheard (session_id, tool_call_id)"
                    " SELECT session_id, ? FROM sessions WHERE session_id = ?"
                    " ON CONFLICT DO NOTHING",
                    (tool_call_id, session_id),
                )
            ]
        )

    async def hear(self, session_id: str, tool_call_id: str) -> None:
        """Store that the answer to a question has been given to its asker."""
        await self._database.transact([heard(session_id, tool_call_id)])

    async def held(self, session_id: str, at_ms: int) -> set[str]:
        """Return the questions whose answer a task keeps for whoever has its handle."""
        rows = await self._database.read(
            "SELECT tool_call_id FROM tasks"
            " WHERE session_id = ? AND status = 'working' AND until_ms > ?",
            (session_id, at_ms),
        )
        return {tool_call_id for (tool_call_id,) in rows}

    async def sessions_of(self, caller: str, called: str) -> list[str]:
        """Return the sessions that a number had when it called another, newest first."""
        rows = await self._database.read(
            "SELECT session_id FROM callers WHERE caller = ? AND called = ?"
            " ORDER BY seen_at_ms DESC",
            (caller, called),
        )
        return [session_id for (session_id,) in rows]

    async def note_caller(self, caller: str, called: str, session_id: str, at_ms: int) -> None:
        """Store that a number calls, or still calls, in this session."""
        await self._database.transact(
            [
                Statement(
                    "INSERT INTO callers (caller, called, session_id, seen_at_ms) "
                    "VALUES (?, ?, ?, ?) ON CONFLICT (caller, called, session_id) "
                    "DO UPDATE SET seen_at_ms = excluded.seen_at_ms",
                    (caller, called, session_id, at_ms),
                )
            ]
        )

    async def note_number(self, session_id: str, number: str) -> None:
        """Store whom a session's newest call is with; "" where that is nobody to send to."""
        forget = Statement("DELETE FROM call_numbers WHERE session_id = ?", (session_id,))
        note = Statement(
            "INSERT INTO call_numbers (session_id, number)"
            " SELECT session_id, ? FROM sessions WHERE session_id = ?",
            (number, session_id),
        )
        await self._database.transact([forget, note] if number else [forget])


def heard(session_id: str, tool_call_id: str) -> Statement:
    """Return what stores that the answer to a question has been given to its asker."""
    return Statement(
        "DELETE FROM unheard WHERE session_id = ? AND tool_call_id = ?", (session_id, tool_call_id)
    )
