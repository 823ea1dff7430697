"""Getting in where the world is in the way: proxies, odd keyboards, odd browsers, long sleep."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from companion_ws.access.keys import Keys
from companion_ws.access.tokens import Revocations, Tokens

from .conftest import PIXEL, QUOTES, Agent, World

TYPED = Path(__file__).resolve().parents[1] / "wire" / "codes" / "typed.json"
NOT_OURS: list[dict[str, Any]] = [
    {"status": 502, "content_type": "text/html", "body": "<h1>Bad Gateway</h1>"},
    {"status": 511, "content_type": "text/html", "body": "<h1>Log in to Hotel Wi-Fi</h1>"},
    {"status": 200, "content_type": "text/html", "body": "<h1>Welcome to Hotel Wi-Fi</h1>"},
    {"status": 200, "content_type": "application/json", "body": "{}"},
    {"status": 201, "content_type": "application/json", "body": "[null]"},
    {"status": 404, "content_type": "text/html", "body": "<h1>Not Found</h1>"},
    {"status": 404, "content_type": "application/json", "body": '{"code": "not_found"}'},
    {"status": 503, "content_type": "application/problem+json",
     "body": '{"status": 503, "code": "unavailable", "title": "Service Unavailable"}'},
]  # fmt: skip


async def opened(world: World, agent: Agent) -> Any:
    return await world.ask("POST", f"/sessions/{agent.session_id}/pairings")


@pytest.mark.parametrize("way", ["scan", "code"])
async def test_an_answer_that_is_not_ours_uses_nothing_up_and_is_tried_again(
    world: World, way: str
) -> None:
    agent = await world.agent()
    await agent.update("quote_ready", QUOTES)
    pairing = await opened(world, agent)
    phone = await world.page(**PIXEL)
    waiting = [*NOT_OURS, None]

    async def answer(route: Route) -> None:
        if not waiting:
            await route.continue_()
        elif (given := waiting.pop(0)) is None:
            await route.abort()
        else:
            await route.fulfill(**given)

    await phone.route("**/pair", answer)
    if way == "scan":
        await phone.goto(pairing["url"])
    else:
        await phone.goto(f"{world.server.url}/c")
        await phone.get_by_label("Code").fill(pairing["code"])
        await phone.get_by_role("button", name="Join").tap()
    again = phone.get_by_role("button", name="Try again")
    await expect(phone.get_by_text("The server cannot be reached")).to_be_visible()
    await expect(phone.get_by_text("Trying again…")).to_be_visible()
    assert await phone.get_by_text("already been used").count() == 0
    while waiting:
        left = len(waiting)
        if await again.is_visible():
            await again.dispatch_event("click")
        await asyncio.sleep(0.05)
        assert len(waiting) <= left
    await expect(phone.get_by_role("heading", name="Quote ready")).to_be_visible()


async def test_only_our_own_404_means_used_and_a_minute_is_enough(world: World) -> None:
    agent = await world.agent()
    pairing = await opened(world, agent)
    await world.phone(agent, url=pairing["url"])
    other = await world.page(**PIXEL)
    await other.goto(pairing["url"])
    await expect(other.get_by_text("already been used or has expired")).to_be_visible()

    # A virtual minute: nobody answers, it stops by itself, and the button begins anew.
    lost = await world.page(**PIXEL)
    await lost.clock.install()
    await lost.route("**/pair", lambda route: route.fulfill(status=502, body="no"))
    await lost.goto((await opened(world, agent))["url"])
    await expect(lost.get_by_text("Connecting").or_(lost.get_by_text("Joining"))).to_be_visible()
    for _ in range(40):
        await lost.clock.run_for(2000)
        await asyncio.sleep(0.02)
    await expect(lost.get_by_text("The server cannot be reached")).to_be_visible()
    await expect(lost.get_by_text("Trying again…")).to_have_count(0)
    await lost.unroute("**/pair")
    await lost.get_by_role("button", name="Try again").tap()
    await world.connected(lost)


async def test_a_code_is_nine_digits_however_it_is_written(world: World) -> None:
    agent = await world.agent()
    phone = await world.page(**PIXEL)
    await phone.goto(f"{world.server.url}/c")
    box = phone.get_by_label("Code")
    for case in json.loads(TYPED.read_text(encoding="utf-8")):
        if case["code"] is None or "\n" in case["text"]:
            continue
        await box.fill(case["text"])
        await expect(box).to_have_value("123 456 789")
        await box.fill("")
        await phone.evaluate("(text) => document.getElementById('code').focus()", case["text"])
        await phone.keyboard.insert_text(case["text"])
        await expect(box).to_have_value("123 456 789")
    await box.fill("")
    await box.press_sequentially("Code: ١٢٣–456 ")
    await expect(box).to_have_value("123 456")
    code = (await opened(world, agent))["code"]
    arabic = "".join(chr(0x660 + int(digit)) for digit in code)
    await box.fill(f"  {arabic[:3]}\u200b–{arabic[3:]}")
    await phone.get_by_role("button", name="Join").tap()
    await world.connected(phone)


async def test_a_code_reaches_the_server_in_any_writing(world: World) -> None:
    agent = await world.agent()
    for write in (
        lambda code: f"Code: {code[:3]}–{code[3:6]}—{code[6:]}.",
        lambda code: "".join(chr(0xFF10 + int(digit)) for digit in code),
        lambda code: "\u200f" + "".join(chr(0x6F0 + int(digit)) + "\u200b" for digit in code),
    ):
        code = (await opened(world, agent))["code"]
        joined = await world.ask("POST", "/pair", code=write(code), device="Pixel 7")
        assert joined["session_id"] == agent.session_id


ODD: dict[str, str] = {
    "no languages": "Object.defineProperty(navigator, 'languages', {get: () => undefined})",
    "no language": "for (const name of ['language', 'languages'])"
    " Object.defineProperty(navigator, name, {get: () => undefined})",
    "no history": "history.replaceState = () => { throw new DOMException('no', 'SecurityError') }",
    "no storage": "for (const name of ['localStorage', 'sessionStorage'])"
    " Object.defineProperty(window, name, {get: () => { throw new DOMException('no', 'SecurityError') }})",
    "null storage": "for (const name of ['localStorage', 'sessionStorage'])"
    " Object.defineProperty(window, name, {get: () => null})",
    "full storage": "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError') }",
    "older": "delete Intl.Segmenter; delete Intl.ListFormat; delete URL.parse;"
    " delete Array.prototype.findLastIndex; delete Array.prototype.with;"
    " delete URLSearchParams.prototype.size; delete navigator.wakeLock; delete navigator.vibrate",
}


@pytest.mark.parametrize("odd", list(ODD))
async def test_an_odd_browser_gets_in_and_answers(world: World, odd: str) -> None:
    agent = await world.agent()
    phone = await world.page(**PIXEL)
    await phone.context.add_init_script(ODD[odd])
    await phone.goto((await opened(world, agent))["url"])
    await world.connected(phone)
    if odd != "no history":
        assert "#" not in phone.url
    assert "." not in phone.url.partition("#")[2], "the ticket is hidden"
    call = await agent.call("companion_choose", title="Which?", options=["A", "B"])
    await phone.get_by_role("button", name="B", exact=True).tap()
    assert (await agent.result(call))["id"] == "B"

    desk = await world.page(viewport={"width": 1280, "height": 900})
    await desk.context.add_init_script(ODD[odd])
    token = world.server.token()
    for path, shown in (
        (f"/sessions/{agent.session_id}/pair", "Devices in this session"),
        ("/", "New session"),
        ("/admin", "Sessions"),
    ):
        kind = world.server.token("root", "admin") if path == "/admin" else token
        await desk.goto("about:blank")
        await desk.goto(f"{world.server.url}{path}#token={kind}")
        await expect(desk.get_by_text(shown).first).to_be_visible()
        await expect(desk.get_by_label("Or paste a token")).to_have_count(0)


async def asleep(world: World, phone: Page, agent: Agent) -> None:
    """Let the phone's token run out while it is away."""
    keys = Keys.load(world.server.data)
    device = await phone.evaluate(
        "(id) => JSON.parse(localStorage.getItem('companion.token.' + id)).deviceId",
        agent.session_id,
    )
    short, _ = Tokens(keys, Revocations(keys)).issue(
        "session", "alice", 0.2, session_id=agent.session_id, role="ui", device_id=device
    )
    await phone.evaluate(
        "([id, token, deviceId]) => localStorage.setItem('companion.token.' + id, JSON.stringify({token, deviceId}))",
        [agent.session_id, short, device],
    )
    await asyncio.sleep(0.5)


