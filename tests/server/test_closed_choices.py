"""A choice that an agent has closed: its card stays, and no screen can choose any more."""

from __future__ import annotations

from typing import Any

import pytest
from running import Message, Running, Socket

QUOTES = {"quotes": [{"id": "air", "carrier": "UPS", "cost": 41.1}], "select": "choice"}


async def offered(agent: Socket, **more: Any) -> Message:
    return await agent.say(
        "contextual_update", text="quote_ready", data=QUOTES, context_id="rates", **more
    )


async def test_from_then_on_no_screen_chooses_and_agents_still_write(server: Running) -> None:
    agent, screen = await server.pair_of()
    made = await server.http("POST", f"/sessions/{agent.session_id}/tokens", {"role": "ui"})
    path = f"/sessions/{agent.session_id}/state/choice"
    card = await offered(agent, labels={"cost": "Price"})
    assert card["labels"] == {"cost": "Price"}
    assert (await screen.say("state_update", key="choice", value="air"))["type"] == "state_updated"

    closed = await agent.say("contextual_update", text="booked", context_id="rates", locked=True)
    assert closed["locked"] is True
    assert (await screen.next_of("contextual_update", locked=True)) == closed
    for _ in ("at once", "after a restart"):
        assert await screen.refused("state_update", key="choice", value="ground") == "forbidden"
        assert await screen.refused("state_delete", key="choice") == "forbidden"
        for method in ("PUT", "DELETE"):
            refused = await server.http(method, path, "x", token=made.body["token"])
            assert (refused.status, refused.code) == (403, "forbidden")
        assert (await screen.say("state_update", key="other", value=1))["type"] == "state_updated"
        assert (await agent.say("state_update", key="choice", value="air"))["type"] == "state_updated"
        late = await server.join(session_id=agent.session_id, role="ui")
        assert late.joined["cards"] == [{**card, "locked": True}]
        await server.restart()
        agent = await server.join(session_id=agent.session_id)
        screen = await server.join(session_id=agent.session_id, role="ui")


async def test_a_card_that_comes_locked_offers_nothing(server: Running) -> None:
    agent, screen = await server.pair_of()
    card = await offered(agent, locked=True)

    assert await screen.refused("state_update", key="choice", value="air") == "forbidden"
    assert (await server.join(session_id=agent.session_id)).joined["cards"] == [card]


async def test_a_locked_card_with_data_takes_the_place_of_the_one_before(server: Running) -> None:
    agent, screen = await server.pair_of()
    await offered(agent)
    label = await agent.say(
        "contextual_update", text="label_created", data={"tracking": "1Z"}, context_id="rates", locked=True
    )

    assert await screen.refused("state_update", key="choice", value="air") == "forbidden"
    assert (await server.join(session_id=agent.session_id)).joined["cards"] == [label]


async def test_an_agent_that_offers_the_choice_again_opens_it(server: Running) -> None:
    agent, screen = await server.pair_of()
    await offered(agent, locked=True)
    again = await screen.say("contextual_update", text="x", data=QUOTES, context_id="rates")
    assert again["code"] == "forbidden", "a screen cannot open it"

    await offered(agent)
    assert (await screen.say("state_update", key="choice", value="air"))["type"] == "state_updated"


async def test_screens_lock_nothing(server: Running) -> None:
    agent, screen = await server.pair_of()
    await offered(agent)

    assert await screen.refused("contextual_update", text="x", context_id="rates", locked=True) == "forbidden"
    assert (await screen.say("contextual_update", text="x", locked=False))["locked"] is False
    assert (await screen.say("state_update", key="choice", value="air"))["type"] == "state_updated"


@pytest.mark.parametrize(
    "wrong",
    [{"locked": "yes"}, {"locked": 1}, {"labels": "cost"}, {"labels": {"cost": 1}}, {"labels": ["cost"]}],
)
async def test_what_is_no_lock_and_no_label_is_refused(server: Running, wrong: Message) -> None:
    agent = await server.join()
    assert await agent.refused("contextual_update", text="x", **wrong) == "invalid_message"
    left_out = await agent.say("contextual_update", text="x", locked=None, labels=None)
    assert {"locked", "labels"}.isdisjoint(left_out)
