"""A shop whose page talks to an agent: the page holds a session token, the shop the secrets.

    COMPANION_TOKEN=$(companion-ws token create --user shop --role service) python shop.py

Start companion-ws with `--allow-origin http://127.0.0.1:8090`.
"""

from __future__ import annotations

import os
from pathlib import Path

import aiohttp
from aiohttp import web

COMPANION_URL = os.environ.get("COMPANION_URL", "http://127.0.0.1:8000")
PAGE = Path(__file__).with_name("shop.html")


async def page(request: web.Request) -> web.FileResponse:
    return web.FileResponse(PAGE)


async def session(request: web.Request) -> web.Response:
    """Open a session for whoever is signed in, and hand out a token for it alone."""
    customer = request.cookies.get("customer", "customer-42")  # yours: from your own sign-in
    headers = {"Authorization": f"Bearer {os.environ['COMPANION_TOKEN']}"}
    async with aiohttp.ClientSession(COMPANION_URL, headers=headers) as http:
        opened = await post(http, "/sessions", {"user": customer, "title": "Your order"})
        session_id = opened["session_id"]
        at = f"/sessions/{session_id}/tokens"
        token = await post(http, at, {"role": "agent", "ttl_s": 3600})
        screen = await post(http, at, {"role": "ui", "ttl_s": 3600})
        pairing = await post(http, f"/sessions/{session_id}/pairings", {"ttl_s": 900})
    return web.json_response(
        {
            "companion": COMPANION_URL, "token": token["token"], "phone": pairing["url"],
            "screen": screen["token"], "session_id": session_id,
        },
        headers={"Cache-Control": "no-store"},
    )


async def post(http: aiohttp.ClientSession, path: str, body: object) -> dict[str, str]:
    async with http.post(path, json=body) as answer:
        answer.raise_for_status()
        made: dict[str, str] = await answer.json()
        return made


def app() -> web.Application:
    shop = web.Application()
    shop.add_routes([web.get("/", page), web.post("/session", session)])
    return shop


if __name__ == "__main__":
    web.run_app(app(), host="127.0.0.1", port=int(os.environ.get("PORT", "8090")))
