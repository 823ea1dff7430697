"""A phone's page in a tab that is frozen, and in the browser inside an app; WebKit's cache: test_webkit.py."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, expect

from .conftest import Agent, World

IN_APP = {
    "Instagram on an iPhone": "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15"
    " (KHTML, like Gecko) Mobile/22B83 Instagram 360.0.0.30.109 (iPhone16,1; iOS 18_1; de_DE; de; scale=3.00)",
    "Facebook on Android": "Mozilla/5.0 (Linux; Android 14; Pixel 7; wv) AppleWebKit/537.36 (KHTML, like Gecko)"
    " Version/4.0 Chrome/130.0.6723.58 Mobile Safari/537.36 [FB_IAB/FB4A;FBAV/489.0.0.0;]",
    "WeChat": "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"
    " Mobile/15E148 MicroMessenger/8.0.50(0x18003234) NetType/4G Language/zh_CN",
}


async def state(page: Page, state: str) -> None:
    """Let the browser freeze the page, or thaw it."""
    devtools = await page.context.new_cdp_session(page)
    await devtools.send("Page.setWebLifecycleState", {"state": state})
    await devtools.detach()


async def answered(agent: Agent, phone: Page, title: str) -> None:
    """Ask, tap, and hear the answer once."""
    call = await agent.call("companion_choose", title=title, options=["Yes", "No"])
    await expect(phone.get_by_role("heading", name=title)).to_be_visible()
    await phone.get_by_role("button", name="Yes", exact=True).tap()
    assert (await agent.result(call))["id"] == "Yes"


@pytest.mark.parametrize("meanwhile", ["the server goes on", "the server restarts"])
async def test_a_frozen_tab_thaws_to_all_it_missed_and_answers(
    world: World, meanwhile: str
) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    await agent.update("before", {"a": 1})
    await expect(phone.get_by_role("heading", name="Before")).to_be_visible()
    await state(phone, "frozen")
    if meanwhile == "the server restarts":
        session_id = agent.session_id
        await world.server.stop()
        await world.server.start()
        agent = await world.agent(session_id)
    for number in range(3):
        await agent.update(f"while frozen {number}", {"n": number})
    await state(phone, "active")
    for number in range(3):
        await expect(phone.get_by_role("heading", name=f"While frozen {number}")).to_have_count(1)
    await expect(phone.get_by_role("heading", name="Before")).to_have_count(1)
    await answered(agent, phone, "Are you back?")


@pytest.mark.parametrize("app", list(IN_APP))
async def test_the_browser_inside_an_app_gets_in_and_answers(world: World, app: str) -> None:
    agent = await world.agent()
    phone = await world.phone(agent, user_agent=IN_APP[app])
    await answered(agent, phone, "From inside?")
    [device] = (await world.ask("GET", "/me/devices"))["devices"]
    assert device["device"] == ("Pixel 7" if "Android" in app else "iPhone")
    await phone.reload()
    await world.connected(phone)
    await answered(agent, phone, "Again?")
