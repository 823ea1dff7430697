"""The verbs around voice agents, run as programs."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from elevenlabs import ElevenLabs
from elevenlabs.conversational_ai.conversation import AsyncConversation, ClientTools
from elevenlabs.types import ClientToolConfigInput, WebhookToolConfigInput

from companion_ws.client import CompanionClient
from companion_ws.core.companion_tools import COMPANION_TOOLS
from companion_ws.testing.phone import Phone
from companion_ws.testing.server import CompanionServer
from tests.voice.silent_audio import AsyncSilentAudio

ROOT = Path(__file__).parents[2]
CHOICE = {"title": "Which?", "options": [{"id": "a", "label": "A"}, {"id": "b", "label": "B"}]}


async def verb(*words: str, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "run.py"),
        *words,
        env={**os.environ, **environment},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def output(*words: str, **environment: str) -> str:
    process = await verb(*words, **environment)
    out, trouble = await process.communicate()
    assert process.returncode == 0, trouble.decode()
    return out.decode()


async def test_the_agent_configuration_is_what_elevenlabs_takes() -> None:
    shop = ["--tools", "companion_ws.examples.shipping"]
    text = await output("elevenlabs", "agent-config", "--url", "https://x.example/", *shop)
    config = json.loads(text)
    kinds = {"client": ClientToolConfigInput, "webhook": WebhookToolConfigInput}
    for tool in config["tools"]:
        kinds[tool["type"]].model_validate(tool)
    names = [(tool["type"], tool["name"]) for tool in config["tools"]]
    assert len(set(names)) == len(names)
    for kind in kinds:
        assert {*COMPANION_TOOLS, "get_shipping_quotes"} <= {n for k, n in names if k == kind}
    assert ("webhook", "wait_for_companion") in names
    urls = [tool["api_schema"]["url"] for tool in config["tools"] if tool["type"] == "webhook"]
    assert all(url.startswith("https://x.example/elevenlabs/tools/") for url in urls)
    for name in COMPANION_TOOLS:
        assert name in config["prompt"]
    for variable in ("companion_pairing_url", "companion_pairing_code_spoken"):
        assert f"{{{{{variable}}}}}" in config["prompt"]


async def test_the_prompt_alone_is_text_and_knows_the_telephone_only_if_asked() -> None:
    text = await output("elevenlabs", "agent-config", "--prompt", "--kind", "client")
    assert text.startswith("# Your companion screen")
    assert "telephone" not in text


@pytest.fixture
async def fake_program() -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    process = await verb("fake-elevenlabs", "--port", "0", "--require", "name")
    assert process.stdout is not None
    yield process, json.loads(await process.stdout.readline())["url"]
    process.kill()
    await process.communicate()


async def test_the_fake_can_be_run_and_told_what_to_do(
    fake_program: tuple[asyncio.subprocess.Process, str],
) -> None:
    from elevenlabs.conversational_ai.conversation import ConversationInitiationData

    process, url = fake_program
    tools = ClientTools()
    tools.register("add", lambda parameters: str(parameters["a"] + parameters["b"]))
    conversation = AsyncConversation(
        ElevenLabs(api_key="any", base_url=url),
        "agent",
        requires_auth=False,
        audio_interface=AsyncSilentAudio(),
        config=ConversationInitiationData(dynamic_variables={"name": "Ada"}),
        client_tools=tools,
    )
    await conversation.start_session()
    assert process.stdin is not None
    assert process.stdout is not None
    began = json.loads(await process.stdout.readline())
    process.stdin.write(b'nonsense\n{"call": "add", "parameters": {"a": 1, "b": 2}}\n')
    seen: list[dict[str, Any]] = []
    async with asyncio.timeout(10):
        while not any("result" in line for line in seen):
            seen.append(json.loads(await process.stdout.readline()))
    assert {"result": "3", "is_error": False} in seen
    assert any("error" in line for line in seen)
    received = [line["received"]["type"] for line in seen if "received" in line]
    assert "client_tool_result" in received
    await conversation.end_session()
    assert await conversation.wait_for_session_end() == began["conversation_id"]


@pytest.fixture
def companion_settings() -> dict[str, Any]:
    return {"tools": "companion_ws.examples.shipping"}


@pytest.mark.parametrize("speed", ["0", "20"])
async def test_a_call_that_was_exported_is_played_again(
    speed: str,
    companion_server: CompanionServer,
    companion: CompanionClient,
    phone: Phone,
    tmp_path: Path,
) -> None:
    parcel = {"from_zip": "94107", "to_zip": "10001", "weight": 5}
    await companion.call_tool("get_shipping_quotes", **parcel)
    await phone.tap("selected_shipping_option", {"id": "air"}, "I take the air")
    asking = asyncio.create_task(companion.call_tool("companion_choose", **CHOICE))
    await phone.choose("b")
    await asking
    await companion.send(
        {"type": "agent_response", "agent_response_event": {"agent_response": "Done"}}
    )
    before = await companion_server.sessions.records(companion.session_id, 0, 1000)
    export = tmp_path / "call.jsonl"
    export.write_text("\n".join(json.dumps(record) for record in before))

    text = await output(
        "replay",
        str(export),
        "--speed",
        speed,
        "--check",
        COMPANION_URL=companion_server.url,
        COMPANION_TOKEN=companion_server.token(),
    )
    session_id = json.loads(text.splitlines()[0])["session_id"]
    again = await companion_server.sessions.records(session_id, 0, 1000)

    def told(records: list[dict[str, Any]]) -> list[Any]:
        kept = ("type", "text", "data", "key", "value", "result", "answered_by")
        return [{name: record.get(name) for name in kept} for record in records]

    assert sorted(map(json.dumps, told(again))) == sorted(map(json.dumps, told(before)))
    assert told(again)[-1] == told(before)[-1]


async def test_a_tool_that_answers_otherwise_is_noticed(
    companion_server: CompanionServer, companion: CompanionClient, tmp_path: Path
) -> None:
    parcel = {"from_zip": "94107", "to_zip": "10001", "weight": 5}
    await companion.call_tool("get_shipping_quotes", **parcel)
    records = await companion_server.sessions.records(companion.session_id, 0, 1000)
    for record in records:
        if record["type"] == "client_tool_result":
            record["result"] = "[]"
    export = tmp_path / "call.json"
    export.write_text(json.dumps({"records": records}))
    process = await verb(
        "replay",
        str(export),
        "--speed=0",
        "--check",
        COMPANION_URL=companion_server.url,
        COMPANION_TOKEN=companion_server.token(),
    )
    _, trouble = await process.communicate()
    assert process.returncode == 1
    assert "get_shipping_quotes answered otherwise" in trouble.decode()


async def test_a_file_without_records_is_refused_in_a_sentence(tmp_path: Path) -> None:
    export = tmp_path / "call.json"
    export.write_text('{"no": "records"}')
    process = await verb("replay", str(export), COMPANION_TOKEN="any")
    _, trouble = await process.communicate()
    assert process.returncode == 1
    assert "Traceback" not in trouble.decode()
