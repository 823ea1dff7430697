"""Two tabs of one phone, clocks that are wrong or corrected, and answers that are too long."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import expect

from .conftest import PIXEL, World


async def test_taps_of_two_tabs_that_were_closed_offline_arrive_once_each(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    context, url = phone.context, phone.url
    calls = [
        await agent.call("companion_choose", title=f"Question {at}", options=[f"Yes {at}", "No"])
        for at in range(2)
    ]
    await expect(phone.get_by_role("button", name="Yes 1")).to_be_visible()
    await context.route_web_socket("**/ws*", lambda socket: socket.close(code=1012))
    await phone.reload()
    other = await context.new_page()
    await other.goto(url)
    await other.get_by_role("button", name="Yes 1").tap()
    # What is answered and waits for the network gives way to the next question.
    await expect(other.get_by_role("button", name="Yes 0")).to_be_visible()
    await phone.get_by_role("button", name="1 of 2").tap()
    await phone.get_by_role("button", name="Yes 0").tap()
    for page in (phone, other):
        await expect(page.get_by_text("Will send when back online").first).to_be_visible()
        await page.close()
    await context.unroute_all()

    state = await context.storage_state()
    again = await world.page(**PIXEL, storage_state=state)
    await again.goto(url)
    for at, call in enumerate(calls):
        assert (await agent.result(call))["id"] == f"Yes {at}"
    await expect(again.get_by_text("Selected: Yes", exact=False)).to_have_count(2)
    assert len(agent.heard("client_tool_result")) == 2
    left = "() => Object.keys(localStorage).filter((key) => key.includes('outbox'))"
    assert await again.evaluate(left) == []


STEPPED = """(ms) => { const now = Date.now.bind(Date), Native = Date
  Date.now = () => now() + ms
  globalThis.Date = class extends Native {
    constructor(...given) { super(...(given.length ? given : [now() + ms])) }
    static now() { return now() + ms } } }"""


@pytest.mark.parametrize("ms", [120_000, -120_000, 90_000_000, -90_000_000])
async def test_a_clock_that_is_corrected_closes_no_question(world: World, ms: int) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    before = await agent.call("companion_choose", title="Before", options=["A", "B"])
    await expect(phone.get_by_role("button", name="A", exact=True)).to_be_visible()
    await phone.evaluate(STEPPED, ms)
    after = await agent.call("companion_choose", title="After", options=["C", "D"])

    await phone.get_by_role("button", name="D", exact=True).tap()
    await phone.get_by_role("button", name="A", exact=True).tap()

    assert (await agent.result(after))["id"] == "D"
    assert (await agent.result(before))["id"] == "A"
    await expect(phone.locator(".banner")).to_be_hidden()
    await expect(phone.get_by_text("Closed")).to_have_count(0)


async def test_where_the_clock_is_ahead_a_pairing_is_drawn_once(world: World) -> None:
    """An element in a page of a shop, on a machine two minutes ahead or behind."""
    agent = await world.agent()
    for ms in (120_000, -120_000, 90_000_000):
        desk = await world.page(viewport={"width": 1280, "height": 900})
        await desk.add_init_script(f"({STEPPED})({ms})")
        asked: list[str] = []
        desk.on("request", lambda request, asked=asked: asked.append(f"{request.method} {request.url}"))
        token = world.server.token()
        await desk.goto(f"{world.server.url}/docs")
        await desk.evaluate(
            """async ([id, token, src]) => { await import(src)
              const pair = document.createElement("companion-pair")
              pair.setAttribute("session-id", id); pair.setAttribute("token", token)
              document.body.append(pair) }""",
            [agent.session_id, token, f"{world.server.url}/static/js/embed.js"],
        )
        await desk.wait_for_function(
            "() => document.querySelector('companion-pair')?.shadowRoot?.querySelector('.qr')?.naturalWidth > 0"
        )
        left = await desk.evaluate(
            "() => document.querySelector('companion-pair').shadowRoot.textContent.match(/Valid for (\\d+:\\d+)/)[1]"
        )
        assert left.startswith("4:") or left in ("5:00", "5:01")
        await asyncio.sleep(2)
        drawn = [each for each in asked if each.startswith("POST") and each.endswith("/pairings")]
        assert len(drawn) == 1
        await desk.context.close()


async def test_an_answer_longer_than_a_message_is_refused_in_words_and_kept(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    schema = {"properties": {"story": {"type": "string"}, "name": {"type": "string"}}}
    call = await agent.call("companion_form", title="Tell us", schema=schema)
    story = phone.get_by_label("Story")
    long = "ä" * 40_000
    await story.fill(long)
    await phone.get_by_label("Name").fill("Ann")
    form = phone.get_by_role("article")
    await form.get_by_role("button", name="Send").tap()
    await expect(form.get_by_text("That is too long to send")).to_be_visible()
    await expect(story).to_have_value(long)
    await expect(phone.get_by_label("Name")).to_have_value("Ann")
    await world.connected(phone)

    await story.fill("short")
    await form.get_by_role("button", name="Send").tap()
    assert (await agent.result(call))["values"] == {"story": "short", "name": "Ann"}
