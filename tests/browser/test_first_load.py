"""What a scan costs a phone in requests and bytes, and a second visit."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import CDPSession, Page, expect

from .conftest import PIXEL, QUOTES, World
from .test_a2ui import show

REQUESTS = 6
"""Page, style, script, perhaps words, the ticket and the socket."""
SIZE_BYTES = 40 * 1024
"""Of all that, zipped as it comes over the network, without headers."""
RATE_BYTES = 50 * 1024
SLOW = {"offline": False, "latency": 300, "downloadThroughput": RATE_BYTES,
        "uploadThroughput": RATE_BYTES}  # fmt: skip
"""A bad corner of a mobile network."""


class Traffic:
    """What the browser itself says it fetched for a page."""

    def __init__(self, devtools: CDPSession) -> None:
        self.devtools = devtools
        self.asked: list[str] = []
        self.fetched: list[str] = []
        """What was not in the browser's own store."""
        self._urls: dict[str, str] = {}
        self.size_bytes = 0
        devtools.on("Network.requestWillBeSent", self._note_request)
        devtools.on("Network.webSocketCreated", lambda event: self.asked.append(event["url"]))
        devtools.on("Network.dataReceived", self._note_size)
        devtools.on("Network.loadingFinished", self._note_end)

    @classmethod
    async def of(cls, page: Page) -> Traffic:
        devtools = await page.context.new_cdp_session(page)
        await devtools.send("Network.enable")
        return cls(devtools)

    def begin(self) -> None:
        self.asked.clear()
        self.fetched.clear()
        self.size_bytes = 0

    def _note_request(self, event: dict[str, Any]) -> None:
        if not event["request"]["url"].startswith("data:"):
            self.asked.append(event["request"]["url"])
            self._urls[event["requestId"]] = event["request"]["url"]

    def _note_size(self, event: dict[str, Any]) -> None:
        self.size_bytes += int(event["encodedDataLength"])

    def _note_end(self, event: dict[str, Any]) -> None:
        if event["encodedDataLength"] and event["requestId"] in self._urls:
            self.fetched.append(self._urls[event["requestId"]])


@pytest.mark.parametrize("locale", ["en-US", "de-DE", "ar"])
async def test_a_scan_is_six_requests_and_forty_kilobytes_and_a_reload_is_one(
    world: World, locale: str
) -> None:
    agent = await world.agent()
    await agent.update("quote_ready", QUOTES)
    opened = await world.ask("POST", f"/sessions/{agent.session_id}/pairings")
    phone = await world.page(**PIXEL, locale=locale)
    traffic = await Traffic.of(phone)

    await phone.goto(opened["url"])
    await expect(phone.get_by_role("button", name="FedEx Ground")).to_be_visible()
    await world.connected(phone)
    assert await phone.locator("html").get_attribute("lang") == locale[:2]

    await phone.wait_for_timeout(1000)  # nothing comes behind it until the conversation goes on
    assert len(traffic.asked) <= REQUESTS, traffic.asked
    assert 20_000 < traffic.size_bytes <= SIZE_BYTES

    traffic.begin()
    await phone.reload()
    await expect(phone.get_by_role("button", name="FedEx Ground")).to_be_visible()
    await world.connected(phone)
    assert traffic.fetched == [phone.url]


async def test_a_slow_phone_reads_words_before_any_script_has_come(world: World) -> None:
    agent = await world.agent()
    await agent.update("quote_ready", QUOTES)
    opened = await world.ask("POST", f"/sessions/{agent.session_id}/pairings")
    phone = await world.page(**PIXEL)
    traffic = await Traffic.of(phone)
    await traffic.devtools.send("Network.emulateNetworkConditions", SLOW)

    await phone.goto(opened["url"], wait_until="commit")
    await expect(phone.get_by_role("heading", name="Connecting…")).to_be_visible()
    assert not any("/ws" in url or url.endswith("/pair") for url in traffic.asked)

    await world.connected(phone)
    await expect(phone.get_by_role("button", name="FedEx Ground")).to_be_visible()


async def test_what_a_question_needs_is_there_before_one_is_asked(world: World) -> None:
    agent = await world.agent()
    await agent.update("quote_ready", QUOTES)
    phone = await world.phone(agent)
    async with phone.expect_response(lambda answer: "/screen-asking." in answer.url):
        await agent.update("still_here", {"step": 2})
    traffic = await Traffic.of(phone)
    await expect(phone.get_by_role("heading", name="Still here")).to_be_visible()
    await phone.wait_for_load_state("networkidle")
    traffic.begin()

    await agent.call("companion_choose", title="Which?", options=["A", "B"])
    await expect(phone.get_by_role("button", name="A", exact=True)).to_be_visible()
    assert traffic.asked == []


async def test_a_scan_asks_for_its_words_and_what_a_question_needs_in_no_more_turns_than_without(
    world: World,
) -> None:
    agent = await world.agent()
    opened = await world.ask("POST", f"/sessions/{agent.session_id}/pairings")
    await agent.call("companion_choose", title="Was?", options=["A", "B"])
    phone = await world.page(**PIXEL, locale="de-DE")
    turns: list[str] = []

    def note(what: str, url: str) -> None:
        turns.append(f"{what} {url.rpartition('/')[2].partition('.')[0].partition('?')[0]}")

    phone.on("request", lambda request: note("ask", request.url))
    phone.on("response", lambda response: note("get", response.url))
    phone.on("websocket", lambda socket: socket.on("framereceived", lambda _: note("get", "ws")))

    await phone.goto(opened["url"])
    await expect(phone.get_by_role("button", name="A", exact=True)).to_be_visible()

    assert turns.index("ask pair") < turns.index("get words-de")
    first = turns.index("get ws")
    for part in ("screen-asking", "asking", "words-asking-de"):
        assert turns.index(f"ask {part}") < first, turns


async def test_designs_and_patterns_are_fetched_by_whom_they_reach(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    traffic = await Traffic.of(phone)
    schema = {"properties": {"zip": {"type": "string", "pattern": "^[0-9]{5}$"}}}
    await agent.call("companion_form", title="Where to?", schema=schema)
    await expect(phone.get_by_label("zip")).to_be_visible()
    await show(agent, {"id": "root", "component": "Text", "text": "Drawn by the agent"})
    await expect(phone.get_by_text("Drawn by the agent")).to_be_visible()

    late = {url.rpartition("/")[2].partition(".")[0] for url in traffic.asked}
    assert {"core-matcher", "a2ui-surfaces", "a2ui"} <= late
