"""One trace of a tool call: a real agent with OpenTelemetry, the server, and a real screen."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from tests.collector import Collector

from .conftest import PIXEL, NewWorld

ROOT = Path(__file__).parents[2]


async def test_a_call_is_one_trace_over_agent_server_and_screen(new_world: NewWorld) -> None:
    async with Collector() as collector:
        os.environ["OTEL_BSP_SCHEDULE_DELAY"] = "100"
        try:
            world = await new_world(traces_to=collector.url, tools="tests.traced_tools")
        finally:
            del os.environ["OTEL_BSP_SCHEDULE_DELAY"]
        agent = await asyncio.create_subprocess_exec(
            sys.executable, str(ROOT / "tests/traced_agent.py"), collector.url, world.server.url,
            world.server.token(), env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert agent.stdout is not None
        phone = await world.page(**PIXEL)
        sent: list[dict[str, object]] = []
        phone.on("websocket", lambda ws: ws.on("framesent", lambda text: sent.append(json.loads(text))))
        await phone.goto((await agent.stdout.readline()).decode().strip())
        await phone.locator("companion-question").get_by_role("button", name="Confirm").click()
        assert await agent.wait() == 0
        spans = await collector.told(
            "a turn", "companion.call", "companion.tool_call", "companion.stored",
            "companion.delivered", "companion.shown", "companion.answered", "companion.tool_run",
        )  # fmt: skip

    turn = spans["a turn"]
    calls = {span.id: span for span in collector.spans if span.name == "companion.call"}
    assert {span.trace for span in collector.spans} == {turn.trace}
    assert {span.parent for span in calls.values()} == {turn.id}
    assert {span.service for span in calls.values()} == {"the agent"}
    served = {
        calls[span.parent].attributes["gen_ai.tool.name"]: span
        for span in collector.spans
        if span.name == "companion.tool_call"
    }
    asked, ran = served["companion_confirm"], served["measure"]
    assert (asked.service, asked.attributes["companion.answered_by"]) == ("companion-ws", "ui")
    assert (ran.attributes["companion.handled_by"], ran.attributes["companion.answered_by"]) == (
        "server",
        "server",
    )
    below = [(span.name, span.parent) for span in collector.spans if span.parent in (asked.id, ran.id)]
    assert sorted(below) == sorted(
        [("companion.stored", each.id) for each in (asked, ran)]
        + [("companion.delivered", each.id) for each in (asked, ran)]
        + [("companion.shown", asked.id), ("companion.answered", asked.id)]
        + [("companion.tool_run", ran.id)]
    )
    stored, shown, answered = (
        next(span for span in collector.spans if (span.name, span.parent) == (name, asked.id))
        for name in ("companion.stored", "companion.shown", "companion.answered")
    )
    assert asked.began_ns == stored.began_ns < stored.ended_ns <= shown.began_ns
    assert shown.ended_ns < answered.began_ns < answered.ended_ns <= asked.ended_ns
    answer = next(message for message in sent if message["type"] == "client_tool_result")
    assert str(answer["traceparent"]).startswith(f"00-{asked.trace}-{asked.id}-")
    assert "secret question" not in repr(collector.spans)
