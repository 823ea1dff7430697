"""The server starts on the tables of every earlier version, and everything is there."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest
from real_server import Server, joined
from stored_before import filled
from test_kill import intact, records_of

from companion_ws.files import folder

SCRIPTS = sorted(folder("migrations").glob("[0-9]*.sql"))
FIRST_RELEASED = 3
"""What 0.1.0 stored; nobody has tables of before."""


def brought_to(path: Path, version: int) -> None:
    """Bring what 0.1.0 stored to the tables of a later version, as its own update did."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for number, script in enumerate(SCRIPTS[:version], start=1):
            if number > FIRST_RELEASED:
                connection.executescript(
                    f"{script.read_text(encoding='utf-8')};PRAGMA user_version = {number};"
                )


@pytest.mark.parametrize("version", range(FIRST_RELEASED, len(SCRIPTS)))
async def test_a_server_starts_on_the_tables_of_an_earlier_version_and_loses_nothing(
    version: int, tmp_path: Path
) -> None:
    server = Server(tmp_path / "data", "--session-ttl=36500d")
    path = filled(server.data / "companion.db")
    brought_to(path, version)
    with closing(sqlite3.connect(path)) as old:
        assert old.execute("PRAGMA user_version").fetchall() == [(version,)]
        sessions = dict(
            old.execute("SELECT session_id, user FROM sessions WHERE ended_at_ms IS NULL").fetchall()
        )
    await server.start()
    try:
        copies = [each.name for each in server.data.glob("*.before-*")]
        assert copies == [f"companion.db.before-{len(SCRIPTS)}"]
        async with aiohttp.ClientSession() as http:
            for session_id, user in sessions.items():
                async with joined(
                    http, server, token=server.token(user), session_id=session_id, after=0
                ) as agent:
                    last = agent.joined["seq"]
                    kept = [record["seq"] for record in records_of(server.data, session_id)]
                    assert agent.joined["recovery"] == "replay"
                    while not agent.records or agent.records[-1]["seq"] < last:
                        assert await agent.receive() is not None
                    read = [record["seq"] for record in agent.records]
                    # A log that was trimmed holds some of what is gone until more of it goes.
                    assert read == (kept if kept[0] == 1 else kept[-len(read) :])
                    assert kept == list(range(kept[0], last + 1))
                    sent = await agent.send({"type": "contextual_update", "text": "after"})
                    assert (await agent.until(requestId=sent))["seq"] == last + 1
        assert await server.end() == 0
        assert not any("Traceback" in line for line in server.output), server.output
    finally:
        await server.kill()
    intact(server.data, tmp_path / "intact")
    assert os.stat(path).st_mode & 0o777 == 0o600
