"""The phone page in a second engine: Debian's WebKit, the nearest thing to an iPhone here."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.picture_site import picture

from . import webkit
from .conftest import QUOTES, Agent, NewWorld, World
from .test_pages import MARKUP, hostile_payloads
from .test_screen import SERVICES
from .test_sheet import CONTENT, FORM, LONG, SENDS, say_something
from .webkit import Setup, WebKit

NewPhone = Callable[..., Awaitable[WebKit]]

TOO_WIDE = "document.documentElement.scrollWidth > innerWidth"
# A box to tick is tapped by its label. A card on its way in is off by a ten-thousandth of a pixel.
TOO_SMALL = """
const target = (each) => ['checkbox', 'radio'].includes(each.type) ? each.labels[0] : each
return [...document.querySelectorAll('button, a, input, select, summary, textarea')]
  .filter((each) => each.checkVisibility())
  .map((each) => ({ html: each.outerHTML.slice(0, 80), box: target(each).getBoundingClientRect() }))
  .filter(({ box }) => Math.round(box.width) < 48 || Math.round(box.height) < 48)
  .map(({ html, box }) => `${box.width} x ${box.height} ${html}`)
"""
LONGEST_MOTION_S = """
return Math.max(0, ...[...document.querySelectorAll('*')].flatMap((each) => {
  const style = getComputedStyle(each)
  return [...style.animationDuration.split(','), ...style.transitionDuration.split(',')]
}).map(parseFloat))
"""
# A network that takes what is sent and passes it on only when it is told to.
HOLD_BACK = """
const { send } = WebSocket.prototype
const held = []
WebSocket.prototype.send = function (...frame) { held.push(() => send.apply(this, frame)) }
window.passOn = () => {
  WebSocket.prototype.send = send
  for (const each of held) each()
}
"""
# From now on: how long until somebody is told of a lost connection.
TIME_THE_BANNER = """
const from = performance.now()
const watch = new MutationObserver(() => {
  if (document.querySelector('.banner').hidden) return
  window.bannerAfter = performance.now() - from
  watch.disconnect()
})
watch.observe(document.body, { attributes: true, childList: true, subtree: true })
"""
# Each text the lights have had, from now on.
COUNT_THE_LIGHTS = """
const lights = document.querySelector('connection-lights')
window.told = [lights.textContent]
new MutationObserver(() => told.push(lights.textContent)).observe(lights, { childList: true, subtree: true })
"""
CONNECTED = "document.querySelector('.light[data-of=server].is-on') !== null"
HEADINGS = "[...document.querySelectorAll('article h2')].map((each) => each.textContent)"
BREAK_THE_RULES = """
new Image().src = 'http://other.example/pixel.png'
try { document.createElement('p').innerHTML = '<b>x</b>'; return '' }
catch (error) { return error.name }
"""


@pytest.fixture
def browser() -> None:
    """No Chromium here: all that is opened in the world is WebKit's."""


@pytest.fixture(scope="module")
def display() -> Iterator[str]:
    with webkit.virtual_screen() as display:
        yield display


@pytest_asyncio.fixture(loop_scope="session")
async def new_phone(display: str, tmp_path: Path, new_world: NewWorld) -> AsyncIterator[NewPhone]:
    """Take a phone out of its box; every fault in its pages fails the test."""
    phones: list[WebKit] = []
    async with AsyncExitStack() as stack:

        async def make(**settings: Any) -> WebKit:
            home = tmp_path / f"phone-{len(phones)}"
            opened = webkit.page(home, display, Setup(**settings))
            phones.append(await stack.enter_async_context(opened))
            return phones[-1]

        yield make
        for phone in phones:
            assert await phone.faults() == []


@pytest_asyncio.fixture(loop_scope="session")
async def phone(new_phone: NewPhone) -> WebKit:
    return await new_phone()


async def scan(world: World, phone: WebKit, agent: Agent) -> None:
    opened = await world.ask("POST", f"/sessions/{agent.session_id}/pairings")
    await phone.go(opened["url"])
    await phone.until(CONNECTED)


async def records(world: World, session_id: str) -> list[dict[str, Any]]:
    answer = await world.ask("GET", f"/sessions/{session_id}/records?after=0&limit=500")
    return list(answer["records"])


