"""One connection's bytes on their way out: written at once, watched, never waited for.

A session tells everybody in it, and one receiver may have stopped reading. If delivery waited
for that one, all would. So nothing here awaits: bytes go straight to the transport, which takes
as many as it is given, and the outbox watches how many the receiver has not taken yet.

    push ──► pending ──(end of this tick: one write)──► transport's buffer ──► kernel ──► peer
                                                        └─ watched: size, and whether it moves

Why not aiohttp's drain: a sender that is cancelled in it poisons the socket for all others.
Why one write per tick: a write per message costs twelve times as much at a hundred receivers.

A receiver is slow if it leaves more than its bound unread, or takes nothing for STALL_S. Two
things are not slowness. A burst: a commit's records leave in one write, so that a receiver may
be over the bound for BURST_S, up to BURST_FACTOR times, and is judged by what it took meanwhile.
A replay: it is paced by its reader, page by page, so its bytes are exempt from the bound (they
raise the allowance until the buffer is empty), and it may stand still for longer.

A slow receiver is cut off alone, with 4408 if the frame can still be sent. It reconnects and
resumes from the last record it has, so that being cut off loses nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from struct import Struct
from typing import Final

BURST_S: Final = 0.25
"""How long a burst may stand over the bound: a commit's records leave in one write, and
whoever reads takes them within moments."""
BURST_FACTOR: Final = 4
"""A burst this many times the bound is one too many, however short."""
STALL_S: Final = 2.0
"""A receiver that takes nothing for this long is a slow consumer."""
REPLAY_STALL_S: Final = 5.0
"""The same during a replay, in which a slow receiver always has more to take. The kernel asks
for more a third of its buffer at a time, 85 KiB: who reads 20 KiB a second seems to stand still
for four seconds. Who reads less answers the heartbeat too late: its pings wait behind that."""
CLOSE_S: Final = 1.5
"""How long a peer has to answer our close frame before its socket is aborted."""
SEND_BUFFER_BYTES: Final = 128 * 1024
"""What is asked of the kernel, which doubles it: with megabytes there, no limit here would hold."""


_SHORT: Final = Struct(">BB")
_MEDIUM: Final = Struct(">BBH")
_LONG: Final = Struct(">BBQ")


def header(size: int, opcode: int = 0x1) -> bytes:
    """Return the header of an unmasked, unfragmented frame. Source: RFC 6455 section 5.2."""
    if size < 126:
        return _SHORT.pack(0x80 | opcode, size)
    if size < 65536:
        return _MEDIUM.pack(0x80 | opcode, 126, size)
    return _LONG.pack(0x80 | opcode, 127, size)


def frame(payload: bytes, opcode: int = 0x1) -> bytes:
    """Return a whole WebSocket frame."""
    return header(len(payload), opcode) + payload


def close_frame(code: int, reason: str) -> bytes:
    """Return a close frame; the reason is cut to the 123 bytes a frame can carry."""
    text = reason.encode()[:123].decode(errors="ignore").encode()
    return frame(code.to_bytes(2, "big") + text, 0x8)


def bound_send_buffer(transport: asyncio.Transport) -> None:
    """Keep the kernel's buffer of a socket small, so that an outbox's limit holds."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)


def cut(transport: asyncio.Transport) -> None:
    """Abort a connection, unless it is over already.

    asyncio's `abort` fails on a transport that was closed with bytes unsent and has sent them since.
    """
    sock = transport.get_extra_info("socket")
    if sock is None or sock.fileno() != -1:
        transport.abort()


class Batch:
    """Messages that leave together, encoded once for everybody.

    Each is `(seq, body)`; seq is None for what is not recorded.
    """

    __slots__ = ("_events", "_frames", "messages")

    def __init__(self, messages: list[tuple[int | None, bytes]]) -> None:
        self.messages = messages
        self._frames: bytes | None = None
        self._events: bytes | None = None

    @property
    def frames(self) -> bytes:
        """WebSocket text frames."""
        if self._frames is None:
            parts = []
            for _, body in self.messages:
                parts.append(header(len(body)))
                parts.append(body)
            self._frames = b"".join(parts)
        return self._frames

    def events(self, epoch: str) -> bytes:
        """Server-sent events; `id` is the log's epoch and the seq of a record."""
        if self._events is None:
            self._events = b"".join([event(epoch, seq, body) for seq, body in self.messages])
        return self._events


def event(epoch: str, seq: int | None, body: bytes) -> bytes:
    """Return one server-sent event. JSON text holds no line break, so one data line is enough."""
    head = b"" if seq is None else b"id: %b:%d\n" % (epoch.encode(), seq)
    return head + b"data: " + body + b"\n\n"


