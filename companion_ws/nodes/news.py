"""What every server of a database has to know before it is acknowledged: told by one, heard by all.

How it works. News is a row. It commits with what it is about, in one transaction, and its number
comes from one row that stays locked until then, so that numbers become visible in their order. Each
server asks for what is newer than the newest it has acted on: when NOTIFY says so, and every POLL_S
in any case, over a connection of its own. It acts in order, and then notes in its row of `nodes` how
far it is. `tell` returns when every server with a valid lease has noted so.

A server that stands still, or has lost the database, notes nothing: its lease runs out, and without
one it answers nothing. It is extended at most until HEARD_S after the oldest news that the server has
not acted on, so nobody waits longer than that. A server that has a lease again, under another name,
is not current before it has asked once more. Where news it has not heard was deleted meanwhile, or was
lost with the primary, it reads everything again (`on_missed`).

A server alone needs none of it (`NoNews`): what it is told it knows.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, Protocol

import structlog

from companion_ws.core.errors import CompanionError, Unavailable
from companion_ws.database import Database, Statement, one_at_a_time
from companion_ws.nodes.place import Places

CHANNEL: Final = "companion_news"
POLL_S: Final = 0.5
HEARD_S: Final = 5.0
"""A server that has not acted on news for so long has lost its lease; see nodes/lease.py."""
GIVE_UP_S: Final = HEARD_S + 2.0
"""Whoever tells waits no longer: by then its own view of the leases is what is wrong."""
FIRST_LOOK_S: Final = 0.005
LAST_LOOK_S: Final = 0.1
"""Between the looks whether all have heard: at first it is a matter of milliseconds."""
RETRY_S: Final = 0.5
KEPT: Final = "1 hour"
TRIM_EVERY: Final = 1200
"""Looks between two deletions of old news: about ten minutes."""

log = structlog.get_logger(__name__)

Act = Callable[[str, str], Awaitable[None]]
"""Does what news is about, given its `ref` and `body`; a second time changes nothing."""
Read = Callable[[], Awaitable[None]]
Named = Callable[[str], Awaitable[None]]

_TELL: Final = """
    WITH next AS (UPDATE news_count SET number = number + 1 RETURNING number)
    INSERT INTO news (number, kind, ref, body) SELECT number, ?, ?, ? FROM next"""
_WAKE: Final = f"SELECT pg_notify('{CHANNEL}', '')"
_LAST_GATE: Final = "~ news"
"""Behind all others: whoever has the count's row waits for nothing more. See postgres/engine.py."""
_NEWEST: Final = "SELECT number FROM news_count"
_NEWER: Final = "SELECT number, kind, ref, body FROM news WHERE number > ? ORDER BY number"
_NOTE: Final = "UPDATE nodes SET heard = ? WHERE node = ? AND heard <= ? RETURNING 1"
_NOW: Final = """
    SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint), number FROM news_count"""
_UNHEARD: Final = """
    SELECT node FROM nodes WHERE node <> ? AND heard < ? AND until > clock_timestamp()"""
_TRIM: Final = f"""
    DELETE FROM news WHERE at < clock_timestamp() - interval '{KEPT}'
    AND number < (SELECT number FROM news_count)"""  # noqa: S608 - joined from constants


class News(Protocol):
    """What servers of one database tell each other."""

    @property
    def is_shared(self) -> bool:
        """Whether there may be other servers."""

    @property
    def is_current(self) -> bool:
        """Whether this server has heard all that was acknowledged, and may go by what it knows."""

    def on(self, kind: str, act: Act) -> None:
        """Act so on news of this kind."""

    def on_missed(self, read: Read) -> None:
        """Read again, where news may have been missed, what it would have told."""

    def on_named(self, act: Named) -> None:
        """Act so once this server has a lease under another name, before it is current."""

    async def tell(
        self, kind: str, ref: str, body: str, statements: Iterable[Statement] = ()
    ) -> None:
        """Store the statements and tell it, in one transaction; return when all have acted on it.

        Whoever tells has acted on it already.

        Raises:
            Conflict: a statement touched another number of rows than it expects.
            Unavailable: not known to be stored, or not known to be heard by all.
        """

    async def start(self) -> None:
        """Read everything as it is now; what is told from here on is heard.

        Raises:
            Exception: the database does not let us read.
        """

    async def run(self) -> None:
        """Hear, act and note, until cancelled."""


class NoNews:
    """The only server of its database: what it stores it knows."""

    is_shared: Final = False
    is_current: Final = True

    def __init__(self, database: Database) -> None:
        self._database = database

    def on(self, kind: str, act: Act) -> None:
        """Nobody else tells anything."""

    def on_missed(self, read: Read) -> None:
        """Nothing is missed."""

    def on_named(self, act: Named) -> None:
        """It is called nothing else."""

    async def tell(
        self, kind: str, ref: str, body: str, statements: Iterable[Statement] = ()
    ) -> None:
        """Store the statements."""
        await self._database.transact(statements)

    async def start(self) -> None:
        """Begin with nothing."""

    async def run(self) -> None:
        """Hear nothing."""


