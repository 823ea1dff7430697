"""A LiveKit agent with a screen, in a terminal instead of a room.

    pip install "companion-ws[livekit]"
    COMPANION_TOKEN=… LIVEKIT_API_KEY=… LIVEKIT_API_SECRET=… python livekit_agent.py

You type, the agent answers. In a room, give `stt` and `tts` to the AgentSession and `room` to
its `start`; the rest stays as it is.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from livekit.agents import Agent, AgentSession, inference

from companion_ws import CompanionClient
from companion_ws.voice.livekit import PROMPT, attach, companion_toolset


async def main() -> None:
    url = os.environ.get("COMPANION_URL", "http://127.0.0.1:8000")
    async with CompanionClient(url, token=os.environ["COMPANION_TOKEN"]) as companion:
        session: AgentSession[Any] = AgentSession(llm=inference.LLM("openai/gpt-4.1-mini"))
        session.on("conversation_item_added", show)
        attach(session, companion)  # what is said to the session, taps to the agent
        await session.start(Agent(instructions=PROMPT, tools=[companion_toolset(companion)]))
        while line := await asyncio.to_thread(sys.stdin.readline):
            session.generate_reply(user_input=line.strip())
        await session.aclose()


def show(event: Any) -> None:
    if getattr(event.item, "role", "") == "assistant":
        print(f"Agent: {event.item.text_content}", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
