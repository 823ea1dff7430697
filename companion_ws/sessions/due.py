"""What is due at a time is done at that time, in sessions nobody has loaded too."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from companion_ws.clock import Clock
from companion_ws.core.errors import CompanionError
from companion_ws.nodes.place import Elsewhere
from companion_ws.sessions.undone import Undone

PIECE_S: Final = 1.0
"""A machine may sleep, and the loop's timers with it; this bounds how late that is noticed."""
RETRY_S: Final = 1.0

Do = Callable[[str, str, str], Awaitable[None]]


class Scheduler:
    """Wakes when the next row of the `due` table comes up and hands it to `do`."""

    def __init__(self, undone: Undone, do: Do, clock: Clock) -> None:
        self._undone = undone
        self._do = do
        self._clock = clock
        self._wake = asyncio.Event()

    def note(self) -> None:
        """A row was stored that may be due sooner than the ones known."""
        self._wake.set()

    async def run(self) -> None:
        """Do what is due, until cancelled; rows that stand since before the start come first."""
        while True:
            self._wake.clear()
            try:
                for session_id, kind, ref in await self._undone.due_by(self._clock.running_ms()):
                    with contextlib.suppress(Elsewhere):  # That server does it.
                        await self._do(session_id, kind, ref)
                next_ms = await self._undone.next_due_ms()
            except CompanionError:
                await asyncio.sleep(RETRY_S)
                continue
            await self._sleep_until(next_ms)

    async def _sleep_until(self, next_ms: int | None) -> None:
        while not self._wake.is_set():
            pause_s = PIECE_S
            if next_ms is not None:
                pause_s = min(pause_s, (next_ms - self._clock.running_ms()) / 1000)
            if pause_s <= 0:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s if next_ms is not None else None):
                    await self._wake.wait()
