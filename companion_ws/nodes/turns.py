"""Turns: what is done by one at a time under a name, on all servers of a database together.

A turn is held for as long as a block runs, awaits included. Alone, a lock in memory is enough.
Where servers share a database a turn is a row as well: it names its server, and is taken over when
that one's lease has run out. Whoever then still works under it is stopped by the fence: `ends`
belongs into the last transaction of the block, and does not commit where the turn was lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from hashlib import sha256
from typing import Final, Protocol, TypeAlias

from companion_ws.core.errors import Unavailable
from companion_ws.database import Conflict, Database, Statement, one_at_a_time
from companion_ws.nodes.place import Places

FIRST_WAIT_S: Final = 0.01
LAST_WAIT_S: Final = 0.2
"""Between two attempts to take a turn that another server has."""
MOST_WAIT_S: Final = 150.0
"""Longer than anything is done under a turn; a tool call is waited for 120 s at most."""

_TAKE: Final = """
    INSERT INTO turns (name_hash, node)
    SELECT ?, node FROM nodes WHERE node = ? AND until > clock_timestamp()
    ON CONFLICT (name_hash) DO UPDATE SET node = excluded.node
    WHERE turns.node = excluded.node OR NOT EXISTS (
        SELECT 1 FROM nodes WHERE nodes.node = turns.node AND nodes.until > clock_timestamp())"""
_OTHERS: Final = """
    SELECT 1 FROM turns JOIN nodes USING (node)
    WHERE name_hash = ? AND node <> ? AND until > clock_timestamp()"""
_END: Final = "DELETE FROM turns WHERE name_hash = ? AND node = ?"
_TIDY: Final = """
    DELETE FROM turns WHERE NOT EXISTS (
        SELECT 1 FROM nodes WHERE nodes.node = turns.node AND nodes.until > clock_timestamp())"""


_Hashes: TypeAlias = tuple[bytes, ...]


class Turn:
    """A turn that is held; at the end of its block it is over."""

    def __init__(self, ends: Iterable[Statement] = ()) -> None:
        self._ends = list(ends)
        self.is_ended = False

    def ends(self) -> list[Statement]:
        """Return what ends it with a transaction, which commits only while it is held."""
        ends, self._ends = self._ends, []
        self.is_ended = True
        return ends


class Turns(Protocol):
    """Lets one at a time do what has a name."""

    def taken(self, *names: str) -> AbstractAsyncContextManager[Turn]:
        """Hold the turns of all these names while the block runs.

        Raises:
            Unavailable: the database does not let us take them, or others have them for too long.
        """

    async def tidy(self, name: str) -> None:
        """Forget the turns of servers that are no more; this one is called `name` from now on."""


class TurnsHere:
    """Turns of one process."""

    def __init__(self) -> None:
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def taken(self, *names: str) -> AsyncIterator[Turn]:
        """Hold the turns of all these names while the block runs."""
        async with AsyncExitStack() as stack:
            for name in sorted(set(names)):
                await stack.enter_async_context(self._locked(name))
            yield Turn()

    async def tidy(self, name: str) -> None:
        """There is only one server."""

    @asynccontextmanager
    async def _locked(self, name: str) -> AsyncIterator[None]:
        lock, waiting = self._locks.get(name, (asyncio.Lock(), 0))
        self._locks[name] = (lock, waiting + 1)
        try:
            async with lock:
                yield
        finally:
            lock, waiting = self._locks.pop(name)
            if waiting > 1:
                self._locks[name] = (lock, waiting - 1)


class SharedTurns:
    """Turns of all servers of a database."""

    def __init__(self, database: Database, places: Places) -> None:
        self._database = database
        self._places = places
        self._here = TurnsHere()
        self._left: set[tuple[_Hashes, str]] = set()
        """Turns that are over, and whose end could not be stored."""

    @asynccontextmanager
    async def taken(self, *names: str) -> AsyncIterator[Turn]:
        """Hold the turns of all these names while the block runs."""
        async with self._here.taken(*names):
            hashes = tuple(sorted({_hash(name) for name in names}))
            if not hashes:
                yield Turn()
                return
            node = self._places.me.name
            has_failed = True
            ends = [Statement(_END, (each, node), expect=1) for each in hashes]
            turn = Turn([*_gates(hashes), *ends])
            try:
                await self._take(hashes, node)
                yield turn
                has_failed = False
            finally:
                if has_failed or not turn.is_ended:
                    # Taken or not: who was cancelled on the way here does not know.
                    self._left.add((hashes, node))
                    with suppress(Unavailable):
                        await self._end_what_is_left()

    async def _take(self, hashes: _Hashes, node: str) -> None:
        wait_s, until_s = FIRST_WAIT_S, asyncio.get_running_loop().time() + MOST_WAIT_S
        await self._end_what_is_left()
        while True:
            # Looked at first: a statement would wait for the other server's whole commit.
            if not await self._are_anothers(hashes, node):
                takes = [Statement(_TAKE, (each, node), expect=1) for each in hashes]
                with suppress(Conflict):
                    await self._database.transact([*_gates(hashes), *takes])
                    return
            if self._places.me.name != node or asyncio.get_running_loop().time() > until_s:
                raise Unavailable("Another server does this now; send it again.")
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, LAST_WAIT_S)

    async def _are_anothers(self, hashes: _Hashes, node: str) -> bool:
        for each in hashes:
            if await self._database.read(_OTHERS, (each, node)):
                return True
        return False

    async def _end_what_is_left(self) -> None:
        for hashes, node in list(self._left):
            ends = [Statement(_END, (each, node)) for each in hashes]
            # Behind what takes them, where that is still under way: it has the same gates.
            await self._database.transact([*_gates(hashes), *ends])
            self._left.discard((hashes, node))

    async def tidy(self, name: str) -> None:
        """Forget the turns of servers that are no more; this one is called `name` from now on."""
        await self._database.transact([Statement(_TIDY)])


def _hash(name: str) -> bytes:
    return sha256(name.encode("utf-8", "surrogatepass")).digest()


def _gates(hashes: _Hashes) -> list[Statement]:
    """Return what lets servers take turns in one order, so that they never wait in a circle."""
    return [one_at_a_time(f"turn {each.hex()}") for each in hashes]
