"""Which server has which session, where several work on one database.

How it works. A row of `tips` names the server that has a session, and the generation in which it has
it. Both change when the session is *taken*: before each time that it is read into memory. Every commit
checks the generation (sessions/store.py), so whoever wrote before is refused from then on, and a commit
that was under way is waited for and seen. A session can be taken that nobody has, that this server
has (what became of its last commit is not known then), or whose server's lease has run out.

Taking and reading are one transaction, and nothing that was read is told before that is committed: a
commit of another server that only this machine has seen, and no standby, is then on both.

A session that memory forgets is free again. A server that stops gives all of its sessions away.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection
from typing import Final, TypeVar

from companion_ws.core.errors import Unavailable
from companion_ws.data_folder import StartRefused
from companion_ws.database import Database, Read, Unit
from companion_ws.database.threads import Worker
from companion_ws.nodes.lease import END, END_S, LEASE_S, Lease, Transacts
from companion_ws.nodes.place import Elsewhere, Load, Node

TAKERS: Final = 4
"""Sessions that are taken at once; each has a connection, made when it is needed."""

SLACK_S: Final = 1.0
"""How much longer than a lease may last another server at the same address is waited for."""
CHECK_S: Final = 0.25

_WHERE: Final = """
    SELECT tips.number, tips.is_open, tips.node, nodes.url
    FROM sessions JOIN tips USING (number)
    LEFT JOIN nodes ON nodes.node = tips.node AND until > clock_timestamp()
    WHERE session_id = ?"""
_LOCK: Final = "SELECT node, is_open FROM tips WHERE number = ? FOR NO KEY UPDATE"
_LEASE_OF: Final = "SELECT until > clock_timestamp(), url FROM nodes WHERE node = ? FOR SHARE"
"""Locked, so that a renewal under way is waited for."""
_TAKE: Final = """
    UPDATE tips SET node = ?, generation = generation + 1 WHERE number = ?
    AND EXISTS (SELECT 1 FROM nodes WHERE node = ? AND until > clock_timestamp())
    RETURNING generation"""
_BEFORE: Final = """
    SELECT other.url, other.key_mark FROM nodes AS other JOIN nodes AS me ON me.node = ?
    WHERE other.until > clock_timestamp() AND other.began_at < me.began_at"""
_RELEASE: Final = "UPDATE tips SET node = NULL WHERE number = ? AND node = ? AND generation = ?"
_GIVE_AWAY: Final = "UPDATE tips SET node = NULL WHERE node = ?"

R = TypeVar("R")


class Owners:
    """`Places` of a server that shares its database."""

    is_shared: Final = True

    def __init__(
        self, database: Database, lease: Lease, connect: Callable[[], Transacts]
    ) -> None:
        self._database = database
        self._lease = lease
        self._takers = [(Worker(f"companion-taker-{each}"), connect()) for each in range(TAKERS)]
        self._idle = asyncio.LifoQueue[tuple[Worker, Transacts]]()
        for taker in self._takers:
            self._idle.put_nowait(taker)

    @property
    def me(self) -> Node:
        """This server; after a lost lease it has another name."""
        return self._lease.node

    @property
    def is_good(self) -> bool:
        """Whether this server may answer from memory."""
        return self._lease.is_good

    def others(self) -> list[Node]:
        """Return the other servers that had a valid lease a moment ago."""
        return self._lease.others

    def on_lost(self, act: Callable[[], None]) -> None:
        """Call `act` when this server has to drop all that it has."""
        self._lease.on_lost(act)

    async def start(self) -> None:
        """Begin to be one of the servers."""
        await self._lease.start()

    async def check(self, marks: Collection[str]) -> None:
        """Raise StartRefused unless this server goes together with those that were there before."""
        until_s = asyncio.get_running_loop().time() + LEASE_S + SLACK_S
        while True:
            others = await self._database.read(_BEFORE, (self.me.name,))
            is_taken = any(url == self.me.url for url, _ in others)
            if not is_taken or asyncio.get_running_loop().time() >= until_s:
                break
            await asyncio.sleep(CHECK_S)  # It may be what is left of the last one here.
        if is_taken:
            raise StartRefused(
                f"Another server of the same database says that it is reached at {self.me.url}."
                " Say with --node-url where others reach this one."
            )
        for url, mark in others:
            if mark not in marks:
                raise StartRefused(
                    f"The server at {url} works on the same database and signs with another key."
                    " Copy its secret.key into this server's data folder."
                )

    async def stop(self) -> None:
        """Be none of them any more."""
        await self._lease.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_S):
                for worker, connection in self._takers:
                    await worker.run(connection.close)
                    worker.stop()

    async def find(self, session_id: str) -> Node | None:
        """Return the other server that a session lives on, if that is alive."""
        for _, _, node, url in await self._database.read(_WHERE, (session_id,)):
            return Node(node, url) if url is not None and node != self.me.name else None
        return None

    async def taken(self, session_id: str, load: Load[R]) -> R:
        """Take a session, and return what `load` reads of it."""
        me = self.me
        if not self.is_good:
            raise _no_lease()
        result = await self._apart(lambda run: _taken(run, session_id, me.name, load))
        if not self.is_good or self.me is not me:
            raise _no_lease()  # Another server may have it again.
        return result

    def release(self, number: int, generation: int) -> None:
        """Let a session be anybody's; nobody waits for that."""
        unit = Unit()
        unit.add(_RELEASE, (number, self.me.name, generation))
        try:
            self._database.write(unit)
        except Unavailable:
            return  # It stays ours: whoever asks for it is led here.

    async def give_away(self) -> None:
        """Give all sessions away, and the lease with them; from here on nothing is answered."""
        name = self.me.name
        self._lease.retire()

        def give(run: Read) -> None:
            run(_GIVE_AWAY, (name,))
            run(END, (name,))

        await self._apart(give)

    async def _apart(self, work: Callable[[Read], R]) -> R:
        taker = await self._idle.get()
        worker, connection = taker
        job = asyncio.ensure_future(worker.run(connection.transact, work))
        # It goes on where the caller does not: its thread is busy until then.
        job.add_done_callback(lambda _: self._idle.put_nowait(taker))
        return await asyncio.shield(job)


def _taken(run: Read, session_id: str, me: str, load: Load[R]) -> R:
    rows = run(_WHERE, (session_id,))
    if not rows or not rows[0][1]:
        return load(run, None)  # It is not there, or over: nobody writes it any more.
    [(number, _, node, url)] = rows
    if node not in (None, me) and url is not None:
        raise Elsewhere(Node(node, url))  # Seen without a lock: its server is not held up.
    rows = run(_LOCK, (number,))
    if not rows or not rows[0][1]:
        return load(run, None)
    [(last, _)] = rows
    if last not in (None, me):
        for is_valid, url in run(_LEASE_OF, (last,)):
            if is_valid:
                raise Elsewhere(Node(last, url))
    if not run(_TAKE, (me, number, me)):
        raise _no_lease()
    return load(run, None if last == me else last or "")


def _no_lease() -> Unavailable:
    return Unavailable("This server has lost the database, or is stopping; try again.")
