"""Receivers that are slow, silent or far behind cost nobody else anything."""

from __future__ import annotations

import asyncio
import sqlite3
import uuid
from contextlib import AsyncExitStack, closing
from pathlib import Path

import aiohttp
from real_server import Screen, Server, joined, running, silent_peer

LOG_RECORDS = 1000
RECORD_BYTES = 8100
"""A thousand of them are just under the 8 MiB a log keeps."""


async def fill_log(agent: Screen) -> None:
    """Write a log that is nearly as large as it may be."""
    text = "x" * (RECORD_BYTES - 250)

    async def send() -> None:
        for _ in range(LOG_RECORDS):
            await agent.send({"type": "contextual_update", "text": text})

    sending = asyncio.create_task(send())
    await agent.until(seq=LOG_RECORDS)
    await sending


async def test_a_full_log_is_resumed_under_live_traffic_and_nobody_misses_anything(
    tmp_path: Path,
) -> None:
    # More records than the default, so that live traffic does not trim what is replayed.
    flags = ("--limit-records=100000", "--limit-log-bytes=16777216")
    async with running(tmp_path / "data", *flags) as server, aiohttp.ClientSession() as http:
        async with AsyncExitStack() as stack:
            agent = await stack.enter_async_context(joined(http, server))
            session_id = agent.joined["session_id"]
            await fill_log(agent)
            others = [
                await stack.enter_async_context(
                    joined(http, server, session_id=session_id, role="ui")
                )
                for _ in range(3)
            ]
            is_over = asyncio.Event()

            async def talk() -> str:
                last = ""
                while not is_over.is_set():
                    last = await agent.send({"type": "contextual_update", "text": "live"})
                    await agent.until(requestId=last)
                return last

            talking = asyncio.create_task(talk())
            reading = [asyncio.create_task(other.to_the_end()) for other in others]

            # One who reads at once, one who takes its time, one who comes from the middle.
            async def resume(after: int, pause_s: float) -> Screen:
                screen = await stack.enter_async_context(
                    joined(http, server, session_id=session_id, role="observer", after=after)
                )
                assert screen.joined["recovery"] == "replay"
                while not screen.records or screen.records[-1]["text"] != "live":
                    assert await screen.receive() is not None, screen.ws.close_code
                    await asyncio.sleep(pause_s)
                return screen

            resumed = [
                await resuming
                for resuming in asyncio.as_completed(
                    [resume(0, 0), resume(0, 0.002), resume(LOG_RECORDS // 2, 0)]
                )
            ]
            for screen in resumed:
                await screen.until(text="live")
            is_over.set()
            last = await talking
            for screen in resumed:
                if screen.records[-1]["requestId"] != last:
                    await screen.until(requestId=last)
            end = resumed[0].records[-1]["seq"]
            while any(not other.records or other.records[-1]["seq"] < end for other in others):
                await asyncio.sleep(0.01)
            for task in reading:
                task.cancel()

            starts = sorted(screen.records[0]["seq"] for screen in resumed)
            assert starts == [1, 1, LOG_RECORDS // 2 + 1]
            for screen in (*resumed, *others):
                seqs = [record["seq"] for record in screen.records]
                assert seqs == list(range(seqs[0], end + 1))
                assert [r["text"] for r in screen.records if r["seq"] > LOG_RECORDS] == ["live"] * (
                    end - LOG_RECORDS
                )


async def test_peers_that_never_read_are_cut_off_alone_and_memory_stays_bounded(
    tmp_path: Path,
) -> None:
    async with running(tmp_path / "data") as server, aiohttp.ClientSession() as http:
        async with (
            joined(http, server) as agent,
            joined(http, server, session_id=agent.joined["session_id"], role="ui") as good,
        ):
            session_id = agent.joined["session_id"]
            silent = [
                await silent_peer(server, session_id, role="ui", device=f"silent{n}")
                for n in range(8)
            ]
            before_bytes = server.rss_bytes()
            most_bytes = before_bytes
            text = "x" * 20_000
            gone: set[str] = set()

            async def read() -> None:
                while True:
                    message = await good.receive()
                    assert message is not None, good.ws.close_code
                    if message["type"] == "presence" and message["event"] == "dropped":
                        gone.add(message["device"])

            reading = [asyncio.create_task(read()), asyncio.create_task(agent.to_the_end())]
            sent = 0
            async with asyncio.timeout(30):
                while len(gone) < len(silent):
                    await agent.send({"type": "contextual_update", "text": text})
                    sent += 1
                    await asyncio.sleep(0.005)
                    most_bytes = max(most_bytes, server.rss_bytes())
                while len(good.records) < sent:
                    await asyncio.sleep(0.01)
            for task in reading:
                task.cancel()
            await asyncio.gather(*reading, return_exceptions=True)

            assert [record["seq"] for record in good.records] == list(range(1, sent + 1))
            # 512 KiB each, what a log of 1,000 records holds in memory, and room for the rest.
            assert most_bytes - before_bytes < 40 * 1024 * 1024
            for writer in silent:
                writer.transport.abort()


async def test_a_start_with_a_hundred_thousand_stored_sessions_works_no_more_than_an_empty_one(
    tmp_path: Path,
) -> None:
    empty_s = await cost_of_a_start(tmp_path / "empty", 0)
    full_s = await cost_of_a_start(tmp_path / "full", 100_000)
    assert full_s < empty_s + 0.5


async def cost_of_a_start(data: Path, sessions: int) -> float:
    """Return the processor time until a server with so many sessions is ready and let one join."""
    server = Server(data)
    await server.start()
    try:
        async with aiohttp.ClientSession() as http:
            async with joined(http, server) as agent:
                known = agent.joined["session_id"]
                await agent.send({"type": "state_update", "key": "step", "value": 1})
                await agent.until(type="state_updated")
        await server.end()
        store_sessions(data / "companion.db", known, sessions)
        await server.start()
        async with aiohttp.ClientSession() as http:
            async with joined(http, server, session_id=known) as agent:
                assert agent.joined["state"]["step"]["value"] == 1
                spent_s = server.cpu_s()
    finally:
        await server.kill()
    return spent_s


def store_sessions(path: Path, known: str, count: int) -> None:
    """Store copies of a session with its log, state and an unanswered question each."""
    with closing(sqlite3.connect(path)) as connection, connection:
        [(now_ms,)] = connection.execute("SELECT created_at_ms FROM sessions").fetchall()
        ids = [str(uuid.UUID(int=number + 1, version=4)) for number in range(count)]
        connection.executemany(
            "INSERT INTO sessions (session_id, user, created_at_ms, last_active_at_ms)"
            " VALUES (?, ?, ?, ?)",
            [(name, f"user {n % 1000}", now_ms, now_ms) for n, name in enumerate(ids)],
        )
        connection.execute(
            "INSERT INTO tips (number, seq, first_seq, is_open)"
            " SELECT number, 1, 1, 1 FROM sessions WHERE session_id != ?",
            (known,),
        )
        connection.execute(
            "INSERT INTO records (number, seq, type, body)"
            " SELECT sessions.number, 1, 'state_updated', body FROM sessions, records"
            " JOIN sessions AS filled ON filled.number = records.number"
            " WHERE filled.session_id = ? AND sessions.session_id != ?",
            (known, known),
        )
        connection.executemany(
            "INSERT INTO state (session_id, key, value, revision) VALUES (?, 'step', x'31', 1)",
            [(name,) for name in ids],
        )
        connection.executemany(
            "INSERT INTO due (session_id, kind, ref, at_ms) VALUES (?, 'deadline', 'call', ?)",
            [(name, now_ms + 3_600_000) for name in ids],
        )
