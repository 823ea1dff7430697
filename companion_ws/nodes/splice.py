"""Two connections joined: what one end sends, the other gets, byte for byte.

A session lives on one server, and its WebSockets and event streams may come in by any other.
That one, the entrance, opens a connection to the owner, writes the request's head again, and
from then on only carries bytes. The owner speaks the protocol: its handshake, pings and close
codes reach the client as they are.

How it works. Each connection has an `_End`; what an end receives is written to the other's
transport at once. Where that cannot take more it says `pause_writing`, and this end is not read
until `resume_writing`: so a slow reader slows its sender, as over one connection, and no more
than HELD_BYTES wait here for either side. Bytes of the client go nowhere before the owner has
answered 101: a connection to the owner carries one request, never a second one that nobody
looked at.

One thing is the entrance's own to say. Where the owner is lost, its client should come back
soon rather than wonder, so a WebSocket is closed with 1012. A close frame can only stand between
two frames, so `Edges` follows where those begin. In the middle of one, the socket is cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Final, cast
from urllib.parse import urlsplit

import structlog

from companion_ws.nodes.place import Node, Vigil

HELD_BYTES: Final = 64 * 1024
"""The most that waits here for one reader: what its transport takes, and one piece more."""
PIECE_BYTES: Final = 16 * 1024
"""Read at once."""
MAX_HEAD_BYTES: Final = 32 * 1024
KERNEL_BYTES: Final = 64 * 1024
"""What the kernel may hold of the owner's bytes; the owner judges its readers by what waits there."""
STALL_S: Final = 5.0
"""A client that takes nothing for so long is cut off: the owner cannot tell it anything either."""
CLOSE_S: Final = 1.5
"""How long a client has to answer our close frame."""
REPLY_S: Final = 0.25
"""How long its answer may take before we hang up; some clients wait for that to be gone."""
CONNECT_S: Final = 1.0
ANSWER_S: Final = 5.0
"""How long an owner has to answer a request's head."""
LOOK_S: Final = 0.5

log = structlog.get_logger(__name__)

_CLOSE: Final = 0x8
_RESTARTED: Final = (1012).to_bytes(2) + b"The session moves to another server; reconnect."
_CLOSE_FRAME: Final = bytes((0x80 | _CLOSE, len(_RESTARTED))) + _RESTARTED


class Edges:
    """Follows the frames in a stream of bytes, and does not read them."""

    __slots__ = ("_head", "_left", "has_closed")

    def __init__(self) -> None:
        self._head = b""
        self._left = 0
        self.has_closed = False
        """Whether a close frame has gone by."""

    @property
    def is_between(self) -> bool:
        """Whether the next byte begins a frame."""
        return not self._left and not self._head

    def feed(self, data: bytes) -> None:
        """Go on by these bytes."""
        at, end = 0, len(data)
        while at < end:
            if self._left:
                step = min(self._left, end - at)
                self._left -= step
                at += step
                continue
            wanted = self._wanted() - len(self._head)
            self._head += data[at : at + wanted]
            at += wanted
            if len(self._head) >= 2 and len(self._head) == self._wanted():
                self._begin()

    def _wanted(self) -> int:
        """Return how long the header of this frame is, as far as it is known."""
        if len(self._head) < 2:
            return 2
        size = self._head[1] & 0x7F
        return 2 + {126: 2, 127: 8}.get(size, 0) + (4 if self._head[1] & 0x80 else 0)

    def _begin(self) -> None:
        head, self._head = self._head, b""
        size = head[1] & 0x7F
        if size >= 126:
            size = int.from_bytes(head[2 : 4 if size == 126 else 10])
        self._left = size
        self.has_closed = self.has_closed or head[0] & 0x0F == _CLOSE


