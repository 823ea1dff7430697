"""A phone on a network whose proxy strips `Upgrade`: it works, and nobody is told."""

from __future__ import annotations

from playwright.async_api import expect
from stripping_proxy import StrippingProxy

from .conftest import NewWorld

SERVICES = {"title": "Which service?", "options": ["UPS Next Day", "FedEx Ground"]}


async def test_a_phone_behind_a_proxy_without_upgrade_answers_and_says_nothing_of_it(
    new_world: NewWorld,
) -> None:
    world = await new_world()
    async with StrippingProxy(f"http://127.0.0.1:{world.server.port}") as proxy:
        world.proxies.append(proxy.url)
        agent = await world.agent()
        opened = await world.ask("POST", f"/sessions/{agent.session_id}/pairings")
        secret = opened["url"].split("/p#")[1]
        phone = await world.phone(agent, url=f"{proxy.url}/p#{secret}")
        assert proxy.refused >= 1
        await expect(phone.locator(".banner")).to_be_hidden()

        call = await agent.call("companion_choose", **SERVICES)
        await phone.get_by_role("button", name="FedEx Ground").tap()
        result = await agent.hears(
            lambda message: message["type"] == "client_tool_result"
            and message["tool_call_id"] == call
        )
        assert "FedEx Ground" in result["result"]
        await expect(phone.locator(".banner")).to_be_hidden()
