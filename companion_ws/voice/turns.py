"""What people do on the screens, as the turns of an agent that is run turn by turn.

It is for programs with a loop of their own around a model's function calls, whoever makes the
model; `companion_ws.voice.calls.SessionCalls` answers those calls.
"""

from __future__ import annotations

import asyncio
from typing import Self

from companion_ws.client import CompanionClient
from companion_ws.voice.attachment import Attachment
from companion_ws.voice.mailbox import Letter


class Turns:
    """The user's turns, each once: `async for text in Turns(companion)`.

    A turn is a tap, a typed message, a late answer, or what `say` puts between them. What screens
    showed or set since the turn before stands above it, of one `context_id` the newest. A turn
    counts as told when the next one is asked for; what was not told is told by the `Turns` that
    are made with `previous`. It ends when the companion session is over.
    """

    def __init__(self, companion: CompanionClient, *, previous: Turns | None = None) -> None:
        self._companion = companion
        self._updates: dict[str, str] = {}
        self._offered: str | None = None
        self._is_out = False
        """Whether the turn that is offered is with the agent now."""
        self._came = asyncio.Event()
        self._told = asyncio.Event()
        before = previous._attachment if previous is not None else None
        self._attachment: Attachment = Attachment(companion, self._tell, previous=before)
        self._attachment.begin()

    def say(self, text: str) -> None:
        """Put in what the user said otherwise, typed into a terminal for example."""
        self._attachment.heard_user(text)
        self._attachment.turn(text)

    def heard(self, text: str) -> None:
        """Let the session know what the agent said."""
        self._attachment.heard_agent(text)

    @property
    def pending(self) -> list[Letter]:
        """What the agent has not been told yet, oldest first."""
        return self._attachment.pending

    def close(self) -> None:
        """Take no more turns."""
        self._attachment.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        """Return the next turn, and count the one before as told."""
        if self._is_out:
            self._offered, self._is_out = None, False
            self._came.clear()
            self._told.set()
        coming = asyncio.ensure_future(self._came.wait())
        over = asyncio.ensure_future(self._companion.wait_until(lambda companion: False))
        try:
            await asyncio.wait([coming, over], return_when=asyncio.FIRST_COMPLETED)
        finally:
            coming.cancel()
            over.cancel()
            await asyncio.gather(coming, over, return_exceptions=True)
        if self._offered is None:
            raise StopAsyncIteration
        self._is_out = True
        return self._offered

    async def _tell(self, letter: Letter) -> None:
        if letter.kind == "update":
            # One without an id stands for itself, and no later one replaces it.
            self._updates[letter.context_id or f"update {id(letter)}"] = letter.text
        elif letter.kind == "turn":
            self._offered = "\n".join([*self._updates.values(), letter.text])
            self._updates.clear()
            self._told.clear()
            self._came.set()
            await self._told.wait()
