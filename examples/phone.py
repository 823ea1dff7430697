"""A telephone agent's companion: the server inside an application of yours, with its webhooks.

    COMPANION_ELEVENLABS_TOOL_SECRET=… COMPANION_ELEVENLABS_WEBHOOK_SECRET=… python phone.py

At ElevenLabs: paste what `companion-ws elevenlabs agent-config --kind webhook --url
https://voice.example/companion` prints, and enable the initiation webhook.
"""

from __future__ import annotations

import os
from pathlib import Path

from aiohttp import web

from companion_ws import SESSIONS, Config, create_app

COMPANION = web.AppKey("COMPANION", web.Application)
PUBLIC_URL = os.environ.get("PUBLIC_URL", "http://127.0.0.1:8091")


async def calls(request: web.Request) -> web.Response:
    """Yours: a list of the calls that are going on, for the people at the desk."""
    sessions = request.app[COMPANION][SESSIONS]
    listed = await sessions.listed(user="phone")
    return web.json_response([{"session": each.session_id, "title": each.title} for each in listed])


async def app() -> web.Application:
    companion = await create_app(
        Config(
            public_url=f"{PUBLIC_URL}/companion",
            data=Path(os.environ.get("DATA", "data")),
            tools="companion_ws.examples.shipping",
            elevenlabs_tool_secret=os.environ["COMPANION_ELEVENLABS_TOOL_SECRET"],
            elevenlabs_webhook_secret=os.environ["COMPANION_ELEVENLABS_WEBHOOK_SECRET"],
        )
    )
    mine = web.Application()
    mine[COMPANION] = companion
    mine.add_routes([web.get("/calls", calls)])
    mine.add_subapp("/companion/", companion)
    return mine


if __name__ == "__main__":
    web.run_app(app(), host="127.0.0.1", port=int(os.environ.get("PORT", "8091")))
