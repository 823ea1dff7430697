"""Cards an agent designed: A2UI's own gallery, painted, tapped and attacked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from tests.npm import npm_package

from .conftest import Agent, NewWorld, World, accessibility_faults, is_too_wide

CATALOG = "https://a2ui.org/specification/v0_9/catalogs/basic/catalog.json"


def gallery() -> list[Path]:
    """The official examples of the basic catalog."""
    package = npm_package("@a2ui/web_core", "0.11.0")
    found = sorted((package / "src/v0_9/schemas/catalogs/basic/examples").glob("*.json"))
    assert len(found) >= 36
    return found


def surface(*components: dict[str, Any], data: Any = None) -> dict[str, Any]:
    messages: list[dict[str, Any]] = [
        {"version": "v0.9", "createSurface": {"surfaceId": "main", "catalogId": CATALOG}},
        {
            "version": "v0.9",
            "updateComponents": {"surfaceId": "main", "components": list(components)},
        },
    ]
    if data is not None:
        messages.append(
            {"version": "v0.9", "updateDataModel": {"surfaceId": "main", "value": data}}
        )
    return {"mimeType": "application/a2ui+json", "messages": messages}


async def show(agent: Agent, *components: dict[str, Any], data: Any = None) -> None:
    await agent.update("card", {"fallback": 1}, ui=surface(*components, data=data))


LOOKS: list[dict[str, str]] = [
    {"color_scheme": "light"},
    {"color_scheme": "dark"},
    {"forced_colors": "active"},
]
AT_ONCE = 15


@pytest.mark.timeout(300)
@pytest.mark.parametrize("look", LOOKS, ids=str)
async def test_every_example_of_the_gallery_is_painted_without_a_fault(
    new_world: NewWorld, look: dict[str, str]
) -> None:
    world = await new_world(limit_messages_per_s=0)
    agent = await world.agent()
    phone = await world.phone(agent, **look, reduced_motion="reduce")
    warnings: list[str] = []
    phone.on("console", lambda each: warnings.append(each.text) if each.type == "warning" else 0)
    paths = gallery()
    for start in range(0, len(paths), AT_ONCE):
        shown = paths[start : start + AT_ONCE]
        for at, path in enumerate(shown):
            example = json.loads(path.read_text(encoding="utf-8"))
            messages = example["messages"] if isinstance(example, dict) else example
            name = f"example {path.stem}"
            await agent.update(name, {}, ui={"messages": messages}, context_id=f"gallery-{at}")
            await expect(phone.get_by_role("heading", name=name, exact=True)).to_be_visible()
        await expect(phone.locator(".a2ui:not(:empty)")).to_have_count(AT_ONCE)
        assert warnings == []
        assert await accessibility_faults(phone) == []
        await phone.evaluate("() => { document.documentElement.style.fontSize = '200%' }")
        assert await accessibility_faults(phone) == []
        assert not await is_too_wide(phone)
        await phone.evaluate("() => { document.documentElement.style.fontSize = '' }")


async def test_a_field_changes_what_is_bound_to_it_and_a_button_tells_the_agent(
    world: World,
) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    await show(
        agent,
        {"id": "root", "component": "Column", "children": ["name", "hello", "go"]},
        {"id": "name", "component": "TextField", "label": "Name", "value": {"path": "/name"}},
        {
            "id": "hello",
            "component": "Text",
            "text": {"call": "formatString", "args": {"value": "Hello ${/name}"}},
        },
        {
            "id": "go",
            "component": "Button",
            "child": "label",
            "variant": "primary",
            "action": {"event": {"name": "greet", "context": {"who": {"path": "/name"}}}},
        },
        {"id": "label", "component": "Text", "text": "Greet"},
        data={"name": "Ann"},
    )
    await expect(phone.get_by_text("Hello Ann")).to_be_visible()
    box = phone.get_by_label("Name")
    await box.fill("Bob")
    await expect(phone.get_by_text("Hello Bob")).to_be_visible()
    await expect(box).to_be_focused()

    await phone.get_by_role("button", name="Greet").tap()

    action = await agent.hears(lambda message: message["type"] == "ui_action")
    assert (action["surface_id"], action["name"]) == ("main", "greet")
    assert action["context"] == {"who": "Bob"}


async def test_a_later_record_changes_the_card_in_its_place(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    text = {"id": "root", "component": "Text", "text": {"path": "/step"}}
    await show(agent, text, data={"step": "packed"})
    await expect(phone.get_by_role("article").get_by_text("packed")).to_be_visible()

    update = {"surfaceId": "main", "path": "/step", "value": "on its way"}
    messages = [{"version": "v0.9", "updateDataModel": update}]
    await agent.update("moved", {}, ui={"messages": messages})

    await expect(phone.get_by_role("article").get_by_text("on its way")).to_be_visible()
    await expect(phone.get_by_role("article").get_by_text("packed")).to_have_count(0)


async def test_a_button_waits_until_its_checks_hold(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    needed = {"call": "required", "args": {"value": {"path": "/mail"}}}
    await show(
        agent,
        {"id": "root", "component": "Column", "children": ["mail", "go"]},
        {"id": "mail", "component": "TextField", "label": "Mail", "value": {"path": "/mail"}},
        {
            "id": "go",
            "component": "Button",
            "child": "label",
            "action": {"event": {"name": "go"}},
            "checks": [{"condition": needed, "message": "We need an address"}],
        },
        {"id": "label", "component": "Text", "text": "Go"},
    )
    button = phone.get_by_role("button", name="Go")
    await expect(button).to_be_disabled()
    await expect(phone.get_by_text("We need an address")).to_be_visible()
    await phone.get_by_label("Mail").fill("ann@example.com")
    await expect(button).to_be_enabled()


async def test_a_hostile_card_is_inert_and_the_next_one_shows(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    dialogs: list[str] = []
    phone.on("dialog", lambda dialog: dialogs.append(dialog.message))
    script = "javascript:alert(1)"
    open_url = {"functionCall": {"call": "openUrl", "args": {"url": script}}}
    await show(
        agent,
        {
            "id": "root",
            "component": "Column",
            "children": ["a", "b", "c", "d", "e", "f", "g", "h", "root", "missing"],
        },
        {"id": "a", "component": "Text", "text": "<img src=x onerror=alert(1)>"},
        {"id": "b", "component": "Image", "url": "https://evil.example/pixel.png"},
        {"id": "c", "component": "Video", "url": script},
        {"id": "d", "component": "constructor"},
        {"id": "e", "component": "Text", "text": {"path": "/__proto__/x"}},
        {"id": "f", "component": "Button", "child": "g", "action": open_url},
        {"id": "g", "component": "Text", "text": "Tap me"},
        {"id": "h", "component": "Row", "children": ["h", "root"]},
    )
    await expect(phone.get_by_text("<img src=x onerror=alert(1)>")).to_be_visible()
    await phone.get_by_role("button", name="Tap me").tap()
    await agent.update("next", {"a": "still here"})

    await expect(phone.get_by_text("still here")).to_be_visible()
    assert dialogs == []
    assert len(phone.context.pages) == 1


@pytest.mark.parametrize("words", ["text", "label"])
async def test_a_button_that_carries_its_words_itself_shows_them(
    new_world: NewWorld, words: str
) -> None:
    world = await new_world()
    agent = await world.agent()
    phone = await world.phone(agent)
    button = {"id": "root", "component": "Button", words: "Take the ferry"}
    await show(agent, {**button, "action": {"event": {"name": "ferry"}}})
    await phone.get_by_role("button", name="Take the ferry").click()
    await agent.hears(lambda each: each.get("name") == "ferry")
