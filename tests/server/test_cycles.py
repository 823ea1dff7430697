"""Nothing on the way of a message, or left of a connection, waits for the collector."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Iterator

import pytest

from companion_ws import collector
from companion_ws.sessions.outbox import CLOSE_S
from tests.running import Running, Socket


@pytest.fixture
def collected() -> Iterator[list[object]]:
    """What the collector finds from here on, instead of freeing it."""
    gc.collect()
    gc.freeze()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield gc.garbage
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.unfreeze()
        gc.enable()


MINE = {
    f"companion_ws.access.{name}"
    for name in ("keys.Keys", "tokens.Tokens", "tokens.Revocations", "tokens._CompactJson")
}
"""What the tests make to sign their tokens."""


def ours(garbage: list[object]) -> Counter[str]:
    """What of it is the server's own; the tests' client leaves some of its own."""
    names = (f"{type(each).__module__}.{type(each).__qualname__}" for each in garbage)
    return Counter(name for name in names if name.startswith("companion_ws.") and name not in MINE)


async def talk(agent: Socket, name: str, messages: int) -> None:
    for number in range(messages):
        await agent.send("contextual_update", text="x", requestId=f"{name}-{number}")
        if number % 3 == 0:
            await agent.send("state_update", key=f"k{number % 7}", value=number)
        if number % 10 == 0:
            await agent.send("state_update", key="k0", value=0, if_revision=1)
        if number % 50 == 0:
            await agent.say("ping")
    await agent.say("ping")


async def test_ten_thousand_messages_leave_nothing_for_the_collector(
    collected: list[object],
) -> None:
    async with Running(limit_messages_per_s=0, limit_records=100) as server:
        agent = await server.join()
        await server.join(session_id=agent.session_id, role="ui")
        await talk(agent, "before", 200)
        gc.collect()
        collected.clear()

        await talk(agent, "counted", 7_000)
        gc.collect()

        assert ours(collected) == {}


async def test_people_who_come_and_go_leave_nothing_for_the_collector(
    collected: list[object],
) -> None:
    async with Running(limit_messages_per_s=0) as server:
        agent = await server.join()
        await talk(agent, "before", 50)

        async def visit() -> None:
            screen = await server.join(session_id=agent.session_id, role="ui", after=1)
            await screen.say("ping")
            await screen.ws.close()

        await visit()
        gc.collect()
        collected.clear()

        for _ in range(50):
            await visit()
        # Timers that would cut them off hold them for as long.
        await asyncio.sleep(CLOSE_S + 0.2)
        gc.collect()

        assert ours(collected) == {}


async def test_the_collector_walks_everything_once_the_last_one_has_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = 1
    monkeypatch.setattr(collector, "LOOK_S", 0.001)
    passes: list[str] = []

    def note(phase: str, facts: dict[str, int]) -> None:
        if phase == "stop" and facts["generation"] == 2:
            passes.append(phase)

    gc.callbacks.append(note)
    watching = asyncio.create_task(collector.collect_when_empty(lambda: here))
    try:
        await asyncio.sleep(0.05)
        assert passes == []
        here = 0
        async with asyncio.timeout(20):
            while not passes:
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.05)
        assert len(passes) == 1
    finally:
        watching.cancel()
        gc.callbacks.remove(note)
        gc.unfreeze()
