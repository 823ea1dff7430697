"""Texts as the person reads them: Markdown, the person's own words, and numbers that stay in order."""

from __future__ import annotations

from playwright.async_api import Page, expect

from .conftest import World, is_too_wide

OFFER = """**Your offer** is ready
Two lines of text
with `code`, *stress* and [terms](https://shop.example/terms).

- Passport
- **Ticket**

1. Tap
2. Fly"""


async def order_of(page: Page, text: str) -> list[float]:
    """Where each character of a text stands on the screen, from left to right, as it is drawn."""
    places: list[float] = await page.evaluate(
        "(text) => { const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);"
        " for (let node; (node = walker.nextNode()); ) {"
        "  const from = node.data.indexOf(text); if (from < 0) continue;"
        "  return [...text].map((_, at) => { const range = document.createRange();"
        "   range.setStart(node, from + at); range.setEnd(node, from + at + 1);"
        "   return range.getBoundingClientRect().left }) } return [] }",
        text,
    )
    assert places, f"{text!r} is not on the page"
    return places


async def test_what_agents_write_as_markdown_is_read_as_text(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    await agent.update(OFFER, {"note": "**now** or\n\n- never", "hidden": "**** 1234"})
    await agent.send(
        type="agent_response", agent_response_event={"agent_response": "I found **two** offers."}
    )
    card = phone.get_by_role("article")

    await expect(card.get_by_role("heading")).to_have_text("Your offer is ready")
    await expect(card.locator("h2 strong")).to_have_text("Your offer")
    await expect(card.get_by_role("link", name="terms")).to_have_attribute("rel", "noopener noreferrer")
    await expect(card.locator("em")).to_have_text("stress")
    await expect(card.get_by_role("listitem")).to_have_text(["Passport", "Ticket", "Tap", "Fly", "never"])
    assert await card.locator(".prose br").count() == 1
    await expect(card.get_by_text("**** 1234")).to_be_visible()
    await expect(phone.locator(".line strong")).to_have_text("two")
    call = await agent.call(
        "companion_confirm", title="Book **now**?", text="You pay:\n\n- 10 €\n- 2 €"
    )
    await expect(phone.get_by_role("heading", name="Book now?")).to_be_visible()
    await expect(phone.get_by_role("listitem").filter(has_text="2 €")).to_be_visible()
    await phone.get_by_role("button", name="Confirm").tap()
    assert (await agent.result(call))["status"] == "confirmed"


async def test_no_text_becomes_markup_or_a_dangerous_link(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    hostile = "<img src=x onerror=alert(1)> [tap](javascript:alert(1)) [a](data:text/html,x)"
    await agent.update(hostile, {"a": hostile, "b": f"{hostile}\n- {hostile}"})
    await agent.call("companion_choose", title=hostile, options=[{"id": "1", "label": hostile}])
    await expect(phone.get_by_role("button", name="<img")).to_be_visible()

    assert await phone.locator("main img, main a[href^='javascript'], main a[href^='data']").count() == 0


async def test_keys_are_named_in_the_words_of_the_person(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent, locale="de-DE")
    await agent.update(
        "quote_ready",
        {"carrier": "DHL", "cost": 12.5, "currency": "EUR", "details": {"eta": "2026-11-23"},
         "options": [{"id": "a", "label": "Express", "insured": True}], "select": "x"},
        labels={"quote_ready": "Ihr Angebot", "carrier": "Spedition", "cost": "Versandkostenberechnung",
                "details": "Einzelheiten", "eta": "Ankunft", "insured": "versichert"},
    )  # fmt: skip
    card = phone.get_by_role("article")

    await expect(card.get_by_role("heading", name="Ihr Angebot")).to_be_visible()
    await expect(card.get_by_role("term")).to_have_text(["Spedition", "Versandkostenberechnung", "Ankunft"])
    await expect(card.get_by_text("Einzelheiten")).to_be_visible()
    await expect(card.get_by_role("button")).to_contain_text("versichert")


async def test_a_long_word_is_not_torn_apart_on_a_narrow_phone(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent, locale="de-DE", viewport={"width": 320, "height": 600})
    await agent.update("Kosten", {"Versandkostenberechnung": "4.812.345,67 Dollar", "x": 1})
    term = phone.get_by_role("term").first
    await expect(term).to_be_visible()

    lines = await term.evaluate("(each) => each.getBoundingClientRect().height / parseFloat(getComputedStyle(each).lineHeight)")

    assert round(lines) == 1
    assert not await is_too_wide(phone)


async def test_numbers_keep_their_order_in_a_page_from_right_to_left(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent, locale="ar-EG")
    await agent.update(
        "اتصل بنا على +971 50 123 4567 الآن",
        {"phone": "+971 50 765 4321", "ملاحظة": "الرقم +971 4 111 2222 مجاني", "price": 48.2, "currency": "USD"},
    )
    await agent.call(
        "companion_choose", title="اختر", options=[{"id": "1", "label": "رقم +971 2 333 4444"}]
    )
    await expect(phone.get_by_role("button", name="+971 2")).to_be_visible()

    for number in ("+971 50 123 4567", "+971 50 765 4321", "+971 4 111 2222", "+971 2 333 4444"):
        places = await order_of(phone, number)
        assert places == sorted(places), number
    money = await phone.locator(".cell-money").inner_text()
    assert "US" not in money
    assert "$" in money


async def test_a_time_is_written_as_people_write_it(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent, locale="en-US")
    await agent.update("news", {"a": 1})

    shown = await phone.locator(".card-head time").inner_text()

    assert not shown.startswith("0")


async def test_nobody_reads_a_long_id_while_the_page_joins(world: World) -> None:
    agent = await world.agent()
    phone = await world.page(viewport={"width": 320, "height": 600})
    opened = await world.ask("POST", f"/sessions/{agent.session_id}/pairings")
    await phone.route("**/pair", lambda route: None)
    await phone.goto(opened["url"])

    await expect(phone.get_by_text(agent.session_id[:8])).to_be_visible()
    assert agent.session_id not in await phone.locator("body").inner_text()
