"""The readable API page in a browser: for every eye, on a small phone, by keyboard alone."""

from __future__ import annotations

from playwright.async_api import Page, expect

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
    page = await world.page(color_scheme="light", reduced_motion="reduce")
    await page.goto(f"{world.server.url}/docs")
    await page.evaluate(FIRST)  # one of each topic, in which everything there is occurs
    assert await accessibility_faults(page) == []

    await page.emulate_media(color_scheme="dark")
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
