"""What is due at a time is done at that time, in sessions nobody has loaded too."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from companion_ws.core.errors import CompanionError
from companion_ws.sessions.store import Store

LONGEST_SLEEP_S: Final = 60.0
"""The wall clock may jump; this bounds how late anything gets noticed."""
RETRY_S: Final = 1.0

Do = Callable[[str, str, str], Awaitable[None]]


class Due:
    """Wakes when the next row of the `due` table comes up and hands it to `do`."""

    def __init__(self, store: Store, do: Do, now_ms: Callable[[], int]) -> None:
        self._store = store
        self._do = do
        self._now_ms = now_ms
        self._wake = asyncio.Event()

    def note(self) -> None:
        """A row was stored that may be due sooner than the ones known."""
        self._wake.set()

    async def run(self) -> None:
        """Do what is due, for ever; rows that stand since before the start come first."""
        while True:
            self._wake.clear()
            try:
                for session_id, kind, ref in await self._store.due_by(self._now_ms()):
                    await self._do(session_id, kind, ref)
                next_ms = await self._store.next_due_ms()
            except CompanionError:
                await asyncio.sleep(RETRY_S)
                continue
            await self._sleep_until(next_ms)

    async def _sleep_until(self, next_ms: int | None) -> None:
        pause_s = LONGEST_SLEEP_S
        if next_ms is not None:
            pause_s = min(pause_s, max(0.0, (next_ms - self._now_ms()) / 1000))
        try:
            async with asyncio.timeout(pause_s):
                await self._wake.wait()
        except TimeoutError:
            return
