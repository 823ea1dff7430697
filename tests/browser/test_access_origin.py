"""A page of another origin, in a real browser, tries to use the server of its visitor."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from aiohttp import web
from playwright.async_api import Browser, Page

from .conftest import NewWorld

TRY_SOCKET = """
(url) => new Promise((resolve) => {
  const socket = new WebSocket(url);
  socket.onmessage = (event) => resolve(JSON.parse(event.data).type);
  socket.onclose = (event) => resolve(event.code);
})
"""
TRY_FETCH = """
async ([url, options]) => {
  try {
    const response = await fetch(url, options);
    return response.type === "opaque" ? "opaque" : response.status;
  } catch (error) {
    return error.name;
  }
}
"""
TRY_FRAME = """
(url) => new Promise((resolve) => {
  const frame = document.createElement("iframe");
  frame.onload = () => setTimeout(() => {
    // A frame that was refused shows a page of the browser's own.
    try { resolve(frame.contentWindow.location.href); } catch { resolve("foreign"); }
  }, 0);
  frame.src = url;
  document.body.append(frame);
})
"""


@pytest_asyncio.fixture(loop_scope="session")
async def foreign_url() -> AsyncIterator[str]:
    async def blank(request: web.Request) -> web.Response:
        return web.Response(text="<!doctype html><title>x</title><body>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/{path:.*}", blank)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def visit(browser: Browser, url: str) -> Page:
    page = await (await browser.new_context()).new_page()
    await page.goto(url)
    return page


async def fetched(page: Page, url: str, **options: Any) -> Any:
    return await page.evaluate(TRY_FETCH, [url, options])


async def test_a_foreign_page_reaches_neither_socket_nor_api_even_with_a_token(
    new_world: NewWorld, browser: Browser, foreign_url: str
) -> None:
    world = await new_world()
    agent = await world.agent()
    opened = await world.ask("POST", f"/sessions/{agent.session_id}/pairings")
    ticket = opened["url"].partition("#")[2]
    server, token = world.server.url, world.server.token()
    page = await visit(browser, foreign_url)
    socket_url = server.replace("http", "ws")
    assert await page.evaluate(TRY_SOCKET, f"{socket_url}/ws?token={token}") == 1006
    bearer = {"Authorization": f"Bearer {token}"}
    assert await fetched(page, f"{server}/me/sessions", headers=bearer) == "TypeError"
    assert await fetched(page, f"{server}/healthz") == "TypeError"
    body = f'{{"ticket": "{ticket}"}}'
    for mode in ("cors", "no-cors"):
        # A simple request needs no leave to be sent; it must not use the ticket up either.
        answer = await fetched(page, f"{server}/pair", method="POST", mode=mode, body=body)
        assert answer in ("TypeError", "opaque")
    assert await world.ask("GET", "/me/devices") == {"devices": []}
    await world.ask("POST", "/pair", ticket=ticket)
    assert len((await world.ask("GET", "/me/devices"))["devices"]) == 1
    await page.context.close()


async def test_an_allowed_page_uses_socket_and_api_and_frames_the_ui(
    new_world: NewWorld, browser: Browser, foreign_url: str
) -> None:
    world = await new_world(allow_origin=(foreign_url,))
    server, token = world.server.url, world.server.token()
    page = await visit(browser, foreign_url)
    socket_url = server.replace("http", "ws")
    joined = await page.evaluate(TRY_SOCKET, f"{socket_url}/ws?token={token}")
    assert joined == "session_joined"
    bearer = {"Authorization": f"Bearer {token}"}
    assert await fetched(page, f"{server}/me/sessions", headers=bearer) == 200
    assert await fetched(page, f"{server}/tokens", headers=bearer) == "TypeError"

    async def framed(path: str) -> bool:
        await page.evaluate(TRY_FRAME, server + path)
        frame = page.frames[-1]
        return frame.url.startswith(server) and await frame.locator("script").count() > 0

    assert await framed("/ui?embed=1")
    assert not await framed("/ui")
    assert not await framed("/")
    await page.context.close()


async def test_a_page_no_origin_may_frame_shows_nothing_in_a_frame(
    new_world: NewWorld, browser: Browser, foreign_url: str
) -> None:
    world = await new_world()
    page = await visit(browser, foreign_url)
    for path in ("/", "/p", "/ui?embed=1", "/admin"):
        await page.evaluate(TRY_FRAME, world.server.url + path)
        assert not page.frames[-1].url.startswith(world.server.url)
    await page.context.close()
