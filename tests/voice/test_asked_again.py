"""Call ids that come again: in another conversation another call, the same question once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from companion_ws.client import CompanionClient
from companion_ws.testing.fake_elevenlabs import FakeElevenLabs
from companion_ws.testing.phone import Phone
from companion_ws.testing.server import CompanionServer
from companion_ws.voice.elevenlabs import companion_tools
from tests.voice.agents import Agent
from tests.voice.test_elevenlabs_node import CHOICE, agent, answer_within_ms, said  # noqa: F401 - fixtures
from tests.voice.test_phone_call import TOOL_SECRET, WEBHOOK_SECRET, calling, screen_of

OTHER = {"title": "When?", "options": [{"id": "now", "label": "Now"}, {"id": "never", "label": "Never"}]}


@pytest.fixture
def companion_settings() -> dict[str, Any]:
    return {
        "elevenlabs_tool_secret": TOOL_SECRET,
        "elevenlabs_webhook_secret": WEBHOOK_SECRET,
        "tools": "companion_ws.examples.shipping",
    }


async def asked(server: CompanionServer, session_id: str) -> list[dict[str, Any]]:
    records = await server.sessions.records(session_id, 0, 1000)
    return [record for record in records if record["type"] == "client_tool_call"]


async def count_asked(server: CompanionServer, session_id: str) -> int:
    """How many questions a screen has been shown: one that joins another is none of its own."""
    return len([call for call in await asked(server, session_id) if not call.get("joins")])


async def until_both_asked(server: CompanionServer, session_id: str) -> None:
    """Wait until the second one has come while the first is open: nobody answers before."""
    async with asyncio.timeout(20):
        while len(await asked(server, session_id)) < 2:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("is_attached", [True, False])
async def test_a_call_id_of_the_conversation_before_asks_again_in_python(
    kind: str, is_attached: bool, sdk: Any, fake: FakeElevenLabs, companion: CompanionClient,
    here: Phone,
) -> None:  # fmt: skip
    tools = companion_tools(companion) if kind == "async" else None
    for question, choice in ((CHOICE, "air"), (OTHER, "never")):
        running = Agent(kind, sdk, fake, companion, tools=tools)
        if not is_attached:
            running.attachment.close()
        async with running:
            asking = asyncio.create_task(
                running.said.call_tool("companion_choose", question, tool_call_id="call_0")
            )
            await here.choose(choice)
            result = await asking
            assert (result.is_error, result.json["id"]) == (False, choice)


async def test_the_same_question_after_an_interruption_is_asked_once_in_python(
    sdk: Any, fake: FakeElevenLabs, companion: CompanionClient, companion_server: CompanionServer,
    here: Phone,
) -> None:  # fmt: skip
    async with Agent("async", sdk, fake, companion) as running:
        asking = [
            asyncio.create_task(
                running.said.call_tool("companion_choose", CHOICE, tool_call_id=f"call_{number}")
            )
            for number in range(2)
        ]
        await until_both_asked(companion_server, companion.session_id)
        await here.choose("air")
        results = [(await one).json["id"] for one in asking]
        assert results == ["air", "air"]
    assert await count_asked(companion_server, companion.session_id) == 1


async def test_a_call_id_of_the_conversation_before_asks_again_in_a_page(
    agent: Any, fake: FakeElevenLabs, here: Phone  # noqa: F811
) -> None:
    for question, choice in ((CHOICE, "air"), (OTHER, "never")):
        await agent.order("start", "started")
        conversation = await fake.next_conversation()
        asking = asyncio.create_task(
            conversation.call_tool("companion_choose", question, tool_call_id="call_0")
        )
        await here.choose(choice)
        assert (await asking).json["id"] == choice
        await conversation.end()


async def test_the_same_question_after_an_interruption_is_asked_once_in_a_page(
    said: Any, companion: CompanionClient, companion_server: CompanionServer, here: Phone  # noqa: F811
) -> None:
    asking = [
        asyncio.create_task(said.call_tool("companion_choose", CHOICE, tool_call_id=f"call_{one}"))
        for one in range(2)
    ]
    await until_both_asked(companion_server, companion.session_id)
    await here.choose("air")
    assert [(await one).json["id"] for one in asking] == ["air", "air"]
    assert await count_asked(companion_server, companion.session_id) == 1


async def test_a_call_id_of_the_call_before_asks_again_on_the_telephone(
    companion_server: CompanionServer,
) -> None:
    for question, choice in ((CHOICE, "air"), (OTHER, "never")):
        async with calling(companion_server, flat=False) as call:
            async with screen_of(companion_server, call) as phone:
                asking = asyncio.create_task(
                    call.tool("companion_choose", question, tool_call_id="call_0")
                )
                await phone.choose(choice)
                assert (await asking)["id"] == choice


async def test_the_same_question_under_another_id_is_asked_once_on_the_telephone(
    companion_server: CompanionServer,
) -> None:
    async with calling(companion_server, flat=False) as call:
        async with screen_of(companion_server, call) as phone:
            asking = [
                asyncio.create_task(call.tool("companion_choose", CHOICE, tool_call_id=f"call_{n}"))
                for n in range(2)
            ]
            await until_both_asked(companion_server, phone.client.session_id)
            await phone.choose("air")
            assert [(await one)["id"] for one in asking] == ["air", "air"]
            assert await count_asked(companion_server, phone.client.session_id) == 1


async def test_a_server_tool_runs_as_often_as_the_telephone_asks(
    companion_server: CompanionServer,
) -> None:
    async with calling(companion_server) as call:
        parcel = {"from_zip": "94107", "to_zip": "10001", "weight": 5}
        await asyncio.gather(*(call.tool("get_shipping_quotes", parcel) for _ in range(2)))
        assert await count_asked(companion_server, call.variables["companion_session_id"]) == 2
