"""Several telephone calls: who shares a session with whom, and how many there may be."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from companion_ws.core.session import Sender
from companion_ws.database import Database
from companion_ws.files import folder
from companion_ws.testing.phone_call import PhoneCall
from companion_ws.testing.server import CompanionServer
from companion_ws.voice.callers import number_of
from tests.voice.test_phone_call import TOOL_SECRET, WEBHOOK_SECRET, calling, screen_of

NUMBER = "+12025550100"
SPELLINGS = [
    "+12025550100",
    "12025550100",
    "+1 202 555 0100",
    "+1 (202) 555-0100",
    "tel:+1-202-555-0100",
    "sip:+12025550100@carrier.example",
    "sip:12025550100@10.0.0.1:5060;user=phone",
    '"Ada" <sips:+12025550100@carrier.example;transport=tls>',
    "0012025550100",
    "2025550100",
    "sip:%2B12025550100@carrier.example",
]
WITHHELD = [
    "", " ", "0", "+", "anonymous", "Anonymous", "restricted", "unknown", "Unavailable",
    "private", "withheld", "No Caller ID", "sip:anonymous@anonymous.invalid", "tel:anonymous",
    "+266696687", "266696687", "sip:+266696687@gw.example", "7378742833", "+17378742833",
    "8656696", "+8656696", "86282452253", "+86282452253", "7748283", "94844353", "2562533",
    "0000000000", "+10000000000", "+10000000001", "sip:192.168.100.200", "+1202555****", "1111111111", "9999999999", "1234567890", "911", "101", "null",
]  # fmt: skip


@pytest.fixture
def companion_settings() -> dict[str, Any]:
    return {"elevenlabs_tool_secret": TOOL_SECRET, "elevenlabs_webhook_secret": WEBHOOK_SECRET}


def session_of(call: PhoneCall) -> str:
    return str(call.variables["companion_session_id"])


async def texts(server: CompanionServer, session_id: str) -> list[str]:
    records = await server.sessions.records(session_id, 0, 1000)
    return [record["text"] for record in records if "text" in record]


@contextlib.asynccontextmanager
async def no_end_is_told(call: PhoneCall) -> AsyncIterator[PhoneCall]:
    """A call whose end ElevenLabs has not told yet when it is left."""
    async with call as ringing:
        yield ringing
        ringing._is_over = True


async def test_one_caller_written_in_many_ways_finds_the_session(
    companion_server: CompanionServer,
) -> None:
    found = set()
    for spelling in SPELLINGS:
        called = "+12025550199"
        async with calling(companion_server, caller_id=spelling, called_number=called) as call:
            found.add(session_of(call))
    assert len(found) == 1


async def test_what_was_called_may_be_written_in_many_ways_too(
    companion_server: CompanionServer,
) -> None:
    found = set()
    for called in ("+12025550199", "sip:+12025550199@gw.example", "tel:+1-202-555-0199"):
        async with calling(companion_server, caller_id=NUMBER, called_number=called) as call:
            found.add(session_of(call))
    assert len(found) == 1


@pytest.mark.parametrize("caller_id", WITHHELD)
def test_a_withheld_number_is_none(caller_id: str) -> None:
    assert number_of(caller_id, called="+12025550199") == ""
    assert number_of(caller_id) == ""


async def test_callers_who_withhold_their_number_never_share_a_session(
    companion_server: CompanionServer,
) -> None:
    found = []
    for caller_id in WITHHELD * 2:
        async with calling(companion_server, caller_id=caller_id) as call:
            found.append(session_of(call))
    assert len(set(found)) == 2 * len(WITHHELD)


async def test_two_callers_of_one_office_number_never_share_a_session(
    companion_server: CompanionServer,
) -> None:
    async with calling(companion_server) as first, calling(companion_server) as second:
        assert session_of(first) != session_of(second)
        await companion_server.sessions.update_session_state(session_of(first), "secret", "mine")
        reply = await second.tool("wait_for_companion", {"seconds": 0})
        assert reply["companion"]["events"] == []
        found = await companion_server.sessions.find(conversation_id=second.conversation_id)
        assert found is not None
        assert found.session_id == session_of(second)


async def test_two_who_call_in_the_same_moment_never_share_a_session(
    companion_server: CompanionServer,
) -> None:
    async with calling(companion_server) as before:
        known = session_of(before)
    calls = [calling(companion_server) for _ in range(5)]
    async with contextlib.AsyncExitStack() as stack:
        await asyncio.gather(*(stack.enter_async_context(call) for call in calls))
        assert len({session_of(call) for call in calls}) == 5
        assert known in {session_of(call) for call in calls}, "one of them is who called before"


async def test_a_tool_request_that_names_a_number_alone_never_takes_another_callers_session(
    companion_server: CompanionServer,
) -> None:
    async with calling(companion_server) as first, calling(companion_server):
        asked = {"caller_id": "+15550100", "called_number": "+15550199", "seconds": 0}
        reply = await bare_tool(companion_server, asked)
        assert reply["is_error"]
        assert reply["say"]
        await first.hang_up()
        assert (await bare_tool(companion_server, asked))["status"] == "waiting"


async def bare_tool(server: CompanionServer, body: dict[str, Any]) -> dict[str, Any]:
    """Call a tool with nothing in the headers that says which call it is."""
    path = f"{server.url}/elevenlabs/tools/wait_for_companion"
    async with aiohttp.ClientSession() as http:
        headers = {"X-Companion-Secret": TOOL_SECRET}
        async with http.post(path, json=body, headers=headers) as answer:
            assert answer.status == 200
            reply: dict[str, Any] = await answer.json()
            return reply


async def test_the_end_of_the_first_call_finds_its_session_after_the_caller_redialled(
    companion_server: CompanionServer,
) -> None:
    async with no_end_is_told(calling(companion_server)) as first:
        await first.tool("wait_for_companion", {"seconds": 0})
    async with calling(companion_server) as second:
        await second.tool("wait_for_companion", {"seconds": 0})
        async with first:
            first_session = session_of(first)
            await first.hang_up(summary="Of the first call.")
        assert "call_ended" in await texts(companion_server, first_session)


async def test_a_session_is_found_by_every_call_it_ever_had(
    companion_server: CompanionServer,
) -> None:
    calls = []
    for _ in range(3):
        async with calling(companion_server) as call:
            await call.tool("wait_for_companion", {"seconds": 0})
            calls.append(call)
    assert len({session_of(call) for call in calls}) == 1
    headers = {"Authorization": f"Bearer {companion_server.token('root', 'admin')}"}
    async with aiohttp.ClientSession() as http:
        for ref in (ref for call in calls for ref in (call.conversation_id, call.call_sid)):
            path = f"{companion_server.url}/sessions?conversation_id={ref}"
            async with http.get(path, headers=headers) as answer:
                [found] = (await answer.json())["sessions"]
                assert found["session_id"] == session_of(calls[0])


async def test_a_call_whose_end_was_never_told_is_over_after_a_silence(
    companion_server: CompanionServer,
) -> None:
    calls = companion_server.sessions.calls
    async with no_end_is_told(calling(companion_server)) as first:
        now_s = calls.clock_s()
        calls.clock_s = lambda: now_s + 14 * 60
        await first.tool("wait_for_companion", {"seconds": 0})
        calls.clock_s = lambda: now_s + 28 * 60
        assert calls.count == 1
        calls.clock_s = lambda: now_s + 30 * 60
        assert calls.count == 0
    async with calling(companion_server) as second:
        assert session_of(second) == session_of(first)


async def test_the_recording_of_a_call_ends_it_too(companion_server: CompanionServer) -> None:
    async with calling(companion_server) as call:
        assert companion_server.sessions.calls.count == 1
        await call.hang_up("post_call_audio")
        assert companion_server.sessions.calls.count == 0
        assert await texts(companion_server, session_of(call)) == []


async def test_a_late_end_of_the_first_call_does_not_end_the_second_in_its_session(
    companion_server: CompanionServer,
) -> None:
    calls = companion_server.sessions.calls
    async with no_end_is_told(calling(companion_server)) as first:
        await first.tool("wait_for_companion", {"seconds": 0})
    now_s = calls.clock_s()
    calls.clock_s = lambda: now_s + 16 * 60
    async with calling(companion_server) as second:
        assert session_of(second) == session_of(first)
        async with first:
            first.variables = dict(second.variables)
            await first.hang_up()
        assert await calls.is_live(session_of(second))


async def test_a_call_that_fell_silent_is_not_revived_by_a_restart(
    companion_server: CompanionServer,
) -> None:
    calls = companion_server.sessions.calls
    async with no_end_is_told(calling(companion_server, caller_id="")):
        now_s = calls.clock_s()
        calls.clock_s = lambda: now_s + 16 * 60
    async with no_end_is_told(calling(companion_server, caller_id="")):
        await companion_server.stop()
        await companion_server.start()
        assert companion_server.sessions.calls.count == 1


async def test_what_is_said_keeps_a_call_alive(companion_server: CompanionServer) -> None:
    calls = companion_server.sessions.calls
    async with calling(companion_server) as call:
        now_s = calls.clock_s()
        calls.clock_s = lambda: now_s + 14 * 60
        said = {"user_transcript": "Hello"}
        await companion_server.sessions.submit(
            session_of(call),
            {"type": "user_transcript", "user_transcription_event": said},
            Sender("agent", "phone"),
        )
        calls.clock_s = lambda: now_s + 28 * 60
        assert calls.count == 1


async def test_a_restart_forgets_no_call(companion_server: CompanionServer) -> None:
    async with calling(companion_server) as first:
        await companion_server.stop()
        await companion_server.start()
        async with calling(companion_server) as second:
            assert session_of(second) != session_of(first)
            assert companion_server.sessions.calls.count == 2


async def test_a_call_too_many_goes_on_by_voice_and_one_that_ends_makes_room() -> None:
    settings = {
        "elevenlabs_tool_secret": TOOL_SECRET,
        "elevenlabs_webhook_secret": WEBHOOK_SECRET,
        "limit_calls": 2,
        "limit_sessions_per_user": 1,
    }
    async with CompanionServer(**settings) as server:
        async with calling(server, caller_id="") as first, calling(server, caller_id="") as second:
            async with calling(server, caller_id="") as third:
                assert third.variables.keys() == first.variables.keys()
                empty = {**third.variables, "companion_status": ""}
                assert set(empty.values()) == {"", False}
                assert third.variables["companion_status"] == "unavailable"
                assert first.variables["companion_status"] == "ready"
                reply = await third.tool("companion_show", {"title": "Rates"})
                assert reply["is_error"]
                assert reply["say"]
            await second.hang_up()
            async with calling(server, caller_id="") as fourth:
                assert fourth.variables["companion_status"] == "ready"
                assert await server.sessions.summary(session_of(first)) is not None
            # The same call is asked for again where its first answer got lost.
            await first.ring()
            assert first.variables["companion_status"] == "ready"


async def test_fifty_five_calls_keep_their_sessions_and_their_screens() -> None:
    settings = {"elevenlabs_tool_secret": TOOL_SECRET, "limit_connections_per_user": 3,
                "limit_sessions_per_user": 5}  # fmt: skip
    async with CompanionServer(**settings) as server, contextlib.AsyncExitStack() as stack:
        mine = await server.sessions.create("phone")
        calls = [calling(server, caller_id=f"+120255501{number:02}") for number in range(55)]
        for call in calls:
            await stack.enter_async_context(call)
        assert len({session_of(call) for call in calls}) == 55
        for call in calls[:5]:
            await stack.enter_async_context(screen_of(server, call))
        for session_id in (mine.session_id, *map(session_of, calls)):
            assert await server.sessions.summary(session_id) is not None
        for _ in range(4):
            await server.sessions.create("phone")
        assert await server.sessions.summary(mine.session_id) is not None


async def test_a_call_in_a_users_own_session_keeps_it_from_making_room() -> None:
    from companion_ws.access.keys import Keys
    from companion_ws.access.tokens import Tokens

    settings = {"elevenlabs_tool_secret": TOOL_SECRET, "limit_sessions_per_user": 2}
    async with CompanionServer(**settings) as server:
        mine = await server.sessions.create("alice")
        tokens = Tokens(Keys.load(server.config.data, None))
        call = calling(server)
        token, _ = tokens.issue("session", "alice", 60, session_id=mine.session_id, role="agent")
        async with aiohttp.ClientSession() as http:
            headers = {"X-Companion-Secret": TOOL_SECRET, "X-Companion-Session": token}
            path = f"{server.url}/elevenlabs/init"
            async with http.post(path, json={"call_sid": call.call_sid}, headers=headers) as answer:
                variables = (await answer.json())["dynamic_variables"]
            async with http.post(path, json={"call_sid": "CA2"}, headers=headers) as answer:
                others = (await answer.json())["dynamic_variables"]
        assert variables["companion_session_id"] == mine.session_id
        assert others["companion_session_id"] != mine.session_id, "two calls never share"
        for _ in range(3):
            await server.sessions.create("alice")
        assert await server.sessions.summary(mine.session_id) is not None


async def test_a_filled_database_of_the_first_version_is_taken_over(tmp_path: Path) -> None:
    old = tmp_path / "migrations"
    old.mkdir()
    for file in sorted(folder("migrations").glob("000[123]*.sql")):
        (old / file.name).write_text(file.read_text())
    path = tmp_path / "companion.db"
    database = Database(path, old, "process")
    await database.open()
    await database.close()
    with sqlite3.connect(path) as filled:
        filled.execute(
            "INSERT INTO sessions (session_id, user, conversation_id, call_sid, created_at_ms,"
            " last_active_at_ms) VALUES ('one', 'phone', 'conv_1', 'CA1', 1, 1)"
        )
        filled.execute("INSERT INTO callers VALUES ('+15550100', '+15550199', 'one', 1)")
    filled.close()
    database = Database(path, folder("migrations"), "process")
    await database.open()
    try:
        assert set(await database.read("SELECT kind, ref, session_id FROM bindings")) == {
            ("conversation", "conv_1", "one"),
            ("call", "CA1", "one"),
        }
        assert await database.read("SELECT is_call FROM sessions") == [(1,)]
        assert len(await database.read("SELECT * FROM callers")) == 1
    finally:
        await database.close()
