"""The frame of the phone page: it keeps still, leaves room, and asks one thing at a time."""

from __future__ import annotations

import asyncio
import time

import pytest
from playwright.async_api import Locator, Page, expect

from .conftest import QUOTES, Agent, World
from .test_screen import SERVICES

SIZES = [(320, 568), (412, 480), (412, 839), (844, 390)]
TEXT = [100, 200]
# What moves with the time has come to rest; what moves with a scroll never ends.
SETTLED = """() => document.getAnimations().filter((each) => each.timeline === document.timeline)
  .filter((each) => each.effect.getTiming().iterations !== Infinity)
  .every((each) => each.playState === 'finished')"""
# The share of the page's height, down its middle, that is neither bar nor dock.
CONTENT = """() => {
  const isFrame = (y) => document.elementFromPoint(innerWidth / 2, y)?.closest('.bar, .dock, .banner') != null
  const rows = Array.from({ length: innerHeight }, (_, y) => y + 0.5)
  return rows.filter((y) => !isFrame(y)).length / innerHeight
}"""
SENDS = """() => [...document.querySelectorAll('button')].filter((each) => each.checkVisibility())
  .filter((each) => /^Send/.test(each.getAttribute('aria-label') ?? each.textContent))
  .filter((each) => {
    const box = each.getBoundingClientRect()
    return each.contains(document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2))
  }).length"""
# The contrast of each choice's edge with what is inside and outside of it, the least of all.
EDGES = """() => {
  const paint = document.createElement('canvas').getContext('2d', { willReadFrequently: true })
  const light = (color) => {
    paint.fillStyle = color
    paint.fillRect(0, 0, 1, 1)
    const [r, g, b] = [...paint.getImageData(0, 0, 1, 1).data].map((part) => part / 255)
      .map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)
  const ground = (node) => {
    const color = getComputedStyle(node).backgroundColor
    return color === 'rgba(0, 0, 0, 0)' ? ground(node.parentElement) : light(color)
  }
  return [...document.querySelectorAll('.choice, .secondary, input, select')]
    .filter((each) => each.checkVisibility() && !/checkbox|radio/.test(each.type))
    .map((each) => [each.className || each.tagName, light(getComputedStyle(each).borderTopColor), each])
    .flatMap(([name, edge, each]) => [[name, ratio(edge, ground(each))], [name, ratio(edge, ground(each.parentElement))]])
    .filter(([, found]) => found < 3)
}"""
FORM = {
    "title": "Your parcel",
    "schema": {
        "properties": {
            "name": {"type": "string"},
            **{f"line_{number}": {"type": "string"} for number in range(8)},
        }
    },
}
LONG = {"text": "Every word of it. " * 120}


