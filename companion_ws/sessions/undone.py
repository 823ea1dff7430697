"""What is still to be done in sessions that nobody may have loaded: due, idle, left by a server."""

from __future__ import annotations

import json
from typing import Final

from companion_ws.database import Database, Spoken, Statement, spoken
from companion_ws.nodes.place import Places
from companion_ws.sessions.store import DONE


def _not_among(sql: str) -> Spoken:
    """Return a statement that passes over the sessions of servers that a JSON list names."""
    here = "(node IS NULL OR node NOT IN ({}))"
    return spoken(
        sql.format(here=here.format("SELECT value FROM json_each(?)")),
        postgres=sql.format(
            here=here.format("SELECT json_array_elements_text(CAST(? AS json))")
        ),
    )


_RUNNING: Final = _not_among(
    "SELECT DISTINCT session_id FROM calls JOIN sessions USING (session_id) JOIN tips USING (number)"
    " WHERE handled_by = 'server' AND status = 'waiting' AND {here}"
)
_ASKING: Final = _not_among(
    # Whoever waits has a deadline, and those are few; calls there are many.
    "SELECT DISTINCT due.session_id FROM due JOIN calls"
    " ON calls.session_id = due.session_id AND calls.tool_call_id = due.ref"
    " JOIN sessions ON sessions.session_id = due.session_id JOIN tips USING (number)"
    " WHERE due.kind = 'deadline' AND handled_by = 'screens' AND status = 'waiting' AND {here}"
)
_DUE_ROWS: Final = " FROM due LEFT JOIN sessions USING (session_id) LEFT JOIN tips USING (number) WHERE "
_DUE_BY: Final = _not_among(
    f"SELECT session_id, due.kind, due.ref {_DUE_ROWS} at_ms <= ? AND {{here}}"
    " ORDER BY at_ms LIMIT 100"
)
_NEXT_DUE: Final = _not_among(f"SELECT at_ms {_DUE_ROWS} {{here}} ORDER BY at_ms LIMIT 1")
_IDLE: Final = _not_among(
    "SELECT session_id FROM sessions JOIN tips USING (number) WHERE last_active_at_ms < ?"
    " AND ended_at_ms IS NULL AND {here} ORDER BY last_active_at_ms LIMIT ?"
)


class Undone:
    """Reads of it what this server may do: nothing of sessions that live on others."""

    def __init__(self, database: Database, places: Places) -> None:
        self._database = database
        self._places = places

    async def idle_since(self, before_ms: int, limit: int) -> list[str]:
        """Return sessions without activity since then, longest idle first; none of other servers."""
        rows = await self._database.read(_IDLE, (before_ms, self._others(), limit))
        return [session_id for (session_id,) in rows]

    async def running(self) -> list[str]:
        """Return the sessions in which a server tool ran on a server that has ended."""
        rows = await self._database.read(_RUNNING, (self._living(),))
        return [session_id for (session_id,) in rows]

    async def asking(self) -> list[str]:
        """Return the sessions in which an agent waited for a screen of a server that has ended."""
        rows = await self._database.read(_ASKING, (self._living(),))
        return [session_id for (session_id,) in rows]

    async def due_by(self, at_ms: int) -> list[tuple[str, str, str]]:
        """Return `(session_id, kind, ref)` of what is due, earliest first; nothing of other servers."""
        return await self._database.read(_DUE_BY, (at_ms, self._others()))

    async def next_due_ms(self) -> int | None:
        """Return when something is due next, or None."""
        rows = await self._database.read(_NEXT_DUE, (self._others(),))
        return int(rows[0][0]) if rows else None

    def _others(self) -> str:
        """Return the other servers that are alive, as a JSON list of names."""
        return json.dumps([node.name for node in self._places.others()])

    def _living(self) -> str:
        """Return all servers that are alive; before the start of one that is alone nobody was."""
        me = [self._places.me] if self._places.is_shared else []
        return json.dumps([node.name for node in (*me, *self._places.others())])

    async def done(self, session_id: str, kind: str, ref: str) -> None:
        """Forget something that was due and needed nothing any more."""
        await self._database.transact([Statement(DONE, (session_id, kind, ref))])
