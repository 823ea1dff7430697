"""The pages of docs/own-page.md, as they stand there, at an address of their own."""

from __future__ import annotations

import asyncio

from aiohttp import web
from aiohttp.test_utils import TestServer
from playwright.async_api import Browser, expect

from tests.pages import blocks

from .conftest import NewWorld


async def test_a_shop_holds_the_screen_or_draws_its_own(
    new_world: NewWorld, browser: Browser
) -> None:
    pages = blocks("docs/own-page.md")
    shop = web.Application()
    filled: dict[str, str] = {}

    async def page_of(request: web.Request) -> web.Response:
        text = pages[request.match_info["name"]]
        for ours, theirs in filled.items():
            assert ours in text or ours == "SESSION", ours
            text = text.replace(ours, theirs)
        return web.Response(text=text, content_type="text/html")

    shop.router.add_get("/{name}", page_of)
    async with TestServer(shop) as host, await browser.new_page() as page:
        world = await new_world(allow_origin=(str(host.make_url("")).rstrip("/"),))
        agent = await world.agent()
        path = f"/sessions/{agent.session_id}/tokens"
        token = (await world.ask("POST", path, role="ui", ttl_s=600))["token"]
        filled |= {"https://companion.example": world.server.url, "SESSION": agent.session_id, "TOKEN": token}

        await page.goto(str(host.make_url("/screen.html")))
        await agent.update("quote_ready", {"carrier": "FedEx"})
        frame = page.frame_locator("companion-screen iframe")
        await expect(frame.get_by_text("FedEx")).to_be_visible()

        await page.goto(str(host.make_url("/client.html")))
        await agent.update("quote_ready", {"carrier": "UPS"})
        await expect(page.get_by_role("listitem").filter(has_text="contextual_update").first).to_be_visible()
        call = {"tool_name": "companion_confirm", "tool_call_id": "c-1", "parameters": {"title": "Sure?"}}
        async with asyncio.timeout(20):
            await world.ask("POST", f"/sessions/{agent.session_id}/messages", type="client_tool_call", **call)
            result = await agent.hears(lambda message: message["type"] == "client_tool_result")
        assert "confirmed" in str(result)
