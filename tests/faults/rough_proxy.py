"""A TCP proxy that treats connections badly: it delays, slices, resets, swallows and half-closes.

A road can also be cut, where every connection is reset and none is let through, or fall silent, as
one does whose packets vanish: nothing is passed on, nobody is told. Whoever waits for an answer
then is told by its own system after a while (`GIVE_UP_S`); the other end learns of it when the
road is whole again, so a database keeps what such a peer has begun.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections import Counter
from types import TracebackType
from typing import Final, Self

KINDS: Final = ("clean", "slow", "sliced", "reset", "swallowed", "half-closed")
WEIGHTS: Final = (6, 2, 2, 2, 1, 1)
MOST_BYTES: Final = 20_000
"""The most a connection carries in one direction before its trouble begins."""
CHUNK_BYTES: Final = 64 * 1024
GIVE_UP_S: Final = 5.0
"""After so long without a sign of the far end a system ends a connection (`tcp_user_timeout`)."""


class RoughProxy:
    """Stands at `url` before whatever `target` names; `met` counts the troubles that came.

    A target is a URL, or the path of a socket. Without `rng` the road is good until it is cut.
    """

    def __init__(self, rng: random.Random | None = None, target: str = "") -> None:
        self._rng = rng or random.Random(0)
        self._connections: set[asyncio.Task[None]] = set()
        self.target = target
        self.is_rough = rng is not None
        self.met: Counter[str] = Counter()
        self._is_cut = False
        self.passing, self._silent = asyncio.Event(), asyncio.Event()
        self.passing.set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        host, self.port = self._server.sockets[0].getsockname()
        self.url = f"http://{host}:{self.port}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        self.heal()
        self.cut_all()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def cut_all(self) -> None:
        """Reset every connection there is."""
        for task in self._connections:
            task.cancel()

    def cut(self) -> None:
        """Reset every connection, and each that comes."""
        self._is_cut = True
        self.cut_all()

    def silence(self) -> None:
        """Pass nothing on, and tell nobody."""
        self.passing.clear()
        self._silent.set()

    def heal(self) -> None:
        """Let the road be whole again."""
        self._is_cut = False
        self._silent.clear()
        self.passing.set()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        kind = self._rng.choices(KINDS, WEIGHTS)[0] if self.is_rough else "clean"
        # Half of them early: in a handshake, in a request's head, in the first record.
        most = self._rng.choice((1000, MOST_BYTES))
        left, is_upwards = self._rng.randrange(most), self._rng.random() < 0.5
        far_writer: asyncio.StreamWriter | None = None
        try:
            if self._is_cut:
                raise _Reset
            await self.passing.wait()
            far_reader, far_writer = await self._to_target()
            up = _Pipe(reader, far_writer, kind, left if is_upwards else None, self)
            down = _Pipe(far_reader, writer, kind, None if is_upwards else left, self)
            if kind in ("slow", "sliced"):
                self.met[kind] += 1
            async with asyncio.TaskGroup() as watched:
                watch = watched.create_task(self._give_up_in_silence())
                async with asyncio.TaskGroup() as pipes:
                    pipes.create_task(up.run(self._rng))
                    pipes.create_task(down.run(self._rng))
                watch.cancel()
        except* (OSError, _Reset):
            pass
        finally:
            _reset(writer)
            if far_writer is not None:
                with contextlib.suppress(asyncio.CancelledError):
                    await self.passing.wait()
                _reset(far_writer)

    async def _to_target(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.target.startswith("/"):
            return await asyncio.open_unix_connection(self.target)
        host, _, port = self.target.removeprefix("http://").partition(":")
        return await asyncio.open_connection(host, int(port))

    async def _give_up_in_silence(self) -> None:
        while True:
            await self._silent.wait()
            try:
                async with asyncio.timeout(GIVE_UP_S):
                    await self.passing.wait()
            except TimeoutError:
                raise _Reset from None


class _Reset(Exception):
    """The connection ends here, in both directions."""


class _Pipe:
    """One direction of a connection; `left` bytes go well, without end where it is None."""

    def __init__(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, kind: str,
        left: int | None, proxy: RoughProxy,
    ) -> None:  # fmt: skip
        self._source, self._sink, self._kind, self._left = source, sink, kind, left
        self._proxy = proxy

    async def run(self, rng: random.Random) -> None:
        while data := await self._source.read(CHUNK_BYTES):
            await self._proxy.passing.wait()
            if self._kind == "slow":
                await asyncio.sleep(rng.uniform(0, 0.05))
            if self._kind == "sliced":
                await self._slice(data, rng)
            elif self._kind == "clean" or self._left is None or len(data) <= self._left:
                self._sink.write(data)
                await self._sink.drain()
                if self._left is not None:
                    self._left -= len(data)
            else:
                self._sink.write(data[: self._left])
                return await self._break()
        await self._proxy.passing.wait()
        with contextlib.suppress(OSError):
            self._sink.write_eof()
        return None

    async def _slice(self, data: bytes, rng: random.Random) -> None:
        at = 0
        while at < len(data):
            size = rng.choice((1, 2, 7, 100, 1000, 5000))
            self._sink.write(data[at : at + size])
            await self._sink.drain()
            await asyncio.sleep(0)
            at += size

    async def _break(self) -> None:
        self._proxy.met[self._kind] += 1
        if self._kind == "reset":
            raise _Reset
        if self._kind == "half-closed":
            self._sink.write_eof()
        while await self._source.read(CHUNK_BYTES):
            continue  # Swallowed: the sender believes that it arrives.


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close so that the peer sees a reset, not an end."""
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
