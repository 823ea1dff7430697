"""What models write into a tool call: answered with something to say, whatever it is."""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

import aiohttp
import pytest

from companion_ws.client import CompanionClient
from companion_ws.testing.fake_elevenlabs import FakeElevenLabs
from companion_ws.testing.phone import Phone
from companion_ws.testing.server import CompanionServer
from tests.voice.agents import Agent
from tests.voice.test_mcp import mcp, session, value
from tests.voice.test_phone_call import TOOL_SECRET, calling, screen_of

OPTIONS = [{"id": "air", "label": "UPS Next Day"}, {"id": "ground", "label": "FedEx Ground"}]


@pytest.fixture
def companion_settings() -> dict[str, Any]:
    return {"elevenlabs_tool_secret": TOOL_SECRET, "tools": "companion_ws.examples.shipping"}


def deep(levels: int) -> str:
    return '{"data": ' + '{"a": ' * levels + "1" + "}" * levels + "}"


BODIES = {
    "half a character": b'{"title": "A\\ud83d", "data": {"a": "\\udc00"}}',
    "an endless number": b'{"title": "x", "data": {"number": %s}}' % (b"9" * 5000),
    "a number beyond JSON": b'{"title": "x", "data": {"n": 1e999, "m": -1e999, "k": NaN}}',
    "a picture": json.dumps({"data": {"image": "data:image/png;base64," + "A" * 90_000}}).encode(),
    "a picture of two megabytes": b'{"data": "' + b"A" * 2_000_000 + b'"}',
    "no UTF-8": b'{"title": "caf\xe9"}',
    "no JSON": b"title: Rates",
    "cut off": b'{"title": "Ra',
    "a list": b"[1, 2]",
    "a word": b'"show it"',
    "null": b"null",
    "nothing": b"",
    "a trailing comma": b'{"title": "Rates",}',
    "nested deep": deep(200).encode(),
    "nested deeper than anybody reads": deep(100_000).encode(),
    "not unpackable": b"\x1f\x8b no gzip",
    "a name every object has": b'{"__proto__": {"a": 1}, "constructor": null, "title": "x"}',
}


async def post(server: CompanionServer, path: str, raw: bytes, **headers: str) -> tuple[int, Any]:
    given = {"X-Companion-Secret": TOOL_SECRET, "Content-Type": "application/json", **headers}
    async with aiohttp.ClientSession() as http:
        url = f"{server.url}/elevenlabs/{path}"
        async with http.post(url, data=io.BytesIO(raw), headers=given) as answer:
            return answer.status, await answer.json(content_type=None)


def packed(what: str) -> dict[str, str]:
    return {"Content-Encoding": "gzip"} if what == "not unpackable" else {}


async def while_shown(phone: Phone, asking: Any) -> tuple[int, Any]:
    """Wait for a reply, with a screen that shows what it is asked to."""
    showing = asyncio.create_task(phone.answer("companion_show", {"status": "shown"}))
    try:
        status, reply = await asking
        return status, reply
    finally:
        showing.cancel()


@pytest.mark.parametrize("tool_name", ["companion_show", "get_shipping_quotes"])
async def test_whatever_the_model_writes_it_hears_something(
    tool_name: str, companion_server: CompanionServer
) -> None:
    async with calling(companion_server) as call, screen_of(companion_server, call) as phone:
        for what, body in BODIES.items():
            headers = {"X-Call-Sid": call.call_sid, **packed(what)}
            asking = post(companion_server, f"tools/{tool_name}", body, **headers)
            status, reply = await while_shown(phone, asking)
            assert status == 200, what
            assert isinstance(reply["result"], str), what
            if reply.get("status") != "shown" and tool_name == "companion_show":
                assert (reply["status"], bool(reply["say"])) == ("refused", True), what


async def test_whatever_an_initiation_holds_the_call_begins(
    companion_server: CompanionServer,
) -> None:
    for what, body in BODIES.items():
        status, reply = await post(companion_server, "init", body, **packed(what))
        assert status == 200, what
        assert reply["dynamic_variables"]["companion_status"] in ("ready", "unavailable"), what


