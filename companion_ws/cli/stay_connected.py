"""For verbs that stay in a session: they reconnect, and say once why they have no connection."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from companion_ws.cli.terminal import say
from companion_ws.client import CompanionClient, CompanionClosed
from companion_ws.core.errors import SlowConsumer

LINK: Final = logging.getLogger("companion_ws.client.link")
"""Where the client says why it has no connection, at every try."""


@asynccontextmanager
async def stay_connected(companion: CompanionClient) -> AsyncIterator[CompanionClient]:
    """Be in a session for the time of the block; say on stderr why it cannot be reached.

    A reason is said once, until there is another one or the connection is back.
    """
    troubles = _Troubles()
    level, propagates = LINK.level, LINK.propagate
    LINK.addHandler(troubles)
    LINK.setLevel(logging.INFO)
    LINK.propagate = False
    try:
        async with companion:
            troubles.end()
            noticing = asyncio.create_task(_notice(companion, troubles))
            try:
                yield companion
            finally:
                noticing.cancel()
                await asyncio.gather(noticing, return_exceptions=True)
    finally:
        LINK.removeHandler(troubles)
        LINK.setLevel(level)
        LINK.propagate = propagates


class _Troubles(logging.Handler):
    """What the client has last said of its connection."""

    def __init__(self) -> None:
        super().__init__()
        self._said: str | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Say it, unless it is what was said last."""
        text = record.getMessage()
        if text != self._said:
            self._said = text
            say(text, err=True)

    def end(self) -> None:
        """The connection stands."""
        if self._said is not None:
            say("Connected.", err=True)
        self._said = None


async def _notice(companion: CompanionClient, troubles: _Troubles) -> None:
    with suppress(CompanionClosed, SlowConsumer):
        async for message in companion.messages():
            if message["type"] == "session_joined":
                troubles.end()