async def set_size(page: Page, size: tuple[int, int], percent: int) -> None:
    """Make the page as large, with text as large, as a person has set it."""
    await page.set_viewport_size({"width": size[0], "height": size[1]})
    await page.evaluate("(text) => (document.documentElement.style.fontSize = text)", f"{percent}%")
    await page.evaluate(
        "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )
    await page.wait_for_function(SETTLED)


async def say_something(agent: Agent) -> None:
    text = "FedEx Ground is the cheapest at twelve ninety-nine; it takes five days."
    await agent.send(type="agent_response", agent_response_event={"agent_response": text})


async def open_say(page: Page) -> None:
    """Have the field to type in, folded to a button or not."""
    button = page.get_by_role("button", name="Type instead of speaking")
    if await button.count():
        await button.tap()
    await page.get_by_role("textbox", name="Type instead of speaking").focus()


@pytest.mark.parametrize("percent", TEXT)
async def test_the_page_keeps_still_and_leaves_room_for_content_at_every_size(
    world: World, percent: int
) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    for number in range(6):
        await agent.update(f"news_{number}", LONG)
    await say_something(agent)
    await expect(phone.get_by_role("article")).to_have_count(6)
    await expect(phone.get_by_role("log")).to_contain_text("FedEx")
    for size in SIZES:
        await set_size(phone, size, percent)
        for start in (0, 700):
            await phone.evaluate("(top) => scrollTo(0, top)", start)
            assert await phone.evaluate(CONTENT) >= 0.6, (size, start)

            await open_say(phone)
            await phone.keyboard.type("yes please")
            for key in ("Backspace", "Home", "End", "Shift+Tab", "Tab"):
                await phone.keyboard.press(key)

            assert await phone.evaluate("() => scrollY") == start, size
            assert await phone.evaluate(CONTENT) >= 0.6, (size, start)
            await phone.get_by_role("textbox", name="Type instead of speaking").fill("")
            await phone.evaluate("() => document.activeElement.blur()")


@pytest.mark.parametrize("percent", TEXT)
async def test_a_question_stands_above_the_dock_and_scrolls_inside_with_one_send_in_sight(
    world: World, percent: int
) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    for number in range(6):
        await agent.update(f"news_{number}", LONG)
    await say_something(agent)
    await agent.call("companion_form", **FORM)
    sheet = phone.get_by_role("region", name="Question")
    await expect(sheet).to_be_visible()
    for size in SIZES:
        await set_size(phone, size, percent)
        await phone.evaluate("() => scrollTo(0, 700)")
        box = await sheet.bounding_box()
        dock = await phone.get_by_role("contentinfo").bounding_box()
        assert box is not None
        assert dock is not None
        assert box["height"] <= 0.7 * size[1] + 1, size
        assert abs(box["y"] + box["height"] - dock["y"]) <= 1, size
        assert await phone.evaluate(SENDS) == 1, size
        assert await phone.evaluate(CONTENT) >= 0.6, size

        last = sheet.get_by_label("Line 7")
        await last.focus()
        await phone.keyboard.type("x")
        field = await last.bounding_box()
        assert field is not None
        assert box["y"] <= field["y"]
        assert field["y"] + field["height"] <= dock["y"] + 1, size
        assert await phone.evaluate("() => scrollY") == 700, size

        await open_say(phone)
        assert await phone.evaluate(SENDS) == 1, size
        await phone.get_by_role("button", name="Your parcel").tap()
        await expect(last).to_have_value("x" * (SIZES.index(size) + 1))


# Whether all of what `selector` names is in sight inside the page, and nothing lies over its middle or ends.
IN_SIGHT = """(node) => {
  const { left, right, top, bottom } = node.getBoundingClientRect()
  const at = [top + 2, (top + bottom) / 2, bottom - 2]
  return at.every((y) => node.contains(document.elementFromPoint((left + right) / 2, y)))
}"""


@pytest.mark.parametrize("percent", TEXT)
async def test_what_is_to_be_paid_is_in_sight_when_the_question_comes(
    world: World, percent: int
) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    await say_something(agent)
    items = [{"label": "Next Day", "amount": 40}, {"label": "Insurance", "amount": 8.2}]
    for number, size in enumerate(SIZES):
        await set_size(phone, size, percent)
        call = await agent.call(
            "companion_confirm", title="Pay for this parcel?", amount=48.2 + number, currency="USD",
            merchant="UPS", items=items, text="Charged to the card ending in 4242.",
        )  # fmt: skip
        amount = phone.get_by_text(f"${48.2 + number:.2f}").last
        await expect(amount).to_be_visible()
        await phone.wait_for_function(SETTLED)
        await expect(phone.locator(".shield")).to_be_hidden()
        # The dock takes its place in the frame after; nobody scrolls. It may be drawn once more.
        async with asyncio.timeout(20):
            while not await amount.evaluate(IN_SIGHT):
                await asyncio.sleep(0.02)
        await agent.send(type="client_tool_cancel", tool_call_id=call)
        await expect(phone.get_by_role("button", name="Confirm")).to_have_count(0)


async def test_a_button_with_many_words_gets_a_line_of_its_own(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    await set_size(phone, (320, 568), 100)
    label = "Ja, verbindlich annehmen und bezahlen"
    await agent.call("companion_confirm", title="Buchen?", confirm_label=label, cancel_label="Ablehnen")
    yes, no = phone.get_by_role("button", name=label), phone.get_by_role("button", name="Ablehnen")
    await expect(yes).to_be_visible()
    await phone.wait_for_function(SETTLED)
    above, below = await yes.bounding_box(), await no.bounding_box()
    assert above is not None
    assert below is not None
    assert above["y"] + above["height"] <= below["y"]
    assert above["width"] == below["width"]
    assert above["height"] < 90


async def test_no_word_of_a_long_list_of_choices_is_cut(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    options = [
        {"id": str(n), "label": f"Service {n}", "description": "Two days", "price": n, "badge": "Best"}
        for n in range(14)
    ]
    await agent.call("companion_choose", title="Which?", options=options, multiple=True)
    last = phone.locator("label.choice").last
    await expect(last).to_be_attached()
    cut = "(rows) => rows.filter((each) => each.scrollHeight > each.clientHeight).length"
    assert await phone.locator("label.choice").evaluate_all(cut) == 0


@pytest.mark.parametrize("size", [(320, 568), (844, 390)])
async def test_a_field_that_is_wrong_comes_into_sight_with_its_name(
    world: World, size: tuple[int, int]
) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    await set_size(phone, size, 100)
    names = {f"line_{number}": {"type": "string"} for number in range(8)}
    schema = {"properties": names, "required": ["line_0"]}
    await agent.call("companion_form", title="Where to?", schema=schema)
    await phone.get_by_label("Line 7").focus()
    await phone.get_by_role("button", name="Send").last.tap()
    await expect(phone.get_by_label("Line 0")).to_be_focused()
    await expect(phone.get_by_text("Fill this in")).to_be_visible()
    await expect(phone.locator(".shield")).to_be_hidden()
    assert await phone.get_by_text("Line 0").evaluate(IN_SIGHT)


async def test_typing_beside_a_folded_question_loses_neither(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    await agent.call("companion_form", **FORM)
    await phone.get_by_label("Name").fill("Ann")

    await open_say(phone)
    await phone.keyboard.type("One moment")
    await phone.get_by_role("button", name="Your parcel").tap()
    await expect(phone.get_by_label("Name")).to_have_value("Ann")
    await open_say(phone)
    await phone.keyboard.press("Enter")

    said = await agent.hears(lambda message: message["type"] == "user_message")
    assert said["text"] == "One moment"


async def test_a_new_question_waits_behind_one_that_is_typed_into(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    await agent.call("companion_form", **FORM)
    await phone.get_by_label("Name").press_sequentially("An")

    await agent.call("companion_choose", **SERVICES)
    await agent.call("companion_confirm", title="Print it?")

    await expect(phone.get_by_role("button", name="1 of 3")).to_be_visible()
    await expect(phone.locator("[aria-live=polite].unseen")).to_contain_text(
        "Another question is waiting"
    )
    await phone.keyboard.type("n")
    await expect(phone.get_by_label("Name")).to_have_value("Ann")
    await phone.get_by_role("button", name="Send", exact=True).tap()
    await expect(phone.get_by_role("article", name="Which service?")).to_be_visible()
    await expect(phone.get_by_role("button", name="1 of 2")).to_be_visible()
    await phone.get_by_role("button", name="UPS Next Day").tap()
    await expect(phone.get_by_role("article", name="Print it?")).to_be_visible()
    await expect(phone.get_by_role("button", name="1 of")).to_have_count(0)


async def test_a_new_question_replaces_one_that_nobody_touched_for_five_seconds(
    world: World,
) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    await phone.clock.install()
    await agent.call("companion_choose", **SERVICES)
    # A touch that decides nothing.
    await phone.get_by_role("heading", name="Which service?").tap()
    await agent.call("companion_choose", title="Which box?", options=["Small", "Large"])
    await expect(phone.get_by_role("button", name="1 of 2")).to_be_visible()
    await expect(phone.get_by_role("article", name="Which service?")).to_be_visible()

    await phone.clock.run_for(5100)
    await agent.call("companion_confirm", title="Print it?")

    await expect(phone.get_by_role("article", name="Print it?")).to_be_visible()
    await phone.get_by_role("button", name="1 of 3").tap()
    await expect(phone.get_by_role("article", name="Which service?")).to_be_visible()


async def test_a_tap_aimed_at_a_question_that_has_just_changed_answers_nothing(
    world: World,
) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    first = await agent.call("companion_choose", **SERVICES)
    button = phone.get_by_role("button", name="UPS Next Day")
    await expect(button).to_be_visible()
    await phone.wait_for_function(SETTLED)
    await phone.clock.install()
    # A clock that stands still: half a second goes by between two taps on a busy machine.
    await phone.clock.pause_at(time.time() + 10)
    second = await agent.call("companion_choose", title="Which box?", options=["Small", "Large"])
    small = phone.get_by_role("button", name="Small")

    async def comes_up(part: Locator) -> None:
        async with asyncio.timeout(20):
            while not await part.is_visible():
                await phone.clock.run_for(20)

    await comes_up(small)
    aim = await small.bounding_box()
    assert aim is not None

    async def tap() -> None:
        await phone.touchscreen.tap(aim["x"] + 40, aim["y"] + 20)

    await phone.clock.run_for(300)
    await tap()
    await expect(small).to_be_enabled()
    assert agent.heard("client_tool_result") == []
    await phone.clock.run_for(150)
    await tap()
    assert (await agent.result(second))["id"] == "Small"

    # What comes up when a question is answered is not what the second tap was meant for.
    await comes_up(button)
    await tap()
    await phone.clock.run_for(450)
    await button.tap()
    assert (await agent.result(first))["id"] == "air"


async def test_a_question_that_stood_takes_a_tap_at_once_and_a_keyboard_always(
    world: World,
) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    await phone.clock.install()
    call = await agent.call("companion_choose", **SERVICES)
    button = phone.get_by_role("button", name="UPS Next Day")
    aim = await button.bounding_box()
    assert aim is not None
    await phone.touchscreen.tap(aim["x"] + 40, aim["y"] + 20)
    assert (await agent.result(call))["id"] == "air"

    await agent.call("companion_choose", title="Which box?", options=["Small", "Large"])
    call = await agent.call("companion_choose", title="Which day?", options=["Monday", "Friday"])
    await phone.get_by_role("button", name="Monday").press("Enter")
    assert (await agent.result(call))["id"] == "Monday"


async def test_a_question_that_rises_over_a_choice_does_not_take_its_tap(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent, viewport={"width": 412, "height": 480})
    await agent.update("quote_ready", QUOTES)
    quote = phone.get_by_role("button", name="FedEx Ground")
    await expect(quote).to_be_visible()
    await phone.clock.install()
    aim = await quote.bounding_box()
    assert aim is not None
    await agent.call("companion_choose", title="Which box?", options=["Small", "Large", "Larger"])
    await expect(phone.get_by_role("button", name="Small")).to_be_visible()

    await phone.touchscreen.tap(aim["x"] + 40, aim["y"] + 20)
    await agent.update("done", {})

    assert agent.heard("client_tool_result") == []
    assert agent.heard("state_updated") == []


async def test_the_end_of_the_page_stays_where_it_was_when_the_question_goes(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    for number in range(4):
        await agent.update(f"news_{number}", LONG)
    call = await agent.call("companion_confirm", title="Print it?", text="Every word of it. " * 40)
    await expect(phone.get_by_role("region", name="Question")).to_be_visible()
    await phone.evaluate("() => scrollTo(0, document.documentElement.scrollHeight)")
    place = phone.get_by_role("heading", name="News 0")
    before = await place.bounding_box()

    await agent.send(type="client_tool_cancel", tool_call_id=call)
    await expect(phone.get_by_role("region", name="Question")).to_be_hidden()

    after = await place.bounding_box()
    assert before is not None
    assert after is not None
    assert abs(before["y"] - after["y"]) < 2


async def test_the_end_is_offered_to_who_reads_further_down_and_moves_nothing(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    for number in range(4):
        await agent.update(f"news_{number}", LONG)
    place = phone.get_by_role("heading", name="News 1")
    await expect(place).to_be_visible()
    await phone.wait_for_function(SETTLED)
    await phone.evaluate("() => scrollTo(0, 900)")
    before = await place.bounding_box()

    await world.ask("DELETE", f"/sessions/{agent.session_id}")

    pill = phone.get_by_role("button", name="All done")
    await expect(pill).to_be_visible()
    after = await place.bounding_box()
    assert before is not None
    assert after is not None
    assert abs(before["y"] - after["y"]) < 2
    await pill.tap()
    await expect(phone.get_by_role("heading", name="All done")).to_be_in_viewport()
    await expect(pill).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_edges_of_what_can_be_tapped_are_seen_in_the_sun(world: World, scheme: str) -> None:
    agent = await world.agent()
    phone = await world.phone(agent, color_scheme=scheme)
    await agent.update("quote_ready", QUOTES)
    await expect(phone.get_by_role("button", name="FedEx Ground")).to_be_visible()
    for call in (("companion_confirm", {"title": "Print it?"}), ("companion_form", FORM),
                 ("companion_choose", SERVICES), ("companion_choose", {**SERVICES, "title": "All?", "multiple": True})):  # fmt: skip
        await agent.call(call[0], **call[1])
        await expect(phone.get_by_role("article", name=str(call[1]["title"]))).to_be_visible()
        assert await phone.evaluate(EDGES) == [], call[0]


async def test_a_screen_reader_hears_what_is_to_be_decided_and_no_captions(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    await say_something(agent)
    log = phone.get_by_role("log")
    await expect(log).to_have_attribute("aria-live", "off")
    spoken = phone.locator("[aria-live=polite].unseen")

    await agent.call("companion_choose", **SERVICES)
    await agent.update("quote_ready", QUOTES)
    await agent.update("parcel", {"weight": 2})
    await expect(spoken).to_contain_text("Which service?, 2 choices, UPS Next Day, FedEx Ground")
    await agent.call(
        "companion_confirm", title="Print it?", amount=48.2, currency="USD", text="From your card."
    )
    await expect(spoken).to_have_text("Print it?, $48.20, From your card.")

    await phone.get_by_role("button", name="Read captions aloud").press("Enter")
    await expect(log).to_have_attribute("aria-live", "polite")
    await phone.reload()
    await expect(log).to_have_attribute("aria-live", "polite")
    await phone.get_by_role("button", name="Read captions aloud").press("Enter")
    await expect(log).to_have_attribute("aria-live", "off")


async def test_the_keyboard_comes_to_the_question_first_then_to_cards_then_to_the_dock(
    world: World,
) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    await agent.update("quote_ready", QUOTES)
    await agent.call("companion_choose", **SERVICES)
    await expect(phone.get_by_role("button", name="Tomorrow by noon")).to_be_visible()
    met = []
    for _ in range(8):
        await phone.keyboard.press("Tab")
        met.append(
            await phone.evaluate(
                "() => document.activeElement.closest('.sheet, .feed, .dock').className.split(' ')[0]"
            )
        )
        visible = (
            "() => { const box = document.activeElement.getBoundingClientRect(); const at ="
            " document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);"
            " return at !== null && document.activeElement.contains(at) }"
        )
        assert await phone.evaluate(visible), met
    assert met == ["sheet", "sheet", "sheet", "sheet", "feed", "feed", "dock", "dock"]


async def test_a_button_that_cannot_be_tapped_any_more_looks_so(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    await agent.call(
        "companion_confirm", title="Print it?", confirm_label="Print", cancel_label="Not yet"
    )
    look = "(button) => JSON.stringify([getComputedStyle(button).color, getComputedStyle(button).backgroundColor])"
    print_it = phone.get_by_role("button", name="Print")
    not_yet = phone.get_by_role("button", name="Not yet")
    before = await not_yet.evaluate(look)
    live = await print_it.evaluate(look)
    await phone.context.set_offline(True)

    await print_it.tap()

    pending = phone.get_by_role("button", name="Will send when back online")
    await expect(pending).to_be_disabled()
    await expect(not_yet).to_be_disabled()
    await phone.wait_for_function(SETTLED)
    assert await not_yet.evaluate(look) != before
    assert await pending.evaluate(look) == live
    await phone.context.set_offline(False)
    await expect(phone.get_by_text("Confirmed")).to_be_visible()


async def test_more_rows_open_below_a_valid_list_and_groups_show_that_they_open(
    world: World,
) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    rows = {f"row_{number}": number for number in range(20)}
    await agent.update("parcel", {**rows, "nested": {"inner": {"deep": 1}}})

    await phone.get_by_role("button", name="Show more").tap()
    await expect(phone.get_by_role("term")).to_have_count(20)
    sign = phone.locator("summary .icon")
    turned = "(icon) => getComputedStyle(icon).rotate"
    assert await sign.evaluate(turned) == "none"
    await phone.locator("summary").tap()
    await phone.wait_for_function(SETTLED)
    assert await sign.evaluate(turned) == "90deg"


async def test_a_caption_that_is_cut_shows_how_it_begins_in_any_direction(world: World) -> None:
    agent = await world.agent()
    for locale in ("ar", "en"):
        phone = await world.phone(agent, locale=locale)
        await say_something(agent)
        await expect(phone.get_by_role("log")).to_contain_text("FedEx")
        first = """() => {
          const walk = document.createTreeWalker([...document.querySelectorAll('.said')].at(-1), NodeFilter.SHOW_TEXT)
          const range = document.createRange()
          range.setStart(walk.nextNode(), 0)
          range.setEnd(walk.currentNode, 1)
          const [letter, log] = [range, document.querySelector('.lines')].map((each) => each.getBoundingClientRect())
          return letter.width > 0 && letter.left >= log.left && letter.right <= log.right
        }"""
        assert await phone.evaluate(first), locale
