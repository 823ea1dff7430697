"""What a person keeps on the phone when the conversation is over, and when it is gone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from playwright.async_api import Page, expect

from .conftest import PIXEL, QUOTES, Agent, World, accessibility_faults, is_too_wide

LABEL = {
    "carrier": "FedEx", "tracking_number": "1Z 999 AA1 01 2345 6784", "to": "San Francisco, 94107",
    "support": "https://example.com/help?n=1", "pieces": 2, "express": True,
}  # fmt: skip
KEPT = "() => localStorage.getItem('companion.take-away')"


async def conversation(world: World, **options: Any) -> tuple[Agent, Page]:
    """A phone with a chosen quote, a label and the agent's words."""
    agent = await world.agent()
    phone = await world.phone(agent, **options)
    await agent.update("quote_ready", QUOTES, context_id="rates")
    await phone.get_by_role("button", name="FedEx Ground").tap()
    await agent.hears(lambda each: each["type"] == "user_message")
    await agent.update("label_created", LABEL)
    await agent.send(type="agent_response", agent_response_event={"agent_response": "Goodbye, and safe travels!"})
    await expect(phone.get_by_text("Goodbye")).to_be_visible()
    return agent, phone


async def end(world: World, agent: Agent, query: str = "") -> None:
    await world.ask("DELETE", f"/sessions/{agent.session_id}{query}")


async def gone(phone: Page) -> None:
    assert await phone.evaluate(KEPT) is None
    await expect(phone.get_by_text("1Z 999")).to_have_count(0)
    await expect(phone.get_by_text("Goodbye")).to_have_count(0)


async def test_no_password_stays_on_the_phone_once_it_was_sent(world: World) -> None:
    schema = {
        "$defs": {"key": {"type": "string", "format": "password", "title": "Door code"}},
        "properties": {
            "name": {"type": "string", "title": "Name"},
            "door": {"type": "object", "properties": {"key": {"$ref": "#/$defs/key"}}},
            "passphrase": {"type": "string"},
        },
    }
    agent = await world.agent()
    phone = await world.phone(agent)
    call = await agent.call("companion_form", title="Who?", schema=schema)
    await phone.get_by_label("Name").fill("Ann")
    await phone.get_by_label("Door code").fill("hunter2-door")
    await phone.get_by_label("Passphrase").fill("hunter2-phrase")
    await phone.get_by_role("button", name="Send").last.click()
    answer = await agent.result(call)
    assert answer["values"]["door"] == {"key": "hunter2-door"}

    async def kept() -> str:
        return str(await phone.evaluate("() => JSON.stringify({ ...localStorage })"))

    receipt = phone.locator("companion-question", has_text="Who?")
    for when in ("at once", "after a reload", "at the end", "after the end"):
        await expect(receipt.get_by_text("••••••")).to_have_count(2)
        await expect(receipt.get_by_text("Ann")).to_be_visible()
        await phone.evaluate("() => dispatchEvent(new PageTransitionEvent('pagehide'))")
        assert "Ann" in await kept()
        assert "hunter2" not in await kept()
        if when == "after a reload":
            await end(world, agent)
            await expect(phone.get_by_role("heading", name="All done")).to_be_visible()
        else:
            await phone.reload()


