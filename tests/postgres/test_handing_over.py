"""Two servers of one database: one stands still, is stopped, or is killed, and the other goes on."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from postgres_server import PostgresServer
from real_server import PATIENCE_S, Message, Screen, Server, joined, running

pytestmark = pytest.mark.long

TOOLS = '''
import asyncio
from pathlib import Path
from companion_ws import ToolCall, tool

def noted(call, name):
    with open(Path(__file__).with_name("runs"), "a") as runs:
        runs.write(name + "\\n")

@tool
async def once(call: ToolCall) -> dict:
    noted(call, "once")
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        noted(call, "stopped")
        raise
    return {}

@tool(idempotent=True)
async def again(call: ToolCall) -> dict:
    noted(call, "again")
    runs = Path(__file__).with_name("runs").read_text().split()
    await asyncio.sleep(60 if runs.count("again") == 1 else 0)
    return {"runs": runs.count("again")}
'''


class Two:
    """Two servers, each with a data folder, and a client of both."""

    def __init__(self, one: Server, two: Server, http: aiohttp.ClientSession) -> None:
        self.one, self.two, self.http = one, two, http

    async def back(self, server: Server, session_id: str, role: str = "agent") -> Screen:
        """Join as clients do: again until it works."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                ws = await self.http.ws_connect(
                    f"{server.url}/ws", params={"session_id": session_id, "role": role, "after": "0"},
                    headers={"Authorization": f"Bearer {self.one.token()}"},
                )  # fmt: skip
                screen = Screen(ws)
                first = await screen.receive()
                if first is not None and first["session_id"] == session_id:
                    return screen
                await asyncio.sleep(0.2)


@pytest.fixture
async def pair(tmp_path: Path, postgres: PostgresServer) -> AsyncIterator[Two]:
    tools = tmp_path / "desk.py"
    tools.write_text(TOOLS)
    flags = (f"--database={postgres.url(tmp_path)}", f"--tools={tools}")
    async with running(tmp_path / "one", *flags) as one, aiohttp.ClientSession() as http:
        (tmp_path / "two").mkdir(mode=0o700)
        shutil.copy2(tmp_path / "one" / "secret.key", tmp_path / "two")
        async with running(tmp_path / "two", *flags) as two:
            yield Two(one, two, http)


ONCE = {"tool_name": "once", "tool_call_id": "once", "parameters": {}}


def set_to(value: int) -> Message:
    return {"type": "state_update", "key": "k", "value": value}


async def test_a_server_that_stood_still_answers_nothing_old_when_it_wakes(
    pair: Two, tmp_path: Path, postgres: PostgresServer
) -> None:
    async with joined(pair.http, pair.one) as old:
        session_id = old.joined["session_id"]
        await old.send(set_to(1))
        await old.until(type="state_updated")
        await old.send({"type": "client_tool_call", "client_tool_call": ONCE})
        await old.until(type="client_tool_call")
        await noted(tmp_path, "once")
        os.kill(pair.one.pid, signal.SIGSTOP)
        began_s = time.monotonic()
        try:
            other = await pair.back(pair.two, session_id)
            back_s = time.monotonic() - began_s
            await other.send(set_to(2))
            await other.until(type="client_tool_result", result='{"status":"interrupted"}')
            await other.until(type="state_updated", value=2)
            # What it finds when it wakes, over the socket and by HTTP.
            told = len(old.messages)
            await old.send({"type": "state_get", "key": "k"})
            await old.send(set_to(3))
            await old.send({"type": "user_message", "text": "still here?"})
            asked = asyncio.create_task(state_of(pair, session_id))
            await asyncio.sleep(0.3)
        finally:
            os.kill(pair.one.pid, signal.SIGCONT)
        await old.to_the_end()
        print(f"taken after {back_s:.1f} s")
        assert {m["type"] for m in old.messages[told:]} <= {"error"}, old.messages[told:]
        assert all(m["code"] == "unavailable" for m in old.messages[told:])
        assert old.ws.close_code == 1013
        assert await asked in (2, None)
        await noted(tmp_path, "stopped")
        # It is one of the servers again, and lets the other one have the session.
        again = await pair.back(pair.one, session_id)
        assert again.joined["state"]["k"]["value"] == 2
        await again.send(set_to(4))
        await other.until(type="state_updated", value=4)
    # Three changes of the state, a call and its one result.
    assert seqs(postgres, tmp_path, session_id) == [1, 2, 3, 4, 5]


