"""The database of a server: reads, and queues what is written for the one writer.

Rules of this file:

1. One thread holds the only connection that writes; a unit of work reaches it
   whole, so no transaction ever spans an `await`.
2. Everything that waits when a commit begins goes into it (group commit; see
   threads.py). A unit hears of its fate after the commit, never before.
3. A refused commit costs every unit of its batch, and the writer opens the database
   again each second until it takes writes. A unit that is bad costs only itself.
4. Trouble is said once when it begins, in the engine's own words, and once when it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import structlog

from companion_ws.core.errors import Unavailable
from companion_ws.database.engine import Engine
from companion_ws.database.reader import Reader
from companion_ws.database.sqlite.engine import SQLite
from companion_ws.database.threads import Fates, WriterThread
from companion_ws.database.trouble import Episode, extra_needed, unavailable
from companion_ws.database.units import Params, Read, Statement, Transaction, Unit, outlive

RETRY_S: Final = 1.0
"""How long the writer waits before it tries a refusing disk again."""
LOOK_S: Final = 0.4
"""How often it is seen whether the files are still there and what was broken is whole."""
MAX_WAITING_BYTES: Final = 16 * 1024 * 1024
"""Accepted but not yet durable, in the whole process; beyond it new work is refused."""

log = structlog.get_logger(__name__)

R = TypeVar("R")


class Database:
    """One database: `read` from it, `write` units or `transact` statements.

    `place` is the path of SQLite's file, or the URL of a database of PostgreSQL.
    """

    def __init__(
        self,
        place: Path | str,
        migrations: Path,
        durability: Literal["power", "process"] = "power",
    ) -> None:
        engine = _engine(place, migrations, durability)
        self._engine: Engine = engine
        self._thread: WriterThread[Unit] = WriterThread(engine.commit, self._hear)
        self._waiting: list[Unit] = []
        """What this turn of the loop writes."""
        self._waiting_bytes = 0
        self._reopening: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._is_writable = False
        self._is_closing = False
        words = engine.in_words, engine.way_out
        self._refusal = Episode(lambda _: "database_refuses", "database_writes_again", *words)
        self._damage = Episode(engine.how_unreadable, "database_readable_again", *words)
        self._reader = Reader(engine, self._damage)

    @property
    def is_writable(self) -> bool:
        """False from a refused commit until the disk takes writes again."""
        return self._is_writable

    @property
    def trouble(self) -> str | None:
        """What is wrong with the files or their disk, in its own words; None if nothing is."""
        if self._is_writable and self._damage.reason is None:
            return None
        return self._damage.reason or self._refusal.reason or "the database is not open"

    @property
    def is_full(self) -> bool:
        """True while too much waits for the disk; who can wait should."""
        return self._waiting_bytes > MAX_WAITING_BYTES

    async def open(self) -> None:
        """Open, migrate and start the writer; a disk that takes no writes is tried on.

        Raises:
            CannotOpen: the file is not one to work on, or its disk is full; the message says so.
            sqlite3.Error, OSError: it cannot be read, is no database or belongs to a newer version.
        """
        try:
            await self._thread.run(self._engine.open)
            await self._reader.open()
        except BaseException as error:
            # A thread that outlives a failed start would keep the process alive.
            await self.close()
            why = self._engine.why_not_opened(error) if isinstance(error, Exception) else None
            if why is not None:
                raise why from error
            raise
        self._is_writable = True
        self._watcher = asyncio.create_task(self._watch(), name="database-watcher")

    async def close(self) -> None:
        """Store what was accepted, checkpoint, and let go of the file."""
        self._is_closing = True
        for task in (self._watcher, self._reopening):
            if task is not None:
                task.cancel()
        self._hand_over()
        await self._reader.close()
        await self._thread.run(self._engine.close)
        self._thread.stop()

    async def read(self, sql: str, params: Params = ()) -> list[Any]:
        """Return all rows; a half-read cursor would stop the WAL from shrinking.

        Raises:
            Unavailable: the disk does not let us read.
        """
        return await self._reader.run(lambda reading: reading.rows(sql, params))

    async def read_with(self, function: Callable[[Read], R]) -> R:
        """Return what a function makes of rows it reads, all of one instant.

        It runs on the thread that reads, and must touch nothing that the loop works on.

        Raises:
            Unavailable: the disk does not let us read.
        """
        return await self._reader.run(lambda reading: reading.of_one_instant(function))

    def write(self, unit: Unit) -> None:
        """Queue a unit; `unit.settle` is called with None or the reason it was refused.

        Raises:
            Unavailable: the disk refuses at the moment, or the server stops.
        """
        if not self._is_writable or self._is_closing:
            raise Unavailable("The server cannot store anything at the moment; try again.")
        self._queue(unit)

    def _queue(self, unit: Unit) -> None:
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._hand_over)
        self._waiting.append(unit)

    def note_bytes(self, unit: Unit, count: int) -> None:
        """Count `count` more bytes of `unit` against what may wait."""
        unit.size_bytes += count
        self._waiting_bytes += count

    async def transact(self, statements: Iterable[Statement]) -> None:
        """Store all statements or none, durable when this returns.

        Cancelling the caller does not undo it.

        Raises:
            Conflict: a statement touched another number of rows than it expects.
            Unavailable: not known to be stored.
        """
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def settle(error: Exception | None) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

        future.add_done_callback(outlive)
        unit = Transaction(settle, tuple(statements))
        self.write(unit)
        await asyncio.shield(future)

    async def purge(self) -> None:
        """Let nothing that was deleted stay in any file: the log is emptied, copies of before go."""
        await self._thread.run(self._engine.purge)

    async def backup(self, target: Path) -> None:
        """Write a consistent copy to `target`, which must not exist; it gets another epoch.

        Raises:
            FileExistsError: `target` is there.
            sqlite3.Error: it could not be written; nothing is left of it.
        """
        # Beside the writer, which goes on: a copy takes as long as the file is large.
        await asyncio.to_thread(self._engine.backup, target)

    # To the writer's thread and back.

    def _hand_over(self) -> None:
        """Give what waits to the thread; what comes while it commits waits for the end of that."""
        if self._thread.is_committing and not self._is_closing:
            return
        batch, self._waiting = self._waiting, []
        if batch:
            for unit in batch:
                unit.taken = True
                unit.seal()
            self._thread.put(batch)

    def _hear(self, batch: list[Unit], fates: Fates | Exception) -> None:
        """Tell each unit of a commit what became of it."""
        if isinstance(fates, Exception):
            self._refuse(batch, fates)
            return
        self._hand_over()
        broken = [fate for fate in fates if fate is not None and self._engine.is_damage(fate)]
        if broken:
            self._damage.begin(broken[0])
        else:
            self._refusal.end()
        self._is_writable = True
        for unit, fate in zip(batch, fates, strict=True):
            self._settle(unit, unavailable(fate) if self._engine.is_damage(fate) else fate)

    def _settle(self, unit: Unit, fate: Exception | None) -> None:
        self._waiting_bytes -= unit.size_bytes
        try:
            unit.settle(fate)
        except Exception:  # one listener's fault must not stop the writer of all
            log.exception("settle_failed")

    def _refuse(self, batch: list[Unit], error: Exception) -> None:
        self._is_writable = False
        self._refusal.begin(error)
        refused = [*batch, *self._waiting]
        self._waiting = []
        reason = unavailable(error)
        for unit in refused:
            unit.taken = True
            self._settle(unit, reason)
        if self._reopening is None and not self._is_closing:
            self._reopening = asyncio.create_task(self._until_writable(), name="database-reopening")

    async def _until_writable(self) -> None:
        while not self._is_writable:
            await asyncio.sleep(RETRY_S)
            try:
                await self._thread.resume(self._engine.reopen)
            except Exception as error:
                self._refusal.begin(error)
                continue
            self._refusal.calm()
            self._is_writable = True
        self._reopening = None

    async def _watch(self) -> None:
        """See to it that trouble is noticed where nobody writes, and that it is over where it is."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                if self._is_writable:
                    await asyncio.to_thread(self._engine.look)
                    self._refusal.end_if_calm()
                    with contextlib.suppress(*self._engine.errors):
                        await self._thread.run(self._engine.tidy)
            except OSError as error:
                # The writer finds the same, and waits until they are back.
                self._refusal.begin(error)
                self._is_writable = False
                self._queue(Unit())
            await self._reader.look_again()


def _engine(
    place: Path | str, migrations: Path, durability: Literal["power", "process"]
) -> Engine:
    if isinstance(place, Path):
        return SQLite(place, migrations, durability)
    with extra_needed():
        from companion_ws.database.postgres.engine import Postgres
    return Postgres(place, migrations / "postgres", durability)
