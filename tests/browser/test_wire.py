"""What the page says of its connection: told once, and never more than is so."""

from __future__ import annotations

import asyncio
from typing import Any

from playwright.async_api import Page, Route, expect

from .conftest import PIXEL, QUOTES, World

SERVICES = {"title": "Which service?", "options": ["UPS Next Day", "FedEx Ground"]}
# Each text that the lights have had, from now on, and when.
WATCH_LIGHTS = """() => {
  const lights = document.querySelector('connection-lights')
  window.told = [{ text: lights.textContent, at: performance.now() }]
  new MutationObserver(() => window.told.push({ text: lights.textContent, at: performance.now() }))
    .observe(lights, { childList: true, subtree: true, characterData: true })
  for (const name of ['offline', 'online']) addEventListener(name, () => (window[name + 'At'] = performance.now()))
}"""
SENDING = """() => {
  window.sending = 0
  new MutationObserver(() => { if (document.body.innerText.includes('Sending')) window.sending += 1 })
    .observe(document.body, { childList: true, subtree: true, characterData: true })
}"""


async def told(phone: Page) -> list[str]:
    return [each["text"] for each in await phone.evaluate("() => window.told")]


async def say(phone: Page, text: str) -> None:
    await phone.get_by_role("textbox", name="Type instead of speaking").fill(text)
    await phone.keyboard.press("Enter")


async def test_a_lost_network_is_told_once_within_a_second_and_nothing_is_sending(
    world: World,
) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    call = await agent.call("companion_choose", **SERVICES)
    choice = phone.get_by_role("button", name="FedEx Ground")
    await expect(choice).to_be_visible()
    await phone.evaluate(WATCH_LIGHTS)
    await phone.evaluate(SENDING)

    await phone.context.set_offline(True)
    await choice.tap()
    await say(phone, "Please hurry")

    lights = phone.locator("connection-lights")
    await expect(lights).to_contain_text("Offline")
    noticed = await phone.evaluate("() => window.told[1].at - window.offlineAt")
    assert noticed <= 1000
    await expect(phone.locator(".banner")).to_contain_text("offline")
    line = phone.locator(".line", has_text="Please hurry")
    await expect(line).to_contain_text("Will send when back online")
    await expect(phone.locator(".is-pending")).to_contain_text("Will send when back online")
    await phone.wait_for_function("() => performance.now() - window.offlineAt > 2000")
    assert len(await told(phone)) == 2
    assert await phone.evaluate("() => window.sending") == 0

    await phone.context.set_offline(False)
    assert (await agent.result(call))["label"] == "FedEx Ground"
    await agent.hears(lambda each: each.get("text") == "Please hurry")
    await expect(line.locator(".icon-check")).to_be_visible()
    await expect(line).to_have_count(1)
    await expect(lights).to_contain_text("Connected")
    assert [text.replace("Agent here", "").replace("Agent", "") for text in await told(phone)] in (
        ["Connected", "Offline", "Connected"],
        ["Connected", "Offline", "Reconnecting", "Connected"],
    )


