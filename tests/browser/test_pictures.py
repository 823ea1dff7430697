"""Pictures on the phone: in their place, from our own server, and nothing moves when they come."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from playwright.async_api import Page, expect

from tests.picture_site import PictureSite, picture

from .conftest import Agent, NewWorld, World, accessibility_faults, is_too_wide


@pytest_asyncio.fixture(loop_scope="session")
async def site() -> AsyncIterator[PictureSite]:
    files = {
        "shoe.png": picture(size=(640, 480)), "boot.jpg": picture("JPEG", (300, 900), "brown"),
        "cap": picture("WEBP", (200, 200), "navy"),
    }  # fmt: skip
    async with PictureSite(**files) as site:
        yield site


@pytest_asyncio.fixture(loop_scope="session")
async def world(new_world: NewWorld, site: PictureSite) -> World:
    return await new_world(images="fetch", internet=site.internet)


async def loaded(page: Page, count: int) -> None:
    """Wait until so many pictures are seen, each by its pixels."""
    await page.wait_for_function(
        "(count) => [...document.querySelectorAll('companion-picture img')]"
        ".filter((each) => each.complete && each.naturalWidth > 0).length === count",
        arg=count,
    )


async def show(agent: Agent, site: PictureSite) -> None:
    await agent.update("Your shoe", {"name": "Runner", "image": site.url("shoe.png"), "cost": 1})
    images = [site.url("shoe.png"), {"url": site.url("boot.jpg"), "alt": "A brown boot"}, site.url("cap.png")]
    await agent.update("More", {"images": images})


async def test_a_card_keeps_a_place_for_its_picture_and_nothing_moves_when_it_comes(
    world: World, site: PictureSite
) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    site.hold = asyncio.Event()
    await show(agent, site)
    await agent.call(
        "companion_choose", title="Which?",
        options=[{"id": "a", "label": "Shoe", "image": site.url("shoe.png")}, {"id": "b", "label": "Cap", "image": site.url("cap")}],
    )  # fmt: skip
    await expect(phone.get_by_role("button", name="Cap")).to_be_visible()
    await expect(phone.locator("companion-picture")).to_have_count(6)
    await phone.wait_for_timeout(300)  # cards arrive with a short movement
    before = await places(phone)

    site.hold.set()
    await loaded(phone, 5)
    # What cannot be had is a link in the place that was kept.
    await expect(phone.get_by_role("link", name="Images")).to_be_visible()

    assert await places(phone) == before
    await expect(phone.get_by_role("img", name="Runner")).to_be_visible()
    await expect(phone.get_by_role("img", name="A brown boot")).to_be_visible()
    assert not await accessibility_faults(phone)
    # A screen that comes late or again has them at once.
    await phone.reload()
    await world.connected(phone)
    await loaded(phone, 5)
    await phone.set_viewport_size({"width": 320, "height": 568})
    assert not await is_too_wide(phone)
    await phone.get_by_role("button", name="Cap").tap()
    await expect(phone.get_by_text("Selected: Cap")).to_be_visible()


async def places(page: Page) -> list[Any]:
    """Where all articles and pictures stand."""
    found: list[Any] = await page.evaluate(
        "() => [...document.querySelectorAll('article, companion-picture')].map((each) => {"
        " const { x, y, width, height } = each.getBoundingClientRect();"
        " return [x, y, width, height].map(Math.round) })"
    )
    return found


async def test_where_pictures_are_off_there_is_a_link_and_no_empty_place(
    new_world: NewWorld, site: PictureSite
) -> None:
    world = await new_world(internet=site.internet)
    agent = await world.agent()
    phone = await world.phone(agent)

    await show(agent, site)

    await expect(phone.get_by_role("link", name="Runner")).to_have_attribute("rel", "noopener noreferrer")
    assert (await phone.locator("companion-picture").first.bounding_box() or {})["height"] < 60
    assert await phone.locator("companion-picture img").count() == 0


async def test_a_picture_in_the_message_is_shown_however_large_and_on_any_server(
    new_world: NewWorld,
) -> None:
    world = await new_world()
    agent = await world.agent()
    phone = await world.phone(agent)
    noisy = b64encode(picture("PNG", (120, 90)) + b"\0" * 40_000).decode()

    await agent.update("Your label", {"scan": f"data:image/png;base64,{noisy}"})
    await agent.update("Never", {"scan": "data:image/svg+xml;base64,PHN2Zy8+"})

    await loaded(phone, 1)
    await expect(phone.get_by_role("img", name="Scan")).to_be_visible()
    await expect(phone.get_by_text("image/svg+xml")).to_be_visible()


async def test_pictures_that_were_seen_stay_when_the_conversation_is_over(
    world: World, site: PictureSite
) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    await agent.update(
        "Pick", {"options": [{"id": "a", "label": "Shoe", "image": site.url("shoe.png")}], "select": "x", "photo": site.url("boot.jpg")}
    )  # fmt: skip
    await loaded(phone, 2)

    await world.ask("DELETE", f"/sessions/{agent.session_id}")

    await expect(phone.get_by_role("heading", name="All done")).to_be_visible()
    await loaded(phone, 2)


async def test_a_design_of_the_agent_has_its_pictures_too(world: World, site: PictureSite) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    messages = [
        {"version": "v0.9", "createSurface": {"surfaceId": "s"}},
        {"version": "v0.9", "updateComponents": {"surfaceId": "s", "components": [
            {"id": "root", "component": "Image", "url": site.url("cap"), "description": "A cap"}]}},
    ]  # fmt: skip
    await agent.update("Design", {"a": 1}, ui={"mimeType": "application/a2ui+json", "messages": messages})

    await loaded(phone, 1)
    await expect(phone.get_by_role("img", name="A cap")).to_be_visible()


async def test_a_picture_that_a_bad_network_lost_is_asked_for_again(
    world: World, site: PictureSite
) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    lost = []

    async def lose_once(route: Any) -> None:
        if lost:
            await route.continue_()
        else:
            lost.append(route.request.url)
            await route.abort()

    await phone.route("**/media/*", lose_once)
    await agent.update("Shoe", {"image": site.url("shoe.png")})

    await loaded(phone, 1)
    assert len(lost) == 1
