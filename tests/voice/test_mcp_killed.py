"""An agent asks over MCP and nobody is there; the server is killed, a phone comes, the agent hears it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from mcp.client.client import Client

from companion_ws.testing.phone import Phone
from tests.npm import npm_installed
from tests.voice.killable import KillableServer
from tests.voice.mcp_clients import Tasks, client_at, tasks, until

JS = Path(__file__).parent / "mcp_js"
OPTIONS = [{"id": "air", "label": "UPS Next Day"}, {"id": "ground", "label": "FedEx Ground"}]
QUESTION = {"title": "Which?", "options": OPTIONS}
CHOSEN = {"status": "chosen", "id": "air", "label": "UPS Next Day"}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[KillableServer]:
    killable = KillableServer(tmp_path / "data")
    await killable.start()
    yield killable
    await killable.kill()


@pytest.fixture
async def session_id(server: KillableServer) -> str:
    async with server.client() as companion:
        return companion.session_id


async def killed_and_started(server: KillableServer) -> None:
    await server.kill()
    await server.start()


async def asked_in(server: KillableServer, session_id: str) -> int:
    """How many questions were put in a session; one that joins another is the same."""
    async with server.client(session_id=session_id, role="observer", after=0) as watching:
        records = [record async for record in _history(watching)]
    asked = [record for record in records if record["type"] == "client_tool_call"]
    return sum("joins" not in record for record in asked)


async def _history(watching: Any) -> AsyncIterator[dict[str, Any]]:
    last = watching.joined["seq"]
    async for record in watching.records():
        yield record
        if record["seq"] >= last:
            return


async def tapped(server: KillableServer, code: str) -> None:
    async with await Phone.pair(server.url, code) as phone:
        await phone.choose("air")


async def events(client: Client) -> list[Any]:
    state = await client.call_tool("get_state", {})
    return list(state.structured_content["companion"]["events"])


async def test_the_python_client_looks_with_its_handle(
    server: KillableServer, session_id: str
) -> None:
    async with client_at(server.url, server.token(), session_id, extensions=[Tasks()]) as client:
        task = await client.session.call_tool("ask", QUESTION, allow_claimed=True)
        told = await tasks(client.session, "get", task.task_id)
    await killed_and_started(server)
    async with client_at(server.url, server.token(), session_id, extensions=[Tasks()]) as client:
        assert (await tasks(client.session, "get", task.task_id))["status"] == "working"
        await tapped(server, _code_in(told["statusMessage"]))

        async def over() -> Any:
            told = await tasks(client.session, "get", task.task_id)
            return told if told["status"] != "working" else None

        told = await until(over)
        assert told["result"]["structuredContent"]["result"] == CHOSEN
        assert await events(client) == []
    assert await asked_in(server, session_id) == 1


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_python_client_asks_again(
    mode: str, server: KillableServer, session_id: str
) -> None:
    async with client_at(server.url, server.token(), session_id, mode) as client:
        result = await client.call_tool("ask", QUESTION)
        lonely = result.structured_content["result"]
        assert lonely["status"] == "no_screen"
    await killed_and_started(server)
    await tapped(server, lonely["pairing_code"])
    async with client_at(server.url, server.token(), session_id, mode) as client:
        result = await client.call_tool("ask", QUESTION)
        assert result.structured_content["result"] == CHOSEN
        assert await events(client) == []
    assert await asked_in(server, session_id) == 1


async def test_an_answer_in_time_to_a_request_that_was_cut_off_is_not_lost(
    server: KillableServer, session_id: str
) -> None:
    watching = Phone(server.client(session_id=session_id, role="ui", after=0))
    async with watching as phone:
        async with aiohttp.ClientSession() as http:
            params = {"name": "ask", "arguments": QUESTION}
            message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
            headers = {"Authorization": f"Bearer {server.token()}", "X-Companion-Session": session_id}
            asking = asyncio.create_task(
                http.post(f"{server.url}/mcp", json=message, headers=headers).__aenter__()
            )
            await phone.question()
            await server.kill()
            with pytest.raises(aiohttp.ClientError):
                await asking
        await server.start()
        await phone.choose("air")
        async with client_at(server.url, server.token(), session_id) as client:
            result = await client.call_tool("ask", QUESTION)
            assert result.structured_content["result"] == CHOSEN
            assert await events(client) == []
    assert await asked_in(server, session_id) == 1


async def test_the_typescript_client_of_2025_11_25_gets_the_result_of_its_task(
    server: KillableServer, session_id: str
) -> None:
    async with node_agent("tasks", server, session_id) as agent:
        told = await agent.says("begun")
        assert (told["begun"]["type"], told["support"]) == (
            "taskCreated", {"taskSupport": "optional"},
        )  # fmt: skip
        await killed_and_started(server)
        watching = Phone(server.client(session_id=session_id, role="ui", after=0))
        async with watching as phone:
            await phone.choose("air")
        await agent.go_on()
        told = await agent.says("answer")
        assert told["task"]["status"] == "completed"
        assert told["answer"]["structuredContent"]["result"] == CHOSEN
        after = (await agent.says("after"))["after"]
        assert after["structuredContent"]["companion"]["events"] == []
    assert await asked_in(server, session_id) == 1


async def test_the_typescript_client_of_2026_07_28_comes_with_its_next_round(
    server: KillableServer, session_id: str
) -> None:
    async with node_agent("links", server, session_id) as agent:
        link = (await agent.says("link"))["link"]
        assert (link["mode"], link["url"]) == ("url", f"{server.url}/c")
        await killed_and_started(server)
        await tapped(server, _code_in(link["message"]))
        await agent.go_on()
        told = await agent.says("answer")
        assert told["answer"]["structuredContent"]["result"] == CHOSEN
        after = (await agent.says("after"))["after"]
        assert after["structuredContent"]["companion"]["events"] == []
    assert await asked_in(server, session_id) == 1


def _code_in(said: str) -> str:
    return "".join(filter(str.isdigit, said.split(" type ", 1)[1]))


class NodeAgent:
    """`mcp_js/agent.mjs` at work."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def says(self, key: str) -> dict[str, Any]:
        assert self._process.stdout is not None
        async with asyncio.timeout(40):
            while line := await self._process.stdout.readline():
                message: dict[str, Any] = json.loads(line)
                if key in message:
                    return message
        raise AssertionError("the agent ended")

    async def go_on(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        await self._process.stdin.drain()


@asynccontextmanager
async def node_agent(
    kind: str, server: KillableServer, session_id: str
) -> AsyncIterator[NodeAgent]:
    options = {
        "modules": str(npm_installed(JS / "package.json")),
        "kind": kind,
        "url": server.url,
        "token": server.token(),
        "session": session_id,
        "question": QUESTION,
    }
    process = await asyncio.create_subprocess_exec(
        "node", str(JS / "agent.mjs"), json.dumps(options),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield NodeAgent(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
