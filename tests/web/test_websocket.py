"""A WebSocket on a real socket: read in turns, paused, ended by either side, gone without a trace."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from companion_ws.core.errors import BadRequest
from companion_ws.sessions import outbox as outbox_module
from companion_ws.sessions.outbox import Outbox, close_frame, frame
from companion_ws.web.socket.frames import PING, PONG, TEXT, Message
from companion_ws.web.socket.websocket import WebSocket, accept

HANDSHAKE = (
    "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def masked(payload: bytes, opcode: int = TEXT) -> bytes:
    return bytes((0x80 | opcode, 0x80 | len(payload))) + bytes(4) + payload


@asynccontextmanager
async def echo(
    take: Callable[[WebSocket, Message], None] | None = None,
) -> AsyncIterator[tuple[str, list[WebSocket]]]:
    """A server that answers every message with itself; yields its address and its sockets."""
    sockets: list[WebSocket] = []

    async def serve(request: web.Request) -> web.StreamResponse:
        try:
            ws = await accept(request, "companion.v1", 1000)
        except BadRequest as error:
            return web.Response(status=400, text=error.message)
        if ws is None:
            raise ConnectionResetError
        sockets.append(ws)

        def answer(message: Message) -> None:
            if take is not None:
                take(ws, message)
            opcode = PONG if message.opcode == PING else message.opcode
            ws.transport.write(frame(message.payload, opcode))

        ws.begin(answer)
        await ws.over
        if ws.closing is not None or ws.error is not None:
            code = ws.closing.code if ws.closing is not None else ws.error.code if ws.error else 0
            ws.transport.write(close_frame(1000 if code == 1005 else code, ""))
            ws.transport.close()
        await ws.lost
        return ws.response

    async with serving(serve) as address:
        yield address, sockets


@asynccontextmanager
async def serving(serve: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    """The address of a server that hands each request to `serve`."""
    app = web.Application()
    app.router.add_get("/ws", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def raw(
    address: str, more: bytes = b"", head: str = HANDSHAKE
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, str]:
    host, _, port = address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(head.encode() + more)
    answer = (await reader.readuntil(b"\r\n\r\n")).decode()
    return reader, writer, answer


async def test_a_client_library_says_something_pings_and_closes() -> None:
    async with echo() as (address, sockets), aiohttp.ClientSession() as session:
        async with session.ws_connect(f"ws://{address}/ws", protocols=("companion.v1",)) as ws:
            await ws.send_str("héllo")
            await ws.ping(b"there?")
            await ws.send_str("x" * 900)

            assert await ws.receive_str() == "héllo"
            assert await ws.receive_str() == "x" * 900
            assert ws.protocol == "companion.v1"
            await ws.close(code=4000, message=b"enough")
            assert ws.close_code == 4000
        assert sockets[0].closing == (4000, "enough")


async def test_bytes_that_come_with_the_upgrade_or_one_by_one_are_read() -> None:
    async with echo() as (address, _):
        reader, writer, answer = await raw(address, masked(b"early"))
        assert answer.startswith("HTTP/1.1 101 ")
        assert "sec-websocket-protocol" not in answer.lower()
        for byte in masked(b"slow") + masked(b"ly"):
            writer.write(bytes([byte]))
            await asyncio.sleep(0)

        assert await reader.readexactly(7) == b"\x81\x05early"
        assert await reader.readexactly(10) == b"\x81\x04slow\x81\x02ly"
        writer.close()


async def test_who_sends_much_at_once_waits_for_turns_and_loses_nothing() -> None:
    async with echo() as (address, _):
        reader, writer, _ = await raw(address)
        writer.write(b"".join(masked(b"%04d" % number) for number in range(1000)))

        heard = await reader.readexactly(6 * 1000)
        assert heard == b"".join(b"\x81\x04%04d" % number for number in range(1000))
        writer.close()


async def test_a_paused_socket_takes_nothing_until_it_goes_on() -> None:
    taken: list[bytes] = []

    def take(ws: WebSocket, message: Message) -> None:
        taken.append(message.payload)
        if message.payload == b"stop":
            ws.pause()

    async with echo(take) as (address, sockets):
        reader, writer, _ = await raw(address)
        writer.write(masked(b"one") + masked(b"stop") + masked(b"two"))
        assert await reader.readexactly(5 + 6) == b"\x81\x03one\x81\x04stop"
        writer.write(masked(b"three"))
        await asyncio.sleep(0.05)
        assert taken == [b"one", b"stop"]

        sockets[0].resume()

        assert await reader.readexactly(5 + 7) == b"\x81\x03two\x81\x05three"
        writer.close()


async def test_a_peer_that_vanishes_while_paused_is_noticed_when_reading_goes_on() -> None:
    async with echo(lambda ws, message: ws.pause()) as (address, sockets):
        reader, writer, _ = await raw(address)
        writer.write(masked(b"stop"))
        await reader.readexactly(6)
        writer.transport.abort()
        sockets[0].resume()

        async with asyncio.timeout(20):
            await sockets[0].lost


@pytest.mark.parametrize(
    ("sent", "code"),
    [(b"\x81\x01x", 1002), (masked(b"\xff"), 1007), (b"\x81\xfe\xff\xff", 1009), (masked(b"\x03", 8), 1002)],
)
async def test_who_breaks_the_protocol_is_told_with_a_code(sent: bytes, code: int) -> None:
    async with echo() as (address, sockets):
        reader, writer, _ = await raw(address)
        writer.write(masked(b"fine") + sent + masked(b"never read"))

        assert await reader.read() == b"\x81\x04fine" + close_frame(code, "")
        assert sockets[0].closing is None
        writer.close()


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Upgrade: WebSocket", "Upgrade: h2c"),
        ("Connection: keep-alive, Upgrade", "Connection: keep-alive"),
        ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8"),
        ("AAAAAAAAAAAAAAAAAAAAAA==", "AAAA"),
        ("AAAAAAAAAAAAAAAAAAAAAA==", "no base64 at all"),
        ("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n", ""),
    ],
)
async def test_what_is_no_handshake_gets_400(header: str, value: str) -> None:
    async with echo() as (address, _):
        _, writer, answer = await raw(address, head=HANDSHAKE.replace(header, value))

        assert answer.startswith("HTTP/1.1 400 ")
        writer.close()


async def test_who_takes_the_last_bytes_before_being_cut_off_makes_no_noise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    patience_s = 0.3
    monkeypatch.setattr(outbox_module, "CLOSE_S", patience_s)
    noise: list[dict[str, object]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: noise.append(context))

    async def serve(request: web.Request) -> web.StreamResponse:
        ws = await accept(request, "companion.v1", 1000)
        outbox = Outbox(ws.transport, 0, lambda why: None)
        outbox.push_text(b"x" * 8_000_000)
        outbox.close(1000, "")
        ws.let_go(patience_s)
        assert ws.transport.get_write_buffer_size() > 0, "a goodbye behind a backlog"
        await ws.lost
        return ws.response

    async with serving(serve) as address:
        reader, writer, _ = await raw(address)
        assert (await reader.read()).endswith(close_frame(1000, ""))
        writer.close()
        await asyncio.sleep(2 * patience_s)
    assert noise == []


async def test_closed_connections_leave_nothing_for_the_collector() -> None:
    async with echo() as (address, sockets):

        async def visit() -> None:
            reader, writer, _ = await raw(address)
            writer.write(masked(b"hello") + masked((1000).to_bytes(2), 8))
            await reader.read()
            writer.close()
            await writer.wait_closed()

        await visit()
        await asyncio.sleep(0.05)
        sockets.clear()
        gc.collect()
        gc.disable()
        try:
            for _ in range(20):
                await visit()
            sockets.clear()
            await asyncio.sleep(0.05)
            kinds = [each for each in gc.get_objects() if isinstance(each, WebSocket)]
        finally:
            gc.enable()

        assert kinds == []
