"""An ElevenLabs agent in a Python process, with a screen that joins by QR code or link.

    pip install "companion-ws[elevenlabs]"
    COMPANION_TOKEN=… ELEVENLABS_API_KEY=… ELEVENLABS_AGENT_ID=… python python_agent.py

You type, the agent answers; with an audio interface you would talk.
"""

from __future__ import annotations

import asyncio
import os
import sys

from elevenlabs import ElevenLabs
from elevenlabs.conversational_ai.conversation import (
    AsyncConversation,
    ConversationInitiationData,
)

from companion_ws import CompanionClient
from companion_ws.voice.elevenlabs import attach, companion_tools


async def main() -> None:
    base_url = os.environ.get("ELEVENLABS_BASE_URL", "https://api.elevenlabs.io")
    elevenlabs = ElevenLabs(api_key=os.environ["ELEVENLABS_API_KEY"], base_url=base_url)
    url = os.environ.get("COMPANION_URL", "http://127.0.0.1:8000")

    async with CompanionClient(url, token=os.environ["COMPANION_TOKEN"]) as companion:
        invitation = await companion.pair(ttl_s=900)
        print(f"Open {invitation.url} on a phone", flush=True)

        conversation = AsyncConversation(
            elevenlabs,
            os.environ["ELEVENLABS_AGENT_ID"],
            requires_auth=True,
            config=ConversationInitiationData(
                dynamic_variables={"companion_session_id": companion.session_id}
            ),
            client_tools=companion_tools(companion),  # every tool the agent calls
            callback_agent_response=show,
        )
        attach(conversation, companion)  # transcripts to the session, taps to the agent
        await conversation.start_session()
        try:
            while line := await asyncio.to_thread(sys.stdin.readline):
                await conversation.send_user_message(line.strip())
        finally:
            await conversation.end_session()


async def show(text: str) -> None:
    print(f"Agent: {text}", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
