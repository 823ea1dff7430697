"""Server tools that were running when the process was lost."""

from __future__ import annotations

import json
from pathlib import Path

import aiohttp
from real_server import joined, running


async def test_a_killed_run_is_told_of_once_and_one_that_may_be_repeated_is(
    tmp_path: Path,
) -> None:
    async with (
        running(tmp_path / "data", "--tools=tests.server.desk_tools") as server,
        aiohttp.ClientSession() as http,
    ):
        paths = {name: tmp_path / name for name in ("once", "counts")}
        async with joined(http, server) as agent:
            session_id = agent.joined["session_id"]
            for name, path in paths.items():
                await agent.send(
                    {"type": "client_tool_call", "tool_name": name, "tool_call_id": name,
                     "parameters": {"path": str(path)}}
                )
            # The repeatable one emits when it runs, and both were started in order.
            await agent.until(type="contextual_update")
            await server.kill()
        for _ in range(2):
            await server.start()
            async with joined(http, server, session_id=session_id, after=0) as agent:
                for name in paths:
                    if not any(m.get("tool_call_id") == name for m in agent.records):
                        await agent.until(type="client_tool_result", tool_call_id=name)
                await agent.send({"type": "ping", "requestId": "end"})
                await agent.until(type="pong")
                results = {
                    m["tool_call_id"]: m for m in agent.records if m["type"] == "client_tool_result"
                }
                told = [m["type"] for m in agent.records]
                assert told.count("client_tool_result") == 2, told
                assert told.count("contextual_update") == 1, "what was emitted is not emitted again"
            once, counts = results["once"], results["counts"]
            assert json.loads(once["result"]) == {"status": "interrupted"}
            assert once["is_error"] is True
            assert (counts["result"], counts["is_error"]) == ("2", False)
            assert (paths["once"].read_text(), paths["counts"].read_text()) == ("x", "xx")
            await server.kill()
