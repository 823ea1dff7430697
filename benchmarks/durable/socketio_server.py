"""python-socketio that stores each event before it acknowledges: socketio_server.py FOLDER."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import socketio
from aiohttp import web


async def serve(folder: Path) -> None:
    """Serve until stdin is closed; print the port first."""
    writer = ThreadPoolExecutor(1)
    database = sqlite3.connect(folder / "log.db", isolation_level=None, check_same_thread=False)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("CREATE TABLE records (seq INTEGER PRIMARY KEY, session TEXT, body TEXT)")
    server = socketio.AsyncServer(async_mode="aiohttp", logger=False)
    app = web.Application()
    server.attach(app)

    def store(session: str, body: str) -> None:
        database.execute("INSERT INTO records (session, body) VALUES (?, ?)", (session, body))

    async def message(session: str, body: Any) -> bool:
        await asyncio.get_running_loop().run_in_executor(writer, store, session, json.dumps(body))
        return True

    server.on("m", message)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=4096).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
