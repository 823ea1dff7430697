"""What strangers may send: little, not for long, and never in the way of anybody else."""

from __future__ import annotations

import asyncio
import gzip
import hmac
import json
import socket
import time
from collections.abc import AsyncIterator
from hashlib import sha256

import pytest

from companion_ws.web.guard import bodies
from tests.running import Running

SECRET = "wsec-of-the-webhook"
EVENT = b'{"type": "post_call_transcription", "data": {"conversation_id": "conv-1"}, "pad": "%s"}'


@pytest.fixture
async def server() -> AsyncIterator[Running]:
    async with Running(
        elevenlabs_webhook_secret=SECRET, elevenlabs_tool_secret="tsec-of-the-tools"
    ) as running:
        yield running


class Held:
    """A request whose last byte is withheld."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def status(self) -> int:
        async with asyncio.timeout(20):
            return int((await self.reader.readline()).split()[1])

    @property
    def is_answered(self) -> bool:
        return bool(self.reader._buffer) or self.reader.at_eof()  # type: ignore[attr-defined]


async def held(server: Running, path: str, body: bytes = b"{}", **headers: str) -> Held:
    """Send all of a request but its last byte."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.config.port)
    named = {"Host": "localhost", "Content-Length": str(len(body)), **headers}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in named.items())
    writer.write(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body[:-1])
    await writer.drain()
    return Held(reader, writer)


async def first_statuses(strangers: list[Held], count: int) -> list[int]:
    """Return what those who are answered first hear, once there are so many."""
    async with asyncio.timeout(20):
        while sum(stranger.is_answered for stranger in strangers) < count:
            await asyncio.sleep(0.01)
    return [await stranger.status() for stranger in strangers if stranger.is_answered]


def signature(body: bytes, secret: str = SECRET, at_s: float | None = None) -> str:
    stamp = int(time.time() if at_s is None else at_s)
    signed = hmac.new(secret.encode(), str(stamp).encode() + b"." + body, sha256).hexdigest()
    return f"t={stamp},v0={signed}"


def zipped(size: int) -> bytes:
    return gzip.compress(EVENT % (b"a" * size))


async def test_without_a_secret_a_post_call_is_answered_before_its_body() -> None:
    async with Running() as server:
        request = await held(
            server, "/elevenlabs/post-call", ElevenLabs_Signature=signature(b"x", "whatever")
        )
        assert await request.status() == 401
        request.writer.close()


@pytest.mark.parametrize(
    "header",
    [
        "",
        "v0=" + "a" * 64,
        "t=THIS_SECOND",
        "t=THIS_SECOND,v0=abc",
        "t=THIS_SECOND,v0=" + "g" * 64,
        "t=now,v0=" + "a" * 64,
        "t=1700000000,v0=" + "a" * 64,
        "t=99999999999,v0=" + "a" * 64,
    ],
)
async def test_a_signature_that_cannot_hold_is_answered_before_the_body(
    server: Running, header: str
) -> None:
    now = header.replace("THIS_SECOND", str(int(time.time())))
    request = await held(server, "/elevenlabs/post-call", ElevenLabs_Signature=now)
    assert await request.status() == 401
    request.writer.close()


@pytest.mark.parametrize("path", ["/elevenlabs/init", "/elevenlabs/tools/companion_show"])
@pytest.mark.parametrize("secret", ["", "wrong"])
async def test_a_webhook_without_its_secret_is_answered_before_the_body(
    server: Running, path: str, secret: str
) -> None:
    request = await held(server, path, X_Companion_Secret=secret)
    assert await request.status() == 401
    request.writer.close()


