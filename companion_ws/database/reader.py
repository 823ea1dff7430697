"""Reads on a thread of its own, and remembers what it could not read."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, TypeVar

from companion_ws.core.errors import Unavailable
from companion_ws.database.engine import Engine, Reading
from companion_ws.database.threads import Worker
from companion_ws.database.trouble import Episode

R = TypeVar("R")


class Reader:
    """The connection that reads, on a thread of its own, and what it could not read."""

    def __init__(self, engine: Engine, damage: Episode) -> None:
        self._engine = engine
        self._damage = damage
        self._thread = Worker("companion-reader")
        self._reading: Reading | None = None
        self._broken: Callable[[Reading], Any] | None = None
        self._is_closing = False

    async def open(self) -> None:
        self._reading = await self._thread.run(self._engine.reading)

    async def close(self) -> None:
        self._is_closing = True
        reading, self._reading = self._reading, None
        if reading is not None:
            with contextlib.suppress(*self._engine.errors):
                await self._thread.run(reading.close)
        self._thread.stop()

    async def run(self, function: Callable[[Reading], R]) -> R:
        """Return what a function reads.

        Raises:
            Unavailable: the database does not let us read.
        """
        if self._reading is None:
            raise Unavailable("The database is not open.")
        try:
            return await self._thread.run(function, self._reading)
        except self._engine.errors as error:
            is_lasting = self._engine.is_disks(error) or self._engine.is_damage(error)
            if not self._is_closing and is_lasting:
                self._broken = self._broken or function
                self._damage.begin(error)
            raise Unavailable("The server cannot read at the moment; try again.") from error

    async def look_again(self) -> None:
        """See whether what could not be read can be."""
        if self._broken is None or self._reading is None:
            return
        try:
            await self._thread.run(self._broken, self._reading)
        except self._engine.errors as error:
            if not self._engine.is_damage(error):
                await self._reopen()
            return
        self._broken = None
        self._damage.end()

    async def _reopen(self) -> None:
        """Read through a connection of its own from now on, if the database is the same."""
        with contextlib.suppress(*self._engine.errors):
            await asyncio.to_thread(self._engine.look)
            old, self._reading = self._reading, await self._thread.run(self._engine.reading)
            if old is not None:
                await self._thread.run(old.close)
