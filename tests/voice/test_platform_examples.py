"""The examples for Vapi and Retell make an agent at a strict fake, whose call then has a screen."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from companion_ws.testing.phone import Phone
from companion_ws.testing.server import CompanionServer
from tests.voice.platform_calls import SECRET, RetellCall, VapiCall

EXAMPLES = Path(__file__).parents[2] / "examples"
OPTIONS = [{"id": "air", "label": "UPS Next Day"}, {"id": "ground", "label": "FedEx Ground"}]
CHOICE = {"title": "Which?", "options": OPTIONS}
_TOOL_OF = {
    "vapi": {"type", "function", "server"},
    "retell": {"type", "name", "description", "parameters", "url", "timeout_ms",
               "speak_during_execution", "speak_after_execution"},
}  # fmt: skip
_FIELDS = {
    "/assistant": {"name", "firstMessage", "model", "server", "serverMessages"},
    "/create-retell-llm": {"begin_message", "general_prompt", "general_tools"},
    "/create-agent": {"agent_name", "voice_id", "response_engine", "webhook_url", "webhook_events"},
}


class FakeApi:
    """Where agents are made: takes the fields there are, from who has the key, and knows the rest."""

    def __init__(self) -> None:
        self.made: dict[str, dict[str, Any]] = {}

    async def make(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {SECRET}":
            return web.json_response({"message": "Unauthorized"}, status=401)
        body = await request.json()
        if set(body) != _FIELDS[request.path]:
            return web.json_response({"message": "property should not exist"}, status=400)
        self.made[request.path] = body
        ids = {"id": "asst_1", "llm_id": "llm_1", "agent_id": "agent_1"}
        return web.json_response({**body, **ids}, status=201)

    def tools(self) -> list[dict[str, Any]]:
        """Return the tools that the model may call."""
        vapi = self.made.get("/assistant", {}).get("model", {}).get("tools", [])
        retell = self.made.get("/create-retell-llm", {}).get("general_tools", [])
        for tool in vapi:
            assert set(tool) == _TOOL_OF["vapi"]
            assert set(tool["server"]) == {"url", "timeoutSeconds", "headers"}
        for tool in retell:
            assert set(tool) == _TOOL_OF["retell"]
        return [*vapi, *retell]


@pytest.fixture
async def api() -> AsyncIterator[tuple[FakeApi, str]]:
    fake, app = FakeApi(), web.Application()
    app.add_routes([web.post(path, fake.make) for path in _FIELDS])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield fake, f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
def companion_settings() -> dict[str, Any]:
    return {"vapi_secret": SECRET, "retell_api_key": SECRET}


async def run(example: str, **environment: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(EXAMPLES / example), stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(EXAMPLES.parent), **environment},
    )  # fmt: skip
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


async def test_an_assistant_is_made_at_vapi_and_its_call_has_a_screen(
    api: tuple[FakeApi, str], companion_server: CompanionServer
) -> None:
    fake, url = api
    said = await run(
        "vapi_assistant.py", VAPI_BASE_URL=url, VAPI_API_KEY=SECRET, COMPANION_VAPI_SECRET=SECRET,
        COMPANION_URL=companion_server.url,
    )  # fmt: skip
    assert "asst_1" in said
    assert fake.made["/assistant"]["server"]["url"] == f"{companion_server.url}/vapi"
    [server] = [tool["server"] for tool in fake.tools()
                if tool["function"]["name"] == "companion_choose"]  # fmt: skip
    url, _, _ = server["url"].rpartition("/vapi")
    async with VapiCall(url, secret=server["headers"]["X-Vapi-Secret"]) as call:
        await chosen(companion_server, call)


async def test_an_agent_is_made_at_retell_and_its_call_has_a_screen(
    api: tuple[FakeApi, str], companion_server: CompanionServer
) -> None:
    fake, url = api
    said = await run(
        "retell_agent.py", RETELL_BASE_URL=url, RETELL_API_KEY=SECRET,
        COMPANION_URL=companion_server.url,
    )  # fmt: skip
    assert "agent_1" in said
    agent = fake.made["/create-agent"]
    assert agent["response_engine"] == {"type": "retell-llm", "llm_id": "llm_1"}
    assert agent["webhook_url"] == f"{companion_server.url}/retell"
    assert {tool["url"] for tool in fake.tools()} == {f"{companion_server.url}/retell"}
    async with RetellCall(companion_server.url) as call:
        await chosen(companion_server, call)


async def chosen(server: CompanionServer, call: Any) -> None:
    await call.begin()
    found = await server.sessions.find(conversation_id=call.id)
    assert found is not None
    screen = Phone(server.client("phone", session_id=found.session_id, role="ui", after=0))
    async with screen as phone:
        asking = asyncio.create_task(call.tool("companion_choose", CHOICE))
        await phone.choose("air")
        assert (await asking)["id"] == "air"
