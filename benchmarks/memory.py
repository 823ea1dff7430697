"""`python -m benchmarks.memory`: what a live session takes with messages behind it.

Counts Python's own allocations (tracemalloc) in one process: the session as the server
keeps it, with a requestId for each message, and nothing of sockets. What an idle
connection takes is in `python -m benchmarks.access`.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import tracemalloc
from pathlib import Path

from aiohttp import web

from companion_ws import SESSIONS, Config, create_app
from companion_ws.core import protocol
from companion_ws.core.session import Sender
from companion_ws.sessions.caller import Caller
from companion_ws.sessions.sessions import Sessions

MESSAGES = (1, 100, 1_000, 10_000)
AT_ONCE = 10
DATA = {"carrier": "FedEx", "service": "Ground", "cost": 12.99}


async def say(sessions: Sessions, session_id: str, count: int) -> None:
    """Let an agent record `count` messages."""
    sender = Sender("agent", "bench", "c" * 32)
    live = await sessions.live(session_id)
    assert live is not None
    for number in range(count):
        message = {
            "type": "contextual_update", "text": "quote_ready", "data": DATA,
            "requestId": f"{session_id[:8]}-{number:09}",
        }  # fmt: skip
        command, request_id = protocol.decode(message)
        live.submit(command, Caller(sender, request_id))
        if number % AT_ONCE == AT_ONCE - 1:
            await live.turn()
    await live.turn()
    # What the last commit held is let go of with the next one.
    await sessions.store.trail_of(session_id)


async def measure(data: Path) -> None:
    app = await create_app(Config(data=data, durability="process", limit_sessions_per_user=0))
    runner = web.AppRunner(app)
    await runner.setup()
    sessions = app[SESSIONS]
    try:
        warm = await sessions.create("bench")
        await say(sessions, warm.session_id, 300)
        for count in MESSAGES:
            made = await sessions.create("bench")
            gc.collect()
            tracemalloc.start()
            await say(sessions, made.session_id, count)
            gc.collect()
            held, _ = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            print(f"{count:>9,} {held / 1024:>9.0f} KiB", flush=True)
    finally:
        await runner.cleanup()


def main() -> None:
    """Print one line for each number of messages."""
    print(f"{'messages':>9} {'a session':>13}")
    with tempfile.TemporaryDirectory() as scratch:
        asyncio.run(measure(Path(scratch) / "data"))


if __name__ == "__main__":
    main()
