"""The CompanionUI: cards, taps and receipts on a phone."""

from __future__ import annotations

import asyncio

from playwright.async_api import Locator, Page, WebSocketRoute, expect

from .conftest import PIXEL, QUOTES, World, is_too_wide

SERVICES = {
    "title": "Which service?",
    "options": [
        {"id": "air", "label": "UPS Next Day", "description": "Tomorrow by noon"},
        {"id": "ground", "label": "FedEx Ground"},
    ],
}


async def test_the_guides_quote_is_a_heading_and_labelled_rows(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    await expect(phone.get_by_role("heading", name="You’re connected")).to_be_visible()

    await agent.update("quote_ready", {"carrier": "FedEx", "service": "Ground", "cost": 12.99})

    card = phone.get_by_role("article")
    await expect(card.get_by_role("heading")).to_have_text("Quote ready")
    await expect(card.get_by_role("term")).to_have_text(["Carrier", "Service", "Cost"])
    await expect(card.get_by_role("definition")).to_have_text(["FedEx", "Ground", "12.99"])
    text = str(await card.inner_text())
    assert "{" not in text
    assert "$" not in text
    await agent.hears(lambda message: message["type"] == "rendered")


async def test_a_tapped_quote_is_in_the_state_and_told_to_the_agent(world: World) -> None:
    agent = await world.agent()
    await agent.update("quote_ready", QUOTES)
    phone = await world.phone(agent)

    await phone.get_by_role("button", name="FedEx Ground").tap()

    await expect(phone.get_by_text("Selected: FedEx Ground, $12.99")).to_be_visible()
    await expect(phone.get_by_role("button", name="UPS Next Day Air")).to_have_count(0)
    record = await agent.hears(lambda message: message["type"] == "state_updated")
    assert (record["key"], record["value"]) == (QUOTES["select"], QUOTES["quotes"][1])
    said = await agent.hears(lambda message: message["type"] == "user_message")
    assert "FedEx Ground" in said["text"]


async def test_a_choice_can_be_changed(world: World) -> None:
    agent = await world.agent()
    await agent.update("quote_ready", QUOTES)
    phone = await world.phone(agent)
    await phone.get_by_role("button", name="FedEx Ground").tap()

    await phone.get_by_role("button", name="Change").tap()
    await phone.get_by_role("button", name="UPS Next Day Air").tap()

    await expect(phone.get_by_text("Selected: UPS Next Day Air")).to_be_visible()
    await agent.hears(lambda each: each["type"] == "user_message" and "UPS" in each["text"])


async def test_one_tap_answers_a_question_however_often_it_is_tapped(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    call = await agent.call("companion_choose", **SERVICES)
    button = phone.get_by_role("button", name="UPS Next Day")
    await expect(button).to_be_visible()
    box = await button.bounding_box()
    assert box is not None
    assert box["height"] >= 48

    await button.evaluate("(button) => { button.click(); button.click(); button.click() }")

    answer = {"status": "chosen", "id": "air", "label": "UPS Next Day"}
    assert await agent.result(call) == answer
    await expect(phone.get_by_text("Selected: UPS Next Day")).to_be_visible()
    await expect(phone.get_by_role("button", name="FedEx Ground")).to_have_count(0)
    await phone.reload()
    await expect(phone.get_by_text("Selected: UPS Next Day")).to_be_visible()
    await agent.update("done", {})
    assert len(agent.heard("client_tool_result")) == 1
    assert agent.heard("user_message") == []


async def test_a_tap_is_seen_at_once_and_two_taps_are_one(world: World) -> None:
    agent = await world.agent()
    phone = await world.page(**PIXEL)
    is_held = asyncio.Event()
    late: list[str | bytes] = []
    sockets: list[WebSocketRoute] = []

    async def hold(socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()
        sockets.append(socket)
        server.on_message(lambda text: late.append(text) if is_held.is_set() else socket.send(text))

    await phone.context.route_web_socket("**/ws*", hold)
    opened = await world.ask("POST", f"/sessions/{agent.session_id}/pairings")
    await phone.goto(opened["url"])
    call = await agent.call("companion_choose", **SERVICES)
    button = phone.get_by_role("button", name="UPS Next Day")
    box = await button.bounding_box()
    assert box is not None

    is_held.set()
    for _ in range(2):
        await phone.touchscreen.tap(box["x"] + 40, box["y"] + 20)

    await expect(phone.get_by_text("Sending…")).to_be_visible()
    await expect(phone.get_by_role("button", name="FedEx Ground")).to_be_disabled()
    assert (await agent.result(call))["id"] == "air"
    is_held.clear()
    for text in late:
        sockets[-1].send(text)
    await expect(phone.get_by_text("Selected: UPS Next Day")).to_be_visible()
    await agent.update("done", {})
    assert len(agent.heard("client_tool_result")) == 1


async def test_a_form_gives_typed_values(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "weight": {"type": "number", "minimum": 0},
            "size": {"enum": ["S", "M", "L"]},
            "gift": {"type": "boolean", "title": "A gift"},
            "day": {"type": "string", "format": "date"},
        },
        "required": ["name", "weight"],
    }
    call = await agent.call("companion_form", title="Your parcel", schema=schema)
    await phone.get_by_label("Weight").fill("-3")
    await phone.get_by_role("button", name="Send", exact=True).first.tap()
    await expect(phone.get_by_label("Name")).to_be_focused()
    await expect(phone.get_by_text("Fill this in")).to_have_count(1)
    await expect(phone.get_by_text("Enter a number of at least 0")).to_have_count(1)

    await phone.get_by_label("Name").fill("Ann")
    await phone.get_by_label("Weight").fill("2,5")
    await phone.get_by_label("M", exact=True).check()
    await phone.get_by_label("A gift").check()
    await phone.get_by_label("Day").fill("2026-11-23")
    await phone.get_by_role("button", name="Send", exact=True).first.tap()

    values = {"name": "Ann", "weight": 2.5, "size": "M", "gift": True, "day": "2026-11-23"}
    assert await agent.result(call) == {"status": "submitted", "values": values}
    await expect(phone.get_by_text("Sent")).to_be_visible()


async def test_a_confirmation_by_keyboard_alone(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    yes = await agent.call("companion_confirm", title="Print it?", confirm_label="Print")
    await phone.get_by_role("button", name="Print").press("Enter")
    assert await agent.result(yes) == {"status": "confirmed"}
    await expect(phone.get_by_text("Confirmed")).to_be_visible()
    await expect(phone.get_by_role("article", name="Print it?")).to_be_focused()

    no = await agent.call("companion_confirm", title="Again?")
    again = phone.get_by_role("article", name="Again?")
    await again.get_by_role("button", name="Decline").press("Space")
    assert await agent.result(no) == {"status": "declined"}
    await expect(phone.get_by_text("Declined")).to_be_visible()


async def test_several_options_are_ticked_and_sent(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    call = await agent.call("companion_choose", **SERVICES, multiple=True)
    await phone.get_by_label("UPS Next Day").check()
    await phone.get_by_label("FedEx Ground").check()
    await phone.get_by_role("button", name="Send choice").tap()

    answer = await agent.result(call)
    assert (answer["status"], answer["ids"]) == ("chosen", ["air", "ground"])
    await expect(phone.get_by_text("Selected: UPS Next Day and FedEx Ground")).to_be_visible()


async def test_what_is_shown_is_answered_and_stays_after_a_reload(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    call = await agent.call("companion_show", title="Your label", data={"tracking": "1Z999"})

    assert await agent.result(call) == {"status": "shown"}
    await expect(phone.get_by_text("1Z999")).to_be_visible()
    await phone.reload()
    await expect(phone.get_by_text("1Z999")).to_be_visible()


async def test_a_tool_nobody_wrote_a_screen_for_is_a_card(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    call = await agent.call("show_delivery_window", city="Denver", open_until="18:00")

    assert await agent.result(call) == {"status": "shown"}
    await expect(phone.get_by_role("heading", name="Show delivery window")).to_be_visible()
    await expect(phone.get_by_text("Denver")).to_be_visible()


async def tap_at_once(buttons: list[Locator]) -> None:
    """Tap what is seen now, on all phones, however long one of them takes to get to it."""
    seen = [await button.element_handle() for button in buttons]
    await asyncio.gather(*(button.evaluate("(button) => button.click()") for button in seen))


async def test_two_phones_tap_at_once_and_one_wins_on_both(world: World) -> None:
    agent = await world.agent()
    phones = [await world.phone(agent), await world.phone(agent)]
    call = await agent.call("companion_choose", **SERVICES)
    buttons = [phones[0].get_by_text("UPS Next Day"), phones[1].get_by_text("FedEx Ground")]
    await tap_at_once(buttons)

    won = (await agent.result(call))["label"]
    for phone in phones:
        await expect(phone.get_by_text(f"Selected: {won}")).to_be_visible()
    elsewhere = [await phone.get_by_text("Answered on another device").count() for phone in phones]
    assert sorted(elsewhere) == [0, 1]


async def test_two_phones_choose_a_quote_at_once_and_the_agent_hears_one(world: World) -> None:
    agent = await world.agent()
    await agent.update("quote_ready", QUOTES)
    phones = [await world.phone(agent), await world.phone(agent)]
    names = ["FedEx Ground", "UPS Next Day Air"]

    await tap_at_once(
        [
            phone.get_by_role("button", name=name)
            for phone, name in zip(phones, names, strict=True)
        ]
    )

    won = await agent.hears(lambda message: message["type"] == "user_message")
    for phone in phones:
        await expect(phone.get_by_text(f"Selected: {won['text']}")).to_be_visible()
    await agent.update("done", {})
    assert len(agent.heard("user_message")) == 1


async def test_the_question_closes_when_the_agent_moves_on(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    call = await agent.call("companion_choose", **SERVICES)
    await expect(phone.get_by_role("button", name="UPS Next Day")).to_be_visible()

    await agent.send(type="client_tool_cancel", tool_call_id=call)

    await expect(phone.get_by_text("No longer needed")).to_be_visible()
    await expect(phone.get_by_role("button", name="UPS Next Day")).to_have_count(0)


async def test_a_card_of_the_same_context_changes_in_place(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    await agent.update("tracking", {"step": "packed"}, context_id="tracking")
    await agent.update("hint", {"tip": "Weigh it first"})
    await agent.update("tracking", {"step": "on its way"}, context_id="tracking")

    await expect(phone.get_by_role("article")).to_have_count(2)
    await expect(phone.get_by_role("article").get_by_text("on its way")).to_be_visible()
    await expect(phone.get_by_role("article").get_by_text("packed")).to_have_count(0)


async def test_a_screen_that_joins_late_is_never_blank(world: World) -> None:
    agent = await world.agent()
    await agent.update("quote_ready", QUOTES)
    call = await agent.call("companion_choose", **SERVICES)
    result = await agent.result(call)
    assert result["status"] == "no_screen"

    phone = await world.phone(agent)
    await expect(phone.get_by_role("heading", name="Quote ready")).to_be_visible()
    await phone.get_by_role("button", name="Tomorrow by noon").tap()

    late = await agent.hears(lambda message: message["type"] == "user_message")
    assert late["in_reply_to"] == call
    await expect(phone.get_by_text("Selected: UPS Next Day")).to_be_visible()


async def test_captions_are_live_and_corrected_and_typing_replaces_speaking(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    await agent.send(
        type="user_transcript", user_transcription_event={"user_transcript": "What is cheapest?"}
    )
    await agent.send(
        type="agent_response", agent_response_event={"agent_response": "FedEx Ground, which"}
    )
    log = phone.get_by_role("log")
    await expect(log).to_contain_text("FedEx Ground, which")
    await agent.send(
        type="agent_response_correction",
        agent_response_correction_event={
            "original_agent_response": "FedEx Ground, which",
            "corrected_agent_response": "FedEx Ground",
        },
    )
    await expect(log).not_to_contain_text("which")

    box = phone.get_by_role("textbox", name="Type instead of speaking")
    await box.fill("And the fastest?")
    await box.press("Enter")

    said = await agent.hears(lambda message: message["type"] == "user_message")
    assert said["text"] == "And the fastest?"
    await expect(log).to_contain_text("And the fastest?")


async def test_an_arriving_card_moves_neither_focus_nor_text(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    await agent.call(
        "companion_form",
        title="Your parcel",
        schema={"type": "object", "properties": {"name": {"type": "string"}}},
    )
    box = phone.get_by_label("Name")
    await box.press_sequentially("An")
    await agent.update("quote_ready", QUOTES)
    await expect(phone.get_by_role("heading", name="Quote ready")).to_be_visible()
    await phone.keyboard.type("n")

    await expect(box).to_be_focused()
    await expect(box).to_have_value("Ann")


async def test_a_reader_further_down_is_told_of_news_and_not_moved(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    for number in range(12):
        await agent.update(f"update_{number}", {"number": number, "text": "x" * 200})
    await expect(phone.get_by_role("article")).to_have_count(12)
    await phone.evaluate("() => scrollTo(0, 1200)")
    first = phone.get_by_role("heading", name="Update 5")
    before = await first.bounding_box()

    await agent.update("latest", {"a": 1})
    pill = phone.get_by_role("button", name="1 new")
    await expect(pill).to_be_visible()
    after = await first.bounding_box()
    assert before is not None
    assert after is not None
    assert abs(before["y"] - after["y"]) < 2
    await pill.press("Enter")
    await agent.update("on_the_way", {"a": 2})

    await expect(phone.get_by_role("heading", name="On the way")).to_be_in_viewport()
    await expect(pill).to_be_hidden()


async def test_the_agent_knows_what_is_on_the_screen_and_can_point_at_it(world: World) -> None:
    agent = await world.agent()
    await agent.update("quote_ready", QUOTES, context_id="quotes")
    phone = await world.phone(agent)
    shown = await agent.hears(lambda each: each["type"] == "screen" and "FedEx" in each["text"])
    assert len(shown["text"]) <= 500

    for command in ("toast", "highlight", "scroll_to", "navigate"):
        target = {"target": "quotes"} if command != "toast" else {"text": "Look here"}
        await agent._socket.send_json({"type": "screen_command", "name": command, **target})

    await expect(phone.get_by_text("Look here")).to_be_visible()
    await expect(phone.locator(".is-lit")).to_have_count(1)
    await phone.get_by_role("button", name="FedEx Ground").tap()
    await agent.hears(lambda each: each["type"] == "screen" and "chosen" in each["text"])


async def test_one_sentence_is_announced_per_update_and_many_at_once_as_a_summary(
    world: World,
) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    spoken = phone.locator("[aria-live=polite].unseen")
    await agent.update("quote_ready", {"carrier": "FedEx", "cost": 12.99, "currency": "USD"})
    await expect(spoken).to_have_text("Quote ready, FedEx, $12.99")

    await asyncio.gather(*(agent.update("step", {"number": number}) for number in range(10)))

    await expect(spoken).to_have_text("10 updates")
    await agent.update("long " * 80, {"text": "word " * 400})
    await expect(spoken).to_contain_text("long long")
    assert len(str(await spoken.text_content())) <= 200


async def test_the_page_fits_the_smallest_phone(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent, viewport={"width": 320, "height": 568})
    await agent.update("quote_ready", QUOTES)
    await agent.update("word", {"long": "x" * 10_000, "many": list(range(100))})
    await agent.call("companion_choose", **SERVICES)
    await expect(phone.get_by_role("article")).to_have_count(3)

    assert not await is_too_wide(phone)
    assert await too_small(phone) == []


async def too_small(phone: Page) -> list[str]:
    """What a thumb would miss. A tick counts with its label."""
    return list(
        await phone.evaluate(
            "() => [...document.querySelectorAll('button, a, input, summary, select, textarea')]"
            ".filter((each) => each.checkVisibility())"
            ".map((each) => [each.outerHTML.slice(0, 80),"
            " each.closest('label, .is-tick') ?? each])"
            # Sizes of the layout: a button that is being pressed is drawn a little smaller.
            ".filter(([, box]) => box.offsetHeight < 48 || box.offsetWidth < 48)"
            ".map(([html]) => html)"
        )
    )


async def test_everything_to_tap_is_as_large_as_a_thumb(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent, viewport={"width": 320, "height": 568})
    assert await too_small(phone) == []
    await agent.update("quote_ready", QUOTES)
    await agent.update(
        "contact",
        {"site": "https://example.com", "email": "a@example.com", "phone": "+1 555 0100",
         "nested": {"a": {"b": 1}}, **{f"row_{number}": number for number in range(20)}},
    )  # fmt: skip
    properties = {"name": {}, "size": {"enum": ["S", "M"]}, "gift": {"type": "boolean"},
                  "day": {"format": "date"}}  # fmt: skip
    await agent.call("companion_form", title="Parcel", schema={"properties": properties})
    await agent.call("companion_choose", **SERVICES, multiple=True)
    await agent.call("companion_confirm", title="Print it?")
    await agent.send(type="agent_response", agent_response_event={"agent_response": "Here."})
    await expect(phone.get_by_role("log")).to_contain_text("Here.")
    for title in ("Print it?", "Which service?", "Parcel"):
        await expect(phone.get_by_role("article", name=title)).to_be_visible()
        assert await too_small(phone) == [], title
        await phone.get_by_role("button", name="1 of 3").tap()

    await phone.get_by_role("button", name="Decline").tap()
    await phone.get_by_role("button", name="Fold the question away").tap()
    assert await too_small(phone) == []
    await phone.get_by_role("button", name="FedEx Ground").tap()
    await expect(phone.get_by_text("Selected: FedEx Ground")).to_be_visible()
    await expect(phone.get_by_text("Declined")).to_be_visible()
    assert await too_small(phone) == []

    await world.ask("DELETE", f"/sessions/{agent.session_id}")
    await expect(phone.get_by_role("alert")).to_contain_text("has ended")
    await expect(phone.get_by_role("button", name="Clear")).to_be_visible()
    assert await too_small(phone) == []
    await phone.get_by_role("button", name="Clear").tap()
    for path, text in (("/c", "Type your code"), ("/p", "No session"), ("/p#x.y", "No session")):
        await phone.goto(world.server.url + path)
        await expect(phone.get_by_text(text).first).to_be_visible()
        assert await too_small(phone) == [], path