class _End(asyncio.BufferedProtocol):
    """One of the two connections."""

    __slots__ = ("_buffer", "_has_ended", "is_lost", "other", "take", "tell_lost", "transport")

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: _End | None = None
        self.is_lost = False
        self._has_ended = False
        self.take: Callable[[bytes], None] = _drop
        self.tell_lost: Callable[[bool, bool], None] = _ignore
        """Called with whether only the writing end is over, and whether it was cut."""
        self._buffer: bytearray | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Those of uvloop are of no class of asyncio's.
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=HELD_BYTES - PIECE_BYTES)

    def get_buffer(self, sizehint: int) -> bytearray:
        self._buffer = bytearray(PIECE_BYTES)
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        buffer, self._buffer = self._buffer, None  # Who is quiet holds none.
        if buffer is not None:
            self.take(bytes(memoryview(buffer)[:nbytes]))

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.pause()

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other.resume()

    def eof_received(self) -> bool:
        self.tell_lost(True, False)
        # TLS knows no half of an end.
        return self.transport is not None and self.transport.can_write_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        self.tell_lost(False, exc is not None)

    def pause(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def write(self, data: bytes) -> None:
        if self.transport is not None and not self._has_ended and not self.transport.is_closing():
            self.transport.write(data)

    def write_eof(self) -> None:
        if self.transport is not None and not self._has_ended and not self.transport.is_closing():
            self._has_ended = True
            if self.transport.can_write_eof():
                with contextlib.suppress(OSError):
                    self.transport.write_eof()
            else:
                self.transport.close()

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    @property
    def held_bytes(self) -> int:
        return self.transport.get_write_buffer_size() if self.transport is not None else 0


class Link:
    """A connection to an owner that was sent a request's head, and has answered it."""

    def __init__(self, node: Node, end: _End, head: bytes, rest: bytes) -> None:
        self.node = node
        self.end = end
        self.rest = rest
        """What came behind the answer's head."""
        self.head = head
        line, _, fields = head.partition(b"\r\n")
        words = line.split(b" ", 2)
        self.status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 502
        self._names = {each.partition(b":")[0].strip().lower() for each in fields.split(b"\r\n")}

    def says(self, name: str) -> bool:
        """Whether the answer has a header of this name."""
        return name.lower().encode() in self._names

    def abort(self) -> None:
        """Let go of it."""
        self.end.abort()


async def connect(node: Node, head: bytes) -> Link:
    """Open a connection, write a request's head and return once its answer's head is there.

    Raises:
        OSError: it could not be reached, or did not answer in time.
    """
    place = urlsplit(node.url)
    tls = place.scheme == "https" or None
    port = place.port or (443 if tls else 80)
    loop, end = asyncio.get_running_loop(), _End()
    answered: asyncio.Future[tuple[bytes, bytes]] = loop.create_future()
    read = bytearray()

    def take(data: bytes) -> None:
        read.extend(data)
        size = read.find(b"\r\n\r\n") + 4
        if answered.done():
            return
        if size >= 4:
            end.pause()
            answered.set_result((bytes(read[:size]), bytes(read[size:])))
        elif len(read) > MAX_HEAD_BYTES:
            answered.set_exception(ConnectionAbortedError("the answer's head does not end"))

    def lost(is_half: bool, is_cut: bool) -> None:
        if not answered.done():
            answered.set_exception(ConnectionResetError("the owner hung up"))

    end.take, end.tell_lost = take, lost
    try:
        async with asyncio.timeout(CONNECT_S):
            await loop.create_connection(lambda: end, place.hostname or "", port, ssl=tls)
        async with asyncio.timeout(ANSWER_S):
            assert end.transport is not None
            sock = end.transport.get_extra_info("socket")
            if sock is not None:
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_BYTES)
            end.transport.write(head)
            return Link(node, end, *await answered)
    except BaseException:
        end.abort()
        raise
    finally:
        end.take, end.tell_lost = _drop, _ignore
        if answered.done() and not answered.cancelled():
            answered.exception()


