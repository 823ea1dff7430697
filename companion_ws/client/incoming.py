"""What a client heard: the session as it knows it, and readers who may be slow.

Rules of this file:

1. A record is handed on once, in order; one received before is dropped, a gap is
   reported, so that the next connection asks for what is missing.
2. Only the newest records are kept; a reader who falls behind them fetches the
   rest from the server's log, or is told that they are gone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from companion_ws.client.outgoing import CompanionClosed
from companion_ws.core.errors import SlowConsumer
from companion_ws.core.view import Message, News, View

MAX_KEPT: Final = 1_000
"""Records kept for slow readers of `records()`."""
MAX_UNREAD: Final = 10_000
"""Messages a reader of `messages()` may fall behind."""
PAGE: Final = 100

Fetch = Callable[[int, int], Awaitable[list[Message]]]
"""Returns up to so many records of the server's log after a seq."""


class Incoming:
    """Takes what the server says; `view` is the session as of the last of it."""

    def __init__(self, after: int | None, fetch: Fetch) -> None:
        self.view = View(after)
        self.taken = 0
        """Records taken in since the first join."""
        self.is_connected = False
        self._fetch = fetch
        self._kept: deque[Message] = deque(maxlen=MAX_KEPT)
        self._first_after = 0
        self._snapshot_at = 0
        self._readers: set[asyncio.Queue[Message | None]] = set()
        self._news = asyncio.Event()
        self._closed: CompanionClosed | None = None
        self._is_left = False

    # For the connection.

    def hear(self, message: Message) -> bool:
        """Take one message; False where records before it are missing."""
        kind = message["type"]
        if kind == "session_joined":
            self._join(message)
        elif kind == "presence":
            self.view.meet(message)
        elif "seq" in message:
            news = self.view.take(message)
            if news is News.GAP:
                return False
            if news is News.NEW:
                self._kept.append(message)
                self.taken += 1
        for reader in list(self._readers):
            self._hand(reader, message)
        self._tell()
        return True

    def lose(self) -> None:
        """The connection is gone; another may follow."""
        self.is_connected = False
        self._tell()

    def end(self, closed: CompanionClosed, *, is_left: bool) -> None:
        """Nothing will be heard any more; `is_left`: because the client wanted it so."""
        self._closed, self._is_left = closed, is_left
        for reader in self._readers:
            if not reader.full():
                reader.put_nowait(None)
        self._tell()

    # For those who listen.

    async def records(self) -> AsyncIterator[Message]:
        """Yield every record from the first join on, in order, each once.

        Raises:
            SlowConsumer: this reader fell behind what the server still has.
            CompanionClosed: the server ended it; all records before were yielded.
        """
        position, after = 0, self._first_after
        while True:
            behind = self.taken - len(self._kept) - position
            if behind > 0:
                for record in await self._missed(position, after, behind):
                    position, after = position + 1, record["seq"]
                    yield record
            elif position < self.taken:
                record = self._kept[position - self.taken]
                position, after = position + 1, record["seq"]
                yield record
            elif self._is_left:
                return
            else:
                await self._beyond(position)

    def messages(self) -> AsyncIterator[Message]:
        """Yield every message from now on as it arrives, repeats included.

        Raises:
            SlowConsumer: this reader fell too far behind.
            CompanionClosed: the server ended it.
        """
        reader: asyncio.Queue[Message | None] = asyncio.Queue(MAX_UNREAD)
        self._readers.add(reader)
        return self._read(reader)

    async def _read(self, reader: asyncio.Queue[Message | None]) -> AsyncIterator[Message]:
        try:
            while self._closed is None or not reader.empty():
                message = await reader.get()
                if message is not None:
                    yield message
                if reader not in self._readers:
                    raise SlowConsumer("This reader of messages() fell too far behind.")
        finally:
            self._readers.discard(reader)
        if not self._is_left and self._closed is not None:
            raise self._closed

    async def wait_for(self, holds: Callable[[], bool]) -> None:
        """Wait until `holds()`, asked after everything that is heard.

        Raises:
            CompanionClosed: it is over, and it does not hold.
        """
        while not holds():
            if self._closed is not None:
                raise self._closed
            await self._news.wait()

    def _join(self, joined: Message) -> None:
        self.is_connected = True
        is_first = not self.view.joined
        self.view.join(joined)
        if is_first:
            self._first_after = self.view.seq
        elif joined["recovery"] == "snapshot":
            self._snapshot_at = self.taken

    def _hand(self, reader: asyncio.Queue[Message | None], message: Message) -> None:
        try:
            reader.put_nowait(message)
        except asyncio.QueueFull:
            self._readers.discard(reader)

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def _beyond(self, position: int) -> None:
        await self.wait_for(lambda: self._is_left or self.taken > position)

    async def _missed(self, position: int, after: int, count: int) -> list[Message]:
        gone = SlowConsumer("The server's log no longer has what this reader has not read.")
        if position < self._snapshot_at:
            raise gone
        records = await self._fetch(after, min(count, PAGE))
        if not records or records[0]["seq"] > after + 1:
            raise gone
        return records
