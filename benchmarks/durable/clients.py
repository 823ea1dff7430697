"""One client per peer: keeps messages in flight, and knows from raw bytes what was acknowledged.

Each speaks just enough of its server's protocol over one socket, without a library, so
that the generator costs the same for all of them.
"""

from __future__ import annotations

import asyncio
import json
import struct
import time
from collections import deque

from benchmarks.generator import MASK, Peer, request

PAYLOAD = b'{"text":"quote_ready","data":{"carrier":"FedEx","service":"Ground","cost":12.99},"note":"%s"}' % (
    b"x" * 107
)
"""200 bytes, for everybody."""


class Client(asyncio.Protocol):
    """Keeps `window` messages in flight; `latencies_ns` of what came back, oldest first."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.is_ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.latencies_ns: list[int] = []
        self.is_sending = False
        self._sent_ns: deque[int] = deque()
        self._rest = b""
        self.lost_by: Exception | None = None

    @property
    def in_flight(self) -> int:
        return len(self._sent_ns)

    def go(self, window: int) -> None:
        """Begin."""
        self.is_sending = True
        self._send(window)

    def _send(self, count: int) -> None:
        now_ns = time.monotonic_ns()
        for _ in range(count):
            self._sent_ns.append(now_ns)
        self.transport.write(b"".join([self.message() for _ in range(count)]))

    def acknowledged(self, count: int) -> None:
        """Hear that `count` more messages are stored."""
        now_ns = time.monotonic_ns()
        for _ in range(count):
            self.latencies_ns.append(now_ns - self._sent_ns.popleft())
        if self.is_sending:
            self._send(count)

    def ready(self) -> None:
        if not self.is_ready.done():
            self.is_ready.set_result(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self.greeting())

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost_by = self.lost_by or exc
        if not self.is_ready.done():
            self.is_ready.set_exception(ConnectionError("the server hung up"))

    def data_received(self, data: bytes) -> None:
        try:
            self._rest = self.read(self._rest + data if self._rest else data)
        except ConnectionError as error:
            self.lost_by = error
            self.transport.abort()

    def greeting(self) -> bytes:
        """Return what is said first."""
        raise NotImplementedError

    def message(self) -> bytes:
        """Return one message of PAYLOAD, framed."""
        raise NotImplementedError

    def read(self, data: bytes) -> bytes:
        """Take what came; return what is not whole yet."""
        raise NotImplementedError


class Redis(Client):
    """`XADD` to a stream of its own; the reply comes after the fsync (`appendfsync always`)."""

    def greeting(self) -> bytes:
        self._message = command(b"XADD", b"stream:%d" % self.number, b"*", b"m", PAYLOAD)
        return command(b"PING")

    def message(self) -> bytes:
        return self._message

    def read(self, data: bytes) -> bytes:
        if not self.is_ready.done():
            self.ready()
            return b""
        if data.startswith(b"-") or b"\r\n-" in data:
            raise ConnectionError(data.decode())
        end = data.rfind(b"\r\n") + 2
        self.acknowledged(data.count(b"$", 0, end) - data.endswith(b"$", 0, end))
        return data[end:]


def command(*words: bytes) -> bytes:
    """Return a command in Redis' protocol."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


class Nats(Client):
    """JetStream with `sync_interval: always`; each publish asks for its acknowledgement."""

    def greeting(self) -> bytes:
        inbox = b"_INBOX.%d" % self.number
        self._message = b"PUB m.%d %b %d\r\n%b\r\n" % (self.number, inbox, len(PAYLOAD), PAYLOAD)
        options = json.dumps({"verbose": False, "pedantic": False}).encode()
        return b"CONNECT %b\r\nSUB %b 1\r\nPING\r\n" % (options, inbox)

    def message(self) -> bytes:
        return self._message

    def read(self, data: bytes) -> bytes:
        at, count = 0, 0
        while (end := data.find(b"\r\n", at)) >= 0:
            line = data[at:end]
            if line.startswith(b"MSG "):
                size = int(line.rpartition(b" ")[2])
                if len(data) < end + 4 + size:
                    break
                if b'"error"' in data[end : end + 2 + size]:
                    raise ConnectionError(data[end : end + 2 + size].decode())
                count += 1
                at = end + 4 + size
                continue
            if line == b"PING":
                self.transport.write(b"PONG\r\n")
            elif line == b"PONG":
                self.ready()
            elif line.startswith(b"-ERR"):
                raise ConnectionError(line.decode())
            at = end + 2
        if count:
            self.acknowledged(count)
        return data[at:]


