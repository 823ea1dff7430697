"""An agent of OpenAI's Agents SDK, run over Responses, with a screen.

    pip install "companion-ws[openai]"
    COMPANION_TOKEN=… OPENAI_API_KEY=… python openai_agent.py

You type, the agent answers; what you tap on the screen comes between.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from agents import Agent, RunConfig, Runner

from companion_ws import CompanionClient
from companion_ws.voice.openai import PROMPT, Turns, companion_tools


async def converse(agent: Agent[Any], turns: Turns) -> None:
    history: list[Any] = []
    async for text in turns:
        history.append({"role": "user", "content": text})
        result = await Runner.run(agent, history, run_config=RunConfig(tracing_disabled=True))
        history = result.to_input_list()
        print(f"Agent: {result.final_output}", flush=True)
        turns.heard(result.final_output)


async def main() -> None:
    url = os.environ.get("COMPANION_URL", "http://127.0.0.1:8000")
    async with CompanionClient(url, token=os.environ["COMPANION_TOKEN"]) as companion:
        agent = Agent(name="Ada", instructions=PROMPT, tools=companion_tools(companion))
        turns = Turns(companion)
        conversation = asyncio.create_task(converse(agent, turns))
        while line := await asyncio.to_thread(sys.stdin.readline):
            turns.say(line.strip())
        conversation.cancel()


if __name__ == "__main__":
    asyncio.run(main())
