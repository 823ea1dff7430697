"""PING and PONG frames: answered, rated like messages, and never a way round the outbox."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.running import WAIT_S, Running

UNLIMITED = {"limit_messages_per_s": 0, "limit_connections_per_user": 0}


@pytest.fixture
async def server() -> AsyncIterator[Running]:
    async with Running() as running:
        yield running


class Phone:
    """A WebSocket by hand, which reads when it is asked to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def joins(cls, server: Running, **query: str) -> Phone:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.config.port, limit=1024)
        more = "".join(f"&{name}={value}" for name, value in query.items())
        writer.write(
            f"GET /ws?role=ui{more} HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: Bearer {server.token()}\r\n"
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        return cls(reader, writer)

    async def sends(self, opcode: int, payload: bytes = b"", times: int = 1) -> None:
        frame = bytes((0x80 | opcode, 0x80 | len(payload))) + bytes(4) + payload
        self.writer.write(frame * times)
        await self.writer.drain()

    async def frame(self) -> tuple[int, bytes]:
        async with asyncio.timeout(WAIT_S):
            first, second = await self.reader.readexactly(2)
            size = second
            if size == 126:
                size = int.from_bytes(await self.reader.readexactly(2), "big")
            elif size == 127:
                size = int.from_bytes(await self.reader.readexactly(8), "big")
            return first & 0x0F, await self.reader.readexactly(size)

    async def close_code(self) -> int:
        while True:
            opcode, payload = await self.frame()
            if opcode == 0x8:
                return int.from_bytes(payload[:2], "big")


async def test_a_ping_frame_is_answered_with_its_own_words(server: Running) -> None:
    phone = await Phone.joins(server)
    await phone.sends(0x9, b"are you there")
    while (answer := await phone.frame())[0] != 0xA:
        assert answer[0] == 0x1
    assert answer == (0xA, b"are you there")
    phone.writer.close()


@pytest.mark.parametrize("opcode", [0x9, 0xA])
async def test_who_floods_control_frames_is_closed_4429(server: Running, opcode: int) -> None:
    agent = await server.join()
    phone = await Phone.joins(server, session_id=agent.session_id)
    await phone.sends(opcode, b"x", times=500)
    assert await phone.close_code() == 4429
    assert (await agent.say("contextual_update", text="unharmed"))["seq"] == 1
    phone.writer.close()


async def test_too_many_pings_are_refused_in_words_and_cost_no_message(server: Running) -> None:
    async with Running(limit_messages_per_s=0.2, limit_burst=3) as slow:
        agent = await slow.join()
        for _ in range(4):
            await agent.ws.ping()
        refused = await agent.next_of("error")
        assert refused["code"] == "too_many_requests"
        assert refused["retry_after_ms"] > 0
        assert (await agent.say("contextual_update", text="x"))["seq"] == 1


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rules in less time."""
    monkeypatch.setattr("companion_ws.sessions.outbox.STALL_S", 0.5)
    monkeypatch.setattr("companion_ws.sessions.outbox.CLOSE_S", 0.1)
    monkeypatch.setattr("companion_ws.sessions.connections.WATCH_S", 0.05)


@pytest.mark.usefixtures("impatient")
async def test_pongs_a_phone_never_reads_are_cut_at_the_outbox_s_bound() -> None:
    async with Running(**UNLIMITED, limit_outbox_bytes=64 * 1024) as server:
        agent = await server.join()
        phone = await Phone.joins(server, session_id=agent.session_id, device="silent")
        await agent.next_of("presence", event="joined", device="silent")
        transport: Any = phone.writer.transport
        transport.pause_reading()
        [joined] = [
            connection
            for connection in server.sessions.connections
            if connection.device == "silent"
        ]
        most = 0

        async def flood() -> None:
            nonlocal most
            while True:
                await phone.sends(0x9, b"x" * 125, times=500)
                most = max(most, joined.outbox.waiting_bytes)
                await asyncio.sleep(0)

        flooding = asyncio.create_task(flood())
        dropped = await agent.next_of("presence", event="dropped")
        assert dropped["device"] == "silent"
        assert joined.close_code == 4408
        assert most < 4 * 64 * 1024, "the bound of a burst"
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)
        transport.abort()


@pytest.mark.usefixtures("impatient")
async def test_a_heartbeat_is_no_progress_of_who_reads_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("companion_ws.sessions.connections.HEARTBEAT_S", 0.4)
    async with Running(**UNLIMITED) as server:
        agent = await server.join()
        phone = await Phone.joins(server, session_id=agent.session_id, device="silent")
        await agent.next_of("presence", event="joined", device="silent")
        transport: Any = phone.writer.transport
        transport.pause_reading()
        [joined] = [c for c in server.sessions.connections if c.device == "silent"]

        async def live() -> None:
            while True:  # its own heartbeat is answered, so it is no dead peer
                await phone.sends(0xA)
                await asyncio.sleep(0.1)

        living = asyncio.create_task(live())
        # Less than the bound, and more than the kernels take together.
        while not joined.outbox.waiting_bytes:
            await agent.say("contextual_update", text="x" * 60_000)
        await agent.next_of("presence", event="dropped")
        assert joined.close_code == 4408
        living.cancel()
        await asyncio.gather(living, return_exceptions=True)
        transport.abort()


async def test_a_peer_that_is_refused_gets_no_pongs() -> None:
    async with Running() as server, aiohttp.ClientSession() as http:
        async with http.ws_connect(f"{server.url}/ws", autoping=False) as ws:
            for _ in range(50):
                await ws.ping()
            message = await ws.receive(timeout=WAIT_S)
            assert message.type is aiohttp.WSMsgType.CLOSE
            assert message.data == 4501
