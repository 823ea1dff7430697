"""An agent at Retell whose callers have a screen: makes it, with its functions and its prompt.

    COMPANION_RETELL_API_KEY=… companion-ws serve --public-url https://companion.example.org
    RETELL_API_KEY=… COMPANION_URL=https://companion.example.org python retell_agent.py

The server checks with the same key that it is Retell who calls: the one with the webhook badge.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import aiohttp

from companion_ws.voice.offered import definitions

URL = os.environ.get("COMPANION_URL", "http://127.0.0.1:8000")
RETELL = os.environ.get("RETELL_BASE_URL", "https://api.retellai.com")
TOLD = ["call_started", "call_ended", "call_analyzed", "transcript_updated"]


async def make(retell: aiohttp.ClientSession, path: str, body: dict[str, Any]) -> dict[str, Any]:
    async with retell.post(path, json=body) as answer:
        if answer.status != 201:
            raise SystemExit(f"Retell said {answer.status}: {await answer.text()}")
        made: dict[str, Any] = await answer.json()
        return made


async def main() -> None:
    offered = definitions("retell", URL)
    headers = {"Authorization": f"Bearer {os.environ['RETELL_API_KEY']}"}
    async with aiohttp.ClientSession(RETELL, headers=headers) as retell:
        model = {
            "begin_message": "Hello, this is Ada. What may I send for you?",
            "general_prompt": "You sell shipping.\n" + offered["prompt"],
            "general_tools": offered["tools"],
        }
        llm = await make(retell, "/create-retell-llm", model)
        agent = {
            "agent_name": "With a screen",
            "voice_id": os.environ.get("RETELL_VOICE", "11labs-Adrian"),
            "response_engine": {"type": "retell-llm", "llm_id": llm["llm_id"]},
            "webhook_url": f"{URL}/retell",
            "webhook_events": TOLD,
        }
        made = await make(retell, "/create-agent", agent)
        print(f"Agent {made['agent_id']}: give it a telephone number, and call.")


if __name__ == "__main__":
    asyncio.run(main())
