"""The product's own WebSocket path, with a visitor who says everything back.

`.ci/autobahn` lets the Autobahn TestSuite loose on it: the handshake, the frames, the bytes out
and the end are those of `GET /ws`; only what a message means is not. Messages have no limit of
size here, since the suite sends 16 MiB and expects them back.

    PYTHONPATH=. python tests/faults/echo_server.py           # prints its port, serves until stopped
    PYTHONPATH=. python tests/faults/echo_server.py --broken  # the control: answers text as binary
"""

from __future__ import annotations

import asyncio
import sys

from aiohttp import web

from companion_ws.sessions.outbox import CLOSE_S, Outbox, bound_send_buffer, frame
from companion_ws.web.socket.frames import BINARY, PING, PONG, Message
from companion_ws.web.socket.websocket import WebSocket, accept

SUBPROTOCOL = "companion.v1"
IS_BROKEN = "--broken" in sys.argv[1:]


class EchoingOutbox(Outbox):
    """Sends messages of both kinds, unlike the product's, which has text alone."""

    __slots__ = ()

    def push_message(self, message: Message) -> None:
        self._queue(frame(message.payload, BINARY if IS_BROKEN else message.opcode))


async def echo(request: web.Request) -> web.StreamResponse:
    """Do what `Gateway.serve` and `Visit.run` do around a message, and echo what it is."""
    ws = await accept(request, SUBPROTOCOL, 0)
    bound_send_buffer(ws.transport)
    outbox = EchoingOutbox(ws.transport, 0, lambda why: None)
    try:
        ws.begin(lambda message: answer(outbox, message))
        await ws.over
        await part(ws, outbox)
    finally:
        ws.let_go(CLOSE_S)
    await ws.lost
    return ws.response


def answer(outbox: EchoingOutbox, message: Message) -> None:
    if message.opcode == PING:
        outbox.push_pong(message.payload)
    elif message.opcode != PONG:
        outbox.push_message(message)


async def part(ws: WebSocket, outbox: Outbox) -> None:
    """End it as a visit does: the error's own code, or 1000 for a peer that said goodbye."""
    if ws.error is not None:
        outbox.close(ws.error.code, ws.error.reason)
        ws.begin(lambda message: None)
        await ws.until_over(CLOSE_S)
    else:
        outbox.close(1000, "")


async def main() -> None:
    app = web.Application()
    app.router.add_get("/", echo)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
