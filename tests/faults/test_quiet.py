"""What happens every day makes no noise: a log at error level means that somebody should look."""

from __future__ import annotations

import asyncio
import socket
import struct
from pathlib import Path

import aiohttp
import pytest
from real_server import Server, joined, running, silent_peer


def knock_and_vanish(server: Server, request: str) -> None:
    """Send a request and reset the connection at once."""
    host, _, port = server.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as peer:
        peer.sendall(request.format(host=host, port=port, token=server.token()).encode())
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


UPGRADE = (
    "GET /ws HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {token}\r\n"
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
STREAM = (
    "GET /sessions/{{session_id}}/records HTTP/1.1\r\nHost: {host}:{port}\r\n"
    "Authorization: Bearer {token}\r\nAccept: text/event-stream\r\n\r\n"
)
WAIT = (
    "POST /mcp HTTP/1.1\r\nHost: {host}:{port}\r\nAuthorization: Bearer {token}\r\n"
    "Content-Type: application/json\r\nContent-Length: 5000\r\n\r\n{{{{"
)


@pytest.mark.parametrize("request_text", [UPGRADE, STREAM, WAIT], ids=["upgrade", "stream", "body"])
async def test_peers_that_are_gone_before_they_are_answered_make_no_noise(
    request_text: str, tmp_path: Path
) -> None:
    async with running(tmp_path / "data") as server, aiohttp.ClientSession() as http:
        async with joined(http, server) as agent:
            session_id = agent.joined["session_id"]
        text = request_text.replace("{{session_id}}", session_id).replace("{{{{", "{{")
        for _ in range(40):
            await asyncio.to_thread(knock_and_vanish, server, text)
        async with joined(http, server):
            assert await server.end() == 0
        noise = [line for line in server.output if "error" in line or "Traceback" in line]
        assert noise == []
        assert not any("never retrieved" in line for line in server.output)


VANISHED, DROPPED = 2000, 200


async def test_a_stop_after_thousands_of_dropped_sockets_is_quick_and_quiet(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()

    def knock_often() -> None:
        for _ in range(VANISHED):
            knock_and_vanish(server, UPGRADE)

    async with running(tmp_path / "data") as server, aiohttp.ClientSession() as http:
        async with joined(http, server) as agent:
            session_id = agent.joined["session_id"]
            joined_peers = [await silent_peer(server, session_id) for _ in range(DROPPED)]
            await asyncio.to_thread(knock_often)
            for peer in joined_peers:
                peer.transport.abort()
            began_s = loop.time()
            assert await server.end() == 0
            assert loop.time() - began_s < 5, "half of what a stop may take"
        noise = [
            line
            for line in server.output
            if any(word in line for word in ("error", "Traceback", "never retrieved"))
        ]
        assert noise == []
