"""The scan: from the pixels of the pairing page to the cards on the phone."""

from __future__ import annotations

import asyncio
import re

import aiohttp
import pytest
from playwright.async_api import Page, Route, expect

from tests.camera import scanned

from .conftest import PIXEL, QUOTES, Agent, NewWorld, World


async def pairing_page(world: World, agent: Agent, **options: object) -> Page:
    """The owner's page with its code drawn."""
    desk = await world.page(**options)
    token = world.server.token()
    await desk.goto(f"{world.server.url}/sessions/{agent.session_id}/pair#token={token}")
    await drawn(desk)
    return desk


async def drawn(desk: Page) -> None:
    await desk.wait_for_function("() => document.querySelector('.qr')?.naturalWidth > 0")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_one_scan_of_the_screen_shows_what_the_agent_talks_about(
    world: World, scheme: str
) -> None:
    agent = await world.agent()
    await agent.update("quote_ready", QUOTES)
    desk = await pairing_page(world, agent, color_scheme=scheme)
    texts = scanned(await desk.screenshot(full_page=True))
    link = await desk.get_by_role("link", name="Open on this device").get_attribute("href")
    assert texts == [link]
    await expect(desk.get_by_text(agent.session_id)).to_be_visible()
    assert "#" not in desk.url

    phone = await world.page(**PIXEL, color_scheme=scheme)
    await phone.goto(texts[0])

    await expect(phone.get_by_role("heading", name="Quote ready")).to_be_visible()
    await expect(phone.get_by_role("button", name="FedEx Ground")).to_be_visible()
    assert "#" not in phone.url
    await expect(desk.get_by_text("Pixel 7 joined")).to_be_visible()


@pytest.mark.parametrize(
    "look",
    [{"color_scheme": "light"}, {"color_scheme": "dark"}, {"forced_colors": "active"}],
    ids=str,
)
async def test_the_code_is_read_off_its_white_plate_in_every_look_and_size(
    world: World, look: dict[str, str]
) -> None:
    desk = await pairing_page(world, await world.agent(), **look)
    for width, height in ((1280, 800), (390, 844)):
        await desk.set_viewport_size({"width": width, "height": height})

        color, *size = await desk.evaluate(
            "() => { const qr = document.querySelector('.qr'), box = qr.getBoundingClientRect();"
            " return [getComputedStyle(qr).backgroundColor, box.width, box.height] }"
        )
        assert color == "rgb(255, 255, 255)"
        assert min(size) >= 240
        svg = await desk.evaluate("() => atob(document.querySelector('.qr').src.split(',')[1])")
        [modules] = re.findall(r'viewBox="0 0 (\d+) ', svg)
        [margin] = re.findall(r"M(\d+) \d+\.5", svg)
        assert int(margin) >= 4
        assert int(modules) - 2 * int(margin) <= 37, "more than a camera reads with ease"
        link = await desk.get_by_role("link", name="Open on this device").get_attribute("href")
        assert scanned(await desk.screenshot(full_page=True)) == [link]


async def test_a_phone_without_a_camera_types_nine_digits(world: World) -> None:
    agent = await world.agent()
    await agent.update("quote_ready", QUOTES)
    desk = await pairing_page(world, agent)
    code = await desk.locator(".big-code").text_content()
    phone = await world.page(**PIXEL)
    await phone.goto(f"{world.server.url}/c")
    box = phone.get_by_role("textbox", name="Code")
    assert await box.get_attribute("inputmode") == "numeric"

    await box.fill("123")
    await phone.get_by_role("button", name="Join").tap()
    await expect(phone.get_by_role("alert")).to_have_text("A code has nine digits.")
    await box.fill("000000000")
    await phone.get_by_role("button", name="Join").tap()
    await expect(phone.get_by_role("alert")).to_contain_text("That code does not work")
    await box.fill("")
    await box.press_sequentially(str(code).replace(" ", ""))
    await expect(box).to_have_value(str(code))
    await phone.get_by_role("button", name="Join").tap()

    await expect(phone.get_by_role("heading", name="Quote ready")).to_be_visible()