async def test_webkit_a_scan_joins_and_the_first_card_shows(world: World, phone: WebKit) -> None:
    agent = await world.agent()
    await scan(world, phone, agent)
    await phone.reads("You’re connected")
    assert await phone.run("return location.hash") == ""

    await agent.update("quote_ready", QUOTES)

    await phone.until("document.querySelectorAll('.choice').length === 2")
    await phone.reads("$12.99")
    await agent.hears(lambda message: message["type"] == "rendered")


async def test_webkit_shows_the_guides_quote_as_a_heading_and_labelled_rows(
    world: World, phone: WebKit
) -> None:
    agent = await world.agent()
    await scan(world, phone, agent)

    await agent.update("quote_ready", {"carrier": "FedEx", "service": "Ground", "cost": 12.99})

    await phone.until("document.querySelector('article') !== null")
    assert await phone.run(f"return {HEADINGS}") == ["Quote ready"]
    texts = "return [...document.querySelectorAll(arguments[0])].map((each) => each.textContent)"
    assert await phone.run(texts, "article dt") == ["Carrier", "Service", "Cost"]
    assert await phone.run(texts, "article dd") == ["FedEx", "Ground", "12.99"]
    card = await phone.run("return document.querySelector('article').innerText")
    assert "{" not in card
    assert "$" not in card


async def test_webkit_shows_pictures_and_what_agents_write(world: World, phone: WebKit) -> None:
    agent = await world.agent()
    await scan(world, phone, agent)
    scanned = f"data:image/png;base64,{b64encode(picture(size=(320, 240))).decode()}"

    await agent.update("**Your** label", {"scan": scanned, "note": "+971 50 123 4567\n- one\n- two"})

    await phone.until("document.querySelector('companion-picture img')?.naturalWidth === 320")
    assert await phone.run("return document.querySelector('h2 strong').textContent") == "Your"
    assert await phone.run("return document.querySelectorAll('dd li').length") == 2
    assert not await phone.run(f"return {TOO_WIDE}")


async def test_webkit_runs_nothing_hostile_and_shows_the_next_card(
    new_world: NewWorld, phone: WebKit
) -> None:
    world = await new_world(limit_messages_per_s=0)
    agent = await world.agent()
    await scan(world, phone, agent)

    for payload in hostile_payloads():
        await agent.send(type="contextual_update", **payload)
    for text in MARKUP:
        option = {"id": text[:99], "label": text}
        await agent.call("companion_choose", title=text, options=[option])
        await agent.call("companion_form", title=text, schema={"properties": {text[:99]: {}}})
        await agent.call(text[:60] or "x", a=text)
    await agent.update("stock", {"rows": [{"at": number, "n": 1} for number in range(3000)]})
    await agent.update("at_last", {"carrier": "FedEx"})

    # A dialog would refuse every command from here on.
    await phone.until(f"{HEADINGS}.includes('At last')", within_s=60)
    # The tab says what is asked; no script has written there.
    await phone.until("document.title.startsWith('(20) ')", within_s=60)
    assert await phone.run(f"return {TOO_WIDE}") is False


async def test_webkit_gives_every_finger_its_48_pixels(world: World, phone: WebKit) -> None:
    async def all_large(state: str) -> None:
        assert await phone.run(TOO_SMALL) == [], state
        assert await phone.run(f"return {TOO_WIDE}") is False, state

    await phone.go(f"{world.server.url}/c")
    await phone.until("document.querySelector('#code') !== null")
    await all_large("code form")
    agent = await world.agent()
    await scan(world, phone, agent)
    await phone.reads("You’re connected")
    await all_large("waiting")

    await agent.update("quote_ready", QUOTES)
    rows = [{"day": f"Day {number}", "n": number} for number in range(40)]
    more = {"site": "https://example.com", "nested": {"a": {"b": {"c": 1}}}, "rows": rows}
    await agent.update("everything", more)
    await phone.until("document.querySelectorAll('article').length === 2")
    await all_large("cards")

    questions: list[tuple[str, dict[str, Any], str]] = [
        ("companion_confirm", {"title": "Print it?", "text": "Costs $12.50"}, ".secondary"),
        ("companion_choose", {**SERVICES, "multiple": True, "min": 0}, "button.primary"),
        ("companion_choose", SERVICES, "button.choice"),
    ]
    for name, parameters, button in questions:
        call = await agent.call(name, **parameters)
        await phone.until("document.querySelector(`.is-asking ${arguments[0]}`) !== null", button)
        await all_large(name)
        # A sheet that has just come takes no tap.
        await phone.until("document.querySelector('.shield').hidden")
        await phone.tap(f".is-asking {button}")
        await agent.result(call)
        # The next question has a button of the same kind.
        await phone.until("document.querySelector('.is-asking') === null")
    await phone.reads("Selected: UPS Next Day")
    await all_large("receipts")
    properties = {"name": {"type": "string"}, "size": {"enum": ["S"]}, "gift": {"type": "boolean"}}
    schema = {"properties": properties, "required": ["name"]}
    await agent.call("companion_form", title="Where to?", schema=schema)
    await phone.until("document.querySelector('form.form') !== null")
    await all_large("form")

    await world.ask("DELETE", f"/sessions/{agent.session_id}")
    await phone.reads("This conversation has ended")
    await all_large("ended")


