"""A server that is told to stop does, whoever is silent."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
from real_server import joined, running, silent_peer

SILENT, LIVE = 30, 10


@pytest.mark.parametrize("signal_name", ["SIGTERM", "SIGINT"])
async def test_a_stop_with_silent_peers_is_quick_tells_everybody_and_stores_what_was_accepted(
    signal_name: str, tmp_path: Path
) -> None:
    loop = asyncio.get_running_loop()
    async with running(tmp_path / "data") as server:
        async with aiohttp.ClientSession() as http, AsyncExitStack() as stack:
            agent = await stack.enter_async_context(joined(http, server))
            session_id = agent.joined["session_id"]
            screens = [
                await stack.enter_async_context(
                    joined(http, server, session_id=session_id, role="ui")
                )
                for _ in range(LIVE)
            ]
            silent = [await silent_peer(server, session_id) for _ in range(SILENT)]
            sent = [
                await agent.send({"type": "contextual_update", "text": str(number)})
                for number in range(50)
            ]
            reading = [asyncio.create_task(screen.to_the_end()) for screen in (agent, *screens)]
            while not agent.records:
                await asyncio.sleep(0)
            began_s = loop.time()
            code = await server.end(signal.Signals[signal_name])
            took_s = loop.time() - began_s
            await asyncio.gather(*reading)

            assert code == 0
            assert took_s < 8
            for screen in (agent, *screens):
                assert screen.ws.close_code == 1012
            for writer in silent:
                writer.transport.abort()
        await server.start()
        async with aiohttp.ClientSession() as http:
            async with joined(http, server, session_id=session_id, after=0) as screen:
                last = screen.joined["seq"]
                while not screen.records or screen.records[-1]["seq"] < last:
                    await screen.receive()
                stored = [record["requestId"] for record in screen.records]
        acknowledged = [record["requestId"] for record in agent.records]
        assert stored[: len(acknowledged)] == acknowledged
        assert stored == sent[: len(stored)]


@pytest.mark.parametrize("name", ["computes", "sleeps", "delegates", "ignores"])
async def test_a_stop_ends_in_ten_seconds_whatever_a_tool_does(name: str, tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    async with (
        running(tmp_path / "data", "--tools=tests.faults.stubborn_tools") as server,
        aiohttp.ClientSession() as http,
        joined(http, server) as agent,
    ):
        stored = await agent.send({"type": "user_message", "text": "accepted"})
        await agent.until(requestId=stored)
        call = {"tool_name": name, "tool_call_id": "c", "parameters": {"seconds": 40}}
        await agent.send({"type": "client_tool_call", "client_tool_call": call})
        await agent.until(type="client_tool_call")
        async with asyncio.timeout(20):
            while not any("tool_blocks_all_sessions" in line for line in server.output):
                await asyncio.sleep(0.05)
        said = next(line for line in server.output if "tool_blocks_all_sessions" in line)
        assert f"tool={name}" in said
        assert "stubborn_tools.py:" in said
        began_s = loop.time()
        reading = asyncio.create_task(agent.to_the_end())
        assert await server.end() == 0
        assert loop.time() - began_s < 15
        await reading
        if name != "ignores":
            assert agent.ws.close_code == 1012, "an orderly end for everybody"
        await server.start()
        session_id = agent.joined["session_id"]
        async with joined(http, server, session_id=session_id, after=0) as again:
            assert (await again.until(seq=1))["text"] == "accepted"


async def test_a_tool_that_lets_others_run_is_not_named(tmp_path: Path) -> None:
    async with (
        running(tmp_path / "data", "--tools=tests.server.desk_tools") as server,
        aiohttp.ClientSession() as http,
        joined(http, server) as agent,
    ):
        call = {"tool_name": "hangs", "tool_call_id": "c", "parameters": {}, "timeout_ms": 1500}
        await agent.send({"type": "client_tool_call", "client_tool_call": call})
        await agent.until(type="client_tool_result")
        assert not any("blocks_all_sessions" in line for line in server.output)
