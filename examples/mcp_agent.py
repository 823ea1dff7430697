"""Any agent that speaks MCP, here the official client, puts a question on a screen.

    pip install mcp
    COMPANION_TOKEN=… COMPANION_SESSION=… python mcp_agent.py

In an agent's configuration it is an HTTP server at /mcp with two headers. At ElevenLabs
the session comes from a dynamic variable: `_meta` {"companion/session_id": "{{…}}"}.
"""

from __future__ import annotations

import asyncio
import os

import httpx2
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client

URL = os.environ.get("COMPANION_URL", "http://127.0.0.1:8000")


async def main() -> None:
    headers = {
        "Authorization": f"Bearer {os.environ['COMPANION_TOKEN']}",
        "X-Companion-Session": os.environ["COMPANION_SESSION"],
    }
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        transport = streamable_http_client(f"{URL}/mcp", http_client=http)
        async with Client(transport) as companion:
            tools = await companion.list_tools()
            print("Tools:", ", ".join(tool.name for tool in tools.tools), flush=True)
            question = {
                "title": "Shall I book the table?",
                "text": "Garden, four seats, today at eight.",
                "confirm_label": "Book it",
            }
            answer = await companion.call_tool("ask", question)
            print("Answer:", answer.structured_content["result"]["status"], flush=True)


if __name__ == "__main__":
    asyncio.run(main())