async def test_webkit_shows_a_finger_and_then_that_the_choice_is_on_its_way(
    world: World, phone: WebKit
) -> None:
    agent = await world.agent()
    await agent.update("quote_ready", QUOTES)
    await scan(world, phone, agent)
    colour = "return getComputedStyle(document.querySelector('.choice:active')).borderColor"
    resting = colour.replace(":active", "")
    await phone.until("document.querySelectorAll('.choice').length === 2")
    before = await phone.run(resting)
    await phone.run(HOLD_BACK)

    await phone.press(".choice")
    await phone.until(f"(() => {{ {colour} }})() !== arguments[0]", before)
    assert await phone.run("return document.querySelectorAll('.is-pending').length") == 0
    await phone.let_go()
    await phone.until("document.querySelector('.choice.is-pending')?.innerText.includes('Sending')")
    assert await phone.run("return document.querySelectorAll('.choice:enabled').length") == 0
    await phone.run("passOn()")

    await phone.reads("Selected: UPS Next Day Air")
    said = await agent.hears(lambda message: message["type"] == "user_message")
    assert "UPS" in said["text"]


@pytest.mark.parametrize("times", [2, 3])
async def test_webkit_counts_a_double_and_a_triple_tap_once(
    world: World, phone: WebKit, times: int
) -> None:
    agent = await world.agent()
    await scan(world, phone, agent)
    call = await agent.call("companion_choose", **SERVICES)
    await phone.tap(".choice", times)
    assert (await agent.result(call))["label"] == "UPS Next Day"
    await phone.reads("Selected: UPS Next Day")

    await agent.update("quote_ready", QUOTES)
    await phone.tap("companion-card .choice", times)
    await phone.reads("Selected: UPS Next Day Air")
    await agent.update("pick_one", {"options": [{"id": "a", "label": "Alpha"}, "Beta"]})
    await phone.tap("companion-card .choice", times)
    await phone.reads("Selected: Alpha")
    await agent.hears(lambda message: message.get("text") == "Alpha")

    await agent.update("done", {})
    assert not await phone.run("return document.body.innerText.includes('in the meantime')")
    for kind in ("client_tool_result", "state_updated"):
        assert len(agent.heard(kind)) == 1, kind
    said = [message["text"] for message in agent.heard("user_message")]
    assert said == ["UPS Next Day Air, $48.20", "Alpha"]


async def test_webkit_keeps_a_tap_while_reconnecting_and_sends_it_once(
    world: World, phone: WebKit
) -> None:
    agent = await world.agent()
    await scan(world, phone, agent)
    call = await agent.call("companion_choose", **SERVICES)
    await phone.until("document.querySelectorAll('.choice').length === 2")
    await world.server.stop()
    await phone.until(f"!({CONNECTED})")

    await phone.tap(".choice", times=2)
    await phone.reads("Will send when back online")
    await world.server.start()
    agent = await world.agent(agent.session_id)

    await phone.reads("Selected: UPS Next Day")
    await agent.update("done", {})
    answers = [
        each
        for each in await records(world, agent.session_id)
        if each["type"] == "client_tool_result"
    ]
    assert [each["tool_call_id"] for each in answers] == [call]


