"""A list that a test can wait at."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, Final

WAIT_S: Final = 10.0
"""How long a test waits for what should come, unless told otherwise."""


class Inbox(list[Any]):
    """A list that can also be awaited: `next` gives each entry once, in order."""

    def __init__(self) -> None:
        super().__init__()
        self._taken = 0
        self._came = asyncio.Condition()

    async def put(self, entry: Any) -> None:
        """Append an entry and wake whoever waits."""
        async with self._came:
            self.append(entry)
            self._came.notify_all()

    async def next(self, timeout_s: float | None = WAIT_S) -> Any:
        """Return the first entry not returned yet. Raises `TimeoutError`."""
        async with asyncio.timeout(timeout_s), self._came:
            await self._came.wait_for(lambda: len(self) > self._taken)
        self._taken += 1
        return self[self._taken - 1]

    async def until(self, wanted: Any, timeout_s: float | None = WAIT_S) -> Any:
        """Return the first entry, old or new, for which `wanted(entry)` is true."""

        def found() -> Iterator[Any]:
            return (entry for entry in self if wanted(entry))

        async with asyncio.timeout(timeout_s), self._came:
            await self._came.wait_for(lambda: any(True for _ in found()))
        return next(found())
