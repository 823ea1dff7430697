"""How many connections of each owner other servers have, as of less than a second ago.

A connection counts against its session's owner, whose sessions may live on several servers. Each
server tells what changed of its own counts, and reads of the others' those that may matter soon.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from companion_ws.core.errors import Unavailable
from companion_ws.database import Database, Statement, Unit
from companion_ws.nodes.place import Places
from companion_ws.sessions.connections import Connections

LOOK_S: Final = 0.4
MOST_TOLD: Final = 2_000
"""Counts that one look tells; after a storm the rest waits for the next ones."""
TIDY_EVERY: Final = 1_000
"""Looks between two deletions of what dead servers told."""

_TELL: Final = """
    INSERT INTO connection_counts (node, owner, count) VALUES (?, ?, ?)
    ON CONFLICT (owner, node) DO UPDATE SET count = excluded.count"""
_FORGET: Final = "DELETE FROM connection_counts WHERE node = ? AND owner = ?"
FORGET_CROWD: Final = "DELETE FROM connection_counts WHERE owner = ?"
_TIDY: Final = """
    DELETE FROM connection_counts WHERE NOT EXISTS (SELECT 1 FROM nodes
        WHERE nodes.node = connection_counts.node AND until > clock_timestamp())"""
_ELSEWHERE: Final = """
    SELECT owner, sum(CASE WHEN node = :me THEN 0 ELSE count END)
    FROM connection_counts JOIN nodes USING (node) WHERE until > clock_timestamp()
    GROUP BY owner HAVING sum(count) >= :enough"""


class Crowds:
    """Tells the counts of this server, and lets its connections know those of others."""

    def __init__(
        self, database: Database, places: Places, connections: Connections, most: int
    ) -> None:
        """`most` is how many connections an owner may have."""
        self._database = database
        self._places = places
        self._connections = connections
        self._most = most
        self._told: dict[str, int] = {}
        self._told_as = ""
        self._looks = 0

    async def run(self) -> None:
        """Tell and read, until cancelled."""
        while self._most:
            await asyncio.sleep(LOOK_S)
            with suppress(Unavailable):
                await self.look()

    async def look(self) -> None:
        """Tell what changed, and read what others told."""
        me = self._places.me.name
        if me != self._told_as:
            self._told, self._told_as = {}, me
        if self._looks % TIDY_EVERY == 0:
            await self._database.transact([Statement(_TIDY)])
        self._looks += 1
        self._tell(me)
        # Whoever has less than half of what is allowed cannot be over it before the next look.
        wanted = {"me": me, "enough": max(1, self._most // 2)}
        rows = await self._database.read(_ELSEWHERE, wanted)
        self._connections.elsewhere = {owner: int(count) for owner, count in rows if count}

    def _tell(self, me: str) -> None:
        counts = self._connections.counts_of_owners()
        unit = Unit(self._hear)
        changed = [owner for owner, count in counts.items() if self._told.get(owner) != count]
        for owner in changed[:MOST_TOLD]:
            unit.add(_TELL, (me, owner, counts[owner]))
            self._told[owner] = counts[owner]
        for owner in [owner for owner in self._told if owner not in counts]:
            unit.add(_FORGET, (me, owner))
            del self._told[owner]
        if unit.rows:
            self._database.write(unit)

    def _hear(self, error: Exception | None) -> None:
        if error is not None:
            self._told = {}  # Nobody knows what the others know: all of it is told again.
