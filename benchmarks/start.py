"""`python -m benchmarks.start`: how long a start takes, and the first joins, with much stored.

Prints for 10 and 100,000 stored sessions without records, and for 1,000 sessions of
1,000 records each (`--full`: 10,000 of them, 2.4 GB): seconds from the command to
"Companion is ready", and the milliseconds of joins of sessions that nobody has loaded
since, the first of which also waits for what a server does first.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import aiohttp

from companion_ws.access.keys import Keys
from companion_ws.access.tokens import Revocations, Tokens
from companion_ws.data_folder import prepare_data_folder
from companion_ws.database import Database
from companion_ws.files import folder

USER = "bench"
STARTS = 3
JOINS = 10
BODY = json.dumps({"type": "contextual_update", "text": "x" * 160}).encode()


def id_of(number: int) -> str:
    return str(uuid.UUID(int=number + 1, version=4))


async def make(path: Path) -> None:
    """Make a database with today's tables."""
    database = Database(path, folder("migrations"))
    await database.open()
    await database.close()


def rows(number: int, records: int) -> Iterator[tuple[int, int, str, str, str, bytes]]:
    for seq in range(1, records + 1):
        yield number, seq, "s", f"r{seq}", "contextual_update", BODY


def fill(path: Path, sessions: int, records: int) -> None:
    """Store sessions as a server leaves them: what their records add up to is noted."""
    now_ms = time.time_ns() // 1_000_000
    folded = records // 128 * 128
    cards = json.dumps([*range(folded - 19, folded + 1)] if folded else [])
    with closing(sqlite3.connect(path)) as database, database:
        database.executemany(
            "INSERT INTO sessions (session_id, user, created_at_ms, last_active_at_ms)"
            " VALUES (?, ?, ?, ?)",
            ((id_of(number), USER, now_ms, now_ms) for number in range(sessions)),
        )
        database.execute("INSERT INTO tips SELECT number, ?, 1, 1 FROM sessions", (records,))
        for number in range(1, sessions + 1 if records else 1):
            database.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?)", rows(number, records))
        if folded:
            database.execute("INSERT INTO folds SELECT number, ?, ?, '' FROM sessions", (folded, cards))


def start(data: Path) -> tuple[float, str, subprocess.Popen[str]]:
    """Start a server; return the seconds until it is ready, its address, and the process."""
    began_s = time.monotonic()
    server = subprocess.Popen(
        [sys.executable, "-m", "companion_ws", "serve", "--port", "0", "--data", str(data)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert server.stdout is not None
    for line in server.stdout:
        if line.startswith("Companion is ready at "):
            return time.monotonic() - began_s, line.split()[-1], server
    raise SystemExit("The server did not start.")


async def joined(url: str, token: str, numbers: range) -> list[float]:
    """Join one session after the other; return the milliseconds until each was told."""
    took_ms = []
    async with aiohttp.ClientSession() as http:
        for number in numbers:
            began_s = time.perf_counter()
            async with http.ws_connect(f"{url}/ws?session_id={id_of(number)}&token={token}") as ws:
                await ws.receive()
                took_ms.append((time.perf_counter() - began_s) * 1000)
    return took_ms


def measure(sessions: int, records: int) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        data = Path(scratch) / "data"
        prepare_data_folder(data)
        keys = Keys.load(data, None)
        token, _ = Tokens(keys, Revocations(keys)).issue("user", USER, 86_400)
        path = data / "companion.db"
        asyncio.run(make(path))
        fill(path, sessions, records)
        starts, firsts, others = [], [], []
        for turn in range(STARTS):
            ready_s, url, server = start(data)
            starts.append(ready_s)
            step = max(1, sessions // (JOINS * STARTS))
            numbers = range(turn * step, sessions, step * STARTS)[:JOINS]
            first, *rest = asyncio.run(joined(url, token, numbers))
            firsts.append(first)
            others += rest
            server.terminate()
            server.wait()
        print(
            f"{sessions:>9,} {records:>9,} {os.path.getsize(path) / 1e6:>9,.0f}"
            f" {statistics.median(starts):>9.2f} {statistics.median(firsts):>11.1f}"
            f" {statistics.median(others or [0.0]):>11.1f} {max(others or [0.0]):>9.1f}",
            flush=True,
        )


def main() -> None:
    """Print one line for each amount of stored sessions."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start", description=__doc__)
    parser.add_argument("--full", action="store_true", help="10,000 sessions of 1,000 records")
    options = parser.parse_args()
    print(f"{'sessions':>9} {'records':>9} {'MB':>9} {'ready, s':>9} {'first join':>11}"
          f" {'others, ms':>11} {'max':>9}")
    for sessions, records in ((10, 0), (100_000, 0), (10_000 if options.full else 1_000, 1_000)):
        measure(sessions, records)


if __name__ == "__main__":
    main()