async def test_who_slept_too_long_reads_what_is_true_and_keeps_the_tap(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    call = await agent.call("companion_choose", title="Which?", options=["A", "B"])
    await expect(phone.get_by_role("button", name="B", exact=True)).to_be_visible()
    await phone.context.route_web_socket("**/ws*", lambda socket: socket.close(code=1012))
    await phone.reload()
    await phone.get_by_role("button", name="B", exact=True).tap()
    await expect(phone.get_by_text("Will send when back online")).to_be_visible()
    await asleep(world, phone, agent)
    state = await phone.context.storage_state()

    late = await world.page(**PIXEL, storage_state=state)
    await late.goto(f"{world.server.url}/ui?session_id={agent.session_id}")
    alert = late.get_by_role("alert")
    await expect(alert.get_by_role("heading")).to_have_text("This screen’s access has expired")
    await expect(alert).to_contain_text("What you tapped will be sent then")
    assert await late.get_by_text("not been used for a while").count() == 0
    way = alert.get_by_role("link")
    await expect(way).to_have_count(1)

    await way.tap()
    await late.get_by_label("Code").fill((await opened(world, agent))["code"])
    await late.get_by_role("button", name="Join").tap()
    await world.connected(late)
    assert (await agent.result(call))["id"] == "B"
    await expect(late.get_by_text("Selected: B")).to_be_visible()


async def test_a_link_without_its_ticket_opens_no_session_for_an_owner(world: World) -> None:
    page = await world.page()
    await page.goto(f"{world.server.url}/#token={world.server.token()}")
    await expect(page.get_by_role("button", name="New session").first).to_be_visible()

    await page.goto(f"{world.server.url}/p")

    await expect(page.get_by_role("link", name="Type a code")).to_be_visible()
    assert (await world.ask("GET", "/me/sessions"))["sessions"] == []