async def test_what_was_agreed_to_is_kept_with_its_amount(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    call = await agent.call(
        "companion_confirm", title="Pay?", amount=19.77, currency="USD", merchant="USPS"
    )
    await phone.get_by_role("button", name="Confirm").tap()
    await agent.result(call)

    receipt = phone.locator("companion-question", has_text="Pay?")
    await expect(receipt.get_by_text("Confirmed")).to_be_visible()
    await expect(receipt.get_by_role("term")).to_have_text("To USPS")
    await expect(receipt.get_by_role("definition")).to_have_text("$19.77")
    await end(world, agent)
    await phone.evaluate("() => { navigator.share = async (data) => { window.shared = data } }")
    await phone.get_by_role("button", name="Share").tap()
    assert "Confirmed\nTo USPS: $19.77" in await phone.evaluate("() => window.shared.text")


async def test_the_cards_stay_for_a_day_and_over_a_reload_until_they_are_cleared(
    world: World,
) -> None:
    agent, phone = await conversation(world)
    await end(world, agent)

    for _ in ("at once", "after a reload"):
        head = phone.get_by_role("alert")
        await expect(head.get_by_role("heading", name="All done")).to_be_visible()
        await expect(head).to_contain_text("Goodbye, and safe travels!")
        await expect(head).to_contain_text("stay on this phone until")
        await expect(head.get_by_role("button")).to_have_text(["Share", "Print", "Clear"])
        await expect(phone.get_by_role("article").get_by_role("heading")).to_have_text(
            ["Label created", "Quote ready"]
        )
        await expect(phone.get_by_text("Selected: FedEx Ground")).to_be_visible()
        await expect(phone.locator("connection-lights")).to_contain_text("Ended")
        await expect(phone.get_by_role("textbox")).to_have_count(0)
        assert await accessibility_faults(phone) == []
        assert not await is_too_wide(phone)
        await phone.reload()

    await phone.get_by_role("button", name="Clear").tap()
    await expect(phone.get_by_role("heading", name="No session on this phone")).to_be_visible()
    await gone(phone)
    await phone.reload()
    await expect(phone.get_by_role("heading", name="No session on this phone")).to_be_visible()


async def test_after_a_day_nothing_of_it_is_on_the_phone(world: World) -> None:
    agent, phone = await conversation(world)
    await phone.clock.install()
    await end(world, agent)
    await expect(phone.get_by_role("heading", name="All done")).to_be_visible()

    await phone.clock.fast_forward("23:59:00")
    await expect(phone.get_by_text("1Z 999")).to_be_visible()
    await phone.clock.fast_forward("02:00")

    await expect(phone.get_by_role("heading", name="No session on this phone")).to_be_visible()
    await gone(phone)


@pytest.mark.parametrize("way", ["clipboard", "plain HTTP"])
async def test_codes_numbers_addresses_and_links_copy_by_a_tap(world: World, way: str) -> None:
    agent, phone = await conversation(world, permissions=["clipboard-read", "clipboard-write"])
    if way == "plain HTTP":
        await phone.evaluate("() => Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    await end(world, agent)
    card = phone.get_by_role("article").filter(has_text="Label created")
    offered = card.get_by_role("button")
    await expect(offered).to_have_count(4)

    for copied in (LABEL["tracking_number"], LABEL["to"], LABEL["support"], "2"):
        await card.get_by_role("button", name=f"Copy {copied}", exact=True).tap()
        await expect(phone.locator(".toast")).to_have_text("Copied")
        if way == "plain HTTP":
            paste = "() => { const box = document.createElement('textarea'); document.body.append(box)"
            paste += "; box.focus(); return new Promise((done) => box.onpaste = (e) => {"
            paste += " done(e.clipboardData.getData('text')); box.remove() }) }"
            pasting = phone.evaluate(paste)
            task = asyncio.ensure_future(pasting)
            await phone.wait_for_function("() => document.activeElement.localName === 'textarea'")
            await phone.keyboard.press("ControlOrMeta+v")
            assert await task == copied
        else:
            assert await phone.evaluate("() => navigator.clipboard.readText()") == copied
    await phone.get_by_role("button", name="Share").tap()
    await expect(phone.locator(".toast")).to_contain_text("Paste it where you need it")


async def test_sharing_gives_all_of_it_to_the_phone_and_printing_opens_what_is_folded(
    world: World,
) -> None:
    agent, phone = await conversation(world)
    await agent.update("long", {f"line_{at}": f"Value {at}" for at in range(30)})
    await end(world, agent)
    await phone.evaluate("() => { navigator.share = async (data) => { window.shared = data }; window.print = () => { window.printed = true } }")

    await phone.get_by_role("button", name="Share").tap()
    shared = await phone.evaluate("() => window.shared.text")
    assert "Tracking number: 1Z 999 AA1 01 2345 6784" in shared
    assert "https://example.com/help?n=1" in shared
    assert "Selected: FedEx Ground, $12.99" in shared
    assert "Value 29" in shared

    await phone.get_by_role("button", name="Print").tap()
    assert await phone.evaluate("() => window.printed")
    await phone.emulate_media(media="print")
    await expect(phone.get_by_text("Value 29")).to_be_visible()
    for hidden in ("Share", "Print", "Clear"):
        await expect(phone.get_by_role("button", name=hidden)).to_be_hidden()


@pytest.mark.parametrize("way", ["erased", "a person erased", "removed", "kept not at all"])
async def test_what_is_erased_or_taken_away_is_gone_from_the_phone_at_once(
    new_world: Any, way: str
) -> None:
    world: World = await new_world(**({"keep_ended": "0"} if way == "kept not at all" else {}))
    agent, phone = await conversation(world)
    match way:
        case "erased":
            await end(world, agent, "?erase=1")
        case "a person erased":
            await world.ask("DELETE", "/me")
        case "removed":
            (device,) = (await world.ask("GET", "/me/devices"))["devices"]
            await world.ask("DELETE", f"/sessions/{agent.session_id}/devices/{device['device_id']}")
        case _:
            await end(world, agent)

    head = phone.get_by_role("alert")
    # The tokens of a person that is erased die in that very step.
    title = "disconnected" if way in ("removed", "a person erased") else "This conversation was erased"
    await expect(head).to_contain_text(title)
    await gone(phone)
    assert await phone.evaluate("() => Object.keys(localStorage)") == []
    await phone.reload()
    await expect(phone.get_by_role("heading", name="No session on this phone")).to_be_visible()


async def test_a_new_pairing_leaves_nothing_of_the_last_conversation(world: World) -> None:
    agent, phone = await conversation(world)
    await end(world, agent)
    await expect(phone.get_by_role("heading", name="All done")).to_be_visible()
    other_tab = await phone.context.new_page()

    another = await world.agent()
    opened = await world.ask("POST", f"/sessions/{another.session_id}/pairings")
    await other_tab.goto(opened["url"])
    await world.connected(other_tab)

    await expect(phone.get_by_text("1Z 999")).to_have_count(0)
    assert await phone.evaluate(KEPT) is None


async def test_in_another_page_nothing_is_kept(world: World) -> None:
    agent = await world.agent()
    made = await world.ask("POST", f"/sessions/{agent.session_id}/tokens", role="ui")
    phone = await world.page(**PIXEL)
    await phone.goto(f"{world.server.url}/ui?embed=1#token={made['token']}")
    await world.connected(phone)
    await agent.update("label_created", LABEL)
    await expect(phone.get_by_text("1Z 999")).to_be_visible()

    await end(world, agent)

    await expect(phone.get_by_role("heading", name="All done")).to_be_visible()
    await expect(phone.get_by_role("button", name="Copy 1Z 999")).to_be_visible()
    await expect(phone.get_by_role("button", name="Clear")).to_have_count(0)
    assert await phone.evaluate("() => Object.keys(localStorage)") == []


async def test_a_phone_that_was_away_at_the_end_takes_away_what_it_saw(world: World) -> None:
    agent, phone = await conversation(world)
    url = phone.url
    await phone.goto("about:blank")
    await end(world, agent)

    await phone.goto(url)

    await expect(phone.get_by_role("heading", name="All done")).to_be_visible()
    await expect(phone.get_by_text("1Z 999")).to_be_visible()
    await phone.reload()
    await expect(phone.get_by_text("1Z 999")).to_be_visible()


async def test_what_was_not_sent_before_the_end_is_told(world: World) -> None:
    agent, phone = await conversation(world)
    await phone.context.set_offline(True)
    await phone.get_by_role("textbox", name="Type instead of speaking").fill("One more thing")
    await phone.keyboard.press("Enter")
    await expect(phone.get_by_text("Will send when back online")).to_be_visible()

    await end(world, agent)
    await phone.context.set_offline(False)

    head = phone.get_by_role("alert")
    await expect(head).to_contain_text("All done", timeout=20_000)
    await expect(head).to_contain_text("Not sent before the end: One more thing")
    await phone.reload()
    await expect(head).to_contain_text("Not sent before the end: One more thing")


async def test_what_a_phone_remembers_is_forgotten_after_a_day_whatever_it_opens(
    world: World,
) -> None:
    _, phone = await conversation(world)
    await phone.goto("about:blank")
    await phone.goto(f"{world.server.url}/c")
    await phone.evaluate("() => sessionStorage.clear()")
    kept = "() => Object.keys(localStorage).filter((key) => /view|take-away/.test(key)).length"
    assert await phone.evaluate(kept) == 1

    await phone.clock.install()
    await phone.clock.fast_forward("24:00:01")
    await phone.reload()

    await expect(phone.get_by_role("heading", name="Type your code")).to_be_visible()
    assert await phone.evaluate(kept) == 0
