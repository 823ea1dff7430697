"""The process is killed in the middle of everything, again and again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import sqlite3
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hostile import KILL, KILL_HALF_WAY, Call, Machine
from real_server import UNLIMITED, Message, Server, joined, running

from companion_ws.core.session import Session, replay

KILLS = int(os.environ.get("COMPANION_KILLS", "20"))
KILLS_OF_ONE = 50
"""A log so often cut off is long: each look at it takes as long as it is."""
BROKEN = (OSError, aiohttp.ClientError)
IN_FLIGHT = 64
"""Commands without an answer; a client that reads nothing meanwhile is cut off."""


class Writer:
    """Sends without a pause, and again after each kill what was not acknowledged."""

    def __init__(self, user: str, role: str, session_id: str) -> None:
        self.user, self.role, self.session_id = user, role, session_id
        self.seen: list[Message] = []
        self.waiting: dict[str, Message] = {}
        self.acknowledged: dict[str, int] = {}
        self.state: dict[str, Any] = {}
        self.rng = random.Random(user + role)

    async def write(self, http: aiohttp.ClientSession, server: Server, *, fresh: bool) -> None:
        """Resume, send and read until the connection breaks, or all is acknowledged."""
        after = self.seen[-1]["seq"] if self.seen else 0
        async with joined(
            http, server, token=server.token(self.user), session_id=self.session_id,
            role=self.role, after=after,
        ) as screen:
            assert screen.joined["recovery"] == "replay"
            self.state = {k: entry["value"] for k, entry in screen.joined["state"].items()}
            self._joined_seq = screen.joined["seq"]
            for message in list(self.waiting.values()):
                await screen.send(message)
            while fresh or self.waiting or len(self.seen) < self._joined_seq:
                room = IN_FLIGHT - len(self.waiting) if fresh else 0
                for _ in range(min(room, self.rng.randrange(1, 12))):
                    message = self._anything()
                    self.waiting[message["requestId"]] = message
                    await screen.send(message)
                answer = await screen.receive()
                if answer is None:
                    raise ConnectionResetError(f"closed {screen.ws.close_code}")
                self._read(answer)

    def _anything(self) -> Message:
        request_id = str(uuid.uuid4())
        if self.rng.random() < 0.5:
            key = self.rng.choice("abcdef")
            return {"type": "state_update", "key": key, "value": self.rng.randrange(1000),
                    "requestId": request_id}
        return {"type": "contextual_update", "text": "x" * self.rng.randrange(1, 400),
                "requestId": request_id}

    def _read(self, message: Message) -> None:
        if message.get("duplicate"):
            self._acknowledge(message)
            return
        assert message["type"] != "error", message
        if "seq" not in message:
            return
        assert message["seq"] == (self.seen[-1]["seq"] if self.seen else 0) + 1
        self.seen.append(message)
        if message["type"] == "state_updated" and message["seq"] > self._joined_seq:
            self.state[message["key"]] = message["value"]
        self._acknowledge(message)

    def _acknowledge(self, message: Message) -> None:
        if self.waiting.pop(message["requestId"], None) is not None:
            self.acknowledged[message["requestId"]] = message["seq"]


@pytest.mark.timeout(15 * KILLS_OF_ONE)  # as many starts on a busy machine
@pytest.mark.parametrize("first", range(0, KILLS, KILLS_OF_ONE))
async def test_kills_in_mid_stream_lose_nothing_that_was_acknowledged_and_double_nothing(
    tmp_path: Path, first: int
) -> None:
    kills = min(KILLS_OF_ONE, KILLS - first)
    data = tmp_path / "data"
    async with running(data, "--limit-records=0", "--limit-log-bytes=0") as server:
        async with aiohttp.ClientSession() as http:
            async with joined(http, server) as screen:
                session_id = screen.joined["session_id"]
            writers = [Writer("alice", role, session_id) for role in ("agent", "ui")]
            rng = random.Random(first)
            for number in range(kills):
                tasks = [
                    asyncio.create_task(writer.write(http, server, fresh=True))
                    for writer in writers
                ]
                await asyncio.sleep(rng.uniform(0.02, 0.25))
                await server.kill()
                for ended in await asyncio.gather(*tasks, return_exceptions=True):
                    assert isinstance(ended, OSError | aiohttp.ClientError), repr(ended)
                intact(data, tmp_path / f"after kill {number}")
                await server.start()

            await asyncio.gather(*(w.write(http, server, fresh=False) for w in writers))
        assert await server.end() == 0

    stored = records_of(data, session_id)
    assert len(stored) > kills
    assert [record["seq"] for record in stored] == list(range(1, len(stored) + 1))
    made = [record["requestId"] for record in stored]
    assert len(made) == len(set(made))
    for writer in writers:
        assert not writer.waiting
        assert writer.seen == stored[: len(writer.seen)]
        for request_id, seq in writer.acknowledged.items():
            assert stored[seq - 1]["requestId"] == request_id
    assert max(len(writer.seen) for writer in writers) == len(stored)

    bodies = [json.dumps(record).encode() for record in stored]
    folded = replay(Session(session_id, "alice"), bodies)
    with closing(sqlite3.connect(data / "companion.db")) as connection:
        state = dict(
            connection.execute("SELECT key, revision FROM state WHERE session_id = ?", (session_id,))
        )
    assert state == {key: entry.revision for key, entry in folded.state.items()}
    longest = max(writers, key=lambda writer: len(writer.seen))
    assert longest.state == {key: json.loads(e.value) for key, e in folded.state.items()}
    acknowledged = sum(len(writer.acknowledged) for writer in writers)
    print(f"killed {kills} times: {acknowledged} acknowledged, {len(stored)} stored")


ENDS = int(os.environ.get("COMPANION_KILLS", "3"))
DISK = Call.WRITE | Call.SYNC | Call.TRUNCATE | Call.ALLOCATE | Call.REMOVE


@pytest.mark.timeout(120 + 15 * ENDS)
async def test_whichever_write_or_sync_is_the_last_what_was_acknowledged_is_there(
    tmp_path: Path,
) -> None:
    data, deaths_at_a_start = tmp_path / "data", 0
    with Machine(tmp_path, data) as machine:
        server = Server(
            data, *UNLIMITED, "--limit-records=0", "--limit-log-bytes=0",
            environment=machine.environment,
        )
        try:
            await server.start()
            async with aiohttp.ClientSession() as http:
                async with joined(http, server) as screen:
                    session_id = screen.joined["session_id"]
                writer = Writer("alice", "agent", session_id)
                for number in range(ENDS):
                    machine.refuse(DISK, (KILL, KILL_HALF_WAY)[number % 2], after=number, count=1)
                    with pytest.raises(BROKEN):
                        await writer.write(http, server, fresh=True)
                    assert await server.wait() == -signal.SIGKILL
                    assert machine.refused == 1, "it died of that very call"
                    machine.heal()
                    intact(data, tmp_path / f"after end {number}")
                    if number % 3 == 2:  # and once more, while it starts on what was left
                        machine.refuse(DISK, KILL, after=number // 3 % 12, count=1)
                        with contextlib.suppress(AssertionError):
                            await server.start()
                        deaths_at_a_start += machine.refused
                        machine.heal()
                        await server.kill()
                    await server.start()
                await writer.write(http, server, fresh=False)
            assert await server.end() == 0
        finally:
            await server.kill()
    stored = records_of(data, session_id)
    assert writer.seen == stored
    assert not writer.waiting
    made = [record["requestId"] for record in stored]
    assert len(made) == len(set(made))
    print(f"{ENDS} ends in a call, {deaths_at_a_start} more at a start; {len(made):,} acknowledged")


@pytest.mark.timeout(120 + 15 * ENDS)
async def test_a_first_start_that_ends_in_any_call_leaves_nothing_that_stops_the_next(
    tmp_path: Path,
) -> None:
    deaths = 0
    for number in range(0, 12 * ENDS, 12):
        scratch = tmp_path / f"{number}"
        scratch.mkdir()
        with Machine(scratch, scratch / "data") as machine:
            server = Server(scratch / "data", environment=machine.environment)
            machine.refuse(DISK, (KILL, KILL_HALF_WAY)[number // 12 % 2], after=number, count=1)
            with contextlib.suppress(AssertionError):
                await server.start()
            deaths += machine.refused
            machine.heal()
            await server.kill()
            await server.start()
            assert await server.end() == 0
        intact(scratch / "data", scratch / "intact")
    print(f"{deaths} first starts ended in a call")
    assert deaths > 0


def intact(data: Path, scratch: Path) -> None:
    """What the kill left behind is a sound database."""
    scratch.mkdir()
    for path in data.glob("companion.db*"):
        shutil.copy(path, scratch)
    with closing(sqlite3.connect(scratch / "companion.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    shutil.rmtree(scratch)


def records_of(data: Path, session_id: str) -> list[Message]:
    with closing(sqlite3.connect(data / "companion.db")) as connection:
        rows = connection.execute(
            "SELECT body FROM records JOIN sessions USING (number) WHERE session_id = ? ORDER BY seq", (session_id,)
        ).fetchall()
    return [json.loads(body) for (body,) in rows]


async def test_a_question_outlives_the_server_and_a_late_tap_still_counts(tmp_path: Path) -> None:
    options = [{"id": "air", "label": "UPS Next Day"}, {"id": "ground", "label": "Ground"}]
    async with running(tmp_path / "data") as server, aiohttp.ClientSession() as http:
        async with joined(http, server) as agent:
            session_id = agent.joined["session_id"]
            headers = {"Authorization": f"Bearer {server.token()}"}
            # Somebody may come: the call waits for its deadline.
            async with http.post(
                f"{server.url}/sessions/{session_id}/pairings", headers=headers, json={}
            ) as answer:
                assert answer.status == 201
                pairing = await answer.json()
            await agent.send(
                {"type": "client_tool_call", "tool_name": "companion_choose",
                 "tool_call_id": "call 1", "timeout_ms": 4000,
                 "parameters": {"title": "Which service?", "options": options}}
            )
            call = await agent.until(type="client_tool_call")
            await server.kill()
        await server.start()

        async with joined(http, server, session_id=session_id, after=call["seq"]) as agent:
            released = await agent.until(type="client_tool_result", tool_call_id="call 1")
            result = json.loads(released["result"])
            assert result["status"] == "no_screen"
            assert result["say"]
            assert released["is_error"] is False
            assert call["deadline_at"] <= released["timestamp"] < call["deadline_at"] + 2000

            async with http.post(
                f"{server.url}/pair", json={"code": pairing["code"], "device": "Pixel 7"}
            ) as answer:
                assert answer.status == 201, await answer.text()
                phone_token = (await answer.json())["token"]
            async with joined(http, server, token=phone_token) as phone:
                [question] = phone.joined["open_calls"]
                assert question["seq"] == call["seq"]
                assert question["released"] is True
                await phone.send(
                    {"type": "client_tool_result", "tool_call_id": "call 1",
                     "result": '{"status": "chosen", "id": "air", "label": "UPS Next Day"}'}
                )
                turn = await agent.until(type="user_message", in_reply_to="call 1")
            assert "UPS Next Day" in turn["text"]
            assert json.loads(turn["result"])["id"] == "air"
        async with joined(http, server, session_id=session_id) as later:
            assert later.joined["open_calls"] == []
