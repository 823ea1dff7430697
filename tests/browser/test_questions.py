"""What agents ask: forms of every kind of field, choices and confirmations, answered by thumb."""

from __future__ import annotations

import json
from typing import Any

from playwright.async_api import Page

from .conftest import World, accessibility_faults, is_too_wide

PARCEL: dict[str, Any] = {
    "type": "object",
    "properties": {
        "weight": {"type": "number", "title": "Weight", "minimum": 0.1, "maximum": 70, "x-unit": "kg", "description": "With the box"},
        "pieces": {"type": "integer", "title": "Pieces", "minimum": 1, "maximum": 9, "default": 1},
        "service": {"title": "Service", "oneOf": [{"const": "air", "title": "Next day"}, {"const": "ground", "title": "Ground"}]},
        "box": {"title": "Box", "enum": [f"box_{n}" for n in range(8)]},
        "city": {"title": "City", "enum": [f"City {n}" for n in range(14)]},
        "extras": {"type": "array", "title": "Extras", "items": {"enum": ["insurance", "gift_wrap"]}},
        "day": {"type": "string", "title": "Day", "format": "date"},
        "at": {"type": "string", "title": "At", "format": "time"},
        "when": {"type": "string", "title": "When", "format": "date-time"},
        "gate": {"type": "string", "title": "Gate password", "format": "password"},
        "mail": {"type": "string", "title": "Mail", "format": "email"},
        "zip": {"type": "string", "title": "Postcode", "pattern": "^[0-9]{5}$"},
        "note": {"type": "string", "title": "Note", "maxLength": 400},
        "to": {"type": "object", "title": "Recipient", "required": ["name"], "properties": {"name": {"type": "string", "title": "Their name"}}},
        "tags": {"type": "array", "title": "Tags", "items": {"type": "string"}},
        "terms": {"const": True, "title": "I accept the terms"},
    },
    "required": ["weight", "service", "terms", "to"],
}  # fmt: skip


async def test_a_form_asks_for_every_kind_of_field_and_its_receipt_lists_the_answers(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent, locale="en-US")
    call = await agent.call("companion_form", title="Your parcel", schema=PARCEL)
    form = phone.locator("companion-question form")
    await form.wait_for()

    await form.get_by_label("Weight").fill("2,5")
    assert await form.get_by_label("Weight").get_attribute("inputmode") == "decimal"
    await form.get_by_label("Ground").check()
    await form.get_by_label("Box", exact=True).select_option("Box 3")
    await form.get_by_role("searchbox").fill("13")
    assert await form.locator(".searched .choice:visible", has_text="City").count() == 1
    await form.get_by_label("City 13").check()
    await form.get_by_label("Gift wrap").check()
    await form.get_by_label("Day", exact=True).fill("2026-11-30")
    await form.get_by_label("At", exact=True).fill("09:30")
    await form.get_by_label("When").fill("2026-11-30T10:00")
    await form.get_by_label("Gate password").fill("hunter2")
    assert await form.get_by_label("Gate password").get_attribute("type") == "password"
    await form.get_by_role("button", name="Show").click()
    assert await form.get_by_label("Gate password").get_attribute("type") == "text"
    await form.get_by_label("Mail").fill("a@b.example")
    await form.get_by_label("Postcode").fill("80202")
    assert await form.get_by_label("Postcode").get_attribute("inputmode") == "numeric"
    await form.get_by_label("Note").fill("Ring twice\nthen wait")
    await form.get_by_label("Their name").fill("Ann")
    await form.get_by_label("Tags").fill("red\nblue")
    await form.get_by_label("I accept the terms").check()
    await form.get_by_role("button", name="Send").click()

    assert await agent.result(call) == {"status": "submitted", "values": {
        "weight": 2.5, "pieces": 1, "service": "ground", "box": "box_3", "city": "City 13", "extras": ["gift_wrap"], "day": "2026-11-30", "at": "09:30",
        "when": "2026-11-30T10:00", "gate": "hunter2", "mail": "a@b.example", "zip": "80202", "note": "Ring twice\nthen wait", "to": {"name": "Ann"},
        "tags": ["red", "blue"], "terms": True,
    }}  # fmt: skip
    receipt = phone.locator("companion-question", has_text="Your parcel").locator("dl.rows")
    rows = dict(zip(await receipt.locator("dt").all_text_contents(), await receipt.locator("dd").all_text_contents(), strict=True))
    assert (rows["Weight"], rows["Service"], rows["Extras"], rows["Their name"]) == ("2.5 kg", "Ground", "Gift wrap", "Ann")
    assert rows["Gate password"] == "••••••"


