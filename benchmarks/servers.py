"""The two servers that are compared, each in a process of its own.

`plain` is what one writes first with aiohttp: it keeps nothing and awaits
`send_str` for one receiver after the other. `product` is the application with
durability `power` and its limits on, at rates that do not stop the generator.
"""

from __future__ import annotations

import asyncio
import heapq
import json
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from aiohttp import WSMsgType, web

from companion_ws import Config, create_app
from companion_ws.collector import spare_the_loop

RATE = 1_000_000.0
"""Messages per second a connection may send: counted, never reached."""


async def plain_app() -> web.Application:
    """Return a server that passes every message on to everybody in its room."""
    rooms: defaultdict[str, list[web.WebSocketResponse]] = defaultdict(list)

    async def serve(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(compress=False)
        await ws.prepare(request)
        room = rooms[request.query["session_id"]]
        room.append(ws)
        await ws.send_str("{}")
        async for message in ws:
            if message.type is WSMsgType.TEXT:
                for member in room:
                    await member.send_str(message.data)
        room.remove(ws)
        return ws

    app = web.Application()
    app.router.add_get("/ws", serve)
    return app


async def product_app(data: Path, durability: str = "power") -> web.Application:
    """Return the product; every limit is checked, the rates are out of reach."""
    return await create_app(
        Config(
            data=data,
            durability=durability,  # type: ignore[arg-type]
            limit_messages_per_s=RATE,
            limit_burst=int(RATE),
            limit_connections_per_session=1000,
            limit_connections_per_user=100_000,
            limit_sessions_per_user=100_000,
        )
    )


class Pauses:
    """How long the loop stood still: the delays of a timer that should ring each millisecond."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._longest_ms: list[float] = []
        self._due = self._loop.time() + 0.001
        self._loop.call_at(self._due, self._ring)

    def _ring(self) -> None:
        now = self._loop.time()
        heapq.heappush(self._longest_ms, (now - self._due) * 1000)
        if len(self._longest_ms) > 20:
            heapq.heappop(self._longest_ms)
        self._due = now + 0.001
        self._loop.call_at(self._due, self._ring)

    def take(self) -> list[float]:
        """Return the longest since the last call, in ms, longest first."""
        taken, self._longest_ms = sorted(self._longest_ms, reverse=True), []
        return taken


async def serve(kind: str, data: Path, durability: str, *, pauses: bool) -> None:
    """Serve until stdin is closed; print the port first, and pauses when asked for."""
    app = await (plain_app() if kind == "plain" else product_app(data, durability))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=2048)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    watch = Pauses() if pauses else None
    while await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline):
        print(json.dumps(watch.take() if watch is not None else []), flush=True)
    await runner.cleanup()


def main() -> None:
    """Run `servers.py KIND LOOP [DATA [DURABILITY]] [--pauses]`."""
    kind, loop, *rest = [word for word in sys.argv[1:] if word != "--pauses"]
    pauses, durability = "--pauses" in sys.argv, rest[1] if len(rest) > 1 else "power"
    if kind == "product":
        spare_the_loop()  # as `companion-ws serve` does
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(rest[0]) if rest else Path(scratch)
        if loop == "uvloop":
            import uvloop

            uvloop.run(serve(kind, data, durability, pauses=pauses))
        else:
            asyncio.run(serve(kind, data, durability, pauses=pauses))


if __name__ == "__main__":
    main()
