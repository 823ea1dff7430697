"""How a lost connection feels: a pause, nothing lost, nothing twice."""

from __future__ import annotations

import time

from playwright.async_api import expect

from .conftest import PIXEL, QUOTES, NewWorld, World

SERVICES = {"title": "Which service?", "options": ["UPS Next Day", "FedEx Ground"]}


async def test_a_server_that_restarts_is_a_pause(world: World) -> None:
    agent = await world.agent()
    await agent.update("quote_ready", QUOTES)
    phone = await world.phone(agent)
    session_id = agent.session_id

    await world.server.stop()
    await expect(phone.locator(".light[data-of=server]")).not_to_have_class("light is-on")
    assert await phone.locator(".banner").is_hidden()
    await expect(phone.locator(".banner")).to_contain_text("Connection lost")
    await expect(phone.get_by_role("heading", name="Quote ready")).to_be_visible()
    await world.server.start()

    await expect(phone.locator(".banner")).to_be_hidden(timeout=12_000)
    agent = await world.agent(session_id)
    await agent.update("label_created", {"tracking": "1Z999"})
    await expect(phone.get_by_role("article").get_by_role("heading")).to_have_text(
        ["Label created", "Quote ready"]
    )
    log = await world.ask("GET", f"/sessions/{session_id}/records?after=0")
    seqs = [record["seq"] for record in log["records"]]
    assert seqs == list(range(1, len(seqs) + 1))