class Postgres(Client):
    """A prepared `INSERT`, each in a transaction of its own (`synchronous_commit = on`)."""

    def greeting(self) -> bytes:
        words = b"user\0bench\0database\0postgres\0\0"
        body = self.number.to_bytes(4) + struct.pack(">I", len(PAYLOAD)) + PAYLOAD
        bind = b"\0s\0" + struct.pack(">HHH", 1, 1, 2) + struct.pack(">I", 4) + body
        self._message = (
            packet(b"B", bind + struct.pack(">H", 0)) + packet(b"E", b"\0" + bytes(4)) + packet(b"S", b"")
        )
        return struct.pack(">II", 8 + len(words), 196608) + words

    def message(self) -> bytes:
        return self._message

    def read(self, data: bytes) -> bytes:
        at, count = 0, 0
        while len(data) >= at + 5:
            size = int.from_bytes(data[at + 1 : at + 5])
            if len(data) < at + 1 + size:
                break
            kind = data[at : at + 1]
            if kind == b"E":
                raise ConnectionError(data[at + 5 : at + size].decode(errors="replace"))
            if kind == b"Z":
                count += 1
            at += 1 + size
        if count and not self.is_ready.done():
            # First it is ready for queries, then the statement is prepared.
            if not hasattr(self, "_is_prepared"):
                self._is_prepared = True
                sql = b"INSERT INTO records (session, body) VALUES ($1, $2)"
                parse = b"s\0" + sql + b"\0" + struct.pack(">HII", 2, 23, 17)
                self.transport.write(packet(b"P", parse) + packet(b"S", b""))
            else:
                self.ready()
        elif count:
            self.acknowledged(count)
        return data[at:]


def packet(kind: bytes, body: bytes) -> bytes:
    """Return a message of PostgreSQL's protocol."""
    return kind + struct.pack(">I", len(body) + 4) + body


class Streams(Client):
    """A Durable Streams `POST` to a stream of its own, over one kept connection."""

    def greeting(self) -> bytes:
        self._message = self._request(b"POST", PAYLOAD)
        return self._request(b"PUT", b"")

    def _request(self, method: bytes, body: bytes) -> bytes:
        return (
            b"%b /v1/stream/s%d HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (method, self.number, len(body), body)
        )

    def message(self) -> bytes:
        return self._message

    def read(self, data: bytes) -> bytes:
        end = data.rfind(b"\r\n\r\n") + 4
        if end < 4:
            return data
        count = data.count(b"HTTP/1.1 ", 0, end)
        if data.count(b"HTTP/1.1 20", 0, end) != count:
            raise ConnectionError(data[:40].decode(errors="replace").splitlines()[0])
        if not self.is_ready.done():
            self.ready()
        elif count:
            self.acknowledged(count)
        return data[end:]


class _Socket(Client, Peer):
    """A client whose server speaks WebSocket."""

    def __init__(self, number: int, handshake: bytes) -> None:
        Client.__init__(self, number)
        self._handshake = handshake
        self._is_upgraded = False
        self._acknowledged = 0

    def greeting(self) -> bytes:
        return self._handshake

    def data_received(self, data: bytes) -> None:
        Peer.data_received(self, data)

    @property
    def is_joined(self) -> asyncio.Future[None]:  # type: ignore[override]
        return self.is_ready

    @is_joined.setter
    def is_joined(self, _: object) -> None:
        return

    received = 0

    def got(self, count: int) -> None:
        self.acknowledged(count)


class Product(_Socket):
    """A `contextual_update`; the sender's own record is its acknowledgement."""

    def __init__(self, number: int, port: int, session_id: str, token: str) -> None:
        super().__init__(number, request(port, session_id, token, "agent"))
        self._sent = 0

    def message(self) -> bytes:
        self._sent += 1
        return text(
            b'{"type":"contextual_update","text":"quote_ready","data":{"carrier":"FedEx","service":'
            b'"Ground","cost":12.99},"requestId":"%06d-%09d-%b"}' % (self.number, self._sent, b"x" * 52)
        )


class SocketIo(_Socket):
    """An event that asks for its acknowledgement."""

    def __init__(self, number: int, port: int) -> None:
        super().__init__(number, (
            f"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        ).encode())
        self._sent = 0

    def message(self) -> bytes:
        self._sent += 1
        return text(b'42%d["m",%b]' % (self._sent, PAYLOAD))

    def counts(self, data: bytes, start: int, size: int) -> int:
        head = data[start : start + 2]
        if head == b"43":
            return 1
        if head[:1] == b"0":
            self.transport.write(text(b"40"))
        elif head[:1] == b"2":
            self.transport.write(text(b"3"))
        elif head == b"40":
            self.ready()
        return 0


def text(payload: bytes) -> bytes:
    """Return a masked text frame."""
    size = len(payload)
    head = bytes((0x81, 0x80 | size)) if size < 126 else b"\x81\xfe" + size.to_bytes(2)
    return head + MASK + payload
