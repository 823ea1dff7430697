"""A support desk: the customer's phone and the desk's screen in one session, with a bot between them.

    COMPANION_TOKEN=$(companion-ws token create --user desk --role service) python support_desk.py

Start companion-ws with `--allow-origin http://127.0.0.1:8093`, and open that address at the desk. The bot
asks the customer; what it may not decide, a refund, it asks the desk, whose screen alone answers that.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from companion_ws import CompanionClient

URL = os.environ.get("COMPANION_URL", "http://127.0.0.1:8000")
TOKEN = os.environ["COMPANION_TOKEN"]
PAGE = Path(__file__).with_name("support_desk.html")
ORDERS = [{"id": "1001", "label": "Headphones", "price": 89.0, "currency": "EUR"},
          {"id": "1002", "label": "A lamp", "price": 35.5, "currency": "EUR"}]  # fmt: skip
cases: list[dict[str, str]] = []
bots: set[asyncio.Task[None]] = set()


async def page(request: web.Request) -> web.FileResponse:
    return web.FileResponse(PAGE)


async def listed(request: web.Request) -> web.Response:
    """Tell the desk, which your own sign-in lets in, the cases and a token for each."""
    return web.json_response({"companion": URL, "cases": cases}, headers={"Cache-Control": "no-store"})


async def opened(request: web.Request) -> web.Response:
    """Open a case for a customer; answer with the link for their phone."""
    customer = (await request.json())["customer"]
    async with aiohttp.ClientSession(URL, headers={"Authorization": f"Bearer {TOKEN}"}) as http:
        session = await post(http, "/sessions", {"user": customer, "title": f"Help for {customer}"})
        at = f"/sessions/{session['session_id']}"
        desk = await post(http, f"{at}/tokens", {"role": "ui", "ttl_s": 3600})
        link = (await post(http, f"{at}/pairings", {"ttl_s": 900}))["url"]
    cases.append({"customer": customer, "session_id": session["session_id"], "token": desk["token"]})
    bots.add(asyncio.create_task(help_(session["session_id"])))
    return web.json_response({"link": link}, status=201)


async def post(http: aiohttp.ClientSession, path: str, body: object) -> dict[str, Any]:
    async with http.post(path, json=body, raise_for_status=True) as answer:
        made: dict[str, Any] = await answer.json()
        return made


async def help_(session_id: str) -> None:
    """Yours: the bot. It asks the customer's phone, and then the desk."""
    async with CompanionClient(URL, token=TOKEN, session_id=session_id) as companion:
        await companion.wait_until(lambda client: any(each["device_id"] for each in client.screens))
        order = await companion.call_tool("companion_choose", title="Which order is it about?", options=ORDERS,
                                          timeout_ms=120_000)  # fmt: skip
        if order["status"] != "chosen":
            return
        price = next(each["price"] for each in ORDERS if each["id"] == order["id"])
        refund = {"order": order["id"], "amount": price, "currency": "EUR"}
        decided = await companion.call_tool("approve_refund", timeout_ms=120_000, **refund)
        said = {"approved": "Your money is on its way", "declined": "We cannot refund this order"}
        words = said.get(decided["status"], "We will write to you")  # nobody was at the desk
        await companion.contextual_update(words, refund, context_id="refund")


if __name__ == "__main__":
    app = web.Application()
    app.add_routes([web.get("/", page), web.get("/cases", listed), web.post("/cases", opened)])
    web.run_app(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8093")), print=None)