@pytest.mark.parametrize("path", ["tools/companion_show", "init"])
async def test_who_has_a_wrong_secret_is_told_nothing_else(
    path: str, companion_server: CompanionServer
) -> None:
    secret = {"X-Companion-Secret": "wrong"}
    for what, body in BODIES.items():
        if what != "a picture of two megabytes":  # nobody reads that of a stranger
            assert (await post(companion_server, path, body, **secret))[0] == 401, what


async def test_a_tool_that_fails_here_is_something_to_say(
    companion_server: CompanionServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(companion_server.sessions, "find", fail)
    status, reply = await post(
        companion_server, "tools/companion_show", b"{}", **{"X-Call-Sid": "CA1"}
    )
    assert status == 200
    assert reply["say"]


@pytest.mark.parametrize("wanted", [json.dumps(OPTIONS), f"```json\n{json.dumps(OPTIONS)}\n```"])
async def test_over_mcp_options_may_be_text(
    wanted: str, companion_server: CompanionServer, companion: CompanionClient, here: Phone
) -> None:
    async with mcp(companion_server, **session(companion)) as client:
        asking = asyncio.create_task(
            client.call_tool("ask", {"title": "Which?", "options": wanted, "multiple": "false"})
        )
        await here.choose("ground")
        assert value(await asking)["id"] == "ground"


async def test_over_mcp_a_schema_may_be_text(
    companion_server: CompanionServer, companion: CompanionClient, here: Phone
) -> None:
    schema = json.dumps({"type": "object", "properties": {"city": {"type": "string"}}})
    async with mcp(companion_server, **session(companion)) as client:
        asking = asyncio.create_task(
            client.call_tool("ask", {"title": "Where?", "schema": schema, "options": None})
        )
        await here.submit(city="Berlin")
        assert value(await asking)["values"] == {"city": "Berlin"}


async def test_over_mcp_null_is_what_is_left_out(
    companion_server: CompanionServer, companion: CompanionClient, here: Phone
) -> None:
    async with mcp(companion_server, **session(companion)) as client:
        wrote = await client.call_tool("set_state", {"key": "a", "value": 1, "if_revision": None})
        assert not wrote.is_error
        assert value(await client.call_tool("get_state", {"key": None})) == {"a": 1}
        nulls = dict.fromkeys(("options", "schema", "text", "multiple", "confirm_label"))
        asking = asyncio.create_task(client.call_tool("ask", {"title": "Sure?", **nulls}))
        await here.confirm()
        assert value(await asking) == {"status": "confirmed"}
        showing = asyncio.create_task(
            client.call_tool("show", {"title": "Rates", "data": None, "ui": None})
        )
        asked = await here.question("companion_show")
        assert asked["parameters"] == {"title": "Rates"}
        await here.answer("companion_show", {"status": "shown"})
        await showing


async def test_over_mcp_what_cannot_be_asked_is_a_result_the_model_sees(
    companion_server: CompanionServer, companion: CompanionClient
) -> None:
    async with mcp(companion_server, **session(companion)) as client:
        for arguments in ({"title": "Which?", "options": "nonsense"}, {"options": OPTIONS},
                          {"title": "Where?", "schema": "{"}):  # fmt: skip
            result = await client.call_tool("ask", arguments)
            assert not result.is_error
            assert value(result)["status"] == "refused"
            assert value(result)["say"]
            assert value(result)["reason"]


async def test_on_the_telephone_what_cannot_be_asked_is_a_normal_result(
    companion_server: CompanionServer,
) -> None:
    async with calling(companion_server) as call:
        reply = await call.tool("companion_choose", {"title": "Which?", "options": "nonsense"})
        assert (reply["status"], "is_error" in reply) == ("refused", False)
        assert reply["say"]
        assert "options" in reply["reason"]


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_in_python_what_cannot_be_asked_is_a_normal_result(
    kind: str, sdk: Any, fake: FakeElevenLabs, companion: CompanionClient, here: Phone
) -> None:
    async with Agent(kind, sdk, fake, companion) as agent:
        result = await agent.said.call_tool("companion_choose", {"title": "?", "options": "{"})
        assert not result.is_error
        assert result.json["status"] == "refused"
        assert result.json["say"]
        asking = asyncio.create_task(
            agent.said.call_tool("companion_choose", {"title": "?\ud83d", "options": ["A", "B"]})
        )
        await here.choose("B")
        assert (await asking).json["id"] == "B"


async def test_a_server_tool_takes_null_for_what_it_has_a_default_for(
    companion_server: CompanionServer,
) -> None:
    async with calling(companion_server) as call:
        parcel = {"from_zip": "94107", "to_zip": "10001", "weight": 5}
        nulls = {"dimensions": None, "pickup_requested": None}
        reply = await call.tool("get_shipping_quotes", {**parcel, **nulls})
        assert "is_error" not in reply
        reply = await call.tool("get_shipping_quotes", {**parcel, "weight": None})
        assert reply["is_error"]


async def test_null_is_what_is_left_out_in_bodies_queries_and_messages(
    companion_server: CompanionServer, companion: CompanionClient
) -> None:
    session_id = companion.session_id
    messages = [
        {"type": "contextual_update", "text": "x", "ui": None, "context_id": None, "data": None},
        {"type": "client_tool_call", "tool_name": "t", "tool_call_id": "c", "parameters": None,
         "timeout_ms": None, "expects_response": None},
        {"type": "state_update", "key": "k", "value": None, "if_revision": None, "requestId": None},
        {"type": "user_message", "text": "x", "in_reply_to": None},
        {"type": "screen_command", "name": "toast", "target": None, "text": "x"},
        {"type": "state_get", "key": None},
    ]  # fmt: skip
    for message in messages:
        answer = await companion.http("POST", f"/sessions/{session_id}/messages?wait=null", message)
        assert answer.get("code") is None
    for path, body in (
        ("/sessions", {"user": None, "title": None, "language": None}),
        ("/sessions", None),
        (f"/sessions/{session_id}/pairings", {"ttl_s": None}),
        (f"/sessions/{session_id}/tokens", {"role": None, "ttl_s": None}),
    ):
        await companion.http("POST", path, body)
    for path in (f"/sessions/{session_id}/records?after=null&limit=undefined",
                 "/me/sessions?cursor=null&limit=null&conversation_id=null"):  # fmt: skip
        await companion.http("GET", path)
    query = f"session_id={session_id}&after=null&epoch=null&device=null&tools=null&strict=null&role=null"
    async with aiohttp.ClientSession() as http:
        url = f"{companion_server.url}/ws?{query}&token={companion_server.token()}"
        async with http.ws_connect(url) as socket:
            joined = await socket.receive_json()
    assert (joined["session_id"], joined["recovery"], joined["role"]) == (session_id, "none", "agent")


@pytest.mark.parametrize("nothing", ["null", "None", "undefined", "{{system__conversation_id}}", ""])
async def test_a_variable_without_a_value_names_no_call(
    nothing: str, companion_server: CompanionServer
) -> None:
    async with calling(companion_server) as first, calling(companion_server) as second:
        for call in (first, second):
            call.conversation_id = nothing
            await call.tool("wait_for_companion", {"seconds": 0})
        headers = {"Authorization": f"Bearer {companion_server.token('root', 'admin')}"}
        async with aiohttp.ClientSession() as http:
            async with http.get(f"{companion_server.url}/sessions", headers=headers) as answer:
                found = (await answer.json())["sessions"]
        assert [one["conversation_id"] for one in found] == [None, None]
        nulls = {"caller_id": None, "call_sid": None, "dynamic_variables": None, "agent_id": None}
        status, reply = await post(companion_server, "init", json.dumps(nulls).encode())
        assert (status, reply["dynamic_variables"]["companion_status"]) == (200, "ready")