class Line(Protocol):
    """A connection to the database that hears NOTIFY; one task uses it."""

    async def rows(self, sql: str, params: Sequence[Any] = ()) -> list[Any]: ...

    async def wait(self, seconds: float) -> None: ...

    async def close(self) -> None: ...


class Shared(Protocol):
    """A clock that keeps to the database's."""

    def since_boot_ms(self) -> int: ...

    def follow(self, there_ms: int, asked_ms: int) -> None: ...


class SharedNews:
    """News of a database that several servers share; `run` hears it."""

    is_shared: Final = True

    def __init__(
        self,
        database: Database,
        places: Places,
        clock: Shared,
        connect: Callable[[], Awaitable[Line]],
        errors: tuple[type[Exception], ...],
    ) -> None:
        """`errors` are what a line raises where the database is not there."""
        self._database = database
        self._places = places
        self._clock = clock
        self._connect = connect
        self._errors = errors
        self._acts: dict[str, Act] = {}
        self._reads: list[Read] = []
        self._on_named: list[Named] = []
        self._heard = 0
        self._noted: tuple[str, int] | None = None
        """What this server has noted, and under which name."""
        self._current_as = ""
        """The name this server had when it last asked for everything."""
        self._looks = 0

    @property
    def is_current(self) -> bool:
        """Whether this server has heard all that was acknowledged since it has this name."""
        return self._places.is_good and self._places.me.name == self._current_as

    def on(self, kind: str, act: Act) -> None:
        """Act so on news of this kind."""
        self._acts[kind] = act

    def on_missed(self, read: Read) -> None:
        """Read again, where news may have been missed, what it would have told."""
        self._reads.append(read)

    def on_named(self, act: Named) -> None:
        """Act so once this server has a lease under another name, before it is current."""
        self._on_named.append(act)

    async def tell(
        self, kind: str, ref: str, body: str, statements: Iterable[Statement] = ()
    ) -> None:
        """Store the statements and tell it, in one transaction; return when all have acted on it."""
        told = Statement(_TELL, (kind, ref, body), expect=1)
        await self._database.transact([*statements, one_at_a_time(_LAST_GATE), told, Statement(_WAKE)])
        [(number,)] = await self._database.read(_NEWEST)
        await self._until_heard(number)

    async def _until_heard(self, number: int) -> None:
        pause_s = FIRST_LOOK_S
        try:
            async with asyncio.timeout(GIVE_UP_S):
                while await self._database.read(_UNHEARD, (self._places.me.name, number)):
                    await asyncio.sleep(pause_s)
                    pause_s = min(2 * pause_s, LAST_LOOK_S)
        except TimeoutError:
            raise Unavailable("It is stored, and not known to have reached every server.") from None

    # Hearing.

    async def start(self) -> None:
        """Read everything as it is now; what is told from here on is heard.

        Raises:
            Exception: the database does not let us read.
        """
        line = await self._connect()
        try:
            await self._follow(line)
            await self._catch_up_with(line)
            await self._look(line)
        finally:
            await line.close()

    async def run(self) -> None:
        """Hear, act and note, until cancelled."""
        while True:
            try:
                line = await self._connect()
                try:
                    while True:
                        await self._look(line)
                        await line.wait(POLL_S)
                finally:
                    with contextlib.suppress(*self._errors):
                        await line.close()
            except CompanionError:
                pass  # The database is not there: whoever stores something says so.
            except self._errors:
                pass  # It is not there for us either.
            except Exception:
                # What is not acted on is not noted: this server stops being one of the living.
                log.exception("news_failed", heard=self._heard)
            await asyncio.sleep(RETRY_S)

    async def _look(self, line: Line) -> None:
        """Ask once, act on what is new, and note it."""
        name, is_good = self._places.me.name, self._places.is_good
        if await self._follow(line) < self._heard:
            log.warning("news_lost", heard=self._heard)  # The database is an older one than it was.
            await self._catch_up_with(line)
        for number, kind, ref, body in await line.rows(_NEWER, (self._heard,)):
            if number != self._heard + 1:
                log.warning("news_missed", heard=self._heard, number=number)
                await self._catch_up_with(line)
                break
            act = self._acts.get(kind)
            if act is None:
                log.warning("news_unknown", kind=kind)  # A newer version told it.
            else:
                await act(ref, body)
            self._heard = number
        if self._noted != (name, self._heard):
            is_noted = await line.rows(_NOTE, (self._heard, name, self._heard))
            self._noted = (name, self._heard) if is_noted else None
        if is_good and name != self._current_as:
            for tell_name in self._on_named:
                await tell_name(name)
            self._current_as = name
        self._looks += 1
        if self._looks % TRIM_EVERY == 0:
            await line.rows(_TRIM)

    async def _catch_up_with(self, line: Line) -> None:
        [(newest,)] = await line.rows(_NEWEST)
        for read in self._reads:
            await read()
        self._heard = newest

    async def _follow(self, line: Line) -> int:
        """Keep to the database's clock; return the number of the newest news."""
        asked_ms = self._clock.since_boot_ms()
        [(there_ms, newest)] = await line.rows(_NOW)
        self._clock.follow(there_ms, asked_ms)
        return int(newest)
