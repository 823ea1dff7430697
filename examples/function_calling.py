"""The plain function-calling loop with a screen: any model, here OpenAI's Responses API.

    pip install companion-ws openai
    COMPANION_TOKEN=… OPENAI_API_KEY=… python function_calling.py

You type, the model answers; what you tap on the screen comes between. The same two
objects, `SessionCalls` and `Turns`, serve a loop around any other model.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

from openai import AsyncOpenAI

from companion_ws import CompanionClient
from companion_ws.voice.calls import SessionCalls
from companion_ws.voice.offered import definitions
from companion_ws.voice.turns import Turns

URL = os.environ.get("COMPANION_URL", "http://127.0.0.1:8000")


async def converse(companion: CompanionClient, turns: Turns, model: AsyncOpenAI) -> None:
    offered = definitions("openai", URL)
    calls = SessionCalls(companion)
    history: list[Any] = []
    async for text in turns:
        history.append({"role": "user", "content": text})
        while True:
            response = await model.responses.create(
                model=os.environ.get("OPENAI_MODEL", "gpt-5-mini"),
                instructions=offered["prompt"], tools=offered["tools"], input=history,
            )  # fmt: skip
            history += response.output
            asked = [item for item in response.output if item.type == "function_call"]
            for call in asked:
                output = await calls.text(call.name, call.arguments, call.call_id)
                history.append(
                    {"type": "function_call_output", "call_id": call.call_id, "output": output}
                )
            if not asked:
                break
        print(f"Agent: {response.output_text}", flush=True)
        turns.heard(response.output_text)


async def main() -> None:
    async with (
        CompanionClient(URL, token=os.environ["COMPANION_TOKEN"]) as companion,
        AsyncOpenAI() as model,
    ):
        turns = Turns(companion)
        conversation = asyncio.create_task(converse(companion, turns, model))
        while line := await asyncio.to_thread(sys.stdin.readline):
            turns.say(line.strip())
        conversation.cancel()


if __name__ == "__main__":
    asyncio.run(main())
