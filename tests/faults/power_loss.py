"""Losses of power, simulated: `PYTHONPATH=. python tests/faults/power_loss.py 50`.

The server runs with a library that notes every write to the database and every
sync. After `kill -9` all writes that no sync confirmed are taken back, newest
first. Then the server starts again, and everything that was acknowledged has
to be there. With `--durability process` it is not, which shows that the loss
is a real one: `PYTHONPATH=. python tests/faults/power_loss.py 10 process`.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sqlite3
import struct
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import aiohttp
from real_server import Server, joined
from test_kill import Writer, intact, records_of

HERE = Path(__file__).parent


def compiled(folder: Path) -> Path:
    """Build the library."""
    library = folder / "power_loss.so"
    command = ["cc", "-shared", "-fPIC", "-O1", "-o", library, HERE / "power_loss.c", "-ldl"]
    subprocess.run(command, check=True)
    return library


def lose_power(journal: Path) -> int:
    """Take back what no sync confirmed; return how many writes that were."""
    pending: defaultdict[str, list[tuple[int, int, bytes]]] = defaultdict(list)
    data, at = journal.read_bytes(), 0
    while at < len(data):
        kind, length = data[at : at + 1], struct.unpack_from("=i", data, at + 1)[0]
        path = data[at + 5 : at + 5 + length].decode()
        offset, size, count = struct.unpack_from("=qqq", data, at + 5 + length)
        start = at + 5 + length + 24
        if kind == b"s":
            pending[path].clear()
        else:
            pending[path].append((offset, size, data[start : start + count]))
        at = start + count
    for path, writes in pending.items():
        if not os.path.exists(path):
            continue
        with open(path, "r+b") as file:
            for offset, size, old in reversed(writes):
                file.seek(offset)
                file.write(old)
                file.truncate(size)
    journal.unlink()
    return sum(map(len, pending.values()))


def stored_in(data: Path, session_id: str) -> dict[str, int]:
    """Return the seq of every requestId that is there; none where even the tables are gone."""
    try:
        return {r["requestId"]: r["seq"] for r in records_of(data, session_id)}
    except sqlite3.OperationalError:
        return {}


async def run(losses: int, durability: str) -> None:
    with tempfile.TemporaryDirectory() as scratch_name:
        scratch = Path(scratch_name)
        journal, data = scratch / "journal", scratch / "data"
        os.environ["LD_PRELOAD"] = str(compiled(scratch))
        os.environ["POWER_LOSS_JOURNAL"] = str(journal)
        rng = random.Random(0)
        flags = ("--limit-messages-per-s=0", "--limit-records=0", "--limit-log-bytes=0")
        server = Server(data, f"--durability={durability}", *flags)
        lost = undone = acknowledged = 0
        await server.start()
        async with aiohttp.ClientSession() as http:
            for _ in range(losses):
                async with joined(http, server) as screen:
                    session_id = screen.joined["session_id"]
                writers = [Writer("alice", role, session_id) for role in ("agent", "ui")]
                tasks = [
                    asyncio.create_task(writer.write(http, server, fresh=True))
                    for writer in writers
                ]
                await asyncio.sleep(rng.uniform(0.05, 0.5))
                await server.kill()
                await asyncio.gather(*tasks, return_exceptions=True)
                undone += lose_power(journal)
                intact(data, scratch / "intact")
                stored = stored_in(data, session_id)
                for writer in writers:
                    acknowledged += len(writer.acknowledged)
                    lost += sum(
                        stored.get(request_id) != seq
                        for request_id, seq in writer.acknowledged.items()
                    )
                await server.start()
        await server.kill()
        shutil.rmtree(data)
    print(
        f"{losses} losses of power, {undone} writes undone:"
        f" {lost} of {acknowledged} acknowledged records lost"
    )
    sys.exit(1 if lost and durability == "power" else 0)


if __name__ == "__main__":
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    asyncio.run(run(wanted, sys.argv[2] if len(sys.argv) > 2 else "power"))
