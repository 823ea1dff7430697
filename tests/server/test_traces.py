"""Where a tool call spent its time, as a collector of traces is told."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from running import WAIT_S, Running, Socket, free_port
from small_disk import SmallDisk

from tests.collector import Collector
from tests.conftest import Start

ROOT = Path(__file__).parents[2]
CALL = {"tool_name": "companion_confirm", "tool_call_id": "c", "parameters": {"title": "Sure?"}}
YES = {"tool_call_id": "c", "result": '{"status":"confirmed"}'}
TRACE = "0af7651916cd43dd8448eb211c80319c"
GIVEN = f"00-{TRACE}-b7ad6b7169203331-01"


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with Collector() as collector:
        yield collector


@pytest.fixture
async def server(start: Start, collector: Collector, monkeypatch: pytest.MonkeyPatch) -> Running:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
    return await start(traces_to=collector.url)


async def ask(agent: Socket, screen: Socket, **call: Any) -> dict[str, Any]:
    await agent.send("client_tool_call", client_tool_call={**CALL, **call}, traceparent=GIVEN)
    return await screen.next_of("client_tool_call")


async def test_an_answer_that_comes_late_stands_in_the_trace_of_its_question(
    server: Running, collector: Collector
) -> None:
    agent, screen = await server.pair_of()
    asked = await ask(agent, screen, timeout_ms=1000)
    result = await agent.next_of("client_tool_result")
    assert result["answered_by"] == "server"
    await screen.say("client_tool_result", **YES)  # as a screen that knows nothing of traces
    late = await agent.next_of("user_message")
    assert late["traceparent"] == asked["traceparent"]
    spans = await collector.told("companion.tool_call", "companion.answered")
    call, answered = spans["companion.tool_call"], spans["companion.answered"]
    assert (call.trace, call.parent) == (TRACE, "b7ad6b7169203331")
    assert call.attributes["companion.answered_by"] == "server"
    assert (answered.parent, answered.attributes["companion.is_late"]) == (call.id, True)
    assert answered.began_ns > call.ended_ns


async def test_after_a_restart_an_answer_is_told_in_the_trace_of_its_question(
    server: Running, collector: Collector
) -> None:
    agent, screen = await server.pair_of()
    await ask(agent, screen)
    await server.restart()
    call = (await collector.told("companion.tool_call"))["companion.tool_call"]
    assert call.attributes["companion.is_unanswered"] is True
    screen = await server.join(session_id=agent.session_id, role="ui")
    await screen.say("client_tool_result", **YES)
    answered = (await collector.told("companion.answered"))["companion.answered"]
    assert (answered.trace, answered.parent) == (TRACE, call.id)


async def test_each_screen_that_painted_a_question_is_told_once(
    server: Running, collector: Collector
) -> None:
    agent, screen = await server.pair_of()
    asked = await ask(agent, screen)
    for _ in range(3):
        await screen.send("rendered", of_seq=asked["seq"])
    await screen.say("client_tool_result", **YES)
    await collector.told("companion.shown", "companion.tool_call")
    assert [span.name for span in collector.spans].count("companion.shown") == 1


async def test_a_call_that_nobody_waits_for_and_one_whose_session_ends_are_told_too(
    server: Running, collector: Collector
) -> None:
    agent, screen = await server.pair_of()
    await ask(agent, screen, tool_call_id="nobody waits", expects_response=False)
    await ask(agent, screen)
    await server.http("DELETE", f"/sessions/{agent.session_id}")
    async with asyncio.timeout(WAIT_S):
        while [span.name for span in collector.spans].count("companion.tool_call") < 2:
            await asyncio.sleep(0.02)


async def test_a_server_tool_that_nobody_waits_for_is_told_with_its_run_and_its_failure(
    start: Start, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    server = await start(traces_to=collector.url, tools="tests.traced_tools")
    agent = await server.join()
    for weight in (2, "no number"):
        call = {"tool_name": "measure", "tool_call_id": f"{weight}", "parameters": {"weight": weight}}
        await agent.say("client_tool_call", client_tool_call={**call, "expects_response": False})
    async with asyncio.timeout(WAIT_S):
        while len([span for span in collector.spans if span.name == "companion.tool_call"]) < 2:
            await asyncio.sleep(0.02)
    calls = {span.id: span for span in collector.spans if span.name == "companion.tool_call"}
    runs = [span for span in collector.spans if span.name == "companion.tool_run"]
    failed = {calls[run.parent].attributes["gen_ai.tool.call.id"]: run.is_error for run in runs}
    assert failed == {"2": False, "no number": True}
    assert all(run.ended_ns <= calls[run.parent].ended_ns for run in runs)


@pytest.mark.sqlite
async def test_a_call_that_could_not_be_stored_is_told_as_a_failure(
    start: Start, collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    with SmallDisk("limit", tmp_path) as disk:
        server = await start(traces_to=collector.url, data=disk.folder / "data")
        agent, _ = await server.pair_of()
        disk.fill()
        async with asyncio.timeout(WAIT_S):
            answer, number = {"type": ""}, 0
            while answer["type"] != "error":
                number += 1
                call = {**CALL, "tool_call_id": f"{number}", "parameters": {"title": "x" * 20_000}}
                answer = await agent.say("client_tool_call", client_tool_call=call)
        assert answer["code"] == "unavailable"
        refused = (await collector.told("companion.tool_call"))["companion.tool_call"]
        assert (refused.is_error, refused.attributes["companion.refused"]) == (True, "unavailable")
        disk.free()


async def test_a_collector_that_is_not_there_keeps_no_server_from_stopping(start: Start) -> None:
    server = await start(traces_to=f"http://127.0.0.1:{free_port()}")
    agent, screen = await server.pair_of()
    await ask(agent, screen)
    async with asyncio.timeout(WAIT_S):
        await server.halt()


PROGRAM = """
import asyncio, sys, tempfile, pathlib
from companion_ws import CompanionClient
from companion_ws.testing.server import CompanionServer

async def main():
    async with CompanionServer() as server, server.client() as agent:
        async with server.client(session_id=agent.session_id, role="ui") as screen:
            asking = asyncio.ensure_future(agent.call_tool("companion_confirm", title="Sure?"))
            call = (await anext(screen.records()))["client_tool_call"]
            await screen.answer_tool(call["tool_call_id"], {"status": "confirmed"})
            await asking
asyncio.run(main())
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""


def test_who_wants_no_traces_imports_nothing_for_them() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "[]"


HOST = """
import asyncio
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from companion_ws.testing.server import CompanionServer

kept = InMemorySpanExporter()
trace.set_tracer_provider(TracerProvider())
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(kept))

async def main():
    async with CompanionServer() as server:
        made = await server.sessions.create("alice")
        with trace.get_tracer("host").start_as_current_span("of the host") as span:
            call = {"tool_name": "t", "tool_call_id": "c", "expects_response": False}
            message = {"type": "client_tool_call", "client_tool_call": call}
            await server.sessions.broadcast_to_session(made.session_id, message)
    return format(span.get_span_context().span_id, "016x")

host = asyncio.run(main())
for span in kept.get_finished_spans():
    if span.name == "companion.tool_call":
        print(format(span.parent.span_id, "016x") == host)
"""


def test_a_program_with_traces_of_its_own_has_the_server_s_among_them() -> None:
    done = subprocess.run([sys.executable, "-c", HOST], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "True"
