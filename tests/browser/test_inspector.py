"""The inspector as an operator at night has it: the session somebody asks about, what went wrong, why."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from companion_ws import SESSIONS

from .conftest import QUOTES, Agent, NewWorld, World, accessibility_faults, is_too_wide, reach

DESK = {"viewport": {"width": 1280, "height": 800}}
GONE = "00000000-0000-4000-8000-000000000000"


async def opened(world: World, query: str = "", **options: Any) -> Page:
    """The inspector on a desk of 1280×800, signed in."""
    page = await world.page(**{**DESK, **options})
    admin = world.server.token("local", "admin")
    await page.goto(f"{world.server.url}/admin{query}#token={admin}")
    return page


def row(page: Page, *words: str) -> Any:
    """The lines of the timeline that hold these words."""
    found = page.locator(".timeline-rows li:not([hidden])")
    for text in words:
        found = found.filter(has_text=text)
    return found


async def titled(world: World, title: str, user: str = "alice") -> Agent:
    agent = await world.agent(user=user)
    path = f"/sessions/{agent.session_id}"
    await world.ask("PATCH", path, token=world.server.token(user), title=title)
    return agent


async def test_one_search_finds_title_id_user_and_conversation(world: World) -> None:
    parcel = await titled(world, "Parcel to Denver")
    await parcel.send(
        type="conversation_initiation_metadata",
        conversation_initiation_metadata_event={"conversation_id": "conv_8f2a"},
    )
    await titled(world, "Claim", user="bob")
    desk = await opened(world)
    names = desk.locator(".session-name")
    await expect(names).to_have_count(2)
    find = desk.get_by_label("Find a session")

    for text in (parcel.session_id[:8], parcel.session_id, "denver", "ALICE", "8f2a"):
        await find.fill(text)
        await expect(names).to_have_text(["Parcel to Denver"])
    await find.fill("Anna")
    await expect(desk.get_by_text("No session matches “Anna”.")).to_be_visible()
    await expect(names).to_have_count(0)
    await desk.reload()
    await expect(desk.get_by_text("No session matches “Anna”.")).to_be_visible()


async def test_what_went_wrong_is_counted_coloured_and_found(world: World) -> None:
    bad, lonely = await titled(world, "Bad night"), await titled(world, "Lonely night")
    await titled(world, "Good night")
    await world.agent(bad.session_id, role="ui")
    failed = {"tool_name": "crm", "is_error": True}
    await bad.send(type="agent_tool_response", agent_tool_response=failed)
    call = {"tool_name": "companion_choose", "tool_call_id": "late", "timeout_ms": 1000,
            "parameters": {"title": "Which?", "options": ["A", "B"]}}  # fmt: skip
    await bad.send(type="client_tool_call", client_tool_call=call)
    await lonely.result(await lonely.call("companion_confirm", title="Go on?"))
    assert (await bad.result("late"))["status"] == "no_answer"
    desk = await opened(world)
    everywhere = desk.get_by_role("group", name="Sessions with trouble")

    await expect(everywhere).to_have_text("Sessions with troublefailed1slow0no screen1")
    marked = desk.get_by_role("button", name="Bad night")
    await expect(marked).to_contain_text("2 failed")
    await expect(desk.get_by_role("button", name="Lonely night")).to_contain_text("1 no screen")
    await everywhere.get_by_text("failed").click()
    await expect(desk.locator(".session-name")).to_have_text(["Bad night"])
    assert "trouble=failed" in desk.url
    tools = desk.get_by_role("row").filter(has_text="companion_choose")
    await expect(tools.get_by_role("cell")).to_have_text(["1", "1", "0", "0", "–", "–"])

    await marked.click()
    here = desk.get_by_role("group", name="Trouble in this session")
    await expect(here).to_have_text("Trouble in this sessionfailed2slow0no screen0")
    await expect(row(desk, "crm → failed")).to_have_attribute("data-tone", "bad")
    await here.get_by_text("failed").click()
    await expect(row(desk)).to_have_count(3)
    await expect(row(desk, "client_tool_call")).to_have_attribute("data-tone", "bad")
    red = await background(row(desk, "no answer in time"))
    await row(desk, "no answer in time").click()
    await expect(desk.get_by_text("Nobody answered within 1.0 s; the agent was told so")).to_be_visible()
    await desk.keyboard.press("Escape")

    await everywhere.get_by_text("no screen").click()
    await desk.get_by_role("button", name="Lonely night").click()
    await here.get_by_text("failed").click()
    await expect(row(desk, "no screen to ask")).to_have_attribute("data-tone", "warn")
    amber, plain = await background(row(desk, "no screen to ask")), await background(row(desk, "trail"))
    assert len({red, amber, plain}) == 3


async def background(line: Any) -> str:
    colour: str = await line.locator(".event").evaluate("(e) => getComputedStyle(e).backgroundColor")
    return colour


async def test_a_call_is_a_waterfall_from_what_is_stored(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    call = await agent.call("companion_choose", title="Which?", options=["A", "B"])
    await phone.get_by_role("button", name="A", exact=True).tap()
    await agent.result(call)
    await agent.hears(lambda message: message["type"] == "rendered")
    await phone.context.close()
    desk = await opened(world, f"?session={agent.session_id}")

    await row(desk, "client_tool_call").click()
    details = desk.get_by_role("complementary", name="Details")
    await expect(details.locator("dt")).to_have_text(
        ["call → shown", "shown → tap", "tap → result", "call → result"]
    )
    await expect(details).to_contain_text("shown on Pixel 7 after")
    await expect(details.get_by_label("Payload", exact=True)).to_contain_text(call)
    await details.get_by_role("button", name="client_tool_result").click()
    await expect(details.get_by_role("heading", name="client_tool_result #2")).to_be_visible()
    assert f"session={agent.session_id}" in desk.url
    assert "record=2" in desk.url

    # The address leads back to the record.
    await desk.reload()
    await expect(details.get_by_role("heading", name="client_tool_result #2")).to_be_visible()
    await expect(row(desk, "client_tool_result").locator(".event")).to_have_attribute("aria-current", "true")
    await agent.update("live", {"a": 1})
    await expect(row(desk, "contextual_update", "live")).to_be_visible()
    await expect(row(desk, "Pixel 7 left").or_(row(desk, "Pixel 7 dropped"))).to_contain_text("(100")


async def test_an_ended_session_is_read_for_a_day_and_a_gone_one_says_so(world: World) -> None:
    agent = await titled(world, "Over")
    await agent.update("before_the_end", {"a": 1})
    await agent.send(type="state_update", key="step", value=7)
    await world.ask("DELETE", f"/sessions/{agent.session_id}")
    desk = await opened(world)
    await desk.get_by_role("button", name="Over").click()

    await expect(desk.get_by_role("status").filter(has_text="ended just now")).to_contain_text("24 hours")
    await expect(row(desk, "before_the_end")).to_be_visible()
    await expect(row(desk, "session_ended", "ended by owner")).to_be_visible()
    await expect(row(desk, "trail", "4510")).to_contain_text("session over (4510)")
    await expect(desk.get_by_role("button", name="Act as screen")).to_be_hidden()
    await desk.get_by_role("button", name="State", exact=True).click()
    await expect(desk.get_by_label("State", exact=True)).to_contain_text('"step": 7')

    desk = await opened(world, f"?session={GONE}")
    await expect(desk.get_by_role("heading", name="This session is gone")).to_be_visible()
    await expect(desk.get_by_text("longer ago than the 24 hours")).to_be_visible()
    desk = await opened(world, f"?session={agent.session_id}&record=99")
    await expect(desk.get_by_role("alert").filter(has_text="no record #99")).to_be_visible()


async def test_a_session_that_ends_while_it_is_watched_stays_to_be_read(world: World) -> None:
    agent = await titled(world, "Alive")
    await agent.update("said", {"a": 1})
    desk = await opened(world, f"?session={agent.session_id}")
    await expect(desk.get_by_text("live", exact=True)).to_be_visible()
    await world.ask("DELETE", f"/sessions/{agent.session_id}")

    await expect(desk.get_by_role("status").filter(has_text="ended just now")).to_be_visible()
    await expect(row(desk, "said")).to_have_count(1)
    await expect(row(desk, "session_ended")).to_have_count(1)


async def test_a_replay_has_speed_progress_and_stop_and_shows_what_happens_meanwhile(
    world: World,
) -> None:
    agent = await world.agent()
    for number in range(3):
        await agent.update(f"old_{number}")
    await asyncio.sleep(1.1)
    await agent.update("old_last")
    desk = await opened(world, f"?session={agent.session_id}")
    await expect(row(desk, "old_last")).to_be_visible()

    await desk.get_by_role("button", name="Replay").click()
    await expect(row(desk, "old_2")).to_be_visible()
    await expect(row(desk, "old_last")).to_be_hidden()
    await agent.update("new_meanwhile")
    await expect(row(desk, "new_meanwhile")).to_be_visible()
    await expect(desk.get_by_text("of 5")).to_be_visible()  # a trail entry and four records
    await desk.get_by_label("Progress").fill("2")
    await desk.get_by_label("Speed").select_option("32")
    await expect(desk.get_by_role("button", name="Stop")).to_be_hidden()  # it comes to its end
    await expect(row(desk, "contextual_update")).to_have_count(5)

    await desk.get_by_role("button", name="Replay").click()
    await desk.get_by_role("button", name="Stop").click()
    await expect(row(desk, "contextual_update")).to_have_count(5)
    await desk.get_by_role("button", name="Replay").click()
    await desk.keyboard.press("Escape")
    await expect(row(desk, "contextual_update")).to_have_count(5)
    await expect(desk.get_by_role("group", name="Trouble in this session")).to_be_visible()


async def test_twenty_lines_stand_below_heads_they_align_with_and_keys_move(world: World) -> None:
    agent = await titled(world, "Many")
    for number in range(40):
        await agent.update(f"line_{number}", {"n": number})
    desk = await opened(world, f"?session={agent.session_id}")
    await expect(row(desk, "line_39")).to_be_visible()
    seen = """() => {
      const pane = document.querySelector('.timeline-scroll').getBoundingClientRect()
      const head = document.querySelector('.timeline-head').getBoundingClientRect()
      const rows = [...document.querySelectorAll('.timeline-rows li')].map((li) => li.getBoundingClientRect())
      return rows.filter((box) => box.top >= head.bottom - 1 && box.bottom <= pane.bottom + 1).length
    }"""
    assert await desk.evaluate(seen) >= 20
    scrollers = """() => [...document.querySelectorAll('*')].filter((each) =>
      each.scrollHeight > each.clientHeight + 1 && /auto|scroll/.test(getComputedStyle(each).overflowY)
      && each.closest('.watch')).length"""
    assert await desk.evaluate(scrollers) == 1
    assert await desk.evaluate("() => document.documentElement.scrollHeight <= innerHeight")
    lanes = """() => {
      const middle = (box) => box.left + box.width / 2
      const heads = [...document.querySelectorAll('.head-lanes span')].map((each) => middle(each.getBoundingClientRect()))
      const cell = document.querySelector('.event-lanes')
      const box = cell.getBoundingClientRect()
      return ['from-agent', 'from-server', 'from-screens'].map((name, at) => {
        cell.className = `event-lanes ${name}`
        return Math.abs(box.left + parseFloat(getComputedStyle(cell, '::before').left) - heads[at])
      })
    }"""
    assert max(await desk.evaluate(lanes)) < 2

    details = desk.get_by_role("complementary", name="Details")
    await desk.keyboard.press("k")
    await expect(details.get_by_role("heading", name="#40")).to_be_visible()
    await desk.keyboard.press("k")
    await desk.keyboard.press("k")
    await desk.keyboard.press("j")
    await expect(details.get_by_role("heading", name="#39")).to_be_visible()
    await desk.keyboard.press("Escape")
    await expect(details).to_be_hidden()
    await expect(row(desk, "#39").locator(".event")).to_be_focused()
    await desk.keyboard.press("/")
    await expect(desk.get_by_label("Find a session")).to_be_focused()
    await desk.keyboard.type("jk/")
    await expect(desk.get_by_label("Find a session")).to_have_value("jk/")
    await desk.keyboard.press("Escape")
    await desk.keyboard.press("Escape")
    await expect(desk.get_by_role("heading", name="Tools")).to_be_visible()
    assert "session=" not in desk.url


async def test_a_thousand_sessions_and_a_thousand_records_are_all_there(new_world: NewWorld) -> None:
    world = await new_world(limit_sessions_per_user=0)
    sessions = world.server.app[SESSIONS]
    for start in range(0, 1000, 100):
        await asyncio.gather(
            *(sessions.create("crowd", title=f"crowd-{start + n}") for n in range(100))
        )
    agent = await titled(world, "Long call")
    for start in range(0, 1000, 100):
        await asyncio.gather(*(
            sessions.broadcast_to_session(
                agent.session_id, {"type": "contextual_update", "text": f"n{start + n}"}
            )
            for n in range(100)
        ))
    desk = await opened(world)
    names = desk.locator(".session-name")
    await expect(names.first).to_have_text("Long call")
    scroller = desk.locator(".session-scroll")
    for shown in (100, 200, 300):
        await expect(names).to_have_count(shown)
        await scroller.evaluate("(each) => each.scrollTo(0, each.scrollHeight)")
    await expect(names).to_have_count(400)
    await desk.get_by_label("Find a session").fill("CROWD-0")
    await expect(names).to_have_text(["crowd-0"])
    await desk.get_by_label("Find a session").fill("long")
    await desk.get_by_role("button", name="Long call").click()

    await expect(desk.locator(".timeline-rows li .event-seq:not(:empty)")).to_have_count(1000)
    await expect(row(desk, "#1000 ")).to_be_in_viewport()
    await desk.get_by_label("Filter by text").fill("n77")
    await expect(row(desk)).to_have_count(11)


async def test_what_is_open_stays_open_when_the_trail_comes_late(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    await agent.update("quote_ready", QUOTES)
    desk = await world.page()
    may_come = asyncio.Event()

    async def late(route: Route) -> None:
        await may_come.wait()
        await route.continue_()

    await desk.route("**/trail", late)
    admin = world.server.token("local", "admin")
    await desk.goto(f"{world.server.url}/admin?session={agent.session_id}#token={admin}")
    await row(desk, "contextual_update").click()
    await expect(desk.get_by_label("Payload", exact=True)).to_be_visible()

    may_come.set()
    await expect(row(desk, "trail", "Pixel 7 joined")).to_have_count(1)
    await expect(desk.get_by_label("Payload", exact=True)).to_contain_text("quote_ready")
    kinds = await desk.locator(".event-type").all_text_contents()
    assert kinds.index("contextual_update") > max(
        at for at, kind in enumerate(kinds) if kind == "trail"
    )
    await phone.context.close()


async def test_the_newest_search_counts_whichever_answer_comes_first(world: World) -> None:
    agent = await titled(world, "Mine")
    await titled(world, "Theirs", user="bob")
    desk = await world.page()
    may_come = asyncio.Event()
    has_asked = asyncio.Event()

    async def late(route: Route) -> None:
        has_asked.set()
        await may_come.wait()
        await route.continue_()

    await desk.route("**/sessions?*find=bob*", late)
    await desk.goto(f"{world.server.url}/admin#token={world.server.token('local', 'admin')}")
    find = desk.get_by_label("Find a session")
    await find.fill("bob")
    await has_asked.wait()
    await find.fill("alice")
    names = desk.locator(".session-name")
    await expect(names).to_have_text(["Mine"])

    async with desk.expect_response("**/sessions?*find=bob*"):
        may_come.set()
    await desk.evaluate("() => new Promise((resolve) => setTimeout(resolve, 200))")
    assert await names.all_text_contents() == ["Mine"]
    assert agent.session_id


async def test_the_inspector_needs_no_mouse_and_no_large_screen(world: World) -> None:
    agent = await titled(world, "Small")
    other = await titled(world, "Other", user="bob")
    phone = await world.phone(agent)
    call = await agent.call("companion_choose", title="Which?", options=["A", "B"])
    await phone.get_by_role("button", name="A", exact=True).tap()
    await agent.result(call)
    desk = await opened(world, viewport={"width": 320, "height": 568})
    await expect(desk.get_by_role("button", name="Other")).to_be_visible()
    assert await desk.locator(".owner-bar").evaluate("(bar) => bar.offsetHeight") < 60  # one line
    head = desk.locator(".tools thead th", has_text="Failed")
    await expect(head).to_be_visible()
    assert await head.evaluate("(cell) => cell.offsetHeight") < 40  # words stay whole
    # The line of a call gets all the width there is for its name.
    named = desk.get_by_role("rowheader", name="companion_choose")
    assert await named.evaluate("(cell) => cell.offsetHeight") < 40

    await reach(desk, "Find a session")
    await desk.keyboard.type("alice")
    await expect(desk.get_by_role("button", name="Other")).to_have_count(0)
    await reach(desk, "Small")
    await agent.update("while_the_row_has_the_focus")
    await expect(desk.get_by_role("button", name="3 records")).to_be_focused()
    await desk.keyboard.press("Enter")
    await expect(row(desk, "client_tool_result")).to_be_visible()
    assert not await is_too_wide(desk)
    await reach(desk, "client_tool_call")
    await desk.keyboard.press("Enter")
    await expect(desk.get_by_text("call → result")).to_be_visible()
    assert not await is_too_wide(desk)
    await desk.keyboard.press("Escape")
    await expect(desk.get_by_text("call → result")).to_be_hidden()
    await desk.get_by_role("button", name="Send as agent").focus()
    await desk.keyboard.press("Enter")
    await reach(desk, "Send")
    await desk.keyboard.press("Enter")

    await expect(phone.get_by_role("heading", name="Quote ready")).to_be_visible()
    assert other.session_id


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_no_state_of_the_inspector_has_an_accessibility_fault(world: World, scheme: Any) -> None:
    agent = await titled(world, "Anna")
    await agent.send(
        type="agent_tool_response", agent_tool_response={"tool_name": "crm", "is_error": True}
    )
    await agent.result(await agent.call("companion_confirm", title="Go on?"))
    desk = await opened(world, color_scheme=scheme, reduced_motion="reduce")
    await expect(desk.get_by_role("row").filter(has_text="companion_confirm")).to_be_visible()
    await expect(desk.get_by_role("button", name="Anna")).to_contain_text("1 failed")
    assert await accessibility_faults(desk) == [], "all sessions"

    await desk.get_by_role("button", name="Anna").click()
    await row(desk, "no screen to ask").click()
    await expect(desk.get_by_label("Payload", exact=True)).to_be_visible()
    assert await accessibility_faults(desk) == [], "a record"
    await desk.get_by_role("button", name="State", exact=True).click()
    assert await accessibility_faults(desk) == [], "the state"
    await desk.get_by_role("button", name="Send as agent").click()
    assert await accessibility_faults(desk) == [], "a message"
    await desk.get_by_role("button", name="Replay").click()
    assert await accessibility_faults(desk) == [], "a replay"
    await desk.goto(f"{world.server.url}/admin?session={GONE}&find=nobody")
    await expect(desk.get_by_text("No session matches “nobody”.")).to_be_visible()
    await expect(desk.get_by_role("heading", name="This session is gone")).to_be_visible()
    assert await accessibility_faults(desk) == [], "nothing found"
