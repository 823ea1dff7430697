"""One WebSocket, from the handshake to its last byte; frames are ours, the connection is aiohttp's.

How it works. aiohttp reads the request and writes our 101; then, without an
await, the transport is given this protocol instead of aiohttp's, and aiohttp's
handler waits until the connection is lost. What the socket read goes into a
`FrameReader`, and each message is handed to `take` at once, in the callback
that read it: no queue, no task to wake. Whoever takes may `pause`; then the
socket is not read, and what was read already waits. Nothing is written here:
all bytes out are the outbox's.

`over` is done when nothing more will be taken: the peer's close frame came
(`closing`), it broke the protocol (`error`), or the connection was lost.

Rules of this file:

1. A peer that sends many messages in one piece gets MESSAGES_A_TURN of them
   read, then everybody else's turn comes.
2. A connection that is over refers to nobody: `take` is dropped with it, so
   that the collector finds no cycle.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Callable
from typing import Final

from aiohttp import hdrs, web

from companion_ws.core.errors import BadRequest
from companion_ws.sessions.outbox import cut
from companion_ws.web.guard.upgrade import early_bytes
from companion_ws.web.socket.frames import (
    CLOSE,
    Closing,
    FrameError,
    FrameReader,
    Message,
    read_close,
)

MESSAGES_A_TURN: Final = 64
"""Messages of one peer that are taken before others have their turn."""
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""Source: RFC 6455 section 1.3."""

Take = Callable[[Message], None]


async def accept(request: web.Request, subprotocol: str, limit_bytes: int) -> WebSocket:
    """Answer the handshake with 101.

    Nothing is read until `begin`. `limit_bytes` bounds a message, 0 means no limit.

    Raises:
        BadRequest: the request is not a WebSocket handshake of version 13.
        ConnectionResetError: the peer has gone already.
    """
    response = web.StreamResponse(status=101, headers=_handshake(request, subprotocol))
    response.force_close()
    await response.prepare(request)
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("The peer went before the handshake was answered.")
    response.headers.clear()  # They have been sent, and would be held as long as the socket.
    return WebSocket(transport, limit_bytes, response, early_bytes(request))


def _handshake(request: web.Request, subprotocol: str) -> dict[str, str]:
    """Return the headers of our answer. Source: RFC 6455 section 4.2."""
    headers = request.headers
    connection = {word.strip().lower() for word in headers.get(hdrs.CONNECTION, "").split(",")}
    if headers.get(hdrs.UPGRADE, "").strip().lower() != "websocket" or "upgrade" not in connection:
        raise BadRequest("This address speaks WebSocket: send Upgrade and Connection headers.")
    if headers.get(hdrs.SEC_WEBSOCKET_VERSION, "").strip() != "13":
        raise BadRequest("This server speaks version 13 of WebSocket.")
    key = headers.get(hdrs.SEC_WEBSOCKET_KEY, "").strip()
    try:
        is_key = len(base64.b64decode(key, validate=True)) == 16
    except (binascii.Error, ValueError):
        is_key = False
    if not is_key:
        raise BadRequest("Sec-WebSocket-Key is 16 bytes in base64.")
    digest = hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()
    answer: dict[str, str] = {
        hdrs.UPGRADE: "websocket",
        hdrs.CONNECTION: "Upgrade",
        hdrs.SEC_WEBSOCKET_ACCEPT: base64.b64encode(digest).decode(),
    }
    offered = ",".join(headers.getall(hdrs.SEC_WEBSOCKET_PROTOCOL, [])).split(",")
    if subprotocol in (word.strip() for word in offered):
        answer[hdrs.SEC_WEBSOCKET_PROTOCOL] = subprotocol
    return answer


class WebSocket(asyncio.Protocol):
    """One peer's end of the wire, read as it comes."""

    __slots__ = (
        "_http", "_loop", "_reader", "_take", "closing", "error", "heard_s", "is_paused",
        "lost", "over", "response", "transport",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        limit_bytes: int,
        response: web.StreamResponse,
        early: bytes,
    ) -> None:
        self.transport = transport
        self.response = response
        """What aiohttp's handler returns once the connection is lost."""
        self.closing: Closing | None = None
        self.error: FrameError | None = None
        self._loop = asyncio.get_running_loop()
        self.heard_s = self._loop.time()
        """When bytes last came, by the loop's clock: whether the peer lives."""
        self.over: asyncio.Future[None] = self._loop.create_future()
        self.lost: asyncio.Future[None] = self._loop.create_future()
        self._reader = FrameReader(limit_bytes)
        self._reader.feed(early)
        self._take: Take | None = None
        self.is_paused = True
        """While it is, nobody can tell whether the peer lives."""
        self._http = transport.get_protocol()
        transport.set_protocol(self)
        transport.pause_reading()

    def begin(self, take: Take) -> None:
        """Read, and hand each message and ping to `take`, unless the peer has gone already."""
        if not self.over.done():
            self._take = take
            self.resume()

    def pause(self) -> None:
        """Take nothing more until `resume`; what was read waits."""
        if not self.is_paused:
            self.is_paused = True
            if not self.transport.is_closing():
                self.transport.pause_reading()

    def resume(self) -> None:
        """Take what waits, then read on."""
        if not self.is_paused or self.over.done():
            return
        self.is_paused = False
        self._read()
        if not self.is_paused and not self.transport.is_closing():
            self.transport.resume_reading()

    async def until_over(self, patience_s: float) -> None:
        """Wait until nothing more will be taken, or `patience_s` have passed."""
        await asyncio.wait((self.over,), timeout=patience_s)

    def let_go(self, patience_s: float) -> None:
        """Flush what the peer still takes, then be rid of the socket for certain."""
        if not self.lost.done():
            if self.error is not None and self.transport.can_write_eof():
                # It may still be sending: what is left unread would reset the connection, and
                # the reset overtake our close frame. It is read, and dropped, until it hangs up.
                self.transport.write_eof()
            else:
                self.transport.close()
            self._loop.call_later(patience_s, cut, self.transport)

    def data_received(self, data: bytes) -> None:
        self.heard_s = self._loop.time()
        if self.over.done():
            return
        self._reader.feed(data)
        if not self.is_paused:
            self._read()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()
        if not self.lost.done():
            self.lost.set_result(None)
        http, self._http = self._http, asyncio.Protocol()
        http.connection_lost(exc)

    def _read(self) -> None:
        for _ in range(MESSAGES_A_TURN):
            try:
                message = self._reader.next()
                if message is not None and message.opcode == CLOSE:
                    self.closing = read_close(message.payload)
            except FrameError as error:
                self.error = error.with_traceback(None)
                self._end()
                return
            if message is None:
                return
            if self.closing is not None:
                self._end()
                return
            if self._take is not None:
                self._take(message)
            if self.is_paused or self.over.done():
                return
        self.pause()
        self._loop.call_soon(self.resume)

    def _end(self) -> None:
        self._take = None
        if not self.over.done():
            self.over.set_result(None)
            # Read on, so that the end of the connection is noticed; nothing more is taken.
            if self.is_paused and not self.transport.is_closing():
                self.transport.resume_reading()