async def test_fetching_the_link_uses_nothing_up_but_the_second_browser_is_told(
    world: World,
) -> None:
    agent = await world.agent()
    opened = await world.ask("POST", f"/sessions/{agent.session_id}/pairings")
    async with aiohttp.ClientSession() as preview:
        for _ in range(2):
            async with preview.get(opened["url"]) as answer:
                assert answer.status == 200
    await world.phone(agent, url=opened["url"])

    late = await world.page(**PIXEL)
    await late.goto(opened["url"])

    await expect(late.get_by_role("heading", name="already been used")).to_be_visible()
    await expect(late.get_by_role("link", name="Type a code")).to_be_visible()


@pytest.mark.parametrize("way", ["scan", "code"])
async def test_an_answer_that_gets_lost_on_the_way_costs_no_second_scan(
    world: World, way: str
) -> None:
    agent = await world.agent()
    await agent.update("quote_ready", QUOTES)
    opened = await world.ask("POST", f"/sessions/{agent.session_id}/pairings")
    phone = await world.page(**PIXEL)
    lost: list[str] = []

    async def lose_the_first(route: Route) -> None:
        answer = await route.fetch()
        if lost:
            await route.fulfill(response=answer)
        else:
            lost.append(await answer.text())
            await route.abort("connectionreset")

    await phone.route("**/pair", lose_the_first)
    if way == "scan":
        await phone.goto(opened["url"])
    else:
        await phone.goto(opened["code_url"])
        await phone.get_by_role("textbox", name="Code").fill(opened["code"])
        await phone.get_by_role("button", name="Join").tap()

    await expect(phone.get_by_role("button", name="FedEx Ground")).to_be_visible()
    assert "token" in lost[0]
    devices = (await world.ask("GET", "/me/devices"))["devices"]
    assert len(devices) == 1


async def test_reload_and_back_keep_the_seat_and_show_no_secret(world: World) -> None:
    agent = await world.agent()
    await agent.update("quote_ready", QUOTES)
    phone = await world.phone(agent)
    assert "session_id" in phone.url

    await phone.reload()
    await expect(phone.get_by_role("heading", name="Quote ready")).to_be_visible()
    await phone.goto("about:blank")
    await phone.go_back()

    await expect(phone.get_by_role("heading", name="Quote ready")).to_be_visible()
    assert "#" not in phone.url


async def test_a_phone_that_is_removed_says_so_within_a_second_and_stays_away(
    world: World,
) -> None:
    agent = await world.agent()
    desk = await pairing_page(world, agent)
    phone = await world.phone(agent)
    sockets: list[str] = []
    phone.on("websocket", lambda socket: sockets.append(socket.url))
    await expect(desk.get_by_text("Pixel 7 joined")).to_be_visible()

    await desk.get_by_role("button", name="Undo").click()

    await expect(phone.get_by_role("alert")).to_contain_text("disconnected")
    await expect(phone.get_by_role("link", name="Type a code")).to_be_visible()
    await expect(desk.get_by_text("no longer has access")).to_be_visible()
    assert sockets == []
    await phone.reload()
    await expect(phone.get_by_role("heading", name="No session on this phone")).to_be_visible()


async def test_the_owner_confirms_a_phone_that_shows_the_same_number(new_world: NewWorld) -> None:
    world = await new_world(pairing="confirm")
    agent = await world.agent()
    desk = await pairing_page(world, agent)
    link = await desk.get_by_role("link", name="Open on this device").get_attribute("href")
    phone = await world.page(**PIXEL)
    await phone.goto(str(link))
    number = phone.locator(".verification")
    await expect(number).to_be_visible()

    dialog = desk.get_by_role("dialog")
    await expect(dialog).to_contain_text("Pixel 7 wants to join")
    await expect(dialog.locator(".verification")).to_have_text(str(await number.text_content()))
    await dialog.get_by_role("button", name="Yes").click()

    await world.connected(phone)
    await expect(desk.get_by_text("Pixel 7 joined")).to_be_visible()