async def test_webkit_finds_a_server_that_restarts_a_pause_with_nothing_lost(
    world: World, phone: WebKit
) -> None:
    agent = await world.agent()
    await agent.update("first", {"a": 1})
    await scan(world, phone, agent)
    await phone.until("document.querySelectorAll('article').length === 1")
    session_id = agent.session_id
    await phone.run(TIME_THE_BANNER)

    await world.server.stop()
    assert await phone.until("window.bannerAfter") >= 1500
    await phone.reads("Connection lost")
    assert await phone.run(f"return {HEADINGS}") == ["First"]
    await world.server.start()

    await phone.until("document.querySelector('.banner').hidden")
    agent = await world.agent(session_id)
    await agent.update("second", {"b": 2})
    await agent.update("third", {"c": 3})
    await phone.until("document.querySelectorAll('article').length >= 3")
    assert await phone.run(f"return {HEADINGS}") == ["Third", "Second", "First"]
    seqs = [each["seq"] for each in await records(world, session_id)]
    assert seqs == list(range(1, len(seqs) + 1))


@pytest.mark.parametrize("meanwhile", ["the server goes on", "the server restarts"])
async def test_webkit_takes_a_page_from_its_cache_to_all_it_missed(
    world: World, phone: WebKit, meanwhile: str
) -> None:
    agent = await world.agent()
    await agent.update("before", {"a": 1})
    await scan(world, phone, agent)
    await phone.until("document.querySelectorAll('article').length === 1")
    await phone.run("addEventListener('pageshow', (event) => { window.isPersisted = event.persisted })")

    await phone.run("location.href = '/c'")
    await phone.until("location.pathname === '/c' && document.readyState === 'complete'")
    if meanwhile == "the server restarts":
        session_id = agent.session_id
        await world.server.stop()
        await world.server.start()
        agent = await world.agent(session_id)
    await agent.update("while away", {"b": 2})
    await phone.run("history.back()")

    await phone.until("window.isPersisted")
    await phone.until(f"{CONNECTED} && document.querySelectorAll('article').length === 2")
    assert await phone.run(f"return {HEADINGS}") == ["while away", "Before"]
    call = await agent.call("companion_choose", **SERVICES)
    await phone.until("document.querySelectorAll('.choice').length === 2")
    await phone.tap(".choice")
    assert (await agent.result(call))["status"] == "chosen"
    assert len(agent.heard("client_tool_result")) == 1


@pytest.mark.parametrize("size", [(320, 568), (412, 480), (412, 839)], ids=str)
async def test_webkit_keeps_still_leaves_room_and_asks_in_a_sheet(
    world: World, phone: WebKit, size: tuple[int, int]
) -> None:
    agent = await world.agent()
    for number in range(4):
        await agent.update(f"news_{number}", LONG)
    await say_something(agent)
    opened = await world.ask("POST", f"/sessions/{agent.session_id}/pairings")
    await phone.go(opened["url"], *size)
    await phone.until("document.querySelectorAll('article').length === 4")
    assert await phone.run("return [innerWidth, innerHeight]") == list(size)

    async def is_still(percent: int) -> None:
        assert await phone.run(f"return ({CONTENT})()") >= 0.6, percent
        assert await phone.run("return scrollY") == 700, percent

    for percent in (100, 200):
        await phone.run("document.documentElement.style.fontSize = arguments[0]", f"{percent}%")
        await phone.until(
            f"document.querySelector('.is-short') {'!' if percent > 100 else '='}== null"
        )
        await phone.run("scrollTo(0, 700)")
        if percent > 100:
            await phone.run("document.querySelector('.say-start').click()")
        await phone.type("input[name=text]", "yes please")
        await is_still(percent)
        await phone.run(
            "const box = document.querySelector('input[name=text]'); box.value = ''; box.blur()"
        )

    call = await agent.call("companion_form", **FORM)
    await phone.until("document.querySelector('.sheet form') !== null")
    for percent in (200, 100):
        await phone.run("document.documentElement.style.fontSize = arguments[0]", f"{percent}%")
        await phone.until(
            f"document.querySelector('.is-short') {'!' if percent > 100 else '='}== null"
        )
        await phone.run("scrollTo(0, 700)")
        high = "return document.querySelector('.sheet').offsetHeight / innerHeight"
        assert 0.3 < await phone.run(high) <= 0.71
        await phone.type(".sheet .field:nth-child(9) input", "x")
        await phone.until(f"({SENDS})() === 1")
        await is_still(percent)
    # A receipt comes above what is read, which stays where it is.
    place = "return [...document.querySelectorAll('article')].at(-1).getBoundingClientRect().top"
    before = await phone.run(place)
    await phone.run("document.querySelector('.sheet .primary').click()")
    assert (await agent.result(call))["values"]["line_7"] == "xx"
    await phone.until("document.querySelector('.sheet').hidden")
    assert abs(await phone.run(place) - before) < 2


