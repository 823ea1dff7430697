"""The phone page speaks the session's language, wherever it is written from."""

from __future__ import annotations

import json

import pytest
from playwright.async_api import expect

from .conftest import PIXEL, QUOTES, NewWorld, World, is_too_wide


async def test_a_german_phone_reads_german_numbers_and_sentences(world: World) -> None:
    agent = await world.agent()
    await agent.update("quote_ready", {"cost": 1234.5, "currency": "EUR"})
    phone = await world.phone(agent, locale="de-DE")

    await expect(phone.get_by_text("1.234,50\u00a0€")).to_be_visible()
    await expect(phone.get_by_role("status").filter(has_text="Verbunden")).to_be_visible()
    assert await phone.locator("html").get_attribute("lang") == "de"


async def test_the_session_s_language_comes_before_the_phone_s(world: World) -> None:
    agent = await world.agent()
    await world.ask("PATCH", f"/sessions/{agent.session_id}", language="ar")
    await agent.update("quote_ready", QUOTES)
    phone = await world.phone(agent, locale="de-DE", viewport={"width": 320, "height": 600})

    await expect(phone.get_by_role("status").filter(has_text="متصل")).to_be_visible()
    assert await phone.locator("html").get_attribute("dir") == "rtl"
    assert not await is_too_wide(phone)
    button = phone.get_by_role("button", name="FedEx Ground")
    label = await button.locator(".choice-label").bounding_box()
    price = await button.locator(".choice-price").bounding_box()
    assert label is not None
    assert price is not None
    assert label["x"] > price["x"] + price["width"] - 1
    await button.tap()
    await expect(phone.get_by_text("تم اختيار")).to_be_visible()


@pytest.mark.parametrize("languages", [["tlh"], ["C"], ["", "xx-invalid-tag-"], []], ids=str)
async def test_a_locale_nobody_knows_falls_back_to_english(
    world: World, languages: list[str]
) -> None:
    agent = await world.agent()
    phone = await world.page(**PIXEL)
    await phone.add_init_script(
        f"Object.defineProperty(navigator, 'languages', {{ get: () => {json.dumps(languages)} }})"
    )
    opened = await world.ask("POST", f"/sessions/{agent.session_id}/pairings")
    await phone.goto(opened["url"])
    await world.connected(phone)
    await agent.update("quote_ready", {"created_at": "2026-11-23T10:00:00Z", "n": 1.5})

    await expect(phone.get_by_text("1.5", exact=True)).to_be_visible()


async def test_reduced_motion_moves_nothing(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent, reduced_motion="reduce")
    await agent.update("quote_ready", QUOTES)
    await expect(phone.get_by_role("article")).to_be_visible()

    longest = await phone.evaluate(
        "() => Math.max(0, ...[...document.querySelectorAll('*')].flatMap((each) => {"
        " const style = getComputedStyle(each);"
        " return [...style.animationDuration.split(','), ...style.transitionDuration.split(',')]"
        ".map(parseFloat) }))"
    )

    assert longest <= 0.01


async def test_a_page_of_an_allowed_origin_holds_the_screen(new_world: NewWorld) -> None:
    world = await new_world()
    port = world.server.port
    await world.server.stop()
    shop = f"http://companion.test:{port}"
    # The same server plays the other site: another name is another origin.
    await world.server.start(allow_origin=(shop,), allow_host=("companion.test",))
    world.proxies.append(f"{shop}/")
    agent = await world.agent()
    await agent.update("quote_ready", QUOTES)
    token = (
        await world.ask("POST", f"/sessions/{agent.session_id}/tokens", role="ui", ttl_s=600)
    )["token"]
    page = await world.page(**PIXEL, bypass_csp=True)
    await page.goto(f"{shop}/c")
    await page.evaluate(
        "async ([base, token, session]) => {"
        " await import(base + '/static/js/embed.js');"
        " const screen = document.createElement('companion-screen');"
        " screen.setAttribute('token', token); screen.setAttribute('session-id', session);"
        " document.body.replaceChildren(screen) }",
        [world.server.url, token, agent.session_id],
    )

    frame = page.frame_locator("iframe")
    await frame.get_by_role("button", name="FedEx Ground").tap()
    await expect(frame.get_by_text("Selected: FedEx Ground")).to_be_visible()
    await agent.hears(lambda message: message["type"] == "user_message")
