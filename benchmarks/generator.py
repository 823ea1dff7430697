"""Makes traffic: senders that keep a few messages in flight, receivers that count."""

from __future__ import annotations

import asyncio

MASK = bytes(4)
"""A mask of zeros is a legal one and leaves the payload as it is."""

TEXT = (
    '{"type":"contextual_update","text":"quote_ready","data":{"carrier":"FedEx",'
    '"service":"Ground","cost":12.99},"requestId":"%s-%09d"}'
)


class Peer(asyncio.Protocol):
    """One WebSocket connection that counts the frames it gets."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._rest = b""
        self._is_upgraded = False
        self.is_joined = asyncio.get_running_loop().create_future()
        self.received = 0
        self.is_closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closed = True

    def data_received(self, data: bytes) -> None:
        rest = self._rest + data if self._rest else data
        if not self._is_upgraded:
            head, separator, tail = rest.partition(b"\r\n\r\n")
            if not separator:
                self._rest = rest
                return
            if b" 101 " not in head:
                self.is_joined.set_exception(ConnectionError(head.decode()))
                return
            rest = tail
            self._is_upgraded = True
        at, end, count = 0, len(rest), 0
        while end - at >= 2:
            size, start = rest[at + 1], at + 2
            if size == 126:
                start, size = at + 4, int.from_bytes(rest[at + 2 : at + 4], "big")
            elif size == 127:
                start, size = at + 10, int.from_bytes(rest[at + 2 : at + 10], "big")
            if start > end or start + size > end:
                break
            opcode = rest[at] & 15
            if opcode == 1:
                count += self.counts(rest, start, size)
            elif opcode == 9:
                self.transport.write(bytes((0x8A, 0x80)) + MASK)
            elif opcode == 8:
                raise ConnectionError(f"closed: {rest[start : start + size]!r}")
            at = start + size
        self._rest = rest[at:]
        if count and not self.is_joined.done():
            self.is_joined.set_result(None)
            count -= 1
        if count:
            self.received += count
            self.got(count)

    def counts(self, data: bytes, start: int, size: int) -> int:
        """Tell whether a message is one of the traffic; the join and presence are not."""
        return 0 if data[start : start + 17] == b'{"type":"presence' else 1

    def got(self, count: int) -> None:
        """Hear of `count` more messages."""


class Sender(Peer):
    """Keeps `window` messages in flight while it is asked to."""

    def __init__(self, request: bytes, name: str, window: int) -> None:
        super().__init__(request)
        self._name = name
        self._window = window
        self.sent = 0
        self.is_sending = False

    def go(self) -> None:
        """Begin."""
        self.is_sending = True
        self._send(self._window)

    def got(self, count: int) -> None:
        if self.is_sending:
            self._send(count)

    def _send(self, count: int) -> None:
        frames = []
        for number in range(self.sent, self.sent + count):
            payload = (TEXT % (self._name, number)).encode()
            size = len(payload)
            assert 126 <= size < 65536
            frames.append(b"\x81\xfe" + size.to_bytes(2, "big") + MASK + payload)
        self.sent += count
        self.transport.write(b"".join(frames))


def request(port: int, session_id: str, token: str, role: str) -> bytes:
    """Return the handshake of one connection."""
    return (
        f"GET /ws?session_id={session_id}&role={role} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"Authorization: Bearer {token}\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    ).encode()


class Traffic:
    """`sessions` rooms of one sender and `receivers` others each, on one server."""

    def __init__(
        self, port: int, token: str, session_ids: list[str], receivers: int, window: int
    ) -> None:
        self._port, self._token = port, token
        self._session_ids, self._count, self._window = session_ids, receivers, window
        self.senders: list[Sender] = []
        self.receivers: list[Peer] = []

    async def join(self) -> None:
        """Connect everybody."""
        loop = asyncio.get_running_loop()

        async def connect(peer: Peer) -> None:
            await loop.create_connection(lambda: peer, "127.0.0.1", self._port)
            async with asyncio.timeout(30):
                await peer.is_joined

        for number, session_id in enumerate(self._session_ids):
            role = "agent"
            sender = Sender(
                request(self._port, session_id, self._token, role), f"{number:06}", self._window
            )
            others = [
                Peer(request(self._port, session_id, self._token, "ui"))
                for _ in range(self._count)
            ]
            self.senders.append(sender)
            self.receivers += others
            await asyncio.gather(*map(connect, [sender, *others]))

    def go(self) -> None:
        for sender in self.senders:
            sender.go()

    async def stop(self) -> None:
        """Stop sending and wait until everything that was sent has arrived everywhere."""
        for sender in self.senders:
            sender.is_sending = False
        async with asyncio.timeout(30):
            while any(sender.received < sender.sent for sender in self.senders) or (
                self.deliveries < self.messages * (1 + self._count)
            ):
                await asyncio.sleep(0.005)
        assert self.deliveries == self.messages * (1 + self._count)
        assert not any(peer.is_closed for peer in (*self.senders, *self.receivers))

    def leave(self) -> None:
        for peer in (*self.senders, *self.receivers):
            peer.transport.abort()

    @property
    def messages(self) -> int:
        """How many were sent."""
        return sum(sender.sent for sender in self.senders)

    @property
    def deliveries(self) -> int:
        """How many arrived, at senders and receivers."""
        return sum(peer.received for peer in (*self.senders, *self.receivers))