async def test_few_large_bodies_are_held_and_a_true_one_gets_through(server: Running) -> None:
    body = EVENT % (b"a" * 300_000)
    strangers = [
        await held(
            server,
            "/elevenlabs/post-call",
            body,
            ElevenLabs_Signature=signature(b"forged", "guessed"),
        )
        for _ in range(bodies.LARGE_PLACES + 12)
    ]
    # Those who held them longest give up their places, and are told so.
    assert await first_statuses(strangers, 12) == [503] * 12

    for size in (10, 300_000):
        event = EVENT % (b"b" * size)
        answer = await server.http(
            "POST",
            "/elevenlabs/post-call",
            token=None,
            data=event,
            headers={"ElevenLabs-Signature": signature(event)},
        )
        assert answer.status == 200, answer
    assert sum(stranger.is_answered for stranger in strangers) == 13
    for stranger in strangers:
        stranger.writer.close()


@pytest.mark.parametrize("path", ["/pair", "/sign-in"])
async def test_a_phone_gets_in_while_strangers_hold_every_place(
    monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(bodies, "SMALL_PLACES", 20)
    async with Running() as crowded:
        strangers = [await held(crowded, path, b'{"ticket": "x"}') for _ in range(30)]
        assert await first_statuses(strangers, 10) == [503] * 10
        answer = await crowded.http("POST", path, {"ticket": "x" * 22}, token=None)
        assert answer.status in (401, 404), answer
        for stranger in strangers:
            stranger.writer.close()


@pytest.mark.parametrize("size", [65_537, 50_000_000])
async def test_a_stranger_s_zipped_body_counts_unpacked(server: Running, size: int) -> None:
    body = gzip.compress(b" " * size)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.config.port)
    writer.write(
        b"POST /pair HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: gzip\r\n"
        + b"Content-Length: %d\r\n\r\n" % len(body)
        + body
    )
    async with asyncio.timeout(20):
        answer = await reader.readuntil(b"}")
    assert answer.startswith(b"HTTP/1.1 413")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "body_too_large"
    writer.close()


async def test_the_source_that_holds_most_gives_up_first() -> None:
    places = bodies.Places(3)
    async with asyncio.timeout(None) as until:
        several = [bodies._Place("10.0.0.1", until) for _ in range(2)]
        single, newcomer = bodies._Place("10.0.0.2", until), bodies._Place("10.0.0.3", until)
        for place in (single, *several):
            places.take(place)
        places.take(newcomer)
        until.reschedule(None)
    assert several[0].is_given_up
    assert not single.is_given_up
    assert len(places) == 3


@pytest.mark.parametrize("limit", [0, 1_000_000])
async def test_a_wider_limit_is_not_for_strangers(limit: int) -> None:
    async with Running(limit_message_bytes=limit) as server:
        body = {"ticket": "x" * 70_000}
        assert (await server.http("POST", "/pair", body, token=None)).status == 413
        mine = {"type": "contextual_update", "text": "x" * 70_000}
        path = f"/sessions/{await server.new_session()}/messages"
        assert (await server.http("POST", path, mine)).status != 413


async def test_a_stranger_s_few_zipped_bytes_are_not_unpacked_to_megabytes(
    server: Running,
) -> None:
    bomb = zipped(3_000_000)
    headers = {"Content-Encoding": "gzip", "ElevenLabs-Signature": signature(bomb)}
    path = "/elevenlabs/post-call"
    assert (await server.http("POST", path, token=None, data=bomb, headers=headers)).status == 413
    # What text is like when it is zipped is read.
    event = EVENT % b" ".join(b"%d" % (n * 7919 % 100_003) for n in range(60_000))
    headers["ElevenLabs-Signature"] = signature(event)
    body = gzip.compress(event)
    assert (await server.http("POST", path, token=None, data=body, headers=headers)).status == 200


async def test_who_asks_and_never_reads_keeps_no_descriptor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("companion_ws.web.runner.UNREAD_S", 0.6)
    async with Running() as server:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", server.config.port))
        asks = b"GET /docs HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100
        await asyncio.get_running_loop().sock_sendall(sock, asks)
        assert server._runner is not None
        web_server = server._runner.server
        assert web_server is not None
        async with asyncio.timeout(20):
            while not web_server.connections:
                await asyncio.sleep(0.01)
            while web_server.connections:
                await asyncio.sleep(0.01)
        sock.close()