async def test_webkit_shows_what_was_typed_offline_and_then_that_it_was_said(
    world: World, phone: WebKit
) -> None:
    agent = await world.agent()
    await agent.update("first", {"a": 1})
    await scan(world, phone, agent)
    await phone.until("document.querySelectorAll('article').length === 1")
    await world.server.stop()
    await phone.until(f"!({CONNECTED})")

    await phone.type("input[name=text]", "The cheaper one")
    await phone.tap(".say .round")
    await phone.reads("The cheaper one")
    await phone.reads("Will send when back online")
    await world.server.start()
    agent = await world.agent(agent.session_id)

    await phone.until("document.querySelector('.line.is-said') !== null")
    said = [
        each for each in await records(world, agent.session_id) if each["type"] == "user_message"
    ]
    assert [each["text"] for each in said] == ["The cheaper one"]


async def test_webkit_leaves_a_take_away_until_it_is_cleared(world: World, phone: WebKit) -> None:
    agent = await world.agent()
    await agent.update("label_created", {"tracking_number": "1Z 999 AA1"})
    await scan(world, phone, agent)
    await phone.reads("1Z 999 AA1")

    await world.ask("DELETE", f"/sessions/{agent.session_id}")

    await phone.reads("All done")
    await phone.reload()
    await phone.reads("1Z 999 AA1")
    await phone.run(
        "[...document.querySelectorAll('button')].find((each) => each.textContent === 'Clear').click()"
    )
    await phone.until("!document.body.innerText.includes('1Z 999')")
    await phone.reload()
    await phone.reads("No session on this phone")


async def test_webkit_runs_and_fetches_nothing_foreign_on_any_page(
    world: World, phone: WebKit
) -> None:
    agent = await world.agent()
    await agent.update("quote_ready", QUOTES)
    session, token = agent.session_id, world.server.token()
    admin = world.server.token("local", "admin")
    opened = await world.ask("POST", f"/sessions/{session}/pairings")
    pages = {
        "/": "Sign in",
        f"/#token={token}": "Untitled session",
        f"/sessions/{session}/pair#token={token}": "Scan with the phone",
        "/c": "Type your code",
        "/p": "No session on this phone",
        opened["url"].removeprefix(world.server.url): "FedEx Ground",
        f"/ui?session_id={session}#token={token}": "FedEx Ground",
        f"/admin?session={session}#token={admin}": "contextual_update",
        "/docs": "/sessions",
    }
    for path, text in pages.items():
        await phone.go(world.server.url + path)
        await phone.reads(text)
        assert await phone.faults() == [], path
        # The frame's own sizes are set by its script, which no policy is against.
        inline = "script:not([src]), style, [style]:not(.frame), [onclick], [onload], [onerror]"
        found = "return document.querySelectorAll(arguments[0]).length"
        assert await phone.run(found, inline) == 0, path

        assert await phone.run(BREAK_THE_RULES) == "TypeError", path
        await phone.until("opener.faults.length === 2")
        noticed = " ".join(await phone.faults())
        assert "require-trusted-types-for" in noticed, path
        assert "http://other.example" in noticed, path
        await phone.forgive()


async def test_webkit_in_german_reads_german_numbers_dates_and_sentences(
    world: World, new_phone: NewPhone
) -> None:
    phone = await new_phone(locale="de_DE.UTF-8")
    agent = await world.agent()
    await agent.update("quote_ready", {"cost": 1234.5, "currency": "EUR", "eta": "2026-11-23"})
    await scan(world, phone, agent)

    await phone.reads("1.234,50\u00a0€")
    await phone.reads("23.11.2026")
    await phone.reads("Verbunden")
    assert await phone.run("return document.documentElement.lang") == "de"


