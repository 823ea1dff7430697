"""A server that stops answers every request it has begun to answer."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import ExitStack

import pytest
import uvloop
from aiohttp import web

from companion_ws.web.accepting import PatientSite
from companion_ws.web.runner import Runner

PEERS = 8
TURNS = 7
"""Of the loop, from before anybody is taken until all are answered."""


async def stopped_after(turns: int) -> tuple[int, int]:
    """Take connections whose requests are there already, stop so many turns of the loop later.

    Return how many requests were begun, and how many were answered.
    """
    begun: list[web.Request] = []

    async def hello(request: web.Request) -> web.Response:
        begun.append(request)
        await asyncio.sleep(0.01)
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_get("/", hello)
    runner = Runner(app, shutdown_timeout=5.0, handle_signals=False)
    await runner.setup()
    listening = socket.create_server(("127.0.0.1", 0))
    with ExitStack() as open_sockets:
        peers = [
            open_sockets.enter_context(socket.create_connection(listening.getsockname(), 20))
            for _ in range(PEERS)
        ]
        for peer in peers:
            peer.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await PatientSite(runner, listening).start()
        for _ in range(turns):
            await asyncio.sleep(0)
        await runner.cleanup()
        answers = [await asyncio.to_thread(what_came, peer) for peer in peers]
        return len(begun), sum(b"hello" in answer for answer in answers)


def what_came(peer: socket.socket) -> bytes:
    try:
        return peer.recv(1000)
    except ConnectionResetError:
        return b""  # Its request had not been read when the door closed.


@pytest.mark.parametrize("factory", [uvloop.new_event_loop, asyncio.new_event_loop])
def test_a_stop_in_any_turn_answers_whatever_it_has_begun_and_logs_no_error(
    factory: Callable[[], asyncio.AbstractEventLoop], caplog: pytest.LogCaptureFixture
) -> None:
    with asyncio.Runner(loop_factory=factory) as runner:
        outcomes = [runner.run(stopped_after(turns)) for turns in range(TURNS)]
    assert [begun for begun, _ in outcomes] == [answered for _, answered in outcomes]
    assert max(answered for _, answered in outcomes) == PEERS
    assert [line for line in caplog.records if line.levelno >= logging.ERROR] == []