async def test_a_browser_that_is_wrong_about_its_network_is_not_believed(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    await phone.evaluate(WATCH_LIGHTS)

    await phone.evaluate("() => dispatchEvent(new Event('offline'))")
    await agent.update("still_here", {"a": 1})
    await expect(phone.get_by_text("Still here")).to_be_visible()

    await phone.wait_for_function("() => performance.now() - window.offlineAt > 1000")
    await expect(phone.locator("connection-lights")).to_contain_text("Connected")
    # A server that is slow to answer may be doubted for a moment.
    assert [text.split("Agent")[0] for text in await told(phone)] in (
        ["Connected"],
        ["Connected", "Offline", "Connected"],
    )


async def test_a_server_that_is_away_is_told_once_as_reconnecting(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    session_id = agent.session_id
    await phone.evaluate(WATCH_LIGHTS)

    await world.server.stop()
    await expect(phone.locator("connection-lights")).to_contain_text("Reconnecting")
    await say(phone, "Are you there?")
    await expect(phone.locator(".banner")).to_contain_text("Connection lost")
    # Meanwhile it is tried again, many times.
    await phone.wait_for_function("() => performance.now() - window.told[1].at > 4000")
    assert len(await told(phone)) == 2
    await world.server.start()

    line = phone.locator(".line", has_text="Are you there?")
    await expect(line.locator(".icon-check")).to_be_visible(timeout=20_000)
    assert [text.split("Agent")[0] for text in await told(phone)] == [
        "Connected", "Reconnecting", "Connected",
    ]  # fmt: skip
    agent = await world.agent(session_id)
    log = await world.ask("GET", f"/sessions/{session_id}/records?after=0")
    assert [each["text"] for each in log["records"] if each["type"] == "user_message"] == [
        "Are you there?"
    ]


async def test_what_was_typed_in_a_tunnel_stands_there_after_a_reload(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    await phone.context.route_web_socket("**/ws*", lambda socket: socket.close(code=1012))
    await phone.reload()
    await expect(phone.locator("connection-lights")).to_contain_text("Reconnecting")
    await say(phone, "Send it by air")
    line = phone.locator(".line", has_text="Send it by air")
    await expect(line).to_contain_text("Will send when back online")

    await phone.reload()
    await expect(line).to_contain_text("Will send when back online")
    assert agent.heard("user_message") == []

    state = await phone.context.storage_state()
    again = await world.page(storage_state=state)
    await again.goto(phone.url)
    await agent.hears(lambda each: each.get("text") == "Send it by air")
    await expect(again.locator(".line", has_text="Send it by air").locator(".icon-check")).to_be_visible()


async def test_who_types_to_an_agent_that_left_is_told_when_it_is_read(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    session_id = agent.session_id
    await agent.update("quote_ready", {"a": 1})
    await say(phone, "Hello")
    note = phone.locator(".said-note")
    await expect(phone.locator(".line .icon-check")).to_be_visible()
    await expect(note).to_be_hidden()

    await agent.leave()
    await expect(phone.locator("connection-lights")).to_contain_text("Agent away")
    await expect(note).to_be_hidden()
    await say(phone, "Hello again")
    await expect(note).to_have_text("The agent has left; it reads this when it is back.")
    await expect(phone.locator(".line", has_text="Hello again").locator(".icon-check")).to_be_visible()
    await expect(note).to_be_visible()
    await phone.reload()
    await expect(note).to_be_visible()

    await world.agent(session_id)
    await expect(note).to_be_hidden()


async def test_a_question_the_agent_no_longer_waits_for_says_so(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    call = {"tool_name": "companion_choose", "tool_call_id": "late", "parameters": SERVICES}
    await agent.send(type="client_tool_call", client_tool_call={**call, "timeout_ms": 1000})
    card = phone.locator("companion-question")
    await expect(card.get_by_role("button", name="FedEx Ground")).to_be_visible()

    assert (await agent.result("late"))["status"] == "no_answer"
    await expect(card).to_contain_text("You can still answer")

    await card.get_by_role("button", name="FedEx Ground").tap()
    await agent.hears(lambda each: each.get("in_reply_to") == "late")
    await expect(card).not_to_contain_text("You can still answer")


async def test_a_tap_that_comes_after_the_choice_was_closed_is_told_so(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    buttons: dict[str, Any] = {"options": ["Red", "Blue"]}
    await agent.update("quote_ready", QUOTES, context_id="rates")
    await agent.update("color", buttons, context_id="color")
    quotes, color = (phone.locator("companion-card", has_text=name) for name in ("Quote", "Color"))
    await expect(quotes.get_by_role("button")).to_have_count(2)
    await phone.context.set_offline(True)
    await quotes.get_by_role("button", name="FedEx Ground").tap()
    await color.get_by_role("button", name="Blue").tap()
    await expect(phone.get_by_text("Will send when back online")).to_have_count(2)

    for context_id in ("rates", "color"):
        await agent.send(type="contextual_update", text="done", context_id=context_id, locked=True)
    # What is still in the air of an open socket arrives; only a new one knows nothing of the tap.
    await phone.context.set_offline(False)

    for card in (quotes, color):
        await expect(card).to_contain_text("This choice is closed", timeout=20_000)
        await expect(card.locator("button:enabled")).to_have_count(0)
        await expect(card.get_by_text("Selected")).to_have_count(0)
    log = await world.ask("GET", f"/sessions/{agent.session_id}/records?after=0")
    assert "state_updated" not in [record["type"] for record in log["records"]]


async def test_a_choice_can_be_changed_only_while_an_agent_is_here(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    session_id = agent.session_id
    await agent.update("quote_ready", QUOTES, context_id="rates")
    await phone.get_by_role("button", name="FedEx Ground").tap()
    change = phone.get_by_role("button", name="Change")
    await expect(change).to_be_visible()

    await agent.leave()
    await expect(change).to_have_count(0)
    agent = await world.agent(session_id)
    await expect(change).to_be_visible()
    await agent.send(type="contextual_update", text="done", context_id="rates", locked=True)
    await expect(change).to_have_count(0)
    await expect(phone.get_by_text("Selected: FedEx Ground")).to_be_visible()


async def test_what_the_agent_looks_up_is_a_line_until_it_is_there(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    working = phone.locator(".working")
    request = {"tool_name": "search_offers", "tool_call_id": "t1", "tool_type": "webhook"}
    await say(phone, "What does it cost?")
    await agent.send(type="agent_tool_request", agent_tool_request=request)
    await expect(working).to_have_text("Agent is looking up offers…")
    # Nothing stands over it.
    await expect(phone.locator(".line .icon-check")).to_be_visible()
    await working.evaluate("(node) => (node.style.pointerEvents = 'auto')")
    await working.click(trial=True)
    await phone.reload()
    await expect(working).to_have_text("Agent is looking up offers…")

    await agent.send(type="agent_tool_response", agent_tool_response={**request, "is_error": False})
    await expect(working).to_be_hidden()
    asking = {**request, "tool_name": "companion_choose", "tool_call_id": "t2"}
    await agent.send(type="agent_tool_request", agent_tool_request=asking)
    await agent.update("offers", {"a": 1})
    await expect(phone.get_by_role("heading", name="Offers")).to_be_visible()
    await expect(working).to_be_hidden()


async def test_a_server_tool_that_runs_is_a_line_that_ends_with_its_result(
    new_world: Any, tmp_path: Any, monkeypatch: Any
) -> None:
    tools = tmp_path / "slow_tools.py"
    tools.write_text(
        "import asyncio\n"
        "from companion_ws import tool\n"
        "go = asyncio.Event()\n"
        "@tool\n"
        "async def get_shipping_quotes() -> str:\n"
        "    await go.wait()\n"
        "    return 'none'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    world = await new_world(tools="slow_tools")
    agent = await world.agent()
    phone = await world.phone(agent, locale="de-DE")
    english = await world.phone(agent)
    call = {"tool_name": "get_shipping_quotes", "tool_call_id": "q", "parameters": {}}
    await agent.send(type="client_tool_call", client_tool_call=call)
    await expect(english.locator(".working")).to_have_text("Agent is looking up shipping quotes…")
    await expect(phone.locator(".working")).to_have_text("Der Assistent sucht Informationen…")

    import slow_tools  # type: ignore[import-not-found]

    slow_tools.go.set()
    await expect(english.locator(".working")).to_be_hidden()


async def test_from_the_first_paint_to_the_join_nothing_moves(world: World) -> None:
    agent = await world.agent()
    opened = await world.ask("POST", f"/sessions/{agent.session_id}/pairings")
    phone = await world.page(**PIXEL)
    script, ticket = asyncio.Event(), asyncio.Event()

    async def hold(route: Route, until: asyncio.Event) -> None:
        await until.wait()
        await route.continue_()

    await phone.route("**/static/dist/phone.*.js", lambda route: hold(route, script))
    await phone.route("**/pair", lambda route: hold(route, ticket))
    await phone.goto(opened["url"], wait_until="commit")
    heading = phone.get_by_role("heading", name="Connecting…")
    await expect(heading).to_be_visible()
    first = await heading.bounding_box()
    script.set()
    await expect(phone.get_by_text(f"Session {agent.session_id[:8]}")).to_be_visible()

    assert await heading.bounding_box() == first
    ticket.set()
    await world.connected(phone)
