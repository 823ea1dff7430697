"""A question asked twice, and a choice that was closed, on the phone."""

from __future__ import annotations

from playwright.async_api import expect

from .conftest import QUOTES, World


async def test_a_question_asked_again_stands_on_the_phone_once_and_answers_both(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    first = await agent.call("companion_choose", title="Which?", options=["Air", "Ground"])
    second = await agent.call("companion_choose", title="Which?", options=["Air", "Ground"])
    await agent.update("later", {"Step": "done"})
    await expect(phone.get_by_text("done")).to_be_visible()
    await expect(phone.get_by_role("button", name="Air", exact=True)).to_have_count(1)
    await phone.reload()
    await world.connected(phone)
    await expect(phone.get_by_role("button", name="Air", exact=True)).to_have_count(1)

    await phone.get_by_role("button", name="Air", exact=True).tap()
    assert [(await agent.result(each))["id"] for each in (first, second)] == ["Air", "Air"]
    await expect(phone.get_by_role("button", name="Air", exact=True)).to_have_count(0)


async def test_a_closed_choice_stays_on_the_phone_and_cannot_be_tapped(world: World) -> None:
    agent = await world.agent()
    phone = await world.phone(agent)
    await agent.update("quote_ready", QUOTES, context_id="rates")
    card = phone.locator("companion-card").first
    await expect(card.get_by_role("button").first).to_be_enabled()

    await agent.send(type="contextual_update", text="booked", context_id="rates", locked=True)
    for _ in ("at once", "after a reload"):
        await expect(card).to_be_visible()
        await expect(card.locator("button:enabled")).to_have_count(0)
        await phone.reload()
        await world.connected(phone)
