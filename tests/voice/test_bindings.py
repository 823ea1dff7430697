"""Whose a conversation is: the session's that named it first, while that session lives."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from companion_ws.testing.server import CompanionServer
from tests.voice.test_phone_call import TOOL_SECRET, WEBHOOK_SECRET, calling

CONVERSATION = "conv_of_alice"


@pytest.fixture(params=[True, False], ids=["transcripts", "no-transcripts"])
def companion_settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    return {
        "elevenlabs_tool_secret": TOOL_SECRET,
        "elevenlabs_webhook_secret": WEBHOOK_SECRET,
        "transcripts": request.param,
    }


def metadata(conversation_id: str = CONVERSATION) -> dict[str, Any]:
    return {
        "type": "conversation_initiation_metadata",
        "conversation_initiation_metadata_event": {"conversation_id": conversation_id},
    }


async def trail(server: CompanionServer, session_id: str) -> list[dict[str, Any]]:
    headers = {"Authorization": f"Bearer {server.token('root', 'admin')}"}
    async with aiohttp.ClientSession() as http:
        path = f"{server.url}/sessions/{session_id}/trail"
        async with http.get(path, headers=headers) as answer:
            entries: list[dict[str, Any]] = (await answer.json())["trail"]
            return entries


async def bound(server: CompanionServer, conversation_id: str = CONVERSATION) -> str | None:
    found = await server.sessions.find(conversation_id=conversation_id)
    return None if found is None else found.session_id


async def test_a_conversation_somebody_else_names_stays_where_it_is(
    companion_server: CompanionServer,
) -> None:
    async with companion_server.client("alice") as alice, companion_server.client("mallory") as thief:
        await say(alice)
        await until_bound(companion_server, alice.session_id)
        for _ in range(3):
            await say(thief)
        await say(thief, "conv_of_mallory")
        await until_bound(companion_server, thief.session_id, "conv_of_mallory")
        assert await bound(companion_server) == alice.session_id
        async with calling(companion_server, caller_id="") as call:
            call.conversation_id, call.call_sid = CONVERSATION, ""
            call.variables = {}
            await call.tool("wait_for_companion", {"seconds": 0})
            assert await call.hang_up() == {"status": "received"}
        records = [await texts(companion_server, s) for s in (alice.session_id, thief.session_id)]
        assert records == [["call_ended"], []]
        for client in (alice, thief):
            reasons = [entry.get("reason") for entry in await trail(companion_server, client.session_id)
                       if entry["event"] == "refused"]  # fmt: skip
            assert len(reasons) == 1
            assert "conversation" in str(reasons[0])


async def test_what_a_thief_named_is_not_shown_as_its_conversation(
    companion_server: CompanionServer,
) -> None:
    async with companion_server.client("alice") as alice, companion_server.client("mallory") as thief:
        await say(alice)
        await until_bound(companion_server, alice.session_id)
        await say(thief)
        await say(thief, "conv_of_mallory")
        await until_bound(companion_server, thief.session_id, "conv_of_mallory")
        again = companion_server.client("mallory", session_id=thief.session_id)
        async with again:
            assert again.joined["conversation_id"] == "conv_of_mallory"


async def test_a_conversation_is_free_again_when_its_session_is_over(
    companion_server: CompanionServer,
) -> None:
    async with companion_server.client("alice") as alice:
        await say(alice)
        await until_bound(companion_server, alice.session_id)
        await companion_server.sessions.end(alice.session_id, "done")
    async with companion_server.client("alice") as later:
        await say(later)
        await until_bound(companion_server, later.session_id)


async def test_a_conversation_named_again_in_its_own_session_is_nothing(
    companion_server: CompanionServer,
) -> None:
    async with companion_server.client("alice") as alice:
        for conversation_id in (CONVERSATION, "conv_2", CONVERSATION):
            await say(alice, conversation_id)
        for conversation_id in (CONVERSATION, "conv_2"):
            await until_bound(companion_server, alice.session_id, conversation_id)
        entries = await trail(companion_server, alice.session_id)
        assert [entry["event"] for entry in entries if entry["event"] == "refused"] == []


async def test_an_id_that_is_none_leads_nowhere(companion_server: CompanionServer) -> None:
    async with companion_server.client("alice") as alice:
        await say(alice, "x" * 257)
        await say(alice)
        await until_bound(companion_server, alice.session_id)
        assert await bound(companion_server, "x" * 257) is None
        assert (await trail(companion_server, alice.session_id))[-1]["event"] == "joined"


async def say(client: Any, conversation_id: str = CONVERSATION) -> None:
    await client.send(metadata(conversation_id))


async def until_bound(
    server: CompanionServer, session_id: str, conversation_id: str = CONVERSATION
) -> None:
    import asyncio

    async with asyncio.timeout(20):
        while await bound(server, conversation_id) != session_id:
            await asyncio.sleep(0.01)


async def texts(server: CompanionServer, session_id: str) -> list[str]:
    records = await server.sessions.records(session_id, 0, 1000)
    return [record["text"] for record in records if "text" in record]
