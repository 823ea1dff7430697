"""Lines of stdin and stdout, by threads: either may be a pipe, a file or a terminal, and may block."""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from contextlib import suppress
from typing import Final

STDIN: Final = 0
READ_BYTES: Final = 64 * 1024
MAX_LINE_BYTES: Final = 16 * 1024 * 1024
"""Of one message; what the server takes of it is its own limit."""
END_S: Final = 1.0
"""How long a host may take to read what is left."""


class Lines:
    """Reads lines of stdin; writes lines to a descriptor, whole and in order."""

    def __init__(self, out: int) -> None:
        self._out = out
        self._loop: asyncio.AbstractEventLoop | None = None
        self._read: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._unwritten: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._written = threading.Event()

    async def read(self) -> bytes | None:
        """Return the next line, without its end; None when there are no more."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            # Daemons: nothing ends a read of stdin, and the program must end all the same.
            threading.Thread(target=self._reading, daemon=True).start()
            threading.Thread(target=self._writing, daemon=True).start()
        return await self._read.get()

    def write(self, line: bytes) -> None:
        """Write a line; one whose reader has gone is dropped."""
        self._unwritten.put(line + b"\n")

    async def end(self) -> None:
        """Wait a moment until what was written has been read."""
        self._unwritten.put(None)
        if self._loop is not None:
            await asyncio.to_thread(self._written.wait, END_S)

    def _reading(self) -> None:
        # Not by sys.stdin: its lock, held by a read that never ends, would abort the exit.
        unread = b""
        with suppress(OSError):
            while part := os.read(STDIN, READ_BYTES):
                *lines, unread = (unread + part).split(b"\n")
                for line in lines:
                    self._tell(line.rstrip(b"\r"))
                if len(unread) > MAX_LINE_BYTES:
                    self._tell(unread)
                    unread = b""
        if unread:
            self._tell(unread)
        self._tell(None)

    def _tell(self, line: bytes | None) -> None:
        assert self._loop is not None
        with suppress(RuntimeError):  # The loop has ended meanwhile.
            self._loop.call_soon_threadsafe(self._read.put_nowait, line)

    def _writing(self) -> None:
        with suppress(OSError):
            while (line := self._unwritten.get()) is not None:
                left = memoryview(line)
                while left:
                    left = left[os.write(self._out, left) :]
        self._written.set()
