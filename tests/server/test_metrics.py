"""Every figure that docs/operations.md tells operators to look at moves when it should."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from running import Running, Socket
from small_disk import SmallDisk
from test_limits import say_much, silent

PAGE = Path(__file__).parents[2] / "docs/operations.md"


BETWEEN_SERVERS = {
    "companion_passed_on_total", "companion_carried_connections", "companion_carried_held_bytes",
}  # fmt: skip
"""They move where there are two: tests/postgres/test_entrances.py."""


def documented() -> set[str]:
    return set(re.findall(r"^\| `(companion_\w+)` \|", PAGE.read_text("utf-8"), re.MULTILINE))


async def figures(server: Running) -> dict[str, float]:
    """Return the exposition's numbers by name and labels."""
    async with aiohttp.ClientSession() as http, http.get(f"{server.url}/metrics") as response:
        assert response.status == 200
        text = await response.text()
    pairs = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in pairs}


async def until(server: Running, name: str, value: float) -> float:
    """Wait until a figure has this value or more; return it."""
    async with asyncio.timeout(20):
        while (found := (await figures(server)).get(name, 0)) < value:
            await asyncio.sleep(0.05)
    return found


async def fill(disk: SmallDisk, agent: Socket) -> None:
    disk.fill()
    async with asyncio.timeout(20):
        while True:
            answer = await agent.say("contextual_update", text="x" * 20_000)
            if answer["type"] == "error" and answer["code"] == "unavailable":
                return


async def ask_and_answer(server: Running, agent: Socket, screen: Socket) -> set[str]:
    """Let a question be seen and answered in time, and another after its agent went on."""
    name = 'companion_question_seconds_count{{step="{}"}}'
    for number, timeout_ms in enumerate((18_000, 1_000), start=1):
        call_id = f"call-{number}"
        asked = await agent.say(
            "client_tool_call",
            client_tool_call={
                "tool_name": "companion_confirm", "tool_call_id": call_id,
                "parameters": {"title": f"Number {number}?"}, "expects_response": True,
                "timeout_ms": timeout_ms,
            },
        )  # fmt: skip
        for _ in range(2):  # the first time counts
            await screen.send("rendered", of_seq=asked["seq"])
        await until(server, name.format("shown"), number)
        if timeout_ms < 18_000:
            await agent.result(call_id)
        assert (await figures(server)).get(name.format("answered"), 0) == number - 1
        for _ in range(2):  # an answer that is given again is one
            await screen.send(
                "client_tool_result", tool_call_id=call_id, result='{"status": "confirmed"}',
                requestId=f"answer-{number}",
            )  # fmt: skip
        await until(server, name.format("answered"), number)
    found = await figures(server)
    assert [found[name.format(step)] for step in ("shown", "pondered", "answered")] == [2, 2, 2]
    seconds = 'companion_question_seconds_sum{{step="{}"}}'
    parts = found[seconds.format("shown")] + found[seconds.format("pondered")]
    assert abs(parts - found[seconds.format("answered")]) < 0.01
    assert found[seconds.format("answered")] >= 0.9, "the late answer waited for the deadline"
    return {"companion_question_seconds"}


@pytest.mark.sqlite
async def test_every_documented_figure_moves(start: Any, tmp_path: Path) -> None:
    moved: set[str] = set()
    with SmallDisk("limit", tmp_path) as disk:
        server = await start(
            data=disk.folder / "data", limit_outbox_bytes=100_000, limit_messages_per_s=0
        )
        agent, screen = await server.pair_of()
        assert await until(server, "companion_connections", 2) == 2
        assert await until(server, "companion_sessions_in_memory", 1) == 1
        assert await until(server, 'companion_joins_total{role="ui"}', 1) == 1
        assert await until(server, 'companion_recoveries_total{recovery="none"}', 2) == 2
        record = await agent.say("contextual_update", text="quote_ready")
        await until(server, 'companion_records_total{type="contextual_update"}', 1)
        await screen.send("rendered", of_seq=record["seq"])
        await until(server, "companion_rendered_seconds_count", 1)
        for after, recovery in ((0, "replay"), (99, "snapshot")):
            late = await server.join(session_id=agent.session_id, role="ui", after=after)
            assert late.joined["recovery"] == recovery
            await until(server, f'companion_recoveries_total{{recovery="{recovery}"}}', 1)
            await late.leave()
        await agent.refused("no_such_type")
        await until(server, 'companion_refused_total{code="unknown_type"}', 1)
        moved |= {
            "companion_connections", "companion_sessions_in_memory", "companion_joins_total", "companion_recoveries_total",
            "companion_records_total", "companion_rendered_seconds", "companion_refused_total",
        }  # fmt: skip

        moved |= await ask_and_answer(server, agent, screen)

        async with silent(server, agent.session_id):
            await say_much(agent, screen, 60, 20_000)
            await until(server, "companion_slow_consumers_total", 1)
        moved.add("companion_slow_consumers_total")

        assert (await figures(server))["companion_database_writable"] == 1
        await fill(disk, agent)
        assert (await figures(server))["companion_database_writable"] == 0
        disk.free()
        await until(server, "companion_database_writable", 1)
        moved.add("companion_database_writable")

    server = await start(session_ttl="0.5s")
    await server.new_session()
    await until(server, "companion_sessions_expired_total", 1)
    moved.add("companion_sessions_expired_total")
    assert moved == documented() - BETWEEN_SERVERS, "a new figure moves in this test, too"