async def state_of(pair: Two, session_id: str) -> object:
    headers = {"Authorization": f"Bearer {pair.one.token()}"}
    url = f"{pair.one.url}/sessions/{session_id}/state"
    async with pair.http.get(url, headers=headers) as answer:
        body = await answer.json()
        return body["state"]["k"]["value"] if answer.status == 200 else None


def seqs(postgres: PostgresServer, path: Path, session_id: str) -> list[int]:
    rows = postgres.query(
        postgres.name(path),
        "SELECT seq FROM records JOIN sessions USING (number) WHERE session_id = %s ORDER BY seq",
        (session_id,),
    )
    return [seq for (seq,) in rows]


async def test_a_server_that_stops_gives_its_sessions_away_at_once(
    pair: Two, tmp_path: Path, postgres: PostgresServer
) -> None:
    async with joined(pair.http, pair.one) as screen:
        session_id = screen.joined["session_id"]
        sent = [await screen.send(set_to(number)) for number in range(50)]
        reading = asyncio.create_task(screen.to_the_end())
        began_s = time.monotonic()
        ending = asyncio.create_task(pair.one.end())
        await reading
        assert screen.ws.close_code == 1012
        other = await pair.back(pair.two, session_id)
        back_s = time.monotonic() - began_s
        assert await ending == 0
        print(f"back after {back_s:.1f} s, ended after {time.monotonic() - began_s:.1f} s")
    names = postgres.query(postgres.name(tmp_path), "SELECT node FROM nodes")
    assert len(names) == 1
    for request_id in sent:
        await other.send({**set_to(0), "requestId": request_id})
    stored = {m["requestId"] for m in screen.records}
    assert stored <= set(sent)
    await other.send({"type": "ping"})
    await other.until(type="pong")
    assert {m["requestId"] for m in other.records} == set(sent)


async def test_calls_of_a_server_that_was_killed_are_answered_by_the_other_one(
    pair: Two, tmp_path: Path
) -> None:
    async with joined(pair.http, pair.one, role="agent") as agent:
        session_id = agent.joined["session_id"]
        for name in ("once", "again"):
            call = {"tool_name": name, "tool_call_id": name, "parameters": {}}
            await agent.send({"type": "client_tool_call", "client_tool_call": call})
        await noted(tmp_path, "once", "again")
        began_s = time.monotonic()
        await pair.one.kill()
    # Nobody joins anywhere: it is seen by itself that they wait.
    await noted(tmp_path, "once", "again", "again")
    print(f"taken up after {time.monotonic() - began_s:.1f} s")
    other = await pair.back(pair.two, session_id)
    once = await other.until(type="client_tool_result", tool_call_id="once")
    again = await other.until(type="client_tool_result", tool_call_id="again")
    assert json.loads(once["result"]) == {"status": "interrupted"}
    assert json.loads(again["result"]) == {"runs": 2}
    assert runs(tmp_path) == ["once", "again", "again"]


async def test_a_server_that_finds_its_session_taken_sends_everybody_away_and_leads_them_on(
    pair: Two, tmp_path: Path, postgres: PostgresServer
) -> None:
    name = postgres.name(tmp_path)
    async with joined(pair.http, pair.one) as screen:
        session_id = screen.joined["session_id"]
        await screen.send(set_to(1))
        await screen.until(type="state_updated")
        # As if it had been without a lease, and not noticed.
        postgres.query(
            name, "UPDATE tips SET generation = generation + 1, node = ("
            "SELECT node FROM nodes ORDER BY began_at DESC LIMIT 1) WHERE is_open = 1",
        )  # fmt: skip
        request_id = await screen.send(set_to(2))
        await screen.to_the_end()
        assert screen.ws.close_code == 1012
        assert [m["code"] for m in screen.messages if m["type"] == "error"] == ["unavailable"]
    again = await pair.back(pair.one, session_id)
    assert again.joined["seq"] == 1
    await again.send({**set_to(2), "requestId": request_id})
    assert (await again.until(type="state_updated", value=2))["seq"] == 2


def runs(path: Path) -> list[str]:
    file = path / "runs"
    return file.read_text().split() if file.exists() else []


async def noted(path: Path, *names: str) -> None:
    """Wait until tools have noted this much of these names."""
    async with asyncio.timeout(PATIENCE_S):
        while any(runs(path).count(name) < names.count(name) for name in names):
            await asyncio.sleep(0.05)
