"""A test of an agent with its screen: no account, no network, one second.

    pip install "companion-ws[elevenlabs]" pytest-asyncio
    pytest -o asyncio_mode=auto test_my_agent.py

The fixtures come with companion-ws: a server, a fake ElevenLabs, a session, a phone.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from elevenlabs import ElevenLabs
from elevenlabs.conversational_ai.conversation import AsyncConversation

from companion_ws import CompanionClient
from companion_ws.testing.fake_elevenlabs import FakeElevenLabs
from companion_ws.testing.phone import Phone
from companion_ws.voice.elevenlabs import attach, companion_tools

TABLES = [{"id": "t1", "label": "Window"}, {"id": "t2", "label": "Garden"}]


@pytest.fixture
def companion_settings() -> dict[str, Any]:
    return {"tools": "own_tools"}


async def test_the_guest_picks_a_table_and_the_agent_hears_it(
    companion: CompanionClient, phone: Phone, fake_elevenlabs: FakeElevenLabs
) -> None:
    conversation = AsyncConversation(
        ElevenLabs(api_key="any", base_url=fake_elevenlabs.url),
        "agent",
        requires_auth=False,
        client_tools=companion_tools(companion),
    )
    attach(conversation, companion)
    await conversation.start_session()
    agent = await fake_elevenlabs.next_conversation()

    found = await agent.call_tool("find_tables", {"guests": 2})
    assert len(found.json) == 3
    await phone.sees("free_tables")

    asking = asyncio.create_task(
        agent.call_tool("companion_choose", {"title": "Which table?", "options": TABLES})
    )
    await phone.choose("t2")
    assert (await asking).json["label"] == "Garden"

    await phone.say("And a high chair, please")
    assert await agent.user_messages.next() == "And a high chair, please"
    await conversation.end_session()
