"""The docs in a browser, the API page among them: for every eye, on a small phone, by keyboard alone."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web
from aiohttp.test_utils import TestServer
from playwright.async_api import Browser, Page, expect

from companion_ws import Config, create_app
from companion_ws.app import DOCUMENTS

from .conftest import PIXEL, World, accessibility_faults, axe_source, is_too_wide

SMALL = {**PIXEL, "viewport": {"width": 320, "height": 640}}


EVERY = "() => document.querySelectorAll('details').forEach((each) => each.open = true)"
FIRST = "() => document.querySelectorAll('details:first-of-type').forEach((each) => each.open = true)"
TWICE = "() => { document.documentElement.style.fontSize = '200%' }"


async def faults_of_structure(page: Page) -> list[str]:
    """Return what axe finds but for contrast, which takes it half a minute on so many lines."""
    await page.evaluate(axe_source() + ";0")
    found = await page.evaluate(
        "() => axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'],"
        " rules: {'color-contrast': {enabled: false}}})"
    )
    return [str(each) for each in found["violations"]]


async def test_entries_can_be_read_whatever_the_colours(world: World) -> None:
    for scheme in ("light", "dark"):
        page = await world.page(color_scheme=scheme, reduced_motion="reduce")
        await page.goto(f"{world.server.url}/docs")
        await page.evaluate(FIRST)  # one of each topic, in which everything there is occurs
        assert await accessibility_faults(page) == []


async def test_entries_can_be_read_and_fit_with_forced_colours_and_text_twice_as_large(
    world: World,
) -> None:
    page = await world.page(forced_colors="active", reduced_motion="reduce")
    await page.goto(f"{world.server.url}/docs")
    await page.evaluate(FIRST)
    await page.evaluate(TWICE)
    assert await accessibility_faults(page) == []

    await page.evaluate(EVERY)
    assert not await is_too_wide(page)


async def test_a_small_phone_scrolls_down_only(world: World) -> None:
    page = await world.page(**SMALL, reduced_motion="reduce")
    await page.goto(f"{world.server.url}/docs")
    assert not await is_too_wide(page)

    await page.evaluate(EVERY)
    assert not await is_too_wide(page)
    assert await faults_of_structure(page) == []

    await page.evaluate(TWICE)
    assert not await is_too_wide(page)


async def test_an_entry_is_opened_and_its_command_reached_by_keyboard(world: World) -> None:
    page = await world.page()
    await page.goto(f"{world.server.url}/docs")

    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip the contents")).to_be_focused()
    await page.keyboard.press("Enter")
    entry = page.locator("details", has=page.locator("#post-sessions"))
    for _ in range(12):
        await page.keyboard.press("Tab")
        if await entry.locator("summary").evaluate("(it) => it === document.activeElement"):
            break
    await expect(entry.locator("summary")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(entry.get_by_text("Open a session")).to_be_visible()
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Link to POST /sessions", exact=True)).to_be_focused()
    await page.keyboard.press("Tab")
    command = page.get_by_role("group", name="Command for POST /sessions", exact=True)
    await expect(command).to_be_focused()
    await expect(command).to_be_in_viewport()


async def test_a_link_to_an_entry_opens_it(world: World) -> None:
    page = await world.page(**SMALL)
    await page.goto(f"{world.server.url}/docs#send-state_update")

    entry = page.locator("details", has=page.locator("#send-state_update"))
    await expect(entry.get_by_text("if_revision", exact=True).last).to_be_visible()
    await expect(entry.locator("summary")).to_be_in_viewport()
    await page.get_by_role("link", name="state_updated").click()
    await expect(page.get_by_label("Example of record state_updated")).to_be_visible()


async def test_a_page_of_the_docs_can_be_read_whatever_the_colours_and_however_small_the_phone(
    world: World,
) -> None:
    page = await world.page(**SMALL, color_scheme="light", reduced_motion="reduce")
    await page.goto(f"{world.server.url}/docs/scaling")  # lists, tables, code
    await page.get_by_text("Contents", exact=True).click()
    assert await accessibility_faults(page) == []
    await page.emulate_media(color_scheme="dark")
    assert await accessibility_faults(page) == []
    for path in ("/docs/scaling", "/docs/screens", "/docs/"):
        await page.goto(f"{world.server.url}{path}")
        await page.evaluate(TWICE)
        assert not await is_too_wide(page)


async def test_words_are_found_by_keyboard_and_lead_to_their_place(world: World) -> None:
    page = await world.page(**SMALL, reduced_motion="reduce")
    hosts = set()
    page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
    await page.goto(f"{world.server.url}/docs/screens")
    await expect(page.get_by_role("searchbox", name="Search the docs")).to_be_visible()

    await page.keyboard.press("/")
    await page.keyboard.type("if_revison")  # as hands write it
    found = page.get_by_role("search").get_by_role("link")
    await expect(found.first).to_be_visible()
    await expect(page.get_by_role("search").get_by_role("status")).to_contain_text("places found")
    await expect(page.get_by_role("heading", name="The screens")).to_be_hidden()
    assert await accessibility_faults(page) == []
    assert not await is_too_wide(page)
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("heading", name="The screens")).to_be_visible()

    await page.keyboard.type("slow_consumer")
    await expect(found.first).to_contain_text("slow_consumer")
    await page.keyboard.press("ArrowDown")
    await expect(found.first).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("#error-slow_consumer")).to_be_in_viewport()
    assert hosts == {world.server.url.split("/")[2]}


async def test_published_docs_are_found_and_read_without_a_server_of_ours(
    browser: Browser, tmp_path: Path
) -> None:
    app = await create_app(Config(data=tmp_path / "data"))
    await app[DOCUMENTS].publish(tmp_path / "site")
    handed_out = web.Application()
    handed_out.router.add_static("/below/", tmp_path / "site")
    async with TestServer(handed_out) as host, await browser.new_page() as page:
        hosts = set()
        page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
        await page.goto(str(host.make_url("/below/decisions/0001-msgspec.html")))
        await page.get_by_role("searchbox").fill("late answer")
        await page.get_by_role("search").get_by_role("link").first.click()
        await expect(page.get_by_role("main").get_by_role("heading").first).to_be_visible()
        await page.get_by_role("link", name="API", exact=True).first.click()
        await expect(page.get_by_role("heading", name="Companion API")).to_be_visible()
        assert hosts == {f"{host.host}:{host.port}"}
