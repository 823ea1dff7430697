"""SQLite alone, without a server: what one thread can store, one commit per BATCH rows.

`sqlite_alone.py FOLDER BATCH SECONDS` prints `{"messages": n, "cpu_s": s, "p50_us": u}`.
"""

from __future__ import annotations

import json
import sqlite3
import statistics
import sys
import time
from pathlib import Path

from benchmarks.durable.clients import PAYLOAD


def main() -> None:
    """Insert for a while and print what came of it."""
    folder, batch, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    path = folder / f"alone-{batch}-{time.monotonic_ns()}.db"
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute("CREATE TABLE records (seq INTEGER PRIMARY KEY, session TEXT, body TEXT)")
    rows = [("session", PAYLOAD.decode())] * batch
    taken_us, done, cpu_s, end = [], 0, time.process_time(), time.monotonic() + seconds
    while (begun := time.monotonic()) < end:
        database.execute("BEGIN")
        database.executemany("INSERT INTO records (session, body) VALUES (?, ?)", rows)
        database.execute("COMMIT")
        taken_us.append((time.monotonic() - begun) * 1e6)
        done += batch
    figures = {"messages": done, "cpu_s": time.process_time() - cpu_s, "p50_us": statistics.median(taken_us)}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
