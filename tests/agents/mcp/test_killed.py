"""The Python client of 2025-11-25, with the tasks that version tried out, over a killed server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mcp import ClientSession
from mcp.client.streamable_http import streamablehttp_client
from mcp.types import CallToolResult

from companion_ws.testing.phone import Phone
from tests.voice.killable import KillableServer

OPTIONS = [{"id": "air", "label": "UPS Next Day"}, {"id": "ground", "label": "FedEx Ground"}]
CHOSEN = {"status": "chosen", "id": "air", "label": "UPS Next Day"}


@asynccontextmanager
async def client(server: KillableServer, session_id: str) -> AsyncIterator[ClientSession]:
    headers = {"Authorization": f"Bearer {server.token()}", "X-Companion-Session": session_id}
    async with streamablehttp_client(f"{server.url}/mcp", headers=headers) as (read, write, _):
        async with ClientSession(read, write) as session:
            await session.initialize()
            yield session


async def test_a_task_is_answered_after_the_server_was_killed(killable: KillableServer) -> None:
    async with killable.client() as companion:
        session_id = companion.session_id
    async with client(killable, session_id) as agent:
        question = {"title": "Which?", "options": OPTIONS}
        created = await agent.experimental.call_tool_as_task("ask", question, ttl=600_000)
        task_id = created.task.taskId
        told = await agent.experimental.get_task(task_id)
        assert told.status == "working"
    await killable.kill()
    await killable.start()
    code = "".join(filter(str.isdigit, str(told.statusMessage).split(" type ", 1)[1]))
    async with client(killable, session_id) as agent:
        waiting = asyncio.create_task(
            agent.experimental.get_task_result(task_id, CallToolResult)
        )
        async with await Phone.pair(killable.url, code) as phone:
            await phone.choose("air")
            result = await waiting
        assert result.structuredContent is not None
        assert result.structuredContent["result"] == CHOSEN
        assert (await agent.experimental.get_task(task_id)).status == "completed"
        state = await agent.call_tool("get_state", {})
        assert state.structuredContent is not None
        assert state.structuredContent["companion"]["events"] == []
