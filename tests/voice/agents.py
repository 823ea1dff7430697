"""Agents for tests: both Conversation classes of the real SDK behind one face."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from elevenlabs import ElevenLabs
from elevenlabs.conversational_ai.conversation import (
    AsyncConversation,
    ClientTools,
    Conversation,
    ConversationInitiationData,
)

from companion_ws.client import CompanionClient
from companion_ws.testing.fake_elevenlabs import FakeConversation, FakeElevenLabs
from companion_ws.voice.elevenlabs import Attachment, attach, companion_tools
from tests.voice.silent_audio import AsyncSilentAudio, SilentAudio


class Agent:
    """A conversation at the fake, joined to a session; `said` is ElevenLabs' side of it."""

    said: FakeConversation
    attachment: Attachment

    def __init__(
        self,
        kind: str,
        sdk: ElevenLabs,
        fake: FakeElevenLabs,
        companion: CompanionClient,
        *,
        tools: ClientTools | None = None,
        previous: Attachment | None = None,
        **callbacks: Any,
    ) -> None:
        self.fake = fake
        self.is_async = kind == "async"
        make: Any = AsyncConversation if self.is_async else Conversation
        self.conversation = make(
            sdk,
            "agent",
            requires_auth=False,
            audio_interface=AsyncSilentAudio() if self.is_async else SilentAudio(),
            config=ConversationInitiationData(dynamic_variables={"name": "Ada"}),
            client_tools=tools or companion_tools(companion),
            **callbacks,
        )
        self.attachment = attach(self.conversation, companion, previous=previous)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def start(self) -> None:
        if self.is_async:
            await self.conversation.start_session()
        else:
            await asyncio.to_thread(self.conversation.start_session)
        self.said = await self.fake.next_conversation()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.end()
        self.attachment.close()

    async def end(self) -> None:
        if self.is_async:
            await self.conversation.end_session()
            with suppress(Exception):  # a close by the fake is told a second time here
                await self.conversation.wait_for_session_end()
        else:
            await asyncio.to_thread(self.conversation.end_session)
            await asyncio.to_thread(self.conversation.wait_for_session_end)