async def test_a_tap_in_a_tunnel_survives_a_reload_and_counts_once(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    call = await agent.call("companion_choose", **SERVICES)
    await expect(phone.get_by_role("button", name="FedEx Ground")).to_be_visible()
    session_id = agent.session_id
    # The page itself comes from the server, so it is the socket alone that is cut off here.
    await phone.context.route_web_socket("**/ws*", lambda socket: socket.close(code=1012))
    await phone.reload()
    await phone.get_by_role("button", name="FedEx Ground").tap()
    await expect(phone.get_by_text("Will send when back online")).to_be_visible()
    await phone.reload()
    await expect(phone.get_by_text("Will send when back online")).to_be_visible()
    assert agent.heard("client_tool_result") == []

    await phone.context.unroute_all()
    state = await phone.context.storage_state()
    again = await world.page(**PIXEL, storage_state=state)
    await again.goto(f"{world.server.url}/ui?session_id={session_id}")

    assert (await agent.result(call))["label"] == "FedEx Ground"
    await expect(again.get_by_text("Selected: FedEx Ground")).to_be_visible()
    await agent.update("done", {})
    assert len(agent.heard("client_tool_result")) == 1


async def test_taps_while_the_server_restarts_count_once(world: World) -> None:
    agent = await world.agent()
    await agent.update("quote_ready", QUOTES)
    phone = await world.phone(agent)
    session_id = agent.session_id
    choice = phone.get_by_role("button", name="FedEx Ground")
    await expect(choice).to_be_visible()

    await world.server.stop()
    box = await choice.bounding_box()
    assert box is not None
    for _ in range(2):  # a finger taps at a place, whatever stands there by then
        await phone.touchscreen.tap(box["x"] + 40, box["y"] + 20)
    await expect(phone.get_by_text("Will send when back online")).to_be_visible()
    await world.server.start()

    agent = await world.agent(session_id)
    await expect(phone.get_by_text("Selected: FedEx Ground")).to_be_visible(timeout=15_000)
    await agent.update("done", {})
    log = await world.ask("GET", f"/sessions/{session_id}/records?after=0")
    kinds = [record["type"] for record in log["records"]]
    assert kinds == ["contextual_update", "state_updated", "user_message", "contextual_update"]


async def test_updates_while_away_are_counted_and_in_order(world: World) -> None:
    agent = await world.agent()
    await agent.update("quote_ready", QUOTES)
    phone = await world.phone(agent)
    await expect(phone.get_by_role("article")).to_have_count(1)
    url = phone.url
    await phone.goto("about:blank")
    await agent.update("first", {"a": 1})
    await agent.update("second", {"b": 2})

    await phone.goto(url)

    await expect(phone.get_by_text("2 updates while you were away")).to_be_visible()
    await expect(phone.get_by_role("article").get_by_role("heading")).to_have_text(
        ["Second", "First", "Quote ready"]
    )


async def test_a_half_open_socket_is_noticed_within_twenty_seconds(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    before = time.monotonic()

    # Chromium keeps an open socket open and silent then, as a dead Wi-Fi does.
    await phone.context.set_offline(True)

    light = phone.locator(".light[data-of=server].is-on")
    await expect(light).to_have_count(0, timeout=20_000)
    assert time.monotonic() - before < 20
    await phone.context.set_offline(False)
    await expect(light).to_have_count(1, timeout=15_000)


async def test_a_sleeping_phone_wakes_to_all_it_missed(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    for _ in range(3):
        await agent.update("long", {f"line_{number}": number for number in range(12)})
    await expect(phone.get_by_role("article")).to_have_count(3)
    spoken = phone.locator("[aria-live=polite].unseen")
    await expect(spoken).to_have_text("3 updates")
    await phone.evaluate("() => scrollTo(0, 300)")
    reading = phone.get_by_text("Line 9").first
    before = await reading.bounding_box()
    devtools = await phone.context.new_cdp_session(phone)
    await devtools.send("Page.setWebLifecycleState", {"state": "frozen"})
    for name in ("one", "two", "three", "four"):
        await agent.update(name, {"text": name})

    await devtools.send("Page.setWebLifecycleState", {"state": "active"})

    await expect(phone.get_by_role("article").get_by_role("heading")).to_have_text(
        ["Four", "Three", "Two", "One", "Long", "Long", "Long"]
    )
    await expect(spoken).to_have_text("4 updates")
    after = await reading.bounding_box()
    assert before is not None
    assert after is not None
    assert abs(before["y"] - after["y"]) < 2


async def test_the_agent_and_the_server_have_a_light_each(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    lights = phone.get_by_role("status").filter(has_text="Connected")
    await expect(lights).to_contain_text("Agent here")

    await agent.leave()

    await expect(lights).to_contain_text("Agent away")
    await expect(lights).to_contain_text("Connected")


async def test_an_ended_session_stops_trying_and_keeps_what_was_shown(world: World) -> None:
    agent = await world.agent()
    await agent.update("quote_ready", QUOTES)
    phone = await world.phone(agent)
    await phone.clock.install()
    sockets: list[str] = []
    phone.on("websocket", lambda socket: sockets.append(socket.url))

    await world.ask("DELETE", f"/sessions/{agent.session_id}")

    alert = phone.get_by_role("alert")
    await expect(alert).to_contain_text("This conversation has ended")
    await expect(alert.get_by_role("link", name="Type a code")).to_be_visible()
    await expect(phone.get_by_role("heading", name="Quote ready")).to_be_visible()
    assert await phone.evaluate("() => Object.keys(localStorage)") == ["companion.take-away"]
    await phone.clock.run_for(60_000)
    assert sockets == []


async def test_a_session_about_to_close_is_kept_open_by_a_tap(new_world: NewWorld) -> None:
    world = await new_world(session_ttl="8s")
    agent = await world.agent()
    phone = await world.phone(agent)

    await phone.get_by_role("button", name="Keep it open").tap(timeout=15_000)

    await expect(phone.locator(".banner")).to_be_hidden()
    await agent.hears(lambda message: message["type"] == "user_activity")


async def test_without_a_network_the_last_view_is_shown_with_its_time(world: World) -> None:
    agent = await world.agent()
    await agent.update("quote_ready", {"carrier": "FedEx"})
    phone = await world.phone(agent)
    await expect(phone.get_by_text("FedEx")).to_be_visible()
    await phone.context.route_web_socket("**/ws*", lambda socket: socket.close(code=1012))

    await phone.reload()

    await expect(phone.get_by_text("FedEx")).to_be_visible()
    await expect(phone.locator(".banner")).to_contain_text("as of")
