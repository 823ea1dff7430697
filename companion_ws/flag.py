"""A flag that can be waited for, as light as one that nobody waits for should be."""

from __future__ import annotations

import asyncio


class Flag:
    """As `asyncio.Event`, which takes 900 bytes each; thousands of connections have one."""

    __slots__ = ("_is_set", "_raised")

    def __init__(self) -> None:
        self._is_set = False
        self._raised: asyncio.Future[None] | None = None
        """Made by the first one who waits, shared by the others."""

    def set(self) -> None:
        self._is_set = True
        raised, self._raised = self._raised, None
        if raised is not None and not raised.done():
            raised.set_result(None)

    def clear(self) -> None:
        self._is_set = False

    async def wait(self) -> None:
        """Wait until it is set; it may have been cleared again by then."""
        if self._is_set:
            return
        if self._raised is None:
            self._raised = asyncio.get_running_loop().create_future()
        # One who gives up must not take the others along.
        await asyncio.shield(self._raised)