async def test_webkit_in_arabic_is_mirrored_and_fits(world: World, new_phone: NewPhone) -> None:
    phone = await new_phone(locale="ar_EG.UTF-8")
    agent = await world.agent()
    await agent.update("quote_ready", QUOTES)
    await agent.update("word", {"long": "x" * 10_000, "many": list(range(100))})
    await scan(world, phone, agent)

    await phone.reads("متصل")
    await phone.until("document.querySelectorAll('article').length === 2")
    assert await phone.run("return [document.documentElement.dir, innerWidth]") == ["rtl", 320]
    assert await phone.run(f"return {TOO_WIDE}") is False
    boxes = """
      const box = (css) => document.querySelector(css).getBoundingClientRect()
      return [box('.choice-price').right, box('.choice-label').left, box('.choice-label').right]
    """
    price_ends, label_begins, label_ends = await phone.run(boxes)
    assert price_ends <= label_begins + 1
    assert label_ends > 160
    await phone.tap(".choice")
    await phone.reads("تم اختيار")


async def test_webkit_in_a_broken_locale_still_shows_dates_and_numbers(
    world: World, new_phone: NewPhone
) -> None:
    phone = await new_phone(locale="C.UTF-8")
    agent = await world.agent()
    await agent.update("guide", {"carrier": "FedEx", "n": 1.5, "at": "2026-11-23T10:00:00Z"})
    await scan(world, phone, agent)

    # One date and one number: this "language" once swallowed the whole card.
    await phone.until("document.querySelectorAll('article dl.rows dt').length === 3")
    assert await phone.run("return navigator.languages") == ["C"]
    await phone.reads("1.5")
    await phone.reads("Connected")


async def test_webkit_moves_nothing_where_motion_is_reduced(
    world: World, new_phone: NewPhone
) -> None:
    longest = {}
    for is_calm in (False, True):
        phone = await new_phone(is_calm=is_calm)
        agent = await world.agent()
        await scan(world, phone, agent)
        await phone.reads("You’re connected")
        longest[is_calm] = await phone.run(LONGEST_MOTION_S)
        await agent.update("quote_ready", QUOTES)
        await phone.until("document.querySelectorAll('.choice').length === 2")
        longest[is_calm] = max(longest[is_calm], await phone.run(LONGEST_MOTION_S))

    assert longest[True] <= 0.01
    assert longest[False] > 1


async def test_webkit_tells_of_the_wire_once_and_keeps_what_was_typed(
    world: World, phone: WebKit
) -> None:
    agent = await world.agent()
    await scan(world, phone, agent)
    await phone.run(COUNT_THE_LIGHTS)

    await world.server.stop()
    await phone.reads("Reconnecting")
    await phone.type("companion-captions input", "Are you there?\ue007")
    await phone.reads("Will send when back online")
    await phone.reads("Connection lost")
    await world.server.start()

    await phone.until("document.querySelector('.line.is-said .icon-check') !== null")
    told = await phone.run("return told.map((text) => text.split('Agent')[0])")
    assert told == ["Connected", "Reconnecting", "Connected"]
    said = [
        each for each in await records(world, agent.session_id) if each["type"] == "user_message"
    ]
    assert [each["text"] for each in said] == ["Are you there?"]


async def test_webkit_keeps_a_take_away_whose_values_copy_by_a_tap(
    world: World, phone: WebKit
) -> None:
    agent = await world.agent()
    await scan(world, phone, agent)
    await agent.update("label_created", {"tracking": "1Z 999 AA1", "page": "https://example.com/t"})
    await phone.reads("1Z 999 AA1")

    await world.ask("DELETE", f"/sessions/{agent.session_id}")
    for _ in ("at once", "after a reload"):
        await phone.reads("All done")
        await phone.until("document.querySelectorAll('.copy').length === 2")
        # Nothing may ask for a clipboard that a page over plain HTTP does not have.
        await phone.run("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
        await phone.run(
            "addEventListener('copy', () => (window.copied = getSelection().toString() || document.activeElement.value))"
        )
        for at, text in enumerate(["1Z 999 AA1", "https://example.com/t"]):
            await phone.run(
                f"document.querySelectorAll('.copy')[{at}].classList.add('wanted-{at}')"
            )
            await phone.tap(f".wanted-{at}")
            assert await phone.until("window.copied") == text
            await phone.reads("Copied")
            await phone.run("window.copied = ''")
        await phone.reload()

    await phone.reads("All done")
    await phone.run(
        "[...document.querySelectorAll('.take-away button')].at(-1).classList.add('clear')"
    )
    await phone.tap(".clear")
    await phone.reads("No session on this phone")
    await phone.reload()
    await phone.reads("No session on this phone")
