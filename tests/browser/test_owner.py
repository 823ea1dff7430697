"""The owner's pages: from one to the other, many sessions, a pairing that keeps still."""

from __future__ import annotations

from playwright.async_api import Page, expect

from companion_ws import __version__
from companion_ws.app import ADDRESSES
from tests.camera import scanned

from .conftest import PIXEL, NewWorld, World, accessibility_faults, is_too_wide

DESK = {"viewport": {"width": 1280, "height": 800}}


async def signed_in(world: World, path: str = "/", **options: object) -> Page:
    desk = await world.page(**{**DESK, **options})
    await desk.goto(f"{world.server.url}{path}#token={world.server.token('local', 'admin')}")
    return desk


async def test_every_owner_s_page_leads_to_the_others_and_names_the_version(world: World) -> None:
    agent = await world.agent(user="local")
    desk = await signed_in(world)
    await expect(desk.get_by_role("heading", name="Untitled session")).to_be_visible()
    for path in ("/", f"/sessions/{agent.session_id}/pair", "/admin", "/docs"):
        await desk.goto(world.server.url + path)
        header = desk.get_by_role("banner").first
        await expect(header).to_contain_text(__version__)
        for name, leads_to in {"Sessions": "/", "Inspector": "/admin", "Docs": "/docs/"}.items():
            link = header.get_by_role("link", name=name, exact=True)
            await link.click()
            await expect(desk).to_have_url(world.server.url + leads_to)
            await expect(link).to_have_attribute("aria-current", "page")
            if name != "Docs":  # which needs nobody signed in
                await expect(desk.get_by_role("button", name="Sign out")).to_be_visible()
            await desk.goto(world.server.url + path)


async def test_the_way_to_sign_in_is_laid_out_as_a_form(world: World) -> None:
    desk = await world.page(viewport={"width": 390, "height": 844})
    await desk.goto(world.server.url)
    box = await desk.get_by_label("Or paste a token").bounding_box()
    button = await desk.get_by_role("button", name="Sign in").bounding_box()
    assert box is not None
    assert button is not None
    assert button["y"] >= box["y"] + box["height"] + 8
    assert button["width"] == box["width"]


async def test_who_cannot_open_the_inspector_is_not_led_there(new_world: NewWorld) -> None:
    world = await new_world(trust_proxy=("10.0.0.1",))
    desk = await world.page(**DESK)
    await desk.goto(f"{world.server.url}/#token={world.server.token()}")
    await expect(desk.get_by_role("link", name="Inspector")).to_be_hidden()
    await expect(desk.get_by_role("link", name="Docs")).to_be_visible()


async def named(world: World, *titles: str) -> list[str]:
    made = []
    for title in titles:
        session_id = (await world.ask("POST", "/sessions", title=title))["session_id"]
        made.append(session_id)
    return made


async def listed(desk: Page) -> list[str]:
    return await desk.locator(".session h2").all_text_contents()


async def test_thirty_sessions_are_found_sorted_and_seen_live_first(world: World) -> None:
    live = await world.agent()
    await world.ask("PATCH", f"/sessions/{live.session_id}", title="Zebra to Denver")
    titles = [f"Parcel {number}" for number in range(2, 30)]
    ids = await named(world, "Visit by Anna", *titles)
    await world.ask("DELETE", f"/sessions/{ids[-1]}")
    desk = await world.page(**DESK)
    await desk.goto(f"{world.server.url}/#token={world.server.token()}")
    rows = desk.locator(".session")
    await expect(rows).to_have_count(30)

    names = await listed(desk)
    assert (names[0], names[-1]) == ("Zebra to Denver", "Parcel 29")
    assert await desk.evaluate("() => document.documentElement.scrollHeight") < 2600
    shown = await desk.locator("main").inner_text()
    assert ids[3] not in shown
    assert ids[3][:8] in shown
    assert await accessibility_faults(desk) == []

    await desk.get_by_label("Sort by").select_option("Title")
    await expect(rows.nth(1).locator("h2")).to_have_text("Parcel 2")
    assert (await listed(desk))[1:4] == ["Parcel 2", "Parcel 3", "Parcel 4"]

    find = desk.get_by_role("searchbox", name="Find sessions")
    for wanted in ("anna", "by visit", ids[0], ids[0][:8]):
        await find.fill(wanted)
        await expect(rows).to_have_count(1)
        assert await listed(desk) == ["Visit by Anna"]
    await desk.reload()
    await expect(rows).to_have_count(1)  # the address keeps what was looked for

    await find.fill("Nobody's")
    await expect(desk.get_by_role("heading", name="No session matches “Nobody's”")).to_be_visible()
    await desk.get_by_role("button", name="Show all sessions").click()
    await expect(rows).to_have_count(30)
    await expect(find).to_be_focused()
    assert await find.input_value() == ""


