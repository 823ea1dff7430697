"""The real JavaScript SDK in Chromium, on a shop's page of another origin."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlencode

import pytest
from aiohttp import web
from playwright.async_api import Page, async_playwright

from companion_ws.access.keys import Keys
from companion_ws.access.tokens import Tokens
from companion_ws.client import CompanionClient
from companion_ws.testing.fake_elevenlabs import FakeElevenLabs
from companion_ws.testing.phone import Phone
from companion_ws.testing.server import CompanionServer
from tests import chromium
from tests.voice.conftest import screen
from tests.voice.node import HERE, node_modules

OPTIONS = [{"id": "air", "label": "UPS Next Day"}, {"id": "ground", "label": "FedEx Ground"}]
CHOICE = {"title": "Which?", "options": OPTIONS}


@pytest.fixture
async def shop() -> AsyncIterator[str]:
    """A page that has nothing of ours; its origin."""
    library = node_modules() / "node_modules/@elevenlabs/client/dist/lib.iife.js"

    async def client(request: web.Request) -> web.FileResponse:
        return web.FileResponse(library)

    async def widget(request: web.Request) -> web.FileResponse:
        return web.FileResponse(node_modules() / "widget.js")

    async def page(request: web.Request) -> web.FileResponse:
        return web.FileResponse(HERE / f"{request.match_info['name']}.html")

    app = web.Application()
    app.add_routes(
        [
            web.get("/client.js", client),
            web.get("/widget.js", widget),
            web.get("/{name}", page),
        ]
    )
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
async def companion_server(shop: str) -> AsyncIterator[CompanionServer]:
    async with CompanionServer(allow_origin=(shop,)) as server:
        yield server


@pytest.fixture
def shown() -> str:
    """Which page."""
    return "shop"


@pytest.fixture
async def page(
    shown: str,
    shop: str,
    companion_server: CompanionServer,
    companion: CompanionClient,
    fake: FakeElevenLabs,
) -> AsyncIterator[Page]:
    """The shop's page, with a session token of its own."""
    tokens = Tokens(Keys.load(companion_server.config.data, None))
    token, _ = tokens.issue("session", "alice", 600, session_id=companion.session_id, role="agent")
    options = {"companionUrl": companion_server.url, "origin": fake.origin, "token": token}
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=chromium.program(), args=chromium.FLAGS
        )
        page = await browser.new_page()
        faults: list[str] = []
        page.on("pageerror", lambda error: faults.append(str(error)))
        await page.goto(f"{shop}/{shown}#{urlencode(options)}")
        await page.wait_for_function("window.isReady")
        yield page
        assert faults == []
        await browser.close()


async def test_the_agent_in_the_page_asks_and_the_phone_answers(
    page: Page, fake: FakeElevenLabs, here: Phone
) -> None:
    id = await page.evaluate("startPage()")
    said = await fake.next_conversation(40)
    assert said.id == id
    asking = asyncio.create_task(said.call_tool("companion_choose", CHOICE))
    await here.choose("air")
    assert (await asking).json["id"] == "air"
    await here.tap("selected", {"id": "air"}, "I take UPS Next Day")
    assert await said.user_messages.next() == "I take UPS Next Day"
    await here.client.contextual_update("address", {"city": "Berlin"})
    await said.contextual_updates.until(lambda update: update["text"].startswith("address"))


@pytest.mark.parametrize("shown", ["widget"])
async def test_the_real_widget_is_joined_to_the_session(
    page: Page, fake: FakeElevenLabs, companion: CompanionClient, here: Phone
) -> None:
    box = page.locator("elevenlabs-convai textarea").first
    await box.fill("I want to send a parcel")
    await box.press("Enter")
    said = await fake.next_conversation(40)
    assert await said.user_messages.next() == "I want to send a parcel"
    asking = asyncio.create_task(
        said.call_tool("companion_choose", CHOICE, tool_call_id="of_the_widget")
    )
    assert (await here.question())["tool_call_id"] == f"{said.id}:of_the_widget"
    await here.choose("air")
    assert (await asking).json["id"] == "air"
    await here.say("and insure it")
    assert await said.user_messages.next() == "and insure it"
    await said.say("It is insured")
    async with asyncio.timeout(10):
        async for record in companion.records():
            if record["type"] == "agent_response":
                break
    assert record["agent_response_event"]["agent_response"] == "It is insured"

    await said.end()
    await here.say("are you there?")
    await page.wait_for_function("bridge.pending.length === 1")
    await box.fill("one more thing")
    await box.press("Enter")
    again = await fake.next_conversation(40)
    await again.user_messages.until(lambda text: text == "are you there?")


async def test_a_screen_that_comes_late_is_heard(
    page: Page, fake: FakeElevenLabs, companion: CompanionClient, companion_server: CompanionServer
) -> None:
    await page.evaluate("startPage()")
    said = await fake.next_conversation(40)
    result = await said.call_tool("companion_choose", CHOICE)
    assert result.json["status"] == "no_screen"
    async with screen(companion_server, companion.session_id) as late:
        await late.choose("ground")
        assert await said.user_messages.next() == "About “Which?”: FedEx Ground."


async def test_the_server_goes_away_in_between_and_the_answer_still_arrives(
    page: Page, fake: FakeElevenLabs, companion_server: CompanionServer, here: Phone
) -> None:
    await page.evaluate("startPage()")
    said = await fake.next_conversation(40)
    asking = asyncio.create_task(said.call_tool("companion_choose", CHOICE))
    await here.question()
    await companion_server.stop()
    await companion_server.start()
    await here.choose("air")
    assert (await asking).json == {**OPTIONS[0], "status": "chosen"}
