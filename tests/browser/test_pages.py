"""What holds for every page: hostile input, strict policy, accessibility, size."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from playwright.async_api import APIResponse, Page, Route, expect

from .conftest import QUOTES, Agent, NewWorld, World, accessibility_faults, is_too_wide, reach

MARKUP = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "https://evil.example/pixel.png",
    "{{constructor.constructor('alert(1)')()}}",
    "\u202eabc\u202c",
    "\u0000\u0007",
    "' onmouseover='alert(1)",
    "x" * 10_000,
]


def hostile_payloads() -> list[dict[str, Any]]:
    """A hundred ways to be unpleasant within the limits of a message."""
    deep: Any = "end"
    for _ in range(25):
        deep = {"deep": deep}
    shapes = [
        lambda text: {text[:200]: text},
        lambda text: {"url": text, "link": text, "image": text},
        lambda text: {"list": [text[:2000]] * 20},
        lambda text: {"rows": [{"a": text[:99], "b": text[:99]}] * 30},
        lambda text: {"quotes": [{"id": text[:99], "carrier": text[:99]}], "select": "s"},
        lambda text: {"options": [{"id": 1, "label": text}]},
        lambda text: {"__proto__": {"x": text}, "constructor": text, "toString": text},
        lambda text: {"cost": text, "currency": text[:99], "created_at": text},
        lambda text: {"nested": {"more": {"again": [[text], [text]]}}},
        lambda text: {"deep": deep, "text": text},
    ]
    return [{"text": text[:500], "data": shape(text)} for text in MARKUP for shape in shapes]


async def test_a_hundred_hostile_payloads_run_nothing_and_the_next_card_shows(
    new_world: NewWorld,
) -> None:
    world = await new_world(limit_messages_per_s=0)
    agent = await world.agent()
    phone = await world.phone(agent)
    dialogs: list[str] = []
    phone.on("dialog", lambda dialog: dialogs.append(dialog.message))

    for payload in hostile_payloads():
        record = await agent.send(type="contextual_update", **payload)
        assert record["type"] == "contextual_update", record
    for text in MARKUP:
        option = {"id": text[:99], "label": text}
        await agent.call("companion_choose", title=text, options=[option])
        await agent.call("companion_form", title=text, schema={"properties": {text[:99]: {}}})
        await agent.call(text[:60] or "x", a=text)
    await agent.update("at_last", {"carrier": "FedEx"})

    await expect(phone.get_by_role("heading", name="At last")).to_be_visible()
    assert dialogs == []
    assert not await is_too_wide(phone)
    # The world adds: no script error, no report of the policy, no foreign request.


async def test_rows_by_the_thousand_are_shown_in_steps(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    await agent.update("stock", {"rows": [{"at": number, "n": 1} for number in range(3000)]})

    await expect(phone.get_by_role("row")).to_have_count(25)
    await phone.get_by_role("button", name="Show more").tap()

    await expect(phone.get_by_role("row")).to_have_count(201)
    assert not await is_too_wide(phone)


async def filled_phone(world: World, agent: Agent, **options: Any) -> Page:
    phone = await world.phone(agent, **options)
    await agent.update("quote_ready", QUOTES)
    await agent.update(
        "everything",
        {
            "cost": 12.5, "currency": "USD", "created_at": "2026-11-23T10:00:00Z", "ok": True,
            "site": "https://example.com", "paint": "#336699", "tags": ["a", "b"],
            "rows": [{"day": "Mon", "n": 1}, {"day": "Tue", "n": 2}],
            "nested": {"a": {"b": {"c": 1}}}, **{f"row_{number}": number for number in range(14)},
        },
    )  # fmt: skip
    await agent.send(type="agent_response", agent_response_event={"agent_response": "Here it is."})
    await agent.call("companion_confirm", title="Print it?", text="Costs $12.50")
    await agent.call("companion_choose", title="Which?", options=["A", "B"], multiple=True)
    schema = {
        "properties": {
            "name": {"type": "string", "description": "As on the door"},
            "size": {"enum": ["S", "M"]},
            "gift": {"type": "boolean"},
        },
        "required": ["name"],
    }
    await agent.call("companion_form", title="Where to?", schema=schema)
    await expect(phone.get_by_role("button", name="1 of 3")).to_be_visible()
    return phone


LOOKS: list[dict[str, str]] = [
    {"color_scheme": "light"},
    {"color_scheme": "dark"},
    {"forced_colors": "active"},
    {"contrast": "more"},
]


@pytest.mark.parametrize("look", LOOKS, ids=str)
async def test_the_phone_page_has_no_accessibility_fault(
    world: World, look: dict[str, str]
) -> None:
    phone = await filled_phone(world, await world.agent(), **look, reduced_motion="reduce")
    for text in ("100%", "200%"):
        await phone.evaluate("(text) => (document.documentElement.style.fontSize = text)", text)
        for title in ("Where to?", "Which?", "Print it?"):
            await expect(phone.get_by_role("article", name=title)).to_be_visible()
            assert await accessibility_faults(phone) == [], f"{title} at {text}"
            assert not await is_too_wide(phone)
            await phone.get_by_role("button", name="1 of 3").tap()
    await phone.get_by_role("button", name="Fold the question away").tap()
    assert await accessibility_faults(phone) == []
    await phone.get_by_role("button", name="FedEx Ground").tap()
    await expect(phone.get_by_text("Selected: FedEx Ground")).to_be_visible()
    await phone.get_by_role("button", name="Type instead of speaking").tap()
    assert await accessibility_faults(phone) == []


@pytest.mark.parametrize("look", LOOKS[:3], ids=str)
async def test_the_other_pages_have_no_accessibility_fault(
    world: World, look: dict[str, str]
) -> None:
    agent = await world.agent()
    await world.phone(agent)
    await agent.update("quote_ready", QUOTES)
    token, admin = world.server.token(), world.server.token("local", "admin")
    pages = {
        "/": "Sign in",
        f"/#token={token}": "Untitled session",
        f"/sessions/{agent.session_id}/pair#token={token}": "Scan with the phone",
        f"/admin?session={agent.session_id}#token={admin}": "contextual_update",
        "/c": "Type your code",
        "/p": "No session on this phone",
    }
    for path, text in pages.items():
        page = await world.page(
            **look, viewport={"width": 1280, "height": 800}, reduced_motion="reduce"
        )
        await page.goto(world.server.url + path)
        await expect(page.get_by_text(text).first).to_be_visible()
        assert await accessibility_faults(page) == [], path
        await page.set_viewport_size({"width": 320, "height": 800})
        assert not await is_too_wide(page), path
        await page.evaluate("() => { document.documentElement.style.fontSize = '200%' }")
        assert await accessibility_faults(page) == [], f"{path} at twice the text"
        assert not await is_too_wide(page), f"{path} at twice the text"
        await page.context.close()


@pytest.mark.parametrize("embed", [False, True])
async def test_no_page_runs_or_fetches_what_is_not_its_own(
    new_world: NewWorld, embed: bool
) -> None:
    world = await new_world(allow_origin=("https://shop.example",))
    agent = await world.agent()
    await agent.update("quote_ready", QUOTES)
    session, token = agent.session_id, world.server.token()
    admin = world.server.token("local", "admin")
    paths = [f"/ui?embed=1&session_id={session}#token={token}"]
    if not embed:
        opened = await world.ask("POST", f"/sessions/{session}/pairings")
        ticket = opened["url"].removeprefix(world.server.url)
        paths = ["/", f"/#token={token}", f"/sessions/{session}/pair#token={token}", "/c", "/p",
                 ticket, f"/ui?session_id={session}#token={token}",
                 f"/admin?session={session}#token={admin}", "/docs"]  # fmt: skip
    for path in paths:
        page = await world.page()
        await page.goto(world.server.url + path)
        await page.wait_for_load_state("networkidle")
        inline = await page.locator("script:not([src]), style, [onclick], [onload]").count()
        assert inline == 0, path
        assert world.faults == [], path
        async with page.expect_console_message(lambda said: "POLICY" in said.text):
            refused = await page.evaluate(
                "() => { try { document.createElement('p').innerHTML = '<b>x</b>'; return '' }"
                " catch (error) { return error.name } }"
            )
        assert refused == "TypeError", f"Trusted Types are not enforced on {path}"
        world.faults.clear()  # that one was provoked
        await page.context.close()


async def test_a_page_that_is_being_changed_runs_from_its_sources(new_world: NewWorld) -> None:
    world = await new_world(reload=True)
    phone = await world.phone(await world.agent(), locale="de-DE")
    await expect(phone.get_by_role("status").filter(has_text="Verbunden")).to_be_visible()
    loaded = await phone.evaluate(
        "() => performance.getEntriesByType('resource').map((each) => new URL(each.name).pathname)"
    )
    assert "/static/js/words/de.js" in loaded
    assert not any("/dist/" in path for path in loaded)


async def test_pages_are_the_same_bytes_for_any_session(world: World) -> None:
    async with aiohttp.ClientSession() as http:
        for paths in (["/sessions/a/pair", "/sessions/b/pair"], ["/ui?session_id=a", "/p", "/c"]):
            bodies = set()
            for path in paths:
                async with http.get(world.server.url + path) as answer:
                    assert answer.status == 200
                    assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
                    assert "trusted-types 'none'" in answer.headers["Content-Security-Policy"]
                    bodies.add(await answer.read())
            assert len(bodies) == 1


async def test_files_outside_the_folder_are_not_served(world: World) -> None:
    async with aiohttp.ClientSession() as http:
        for path in ("../setup.cfg", "%2e%2e/setup.cfg", "..%2fsetup.cfg", "js", "", "js/no.js"):
            async with http.get(f"{world.server.url}/static/{path}") as answer:
                assert answer.status in (403, 404), path


async def test_a_file_is_fetched_again_only_when_it_changed(world: World) -> None:
    async with aiohttp.ClientSession() as http:
        url = f"{world.server.url}/static/css/base.css"
        async with http.get(url) as answer:
            etag = answer.headers["ETag"]
            assert answer.content_type == "text/css"
        async with http.get(url, headers={"If-None-Match": etag}) as answer:
            assert answer.status == 304


async def test_the_session_manager_makes_names_exports_and_ends(world: World) -> None:
    desk = await world.page()
    await desk.goto(f"{world.server.url}/#token={world.server.token()}")
    await expect(desk.get_by_text("No session yet")).to_be_visible()
    await desk.get_by_role("button", name="New session").click()
    await expect(desk.get_by_role("heading", name="Untitled session")).to_be_visible()

    await desk.get_by_text("More", exact=True).click()
    await desk.get_by_role("button", name="Rename").click()
    await desk.get_by_role("textbox", name="Name").fill("Parcel to Denver")
    await desk.keyboard.press("Enter")
    await expect(desk.get_by_role("heading", name="Parcel to Denver")).to_be_visible()

    session_id = str(await desk.locator(".session-id code").text_content())
    agent = await world.agent(session_id)
    await agent.update("quote_ready", QUOTES)
    await expect(desk.get_by_text("1 agent")).to_be_visible()
    if not await desk.get_by_role("button", name="Export").is_visible():
        await desk.get_by_text("More", exact=True).click()
    async with desk.expect_download() as download:
        await desk.get_by_role("button", name="Export").click()
    path = await (await download.value).path()
    [record] = [json.loads(line) for line in path.read_text().splitlines()]
    assert record["text"] == "quote_ready"

    await desk.get_by_role("button", name="End", exact=True).click()
    await desk.get_by_role("dialog").get_by_role("button", name="End session").click()
    await expect(desk.get_by_text("ended just now")).to_be_visible()
    if not await desk.get_by_role("button", name="Erase").is_visible():
        await desk.get_by_text("More", exact=True).click()
    await desk.get_by_role("button", name="Erase").click()
    await desk.get_by_role("dialog").get_by_role("button", name="Erase").click()
    await expect(desk.get_by_text("No session yet")).to_be_visible()


async def test_the_owner_needs_no_mouse_and_no_large_screen(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    desk = await world.page(viewport={"width": 320, "height": 568})
    await desk.goto(f"{world.server.url}/#token={world.server.token()}")
    await expect(desk.get_by_text("1 screen")).to_be_visible()
    assert await desk.locator(".owner-bar").evaluate("(bar) => bar.offsetHeight") < 60  # one line

    await reach(desk, "More about Untitled session")
    await desk.keyboard.press("Enter")
    await reach(desk, "Rename")
    await reach(desk, "Remove")
    await desk.goto(f"{world.server.url}/sessions/{agent.session_id}/pair")
    await expect(desk.get_by_text("here now").first).to_be_visible()
    async with asyncio.timeout(20):  # the code is drawn while the page is being laid out
        while await is_too_wide(desk):
            await asyncio.sleep(0.05)
    await reach(desk, "Remove Pixel 7")
    await desk.keyboard.press("Enter")

    await expect(phone.get_by_role("alert")).to_contain_text("disconnected")
    await expect(desk.get_by_role("button", name="Remove Pixel 7")).to_have_count(0)


async def test_a_removed_device_stays_away_when_an_older_list_comes_late(world: World) -> None:
    agent = await world.agent()
    await world.phone(agent)
    desk = await world.page()
    old: asyncio.Queue[tuple[Route, APIResponse]] = asyncio.Queue()

    async def keep_the_answer(route: Route) -> None:
        await old.put((route, await route.fetch()))

    path = f"/sessions/{agent.session_id}/pair#token={world.server.token()}"
    await desk.goto(f"{world.server.url}{path}")
    remove = desk.get_by_role("button", name="Remove Pixel 7")
    await expect(remove).to_have_count(1)
    await desk.route("**/me/devices", keep_the_answer, times=1)
    await world.phone(agent)  # the page asks who is there
    route, answer = await old.get()
    await expect(remove).to_have_count(2)
    await remove.first.click()
    await expect(remove).to_have_count(1)

    async with desk.expect_response("**/me/devices") as response:
        await route.fulfill(response=answer)
    await (await response.value).finished()
    await desk.evaluate("() => new Promise((done) => setTimeout(done, 100))")
    await expect(remove).to_have_count(1)


async def test_a_device_that_leaves_keeps_the_keyboard_on_its_row(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    desk = await world.page()
    path = f"/sessions/{agent.session_id}/pair#token={world.server.token()}"
    await desk.goto(world.server.url + path)
    remove = desk.get_by_role("button", name="Remove Pixel 7")
    await remove.focus()

    await phone.context.close()
    await expect(desk.get_by_text("last seen")).to_be_visible()
    await expect(remove).to_be_focused()
