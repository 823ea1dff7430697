"""A page gets a signed URL from the server and never sees the API key."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from companion_ws.testing.fake_elevenlabs import FakeElevenLabs
from companion_ws.testing.server import CompanionServer

KEY = "key-of-this-test"


@pytest.fixture
async def elevenlabs() -> AsyncIterator[FakeElevenLabs]:
    async with FakeElevenLabs(api_key=KEY, requires_auth=True) as fake:
        yield fake


@pytest.fixture
def companion_settings(elevenlabs: FakeElevenLabs) -> dict[str, Any]:
    return {
        "elevenlabs_api_key": KEY,
        "elevenlabs_agent_id": "agent-7",
        "elevenlabs_base_url": elevenlabs.url,
    }


async def asked(server: CompanionServer, token: str | None) -> tuple[int, dict[str, Any]]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{server.url}/elevenlabs/signed-url", headers=headers) as answer:
            return answer.status, await answer.json()


async def test_a_signed_url_starts_a_conversation(
    companion_server: CompanionServer, elevenlabs: FakeElevenLabs
) -> None:
    status, body = await asked(companion_server, companion_server.token())
    assert status == 200
    assert KEY not in str(body)
    async with aiohttp.ClientSession() as http:
        async with http.ws_connect(body["signed_url"]) as socket:
            await socket.send_json({"type": "conversation_initiation_client_data"})
            began = await elevenlabs.next_conversation()
            assert began.agent_id == "agent-7"


async def test_nobody_without_a_token_gets_one(companion_server: CompanionServer) -> None:
    assert (await asked(companion_server, None))[0] == 401
    service = companion_server.token("shop", "service")
    assert (await asked(companion_server, service))[0] == 403


async def test_a_refusal_of_elevenlabs_is_told_without_the_key(
    companion_server: CompanionServer, elevenlabs: FakeElevenLabs
) -> None:
    elevenlabs.api_key = "another"
    status, body = await asked(companion_server, companion_server.token())
    assert (status, body["code"]) == (503, "unavailable")
    assert KEY not in str(body)


async def test_without_an_agent_there_is_nothing_here() -> None:
    async with CompanionServer() as server:
        assert (await asked(server, server.token()))[0] == 404
