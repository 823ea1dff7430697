"""The server is killed in the middle of a question; the agent gets its answer all the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from elevenlabs import ElevenLabs

from companion_ws.testing.fake_elevenlabs import FakeElevenLabs
from companion_ws.testing.phone import Phone
from tests.voice.agents import Agent
from tests.voice.killable import KillableServer

OPTIONS = [{"id": "air", "label": "UPS Next Day"}, {"id": "ground", "label": "FedEx Ground"}]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[KillableServer]:
    killable = KillableServer(tmp_path / "data")
    await killable.start()
    yield killable
    await killable.kill()


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_killed_and_started_again_the_answer_arrives(
    kind: str, fake: FakeElevenLabs, sdk: ElevenLabs, server: KillableServer
) -> None:
    async with server.client() as companion:
        watching = Phone(server.client(session_id=companion.session_id, role="ui", after=0))
        async with watching as screen, Agent(kind, sdk, fake, companion) as agent:
            await companion.wait_for_screen(10)
            question = {"title": "Which?", "options": OPTIONS}
            asking = asyncio.create_task(agent.said.call_tool("companion_choose", question))
            await screen.question()
            await server.kill()
            await server.start()
            await screen.choose("air")
            assert (await asking).json["id"] == "air"


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_nobody_was_there_before_the_kill_and_the_late_tap_is_told_once(
    kind: str, fake: FakeElevenLabs, sdk: ElevenLabs, server: KillableServer
) -> None:
    async with server.client() as companion, Agent(kind, sdk, fake, companion) as agent:
        asked = await agent.said.call_tool(
            "companion_choose", {"title": "Which?", "options": OPTIONS}
        )
        assert asked.json["status"] == "no_screen"
        await server.kill()
        await server.start()
        async with await Phone.pair(server.url, asked.json["pairing_code"], timeout_s=20) as phone:
            await phone.choose("air")
            await agent.said.user_messages.next(20)
            await phone.say("thanks")
            await agent.said.user_messages.next(20)
        assert list(agent.said.user_messages) == ["About “Which?”: UPS Next Day.", "thanks"]