class Outbox:
    """What waits for one connection, bounded by `limit_bytes` (0: no limit).

    `on_slow` is called when more than the bound is left unread after a burst's time, at
    once for several times the bound, and when nothing moves for STALL_S, in a replay for
    REPLAY_STALL_S. `events_of` is the epoch of the log where events are sent and not frames.
    """

    __slots__ = (
        "_allowance", "_burst", "_drained", "_events_of", "_exempt", "_limit_bytes", "_loop",
        "_moved_at", "_on_slow", "_pending", "_soon", "_transport", "_was_replaying",
        "_written", "_written_at", "is_closed", "is_replaying",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        limit_bytes: int,
        on_slow: Callable[[str], None],
        *,
        events_of: str | None = None,
        soon: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:
        self._transport = transport
        self._limit_bytes = limit_bytes
        self._on_slow = on_slow
        self._events_of = events_of
        self._pending: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self._soon = soon if soon is not None else self._loop.call_soon
        self._written = 0
        self._drained = 0
        self._moved_at = self._loop.time()
        self._written_at = self._moved_at
        self._allowance = 0
        self._exempt = 0
        self._burst: asyncio.TimerHandle | None = None
        self._was_replaying = False
        self.is_closed = False
        self.is_replaying = False
        """A replay is paced by its receiver, which may take longer over each piece."""

    @property
    def waiting_bytes(self) -> int:
        """Bytes the receiver has not taken yet, short of what the kernel holds."""
        if self._transport.is_closing():
            return 0
        return self._transport.get_write_buffer_size() + sum(map(len, self._pending))

    @property
    def is_crowded(self) -> bool:
        """Whether this receiver should not be given reasons for more, if that can wait."""
        return bool(self._limit_bytes) and (
            self._transport.get_write_buffer_size() > self._limit_bytes // 2 + self._allowance
        )

    def push(self, batch: Batch, *, is_exempt: bool = False) -> None:
        """Queue a batch; it leaves at the end of this tick. Dropped once closed.

        An exempt batch (the join itself, a page of a replay) may stand over
        the bound: it is paced or paid for elsewhere.
        """
        if self.is_closed:
            return
        data = batch.frames if self._events_of is None else batch.events(self._events_of)
        self._queue(data)
        if is_exempt:
            self._exempt += len(data)

    def push_text(self, body: bytes, *, is_exempt: bool = False) -> None:
        """Queue one message that is not recorded."""
        self.push(Batch([(None, body)]), is_exempt=is_exempt)

    def push_pong(self, payload: bytes) -> None:
        """Queue the answer to a PING frame; it is counted like everything else."""
        if not self.is_closed:
            self._queue(frame(payload, 0xA))

    def push_ping(self) -> None:
        """Ask the peer for a sign of life."""
        if not self.is_closed:
            self._queue(frame(b"", 0x9))

    def is_idle(self, for_s: float) -> bool:
        """Whether nothing has been written for that long."""
        return self._loop.time() - self._written_at > for_s

    def push_comment(self) -> None:
        """Write a line an event stream ignores: proxies and peers see that it lives."""
        if not self.is_closed and not self._transport.is_closing():
            self._transport.write(b"3\r\n:\n\n\r\n")
            self._written += 8
            self._written_at = self._loop.time()

    def close(self, code: int, reason: str) -> None:
        """Send what waits and a close frame; abort when the peer does not answer soon."""
        if self.is_closed:
            return
        self._flush()
        self.is_closed = True
        if self._transport.is_closing():
            return
        if self._events_of is None:
            self._transport.write(close_frame(code, reason))
            self._loop.call_later(CLOSE_S, self.abort)
        else:
            # The end of a chunked answer: a stream that ends well is asked for again.
            self._transport.write(b"0\r\n\r\n")
            self._transport.close()
            self._loop.call_later(CLOSE_S, self.abort)

    def abort(self) -> None:
        """Cut the socket now; `close()` would wait for the unsent buffer, for minutes."""
        self.is_closed = True
        self._pending.clear()
        cut(self._transport)

    def let_go(self) -> None:
        """Tell nobody any more: who was told knows this outbox, and a circle would be left."""
        self._on_slow = _tell_nobody

    def check(self, now_s: float) -> None:
        """Notice a receiver that takes nothing; called every half second or so."""
        if self.is_closed or self._transport.is_closing():
            return
        size = self._transport.get_write_buffer_size()
        drained = self._written - size
        patience_s = REPLAY_STALL_S if self.is_replaying else STALL_S
        has_changed = self.is_replaying != self._was_replaying
        # While a replay waits for the disk, nothing is left to take: it has not stalled.
        if size == 0 or drained > self._drained or has_changed:
            self._moved_at = now_s
            self._was_replaying = self.is_replaying
        elif now_s - self._moved_at > patience_s:
            self._on_slow(f"took nothing for {patience_s:g} s")
        self._drained = drained

    def _queue(self, data: bytes) -> None:
        if not self._pending:
            self._soon(self._flush)
        self._pending.append(data)

    def _flush(self) -> None:
        if self.is_closed or not self._pending:
            return
        data = self._pending[0] if len(self._pending) == 1 else b"".join(self._pending)
        self._pending.clear()
        if self._transport.is_closing():
            return
        if self._events_of is not None:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        if self._allowance and not self._transport.get_write_buffer_size():
            self._allowance = 0
        self._allowance += self._exempt
        self._exempt = 0
        self._transport.write(data)
        self._written += len(data)
        if self._events_of is not None:
            self._written_at = self._loop.time()
        if self._limit_bytes:
            self._check_bound(self._transport.get_write_buffer_size())

    def _check_bound(self, size: int) -> None:
        if size <= self._limit_bytes + self._allowance:
            return
        if size > self._limit_bytes * BURST_FACTOR + self._allowance:
            self._on_slow(f"left {size} bytes unread")
        elif self._burst is None:
            taken = self._written - size
            self._burst = self._loop.call_later(BURST_S, self._end_burst, taken)

    def _end_burst(self, taken_before: int) -> None:
        """Cut off who still has too much to read and did not take even the bound meanwhile."""
        self._burst = None
        if self.is_closed or self._transport.is_closing():
            return
        size = self._transport.get_write_buffer_size()
        if size <= self._limit_bytes + self._allowance:
            return
        if self._written - size - taken_before < self._limit_bytes:
            self._on_slow(f"left {size} bytes unread")
        else:
            self._check_bound(size)


def _tell_nobody(why: str) -> None:
    """Hear of a slow receiver that has left already."""