async def test_where_no_session_is_a_command_opens_the_first(world: World) -> None:
    desk = await world.page(**DESK, permissions=["clipboard-read", "clipboard-write"])
    await desk.goto(f"{world.server.url}/#token={world.server.token()}")
    await expect(desk.get_by_role("heading", name="No session yet")).to_be_visible()
    await desk.get_by_role("button", name="Copy command").click()
    copied = await desk.evaluate("() => navigator.clipboard.readText()")
    assert copied == f"companion-ws connect --url {world.server.url}"

    agent = await world.agent()
    await expect(desk.get_by_text(agent.session_id[:8], exact=True)).to_be_visible()
    await expect(desk.get_by_role("heading", name="No session yet")).to_be_hidden()


async def test_a_name_is_changed_or_left_and_the_keyboard_stays(world: World) -> None:
    [session_id] = await named(world, "Before")
    desk = await world.page(viewport={"width": 390, "height": 844})
    await desk.goto(f"{world.server.url}/#token={world.server.token()}")
    await desk.get_by_role("button", name="More about Before").click()
    rename = desk.get_by_role("button", name="Rename")
    box = desk.get_by_role("textbox", name="Name of the session")

    for leave in ("Escape", "Cancel"):
        await rename.click()
        await expect(box).to_be_focused()
        await box.fill("Never")
        save = desk.get_by_role("button", name="Save")
        height = (await save.bounding_box() or {})["height"]
        assert height < 60, "Save stands in one line"
        assert not await is_too_wide(desk)
        if leave == "Escape":
            await desk.keyboard.press("Escape")
        else:
            await desk.get_by_role("button", name=leave).click()
        await expect(rename).to_be_focused()
        await expect(desk.get_by_role("heading", name="Before")).to_be_visible()

    await rename.click()
    await box.fill("After")
    await desk.wait_for_timeout(3500)  # the list is fetched again meanwhile
    await expect(box).to_be_focused()
    await desk.keyboard.press("Enter")
    await expect(desk.get_by_role("heading", name="After")).to_be_visible()
    await expect(rename).to_be_focused()
    assert (await world.ask("GET", f"/sessions/{session_id}"))["title"] == "After"


async def test_the_pairing_page_shows_its_code_at_once_and_keeps_still(world: World) -> None:
    again = "companion-ws demo --pace 0 --lan"
    world.server.app[ADDRESSES].lan_command = again  # as the program that serves says it
    agent = await world.agent(user="local")
    desk = await signed_in(world, f"/sessions/{agent.session_id}/pair")
    await expect(desk.get_by_text(again)).to_be_visible()
    plate, warning = desk.locator(".plate"), desk.locator(".warning")
    before = {"plate": await plate.bounding_box(), "warning": await warning.bounding_box()}
    for box in before.values():
        assert box is not None
        assert box["y"] + box["height"] <= 800, "above the fold"
    assert (before["plate"] or {})["y"] < (before["warning"] or {})["y"]
    [link] = scanned(await desk.screenshot())
    assert await accessibility_faults(desk) == []

    phone = await world.page(**PIXEL)
    await phone.goto(link)
    await expect(desk.get_by_role("status").filter(has_text="Pixel 7 joined")).to_be_visible()
    after = {"plate": await plate.bounding_box(), "warning": await warning.bounding_box()}
    assert after == before
    await desk.get_by_role("button", name="Undo").click()
    await expect(phone.get_by_role("alert")).to_contain_text("disconnected")
    await expect(desk.get_by_text("no longer has access")).to_be_visible()
    assert {"plate": await plate.bounding_box(), "warning": await warning.bounding_box()} == before


async def test_a_guest_is_told_what_to_do_without_the_server_s_own_command(world: World) -> None:
    world.server.app[ADDRESSES].lan_command = "companion-ws --data /srv/secret-place --lan"
    agent = await world.agent()
    desk = await world.page(**DESK)
    token = world.server.token()
    await desk.goto(f"{world.server.url}/sessions/{agent.session_id}/pair#token={token}")
    await expect(desk.get_by_text("A phone cannot reach this address yet")).to_be_visible()
    assert "secret-place" not in await desk.content()
