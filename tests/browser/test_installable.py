"""`Add to home screen`: a manifest and icons a browser accepts, and what opens from there."""

from __future__ import annotations

import json
from urllib.parse import urljoin

import aiohttp
import pytest
from playwright.async_api import expect

from .conftest import PIXEL, QUOTES, World


@pytest.mark.parametrize(
    ("path", "opens"),
    [("/ui", "/ui"), ("/c", "/ui"), ("/", "/"), ("/admin", "/"), ("/docs", "/"),
     ("/sessions/x/pair", "/")],
)  # fmt: skip
async def test_a_browser_accepts_what_a_page_says_for_the_home_screen(
    world: World, path: str, opens: str
) -> None:
    page = await world.page(**PIXEL)
    await page.goto(world.server.url + path)
    devtools = await page.context.new_cdp_session(page)
    found = await devtools.send("Page.getAppManifest")

    assert found["errors"] == []
    assert found["url"].startswith(f"{world.server.url}/static/dist/")
    manifest = json.loads(found["data"])
    assert urljoin(found["url"], manifest["start_url"]) == world.server.url + opens
    assert urljoin(found["url"], manifest["scope"]) == f"{world.server.url}/"
    assert manifest["display"] == "standalone"
    addresses = [urljoin(found["url"], icon["src"]) for icon in manifest["icons"]]
    touch = await page.locator("link[rel=apple-touch-icon]").evaluate("(link) => link.href")
    async with aiohttp.ClientSession() as http:
        async with http.get(found["url"]) as answer:
            assert answer.content_type == "application/manifest+json"
            assert "immutable" in answer.headers["Cache-Control"]
        for url in (*addresses, touch):
            async with http.get(url) as answer:
                assert answer.status == 200, url
                assert answer.content_type.startswith("image/")
    sizes = {icon["sizes"] for icon in manifest["icons"]}
    assert {"192x192", "512x512"} <= sizes
    assert "maskable" in {icon.get("purpose") for icon in manifest["icons"]}
    schemes = await page.locator("meta[name=theme-color]").evaluate_all("(all) => all.length")
    assert schemes == 2


async def test_what_was_put_on_the_home_screen_opens_the_last_session(world: World) -> None:
    agent = await world.agent()
    await agent.update("quote_ready", QUOTES)
    phone = await world.phone(agent)
    devtools = await phone.context.new_cdp_session(phone)
    found = await devtools.send("Page.getAppManifest")
    start = urljoin(found["url"], json.loads(found["data"])["start_url"])

    await phone.goto("about:blank")
    await phone.goto(start)

    await expect(phone.get_by_role("button", name="FedEx Ground")).to_be_visible()
