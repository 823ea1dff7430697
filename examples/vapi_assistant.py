"""An assistant at Vapi whose callers have a screen: makes it, with its tools and its prompt.

    COMPANION_VAPI_SECRET=… companion-ws serve --public-url https://companion.example.org
    COMPANION_VAPI_SECRET=… VAPI_API_KEY=… COMPANION_URL=https://companion.example.org \\
        python vapi_assistant.py

Vapi sends the secret with each message. Instead of the header, a credential of yours does
(`"credentialId"` beside each `"url"`): a bearer token with that secret, or HMAC-SHA256 with it.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

import aiohttp

from companion_ws.voice.offered import definitions

URL = os.environ.get("COMPANION_URL", "http://127.0.0.1:8000")
VAPI = os.environ.get("VAPI_BASE_URL", "https://api.vapi.ai")
TOLD = ["tool-calls", "status-update", "end-of-call-report", 'transcript[transcriptType="final"]']


def assistant(secret: str) -> dict[str, Any]:
    """Return the assistant as Vapi takes it."""
    offered = definitions("vapi", URL)
    headers = {"X-Vapi-Secret": secret}
    for tool in offered["tools"]:
        tool["server"]["headers"] = headers
    return {
        "name": "With a screen",
        "firstMessage": "Hello, this is Ada. What may I send for you?",
        "model": {
            "provider": "openai",
            "model": os.environ.get("OPENAI_MODEL", "gpt-4.1-mini"),
            "messages": [{"role": "system", "content": "You sell shipping.\n" + offered["prompt"]}],
            "tools": offered["tools"],
        },
        "server": {"url": f"{URL}/vapi", "headers": headers},
        "serverMessages": TOLD,
    }


async def main() -> None:
    headers = {"Authorization": f"Bearer {os.environ['VAPI_API_KEY']}"}
    made = assistant(os.environ["COMPANION_VAPI_SECRET"])
    async with aiohttp.ClientSession(VAPI, headers=headers) as vapi:
        async with vapi.post("/assistant", json=made) as answer:
            if answer.status != 201:
                raise SystemExit(f"Vapi said {answer.status}: {await answer.text()}")
            print(f"Assistant {(await answer.json())['id']}: give it a telephone number, and call.")


if __name__ == "__main__":
    asyncio.run(main())
