"""Cards that cannot be shown as they are meant: each costs itself alone, and the agent hears why."""

from __future__ import annotations

from typing import Any

from playwright.async_api import Page, expect

from .conftest import Agent, Message, NewWorld, World
from .test_a2ui import surface

NAMES = ["__proto__", "constructor", "prototype", "toString", "valueOf", "hasOwnProperty",
         "__defineGetter__", "isPrototypeOf", "toLocaleString", "then", "length"]  # fmt: skip
V9: dict[str, Any] = {"version": "v0.9"}
CREATE = {**V9, "createSurface": {"surfaceId": "s"}}
DATA = {"carrier": "FedEx"}


def components(*listed: Any) -> dict[str, Any]:
    return {**V9, "updateComponents": {"surfaceId": "s", "components": list(listed)}}


def text(id_: str, shown: Any, **more: Any) -> dict[str, Any]:
    return {"id": id_, "component": "Text", "text": shown, **more}


async def told(agent: Agent, record: Message) -> str:
    """What the agent hears of the problem with a record; "" where there is none."""
    heard = await agent.hears(
        lambda each: each["type"] == "rendered" and each["of_seq"] == record["seq"]
    )
    return str(heard.get("problem", ""))


async def nothing_odd(page: Page) -> None:
    """No page ever shows what a program says to itself."""
    shown = await page.locator("body").inner_text()
    for word in ("null", "undefined", "NaN", "[object"):
        assert word not in shown, shown


