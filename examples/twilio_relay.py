"""A telephone agent on Twilio's ConversationRelay: it texts the caller a link, and asks on the screen.

    TWILIO_ACCOUNT_SID=… TWILIO_AUTH_TOKEN=… COMPANION_TOKEN=… \\
        PUBLIC_URL=https://calls.example.org python twilio_relay.py

The number's webhook for calls is `$PUBLIC_URL/call`. Put your model where `talk` is.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import os
from typing import Any

import aiohttp
from aiohttp import web

from companion_ws import CompanionClient
from companion_ws.voice.turns import Turns

ACCOUNT, SECRET = os.environ["TWILIO_ACCOUNT_SID"], os.environ["TWILIO_AUTH_TOKEN"]
HERE = os.environ["PUBLIC_URL"].rstrip("/")
RELAY = HERE.replace("http", "ws", 1) + "/relay"
COMPANION = os.environ.get("COMPANION_URL", "http://127.0.0.1:8000")
API = os.environ.get("TWILIO_BASE_URL", "https://api.twilio.com")
BASIC = "Basic " + base64.b64encode(f"{ACCOUNT}:{SECRET}".encode()).decode()
OPTIONS = [{"id": "air", "label": "Next day"}, {"id": "ground", "label": "Ground"}]


def check(request: web.Request, url: str, fields: dict[str, Any]) -> None:
    """Let in Twilio alone: it signs the URL and the fields of a form."""
    signed = url + "".join(name + str(fields[name]) for name in sorted(fields))
    digest = base64.b64encode(hmac.digest(SECRET.encode(), signed.encode(), "sha1"))
    if not hmac.compare_digest(digest, request.headers.get("X-Twilio-Signature", "").encode("utf-8", "replace")):
        raise web.HTTPForbidden


async def called(request: web.Request) -> web.Response:
    check(request, f"{HERE}/call", dict(await request.post()))
    relay = f'<ConversationRelay url="{RELAY}" welcomeGreeting="May I text you a link to a screen?" />'
    return web.Response(text=f"<Response><Connect>{relay}</Connect></Response>", content_type="text/xml")


async def text(caller: dict[str, str], link: str) -> str:
    form = {"To": caller["from"], "From": caller["to"], "Body": f"Your screen: {link}"}
    url = f"{API}/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
    async with aiohttp.request("POST", url, data=form, headers={"Authorization": BASIC}) as answer:
        sent = answer.status == 201
    return "I have texted you a link." if sent else "I could not text you; just tell me."


async def talk(relay: web.WebSocketResponse, companion: CompanionClient, turns: Turns, caller: Any) -> None:
    async for heard in turns:  # what the caller says, and what they tap, however late
        said = f"{heard} Thank you, goodbye."
        if heard.lower().startswith("yes"):
            await companion.call_tool("companion_choose", timeout_ms=1000, title="Which?", options=OPTIONS)
            said = await text(caller, (await companion.pair(900)).url)
        await relay.send_json({"type": "text", "token": said, "last": True})
        turns.heard(said)


async def relayed(request: web.Request) -> web.WebSocketResponse:
    check(request, RELAY, {})
    await (relay := web.WebSocketResponse()).prepare(request)
    caller = await relay.receive_json()  # the setup message comes first
    async with CompanionClient(COMPANION, token=os.environ["COMPANION_TOKEN"]) as companion:
        turns = Turns(companion)
        talking = asyncio.create_task(talk(relay, companion, turns, caller))
        async for frame in relay:
            if (message := frame.json())["type"] == "prompt" and message["last"]:
                turns.say(message["voicePrompt"])
        talking.cancel()
    return relay


if __name__ == "__main__":
    (app := web.Application()).add_routes([web.post("/call", called), web.get("/relay", relayed)])
    web.run_app(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8765")), print=None)
