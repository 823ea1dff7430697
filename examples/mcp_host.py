"""A program that starts `companion-ws mcp`, as coding agents do, and asks before it deploys.

    pip install companion-ws mcp
    python mcp_host.py --lan

The first answer brings the way to the screen; a paired phone is still there the next time.
"""

from __future__ import annotations

import asyncio
import base64
import os
import sys
import tempfile
from pathlib import Path

from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

PROGRAM = StdioServerParameters(
    command=sys.executable,
    args=["-m", "companion_ws", "mcp", "--session", "deploy", *sys.argv[1:]],
    env=dict(os.environ),
)
PICTURE = Path(tempfile.gettempdir()) / "companion.png"


async def main() -> None:
    async with Client(stdio_client(PROGRAM)) as companion:
        question = {"title": "Deploy version 2.1?", "confirm_label": "Deploy"}
        while True:
            answer = await companion.call_tool("ask", question)
            status = answer.structured_content["result"]["status"]
            if status in ("confirmed", "declined"):
                break
            for part in answer.content[1:]:  # Nobody is at a screen yet: this leads there.
                if part.type == "text":
                    print(part.text, flush=True)
                elif part.type == "image":
                    PICTURE.write_bytes(base64.b64decode(part.data))
                    print("To scan:", PICTURE, flush=True)
        print("Answer:", status, flush=True)


if __name__ == "__main__":
    asyncio.run(main())