async def test_names_every_object_has_are_names_like_any_other(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    for at, name in enumerate(NAMES):
        await agent.send(type="state_update", key=name, value=name)
        await agent.update(name, {name: "shown", "select": name, "options": [name]})
        await agent.update("card", {name: name}, context_id=name)
        option = {"id": name, "label": name, "badge": name, name: name}
        await agent.call("companion_choose", title=name, options=[option])
        schema = {"properties": {name: {"type": name, "format": name}}, "required": [name]}
        await agent.call("companion_form", title=name, schema=schema)
        await agent.call(name, **{name: name})
        listed = [
            {"id": "root", "component": "Column", "children": [name, "a", "b", "c", "d"]},
            text(name, {"path": f"/{name}"}),
            {"id": "a", "component": "Icon", "name": name},
            {"id": "b", "component": name},
            {"id": "c", "component": "Text", "variant": name, "text": {"call": name}},
            {"id": "d", "component": "Button", "variant": name, "text": name},
        ]
        designed = await agent.update(
            "designed", {name: 1}, ui=surface(*listed, data={name: f"from {at}"})
        )
        await expect(phone.get_by_text(f"from {at}", exact=True)).to_be_visible()
        assert "no component “" in await told(agent, designed)
    await agent.tell(type="screen_command", name="highlight", target="__proto__")
    await agent.update("at_last", DATA)
    await expect(phone.get_by_role("heading", name="At last")).to_be_visible()
    await nothing_odd(phone)

    # It is filled in, and comes back under its name.
    question = phone.get_by_role("region", name="Question")
    named = question.filter(has=phone.get_by_role("heading", name="valueOf"))
    form = named.filter(has=phone.get_by_role("textbox"))
    while not await form.is_visible():
        await question.get_by_role("button", name="1 of").tap()
    await form.get_by_role("textbox").fill("mine")
    await form.get_by_role("button", name="Send").tap()
    answer = await agent.hears(
        lambda each: each["type"] == "client_tool_result" and "submitted" in each["result"]
    )
    assert '"valueOf":"mine"' in answer["result"]


BAD: dict[str, tuple[list[Any], str, str]] = {
    "no root": ([CREATE, components(text("a", "orphan"))], "root", "orphan"),
    "components in createSurface": (
        [{**V9, "createSurface": {"surfaceId": "s", "components": [text("root", "early")]}}],
        "holds components",
        "early",
    ),
    "update before create": ([components(text("root", "before")), CREATE], "before", "before"),
    "never created": ([components(text("root", "implied"))], "before createSurface", "implied"),
    "too many components": (
        [CREATE, *(
            components(*(text(f"c{part}-{at}", "") for at in range(700))) for part in range(3)
        ), components({"id": "root", "component": "Column", "children": ["c0-1"]})],
        "too many", "",
    ),
    "an unknown version": (
        [{**message, "version": "v7"} for message in (CREATE, components(text("root", "old")))],
        "v7", "old",
    ),
    "no version": ([{"createSurface": {"surfaceId": "s"}}], "version", ""),
    "an unknown component": (
        [CREATE, components({"id": "root", "component": "Hologram"})], "Hologram", "",
    ),
    "a child that is not there": (
        [CREATE, components({"id": "root", "component": "Column", "children": ["gone", "a"]},
                            text("a", "sibling"))],
        "gone", "sibling",
    ),
    "nothing": ([], "no A2UI messages", ""),
    "no message at all": ([7, None, "x"], "no A2UI messages", ""),
    "another format": ([{"beginRendering": {"root": "x"}}], "none of", ""),
}  # fmt: skip


async def test_a_card_that_cannot_be_shown_costs_itself_alone(new_world: NewWorld) -> None:
    # More than a message may hold, as a card is made by many.
    world = await new_world(limit_message_bytes=0)
    agent = await world.agent()
    phone = await world.phone(agent)
    for at, (name, (messages, problem, shown)) in enumerate(BAD.items()):
        unique = [_renamed(message, f"s{at}") for message in messages]
        record = await agent.update(name, {"carrier": f"FedEx {at}"}, ui={"messages": unique})
        card = phone.get_by_role("article").filter(has=phone.get_by_role("heading", name=name))
        # The data stands in, beside what can be shown.
        await expect(card.get_by_text(f"FedEx {at}", exact=True)).to_be_visible()
        if shown:
            await expect(card.get_by_text(shown, exact=True)).to_be_visible()
        assert problem in await told(agent, record), name
    good = await agent.update("good", {"a": "unseen"}, ui=surface(text("root", "All is well")))
    await expect(phone.get_by_text("All is well")).to_be_visible()
    await expect(phone.get_by_text("unseen")).to_have_count(0)
    assert await told(agent, good) == ""
    call = await agent.call("companion_show", title="Bad", data=DATA, ui={"messages": [CREATE]})
    assert (await agent.result(call)) == {"status": "shown"}
    heard = await agent.hears(lambda each: "root" in each.get("problem", "") and each["of_seq"] > good["seq"])
    assert heard["type"] == "rendered"
    await nothing_odd(phone)


def _renamed(message: Any, id_: str) -> Any:
    if not isinstance(message, dict):
        return message
    return {
        key: {**value, "surfaceId": id_} if isinstance(value, dict) and "surfaceId" in value else value
        for key, value in message.items()
    }


HEARTBEAT = """() => { window.longest = 0; let last = performance.now()
  setInterval(() => { const now = performance.now(); longest = Math.max(longest, now - last); last = now }, 20) }"""


async def test_no_card_keeps_the_screen_busy(new_world: NewWorld) -> None:
    # More than a message may hold, as a card is made by many.
    world = await new_world(limit_message_bytes=0)
    agent = await world.agent()
    phone = await world.phone(agent)
    await phone.evaluate(HEARTBEAT)
    doubling = [
        {"id": f"n{at}", "component": "Column", "children": [f"n{at + 1}"] * 2} for at in range(31)
    ]
    doubling[0]["id"] = "root"
    nested = [
        {"id": "root", "component": "List", "children": {"path": "/l", "componentId": "a"}},
        {"id": "a", "component": "List", "children": {"path": "l", "componentId": "b"}},
        {"id": "b", "component": "List", "children": {"path": "l", "componentId": "c"}},
        text("c", {"path": "x"}),
    ]
    listed: Any = [{"x": 1}] * 20
    for _ in range(2):
        listed = [{"l": listed}] * 20
    slow = [
        {"id": "root", "component": "TextField", "label": "Name", "value": {"path": "/name"},
         "validationRegexp": "^(a+)+$", "checks": [
             {"condition": {"call": "regex", "args": {"value": {"path": "/name"}, "pattern": pattern}},
              "message": f"not {pattern}"} for pattern in ("^(a|a)*$", "^(.*a){20}$", "(a*)*b")]},
    ]  # fmt: skip
    growing = {"x": "${formatString(value:${/x})}" * 2}
    says = {"call": "formatString", "args": {"value": {"path": "/x"}}}
    cards: list[tuple[dict[str, Any], str]] = [
        (surface(*doubling), "2000 elements"),
        (surface(*nested, data={"l": listed}), "2000 elements"),
        (surface(*slow, data={"name": "a" * 60 + "!"}), ""),
        (surface(text("root", says), data=growing), "root"),
        (surface(*({**each, "id": f"{each['id']}"} for each in doubling[:20])), "no component"),
    ]
    for at, (ui, problem) in enumerate(cards):
        for message in ui["messages"]:
            for value in message.values():
                if isinstance(value, dict):
                    value["surfaceId"] = f"s{at}"
        record = await agent.update(f"card_{at}", {"at": f"data {at}"}, ui=ui)
        heard = await told(agent, record)
        assert problem in heard
        assert (heard == "") == (problem == "")
    await phone.get_by_label("Name").fill("a" * 90 + "!")
    await phone.get_by_label("Name").blur()
    await expect(phone.get_by_text("Please check this field").or_(phone.get_by_text("not ^(a|a)*$"))).to_be_visible()
    await agent.update("at_last", DATA)
    await expect(phone.get_by_role("heading", name="At last")).to_be_visible()
    await phone.reload()
    await phone.evaluate(HEARTBEAT)
    await expect(phone.get_by_role("heading", name="At last")).to_be_visible()
    await expect(phone.locator(".a2ui:not(:empty)")).not_to_have_count(0)
    # A second is the promise; the machine of a test may do other things besides.
    assert await phone.evaluate("() => longest") < 5000
    await nothing_odd(phone)


async def test_a_pattern_nobody_can_check_in_time_is_told_and_keeps_nobody(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    ahead = r"^(?=.*\d).+$"
    field = {"id": "root", "component": "TextField", "label": "Word", "value": {"path": "/w"},
             "validationRegexp": ahead}  # fmt: skip
    record = await agent.update("word", DATA, ui=surface(field))
    assert "not checked: it looks ahead" in await told(agent, record)
    await expect(phone.get_by_label("Word")).to_be_visible()
    schema = {"properties": {"zip": {"pattern": "^[0-9]{5}$"}, "odd": {"pattern": ahead},
                             "slow": {"pattern": "^(a+)+$"}}}  # fmt: skip
    call = await agent.call("companion_form", title="Where to?", schema=schema)
    heard = await agent.hears(lambda each: "odd" in each.get("problem", ""))
    assert heard["of_seq"] == record["seq"] + 1
    await phone.get_by_label("ZIP").fill("1234")
    await phone.get_by_label("Odd").fill("words")
    await phone.get_by_label("Slow").fill("a" * 60 + "!")
    await phone.get_by_role("article").get_by_role("button", name="Send").tap()
    await expect(phone.get_by_text("Enter 5 digits")).to_have_count(1)
    await expect(phone.get_by_text("Write it in the form that was asked for")).to_have_count(1)
    await phone.get_by_label("ZIP").fill("12345")
    await phone.get_by_label("Slow").fill("a" * 60)
    await phone.get_by_role("article").get_by_role("button", name="Send").tap()
    result = await agent.result(call)
    assert result["values"] == {"zip": "12345", "odd": "words", "slow": "a" * 60}


async def test_without_a_connection_there_is_nothing_but_words(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    await world.server.stop()
    await expect(phone.get_by_text("Connection lost")).to_be_visible()
    await nothing_odd(phone)
    await world.server.start()
    await world.connected(phone)
    await nothing_odd(phone)
    await agent.leave()


async def test_a_screen_without_a_name_joins_the_pairing_page_in_words(world: World) -> None:
    agent = await world.agent()
    token = world.server.token()
    desk = await world.page(viewport={"width": 1280, "height": 900})
    await desk.goto(f"{world.server.url}/sessions/{agent.session_id}/pair#token={token}")
    await desk.locator(".big-code").wait_for()
    opened = await world.ask("POST", f"/sessions/{agent.session_id}/tokens", role="ui", ttl_s=600)
    screen = await world.page()
    await screen.goto(f"{world.server.url}/ui?session_id={agent.session_id}#token={opened['token']}")
    await world.connected(screen)
    await expect(desk.get_by_text("joined")).to_be_visible()
    await nothing_odd(desk)
    await nothing_odd(screen)
