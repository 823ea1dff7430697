"""WebSocket frames from a client: bytes in, whole messages out.

How it works. `feed` takes what the socket read, in whatever pieces it came;
`next` gives the next whole message or control frame, or None until more bytes
have come. Nothing is copied twice: a frame that has not arrived yet collects
its pieces in a list and is joined once. A message's size is judged by the
headers, fragments summed, before a byte of it is kept; a frame that breaks
the rules raises `FrameError` with the close code the peer is owed, and the
reader must not be asked again.

Why our own: aiohttp's reader queues each message, wakes the task that waits
for it and keeps cycles of references in a connection that has closed. Source:
RFC 6455 sections 5 and 7.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from msgspec import Struct

CONTINUATION: Final = 0x0
TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA

MAX_CONTROL_BYTES: Final = 125

_FIN: Final = 0x80
_RESERVED: Final = 0x70
_MASKED: Final = 0x80
_WHOLE_TEXT: Final = _FIN | TEXT


class FrameError(Exception):
    """The peer broke the protocol; `code` is what its connection is closed with."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Message(Struct, frozen=True, gc=False):
    """A whole message (`TEXT`, `BINARY`) or control frame, unmasked."""

    opcode: int
    payload: bytes


class Closing(NamedTuple):
    """What a close frame says; 1005 stands for a frame without a code."""

    code: int
    reason: str


class FrameReader:
    """Reads the frames of one client; `limit_bytes` bounds a message, 0 means no limit."""

    __slots__ = ("_at", "_data", "_fragments", "_limit_bytes", "_opcode", "_pieces", "_size", "_wanted")

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._data = b""
        self._at = 0
        self._pieces: list[bytes] | None = None
        self._wanted = 0
        self._opcode = 0
        self._fragments: list[bytes] | None = None
        self._size = 0

    def feed(self, data: bytes) -> None:
        """Take bytes the socket read."""
        if self._pieces is not None:
            self._pieces.append(data)
            self._wanted -= len(data)
            if self._wanted > 0:
                return
            data = b"".join(self._pieces)
            self._pieces = None
        elif self._at < len(self._data):
            data = self._data[self._at :] + data
        self._data = data
        self._at = 0

    def next(self) -> Message | None:
        """Return the next message or control frame, None until more bytes are fed.

        Raises:
            FrameError: the peer broke the protocol; 1002, 1007 or 1009.
        """
        message = self._whole_text()
        if message is not None:
            return message
        while True:
            frame = self._frame()
            if frame is None:
                return None
            first, payload = frame
            opcode = first & 0x0F
            if opcode >= CLOSE:
                return Message(opcode, payload)
            if opcode != CONTINUATION:
                self._opcode = opcode
            if self._fragments is not None:
                self._fragments.append(payload)
            elif not first & _FIN:
                self._fragments = [payload]
            if not first & _FIN:
                continue
            if self._fragments is not None:
                payload = b"".join(self._fragments)
                self._fragments = None
            self._size = 0
            if self._opcode == TEXT and not payload.isascii():
                _check_text(payload)
            return Message(self._opcode, payload)

    def _whole_text(self) -> Message | None:
        """Return the next message where it is one short frame of text that is all there.

        Nearly every message is; what this does not know is read, or refused, step by step.
        """
        data, at = self._data, self._at
        there = len(data)
        if there - at < 8 or data[at] != _WHOLE_TEXT or self._fragments is not None:
            return None
        size, start = data[at + 1] - _MASKED, at + 6
        if size == 126:
            size, start = data[at + 2] << 8 | data[at + 3], at + 8
        end = start + size
        if size < 0 or size == 127 or end > there or size > self._limit_bytes:
            return None
        self._at = end
        payload = unmasked(data[start:end], data[start - 4 : start])
        if not payload.isascii():
            _check_text(payload)
        return Message(TEXT, payload)

    def _frame(self) -> tuple[int, bytes] | None:
        """Return the first byte and the payload of the next frame, if it is all there."""
        data, at = self._data, self._at
        left = len(data) - at
        if left < 2 or self._pieces is not None:
            return None
        first, second = data[at], data[at + 1]
        size = second & 0x7F
        self._check_head(first, second, size)
        start = at + 2
        if size == 126:
            start += 2
            if left < 4:
                return None
            size = int.from_bytes(data[at + 2 : start])
        elif size == 127:
            start += 8
            if left < 10:
                return None
            size = int.from_bytes(data[at + 2 : start])
            if size >= 1 << 63:
                raise FrameError(1002, "A frame's length has its highest bit set.")
        if first & 0x0F < CLOSE:
            self._check_size(size)
        end = start + 4 + size
        if len(data) < end:
            self._wait_for(end - len(data))
            return None
        if first & 0x0F < CLOSE:
            self._size += size
        self._at = end
        return first, unmasked(data[start + 4 : end], data[start : start + 4])

    def _wait_for(self, count: int) -> None:
        """Collect pieces until `count` more bytes are there, without joining each to the rest."""
        self._pieces = [self._data[self._at :]]
        self._data, self._at = b"", 0
        self._wanted = count

    def _check_head(self, first: int, second: int, size: int) -> None:
        opcode = first & 0x0F
        if first & _RESERVED:
            raise FrameError(1002, "A reserved bit is set; no extension was agreed on.")
        if not second & _MASKED:
            raise FrameError(1002, "A client masks its frames.")
        if opcode >= CLOSE:
            if opcode > PONG:
                raise FrameError(1002, "Unknown opcode.")
            if not first & _FIN or size > MAX_CONTROL_BYTES:
                raise FrameError(1002, "A control frame is whole and has at most 125 bytes.")
        elif opcode > BINARY:
            raise FrameError(1002, "Unknown opcode.")
        elif (opcode == CONTINUATION) != (self._fragments is not None):
            raise FrameError(1002, "Fragments of a message follow each other.")

    def _check_size(self, size: int) -> None:
        if self._limit_bytes and self._size + size > self._limit_bytes:
            raise FrameError(1009, f"A message has at most {self._limit_bytes} bytes here.")


def unmasked(payload: bytes, mask: bytes) -> bytes:
    """Return the payload of a masked frame. Source: RFC 6455 section 5.3."""
    size = len(payload)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload) ^ int.from_bytes(key)).to_bytes(size)


def read_close(payload: bytes) -> Closing:
    """Return what a close frame says.

    Raises:
        FrameError: its code may not be sent, or its reason is not UTF-8.
    """
    if not payload:
        return Closing(1005, "")
    if len(payload) == 1:
        raise FrameError(1002, "A close frame has no code or a whole one.")
    code = int.from_bytes(payload[:2])
    if not ((1000 <= code <= 1014 and code not in (1004, 1005, 1006)) or 3000 <= code <= 4999):
        raise FrameError(1002, "This close code may not be sent.")
    return Closing(code, _check_text(payload[2:]))


def _check_text(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        raise FrameError(1007, "Text is UTF-8.") from None