class Splice:
    """A client and the owner of its session, joined."""

    def __init__(self, link: Link, early: bytes, forget: Callable[[Splice], None]) -> None:
        self._node = link.node
        self._vigil = Vigil(link.node, asyncio.get_running_loop().time())
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done once the client's connection is lost."""
        self._client, self._owner = _End(), link.end
        self._edges = Edges() if link.status == 101 else None
        self._rest = link.head + link.rest
        self._early = early
        self._forget = forget
        self._is_over = False
        self._has_client_ended = False
        self._carried_bytes = len(self._rest)
        self._taken_bytes = 0
        self._stalled_s = 0.0
        if self._edges is not None:
            self._edges.feed(link.rest)

    def join(self, transport: asyncio.Transport) -> None:
        """Take the client's connection over."""
        client, owner = self._client, self._owner
        client.other, owner.other = owner, client
        owner.take, owner.tell_lost = self._told, self._owner_lost
        client.tell_lost = self._client_lost
        if self._edges is not None:
            client.take = owner.write
        transport.set_protocol(client)
        client.connection_made(transport)
        if transport.is_closing():
            owner.abort()
            return
        transport.resume_reading()
        client.write(self._rest)
        if self._edges is not None and self._early:
            owner.write(self._early)
        self._rest = self._early = b""
        if owner.is_lost:
            self._owner_lost(False, False)
        else:
            owner.resume()

    @property
    def held_bytes(self) -> int:
        """What waits for the client here."""
        return self._client.held_bytes

    def look(
        self, others: list[Node], is_deaf: Callable[[Node], bool], passed_s: float
    ) -> None:
        """Notice an owner that is dead or cut off from here, and a client that takes nothing."""
        if self._is_over:
            return
        now_s = asyncio.get_running_loop().time()
        if self._vigil.is_dead(others, now_s) or is_deaf(self._node):
            self.part()
            return
        held = self._client.held_bytes
        before, self._taken_bytes = self._taken_bytes, self._carried_bytes - held
        moves = not held or self._taken_bytes > before
        self._stalled_s = 0.0 if moves else self._stalled_s + passed_s
        if self._stalled_s >= STALL_S:
            log.info("passed_on_reader_stalled", held_bytes=held)
            self.abort()

    def part(self) -> None:
        """Let the client come back: the owner is lost, or this server stops."""
        if self._is_over:
            return
        self._end()
        self._owner.abort()
        client, edges = self._client, self._edges
        if edges is None or edges.has_closed:
            client.close()
        elif not edges.is_between:
            client.abort()
        else:
            client.write(_CLOSE_FRAME)
            # What the client still says is read and dropped: unread, it would reset the
            # connection, and the reset overtake the close frame.
            client.resume()
            asyncio.get_running_loop().call_later(REPLY_S, client.write_eof)
        self._soon(client.abort)

    def abort(self) -> None:
        """Cut both connections."""
        self._end()
        self._owner.abort()
        self._client.abort()

    def _told(self, data: bytes) -> None:
        if self._edges is not None:
            self._edges.feed(data)
        self._carried_bytes += len(data)
        self._client.write(data)

    def _owner_lost(self, is_half: bool, is_cut: bool) -> None:
        if self._is_over:
            return
        edges = self._edges
        if edges is not None and not edges.has_closed and not self._has_client_ended:
            self.part()
        elif is_half and edges is not None and not self._has_client_ended:
            # It has said all; the client may still answer its close frame.
            self._client.write_eof()
            self._soon(self.abort)
        elif is_cut and edges is None:
            self.abort()
        else:
            self._end()
            self._owner.close()
            self._client.close()
            self._soon(self._client.abort)

    def _client_lost(self, is_half: bool, is_cut: bool) -> None:
        if not is_half:
            self._client.tell_lost = _ignore
            if not self.lost.done():
                self.lost.set_result(None)
        if self._is_over:
            if is_half:
                self._client.close()
        elif is_half:
            self._has_client_ended = True
            self._owner.write_eof()
        else:
            self._end()
            if is_cut:
                self._owner.abort()
            else:
                self._owner.close()

    def _soon(self, cut: Callable[[], None]) -> None:
        """Cut it off for certain, once the client has had its time."""
        asyncio.get_running_loop().call_later(CLOSE_S, cut)

    def _end(self) -> None:
        """Carry nothing any more."""
        self._is_over = True
        self._forget(self)
        self._client.take = self._owner.take = _drop
        self._owner.tell_lost = _ignore
        self._client.other = self._owner.other = None


class Splices:
    """All that this server carries for others."""

    def __init__(
        self, others: Callable[[], list[Node]], is_deaf: Callable[[Node], bool]
    ) -> None:
        """`others` returns the servers whose lease is good; `is_deaf` whether one cannot be reached."""
        self._others = others
        self._is_deaf = is_deaf
        self._all: set[Splice] = set()
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._all)

    @property
    def held_bytes(self) -> int:
        """What waits here for all clients together."""
        return sum(each.held_bytes for each in self._all)

    def join(self, link: Link, transport: asyncio.Transport, early: bytes) -> Splice:
        """Join a client to the owner of its session."""
        splice = Splice(link, early, self._all.discard)
        self._all.add(splice)
        splice.join(transport)
        if self._timer is None:
            self._look_later()
        return splice

    async def part_all(self) -> None:
        """Let everybody come back to another server; return when they have gone."""
        parting = list(self._all)
        for splice in parting:
            splice.part()
        if parting:
            await asyncio.wait([splice.lost for splice in parting], timeout=2 * CLOSE_S)

    def _look_later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(LOOK_S, self._look)

    def _look(self) -> None:
        self._timer = None
        others = self._others()
        for splice in list(self._all):
            splice.look(others, self._is_deaf, LOOK_S)
        if self._all:
            self._look_later()


def _drop(data: bytes) -> None:
    """Take nothing."""


def _ignore(is_half: bool, is_cut: bool) -> None:
    """Nobody is told."""