async def said_of(page: Page, label: str) -> str:
    """Return what is told with a field: its hints, and what is wrong."""
    told: str = await page.get_by_label(label).evaluate(
        "e => e.getAttribute('aria-describedby').split(' ').map(id => document.getElementById(id).textContent).filter(Boolean).join(' | ')"
    )
    return told


async def test_each_fault_is_said_in_the_persons_language_with_its_field(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent, locale="de-DE")
    await agent.call("companion_form", title="Paket", schema=PARCEL)
    await phone.get_by_label("Weight").fill("0,05")
    await phone.get_by_label("Postcode").fill("x")
    await phone.get_by_label("Mail").fill("nobody")
    await phone.locator("companion-question button[type=submit]").click()

    await phone.get_by_text("Geben Sie eine Zahl von 0,1 bis 70 ein").wait_for()
    assert await said_of(phone, "Weight") == "With the box · Von 0,1 bis 70 | kg | Geben Sie eine Zahl von 0,1 bis 70 ein"
    assert await said_of(phone, "Postcode") == "Geben Sie 5 Ziffern ein"
    assert await said_of(phone, "Mail") == "Geben Sie eine E-Mail-Adresse ein, etwa name@example.com"
    assert await phone.evaluate("document.activeElement.getAttribute('aria-invalid')") == "true"
    assert await accessibility_faults(phone) == []
    # What is put right is right at once.
    await phone.get_by_label("Weight").fill("2")
    await phone.wait_for_function("() => ![...document.querySelectorAll('.wrong')].some(e => e.textContent.includes('0,1 bis 70'))")


