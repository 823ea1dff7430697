"""The SQL of agents without a connection: how far each was told, and which sessions a caller had."""

from __future__ import annotations

from companion_ws.database import Database, Statement


class VoiceStore:
    """The tables `told` and `callers`; both go with their session."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def told(self, session_id: str) -> int:
        """Return the seq up to which a session's agent knows what screens did, 0 for nothing."""
        rows = await self._database.read("SELECT seq FROM told WHERE session_id = ?", (session_id,))
        return int(rows[0][0]) if rows else 0

    async def tell(self, session_id: str, seq: int) -> None:
        """Store that the agent has been told of what screens did up to `seq`."""
        await self._database.transact(
            [
                Statement(
                    "INSERT INTO told (session_id, seq) VALUES (?, ?) "
                    "ON CONFLICT (session_id) DO UPDATE SET seq = excluded.seq",
                    (session_id, seq),
                )
            ]
        )

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