@pytest.mark.parametrize("pairing", ["open", "confirm"])
@pytest.mark.parametrize("by", ["ticket", "code"])
async def test_a_used_pairing_is_replaced_within_a_second_though_the_phone_never_connects(
    new_world: NewWorld, pairing: str, by: str
) -> None:
    world = await new_world(pairing=pairing)
    desk = await pairing_page(world, await world.agent())
    link = desk.get_by_role("link", name="Open on this device")
    url, code = (
        str(await link.get_attribute("href")),
        str(await desk.locator(".big-code").text_content()),
    )

    await world.ask("POST", "/pair", **{by: url if by == "ticket" else code})

    await expect(link).not_to_have_attribute("href", url, timeout=1000)
    await expect(desk.locator(".big-code")).not_to_have_text(code)


async def test_a_page_that_embeds_the_pairing_replaces_a_used_one_too(world: World) -> None:
    agent = await world.agent()
    page = await world.page()
    await page.goto(f"{world.server.url}/docs")
    joined = asyncio.Event()
    page.on("websocket", lambda socket: socket.on("framereceived", lambda _: joined.set()))
    await page.evaluate(
        """async ([session, token]) => {
          await import("/static/js/embed.js")
          const pair = document.createElement("companion-pair")
          pair.setAttribute("session-id", session)
          pair.setAttribute("token", token)
          document.body.replaceChildren(pair)
        }""",
        [agent.session_id, world.server.token()],
    )
    code = page.locator(".big-code")
    await expect(code).not_to_be_empty()
    await joined.wait()
    shown = str(await code.text_content())

    await world.ask("POST", "/pair", code=shown)

    await expect(code).not_to_have_text(shown, timeout=1000)


async def test_a_phone_the_owner_refuses_is_told(new_world: NewWorld) -> None:
    world = await new_world(pairing="confirm")
    desk = await pairing_page(world, await world.agent())
    link = await desk.get_by_role("link", name="Open on this device").get_attribute("href")
    phone = await world.page(**PIXEL)
    await phone.goto(str(link))

    await desk.get_by_role("dialog").get_by_role("button", name="No").click()

    await expect(phone.get_by_role("alert")).to_contain_text("declined")


async def test_the_whole_scan_works_on_plain_http(new_world: NewWorld) -> None:
    first = await new_world()
    port = first.server.port
    await first.server.stop()
    first.server.host = "companion.test"
    await first.server.start(public_url=f"http://companion.test:{port}")
    agent = await first.agent()
    desk = await pairing_page(first, agent)
    [link] = scanned(await desk.screenshot())
    assert link.startswith(f"http://companion.test:{port}/p#")

    phone = await first.page(**PIXEL)
    await phone.goto(link)

    assert await phone.evaluate("() => isSecureContext") is False
    await expect(phone.get_by_text("With HTTPS this page can")).to_be_visible()
    await agent.update("quote_ready", QUOTES)
    await phone.get_by_role("button", name="FedEx Ground").tap()
    await expect(phone.get_by_text("Selected: FedEx Ground")).to_be_visible()
    await agent.hears(lambda message: message["type"] == "user_message")


async def test_an_expired_code_replaces_itself(world: World) -> None:
    desk = await world.page()
    await desk.clock.install()
    agent = await world.agent()
    token = world.server.token()
    await desk.goto(f"{world.server.url}/sessions/{agent.session_id}/pair#token={token}")
    await drawn(desk)
    link = desk.get_by_role("link", name="Open on this device")
    before = str(await link.get_attribute("href"))

    await desk.clock.fast_forward(50_000)

    await expect(link).not_to_have_attribute("href", before)


async def test_on_loopback_the_page_says_how_a_phone_gets_there(world: World) -> None:
    desk = await pairing_page(world, await world.agent())

    await expect(desk.get_by_text("A phone cannot reach this address")).to_be_visible()
    await expect(desk.locator(".warning code")).to_have_text("--lan")


async def test_the_address_to_type_is_short_and_the_link_can_be_copied(world: World) -> None:
    agent = await world.agent()
    desk = await pairing_page(world, agent)
    await desk.context.grant_permissions(["clipboard-read", "clipboard-write"])

    await desk.get_by_role("button", name="Copy link").click()

    link = await desk.get_by_role("link", name="Open on this device").get_attribute("href")
    assert await desk.evaluate("() => navigator.clipboard.readText()") == link
    await expect(desk.get_by_text(f"127.0.0.1:{world.server.port}/c")).to_be_visible()