async def test_what_was_typed_outlives_a_reload_and_is_gone_once_it_is_sent(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    call = await agent.call("companion_form", title="Your parcel", schema=PARCEL)
    await phone.get_by_label("Weight").fill("3")
    await phone.get_by_label("Ground").check()
    await phone.get_by_label("Gate password").fill("hunter2")
    assert "hunter2" not in await phone.evaluate("JSON.stringify({...localStorage, ...sessionStorage})")

    await phone.reload()
    await world.connected(phone)
    await phone.get_by_label("Weight").wait_for()
    assert await phone.get_by_label("Weight").input_value() == "3"
    assert await phone.get_by_label("Ground").is_checked()
    await phone.get_by_label("Their name").fill("Ann")
    await phone.get_by_label("I accept the terms").check()
    await phone.locator("companion-question button[type=submit]").click()

    assert (await agent.result(call))["values"]["weight"] == 3
    await phone.wait_for_function("() => !Object.keys(localStorage).some(key => key.startsWith('companion.draft'))")


async def test_several_are_chosen_within_what_the_agent_allows_and_kept_over_a_reload(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    options = [{"id": f"c{n}", "label": f"City {n}", "price": n + 0.5, "currency": "USD", "badge": "Near" if n == 1 else None} for n in range(14)]
    call = await agent.call("companion_choose", title="Where?", options=options, multiple=True, min=2, max=3)
    question = phone.locator("companion-question")
    await question.get_by_text("Choose 2 to 3").first.wait_for()
    assert await question.locator(".badge").all_text_contents() == ["Near"]
    assert await question.locator(".choice-price").nth(1).text_content() == "$1.50"
    await question.get_by_role("searchbox").fill("city 12")
    await question.get_by_label("City 12").check()
    await question.get_by_role("button", name="Send choice").click()
    await question.locator(".note", has_text="Choose 2 to 3").wait_for()

    await phone.reload()
    await world.connected(phone)
    await question.get_by_label("City 12").wait_for()
    assert await question.get_by_label("City 12").is_checked()
    await question.get_by_label("City 3").check()
    await question.get_by_role("button", name="Send choice").click()
    assert (await agent.result(call))["ids"] == ["c3", "c12"]


async def test_a_long_choice_can_be_searched_and_one_tap_still_answers(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    call = await agent.call("companion_choose", title="Where?", options=[*(f"City {n}" for n in range(20)), "München"])
    search = phone.get_by_role("searchbox")
    await search.fill("nowhere")
    await phone.get_by_text("Nothing matches “nowhere”").wait_for()
    await search.fill("munchen")
    await phone.get_by_role("button", name="München").click()
    assert (await agent.result(call))["id"] == "München"


async def test_the_amount_is_the_largest_thing_on_a_confirmation(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    call = await agent.call(
        "companion_confirm", title="Print the label?", text="Valid for **14 days**.", amount=53.19, currency="EUR", merchant="UPS",
        items=[{"label": "Next Day Air", "amount": 48.2}, {"label": "Pickup", "amount": 4.99}], confirm_label="Pay",
    )  # fmt: skip
    question = phone.locator("companion-question")
    await question.get_by_text("€53.19").wait_for()
    assert await question.locator(".bill .row").all_text_contents() == ["Next Day Air€48.20", "Pickup€4.99"]
    await question.get_by_text("To UPS").wait_for()
    sizes = await phone.evaluate(
        "() => [...document.querySelectorAll('*')].filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()))"
        ".map(e => [parseFloat(getComputedStyle(e).fontSize), e.textContent]).sort((a, b) => b[0] - a[0])"
    )
    assert sizes[0][1] == "€53.19"
    assert sizes[0][0] >= 1.5 * sizes[1][0]
    assert await accessibility_faults(phone) == []
    await question.get_by_role("button", name="Pay").click()
    assert await agent.result(call) == {"status": "confirmed"}


async def test_no_schema_breaks_the_page_and_what_cannot_be_asked_is_said(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent, viewport={"width": 320, "height": 568})
    rows = {"type": "array", "title": "Lines", "items": {"type": "object", "properties": {"x": {"type": "string"}}}}
    hostile = json.loads('{"__proto__": {"type": "string", "title": "Proto"}, "constructor": {"type": "int", "title": "Maker"}}')
    many = {f"field_{n}": {"type": "string"} for n in range(220)}
    seqs = []
    for title, properties in (("Odd", {**hostile, "rows": rows}), ("Many", many)):
        call = {"tool_name": "companion_form", "tool_call_id": title, "parameters": {"title": title, "schema": {"properties": properties, "required": ["rows"]}}}
        seqs.append((await agent.send(type="client_tool_call", client_tool_call=call))["seq"])
        if title == "Odd":
            await phone.get_by_text("“Lines” cannot be asked here. Tell the agent.").wait_for()
            await phone.get_by_label("Proto").fill("p")
            await phone.get_by_label("Maker").fill("7")
            await phone.locator("companion-question button[type=submit]").click()
            assert await agent.result("Odd") == {"status": "submitted", "values": json.loads('{"__proto__": "p", "constructor": 7}')}
    await phone.get_by_text("20 more fields cannot be asked here").wait_for()
    assert await phone.locator("companion-question form input").count() == 200
    assert not await is_too_wide(phone)
    for seq in seqs:
        told = await agent.hears(lambda message, seq=seq: message["type"] == "rendered" and message["of_seq"] == seq)
        assert "cannot be asked" in told["problem"] or "more than a form holds" in told["problem"]
    await phone.locator("companion-question button[type=submit]").click()
    assert await agent.result("Many") == {"status": "submitted", "values": {}}


SERVICES = {"title": "Which service?", "options": [{"id": "air", "label": "UPS Next Day"}, {"id": "ground", "label": "FedEx Ground"}]}


async def test_a_changed_mind_is_told_to_the_agent_and_the_result_stays(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    call = await agent.call("companion_choose", **SERVICES)
    question = phone.locator("companion-question", has_text="Which service?")
    await question.get_by_role("button", name="UPS Next Day").click()
    await question.get_by_text("Selected: UPS Next Day").wait_for()

    await question.get_by_role("button", name="Change").click()
    await question.get_by_role("button", name="Keep my answer").click()
    await question.get_by_role("button", name="Change").click()
    await question.get_by_role("button", name="FedEx Ground").click()
    told = await agent.hears(lambda message: message["type"] == "user_message")
    assert (told["in_reply_to"], told["text"]) == (call, "Changed answer to “Which service?”: FedEx Ground")
    assert json.loads(told["result"]) == {"status": "chosen", "id": "ground", "label": "FedEx Ground"}
    await question.get_by_text("Selected: FedEx Ground").wait_for()
    await question.get_by_text("Changed", exact=True).wait_for()
    assert [json.loads(each["result"])["id"] for each in agent.heard("client_tool_result")] == ["air"]

    # A form begins with what was answered; what was hidden is asked again.
    form_call = await agent.call("companion_form", title="Who?", schema={"properties": {
        "name": {"type": "string", "title": "Name"}, "weight": {"type": "number", "title": "Weight"}, "pw": {"type": "string", "format": "password", "title": "Code"}}})  # fmt: skip
    form = phone.locator("companion-question", has_text="Who?")
    await form.get_by_label("Name").fill("Ann")
    await form.get_by_label("Weight").fill("2.5")
    await form.get_by_label("Code").fill("s3cret")
    await form.get_by_role("button", name="Send").click()
    await agent.result(form_call)
    await form.get_by_role("button", name="Change").click()
    assert await form.get_by_label("Weight").input_value() == "2.5"
    assert await form.get_by_label("Code").input_value() == ""
    await form.get_by_label("Name").fill("Bob")
    await form.get_by_role("button", name="Send change").click()
    told = await agent.hears(lambda message: message["type"] == "user_message" and message["in_reply_to"] == form_call)
    assert json.loads(told["result"])["values"] == {"name": "Bob", "weight": 2.5}
    assert told["text"] == "Changed answer to “Who?”: Name: Bob and Weight: 2.5"


async def test_no_answer_is_changed_that_is_closed_or_that_nobody_hears(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    call = await agent.call("companion_choose", **SERVICES)
    confirm = await agent.call("companion_confirm", title="Sure?")
    await phone.get_by_role("button", name="Confirm").click()
    await agent.result(confirm)
    question = phone.locator("companion-question", has_text="Which service?")
    await question.get_by_role("button", name="UPS Next Day").click()
    change = phone.get_by_role("button", name="Change")
    await change.wait_for()
    assert await change.count() == 1

    await agent.leave()
    await change.wait_for(state="hidden")
    second = await world.agent(agent.session_id)
    await change.click()
    # What is tapped without network and closed meanwhile is told to be closed.
    await phone.context.set_offline(True)
    await question.get_by_role("button", name="FedEx Ground").click()
    await question.get_by_text("Will send when back online").wait_for()
    await second.update("Label made", context_id=call, locked=True)
    await phone.context.set_offline(False)
    await question.get_by_text("Your tap came too late").wait_for()
    await change.wait_for(state="hidden")
    await question.get_by_text("Selected: UPS Next Day").wait_for()
    assert second.heard("user_message") == []


RINGING = """
window.rung = []
Navigator.prototype.vibrate = function (pattern) { rung.push('buzz'); return true }
const start = OscillatorNode.prototype.start
OscillatorNode.prototype.start = function (...at) { rung.push('note'); return start.apply(this, at) }
"""


async def test_a_question_that_arrives_is_noticed_and_a_person_can_turn_that_off(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    await phone.context.add_init_script(RINGING)
    await phone.reload()
    await world.connected(phone)
    await agent.call("companion_confirm", title="First?")
    await phone.wait_for_function("() => document.title === '(1) First?'")
    assert await phone.evaluate("rung") == []  # Nobody has touched the page yet.

    await phone.get_by_role("heading", name="Companion").tap()
    await agent.call("companion_choose", **SERVICES)
    await phone.wait_for_function("() => document.title === '(2) Which service?'")
    await phone.wait_for_function("() => rung.includes('buzz') && rung.filter((each) => each === 'note').length === 2")
    rung = len(await phone.evaluate("rung"))

    alerts = phone.get_by_role("button", name="Sound and vibration")
    assert await alerts.get_attribute("aria-pressed") == "true"
    await alerts.tap()
    assert await alerts.get_attribute("aria-pressed") == "false"
    await phone.wait_for_timeout(500)
    await phone.get_by_role("button", name="FedEx Ground").tap()
    await phone.wait_for_function("() => document.title === '(1) First?'")
    await agent.call("companion_confirm", title="Third?")
    await phone.wait_for_function("() => document.title.startsWith('(2) ')")
    assert len([each for each in await phone.evaluate("rung") if each == "note"]) == 2 <= rung

    # What a reload brings has rung before, and the person's setting is kept.
    await phone.reload()
    await phone.wait_for_function("() => document.title.startsWith('(2) ')")
    assert await phone.evaluate("rung") == []
    assert await alerts.get_attribute("aria-pressed") == "false"
    for name in ("Confirm", "Confirm"):
        await phone.wait_for_timeout(500)
        await phone.get_by_role("button", name=name).tap()
    await phone.wait_for_function("() => document.title === 'Companion'")
