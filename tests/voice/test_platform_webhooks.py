"""Vapi and Retell by webhook: their agents ask, people tap, and every payload gets an answer."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from companion_ws.access.keys import Keys
from companion_ws.access.tokens import Tokens
from companion_ws.testing.phone import Phone
from companion_ws.testing.server import CompanionServer
from companion_ws.voice.retell import RETELL
from companion_ws.voice.vapi import VAPI
from tests.voice.killable import KillableServer
from tests.voice.platform_calls import (
    PLATFORMS,
    SECRET,
    PlatformCall,
    RetellCall,
    VapiCall,
    read_results,
)

OPTIONS = [{"id": "air", "label": "UPS Next Day"}, {"id": "ground", "label": "FedEx Ground"}]
CHOICE = {"title": "Which?", "options": OPTIONS}
PARCEL = {"from_zip": "94107", "to_zip": "10001", "weight": 5}

both = pytest.mark.parametrize("name", PLATFORMS)


@pytest.fixture
def companion_settings() -> dict[str, Any]:
    return {
        "tools": "companion_ws.examples.shipping",
        "vapi_secret": SECRET,
        "retell_api_key": SECRET,
    }


def calling(name: str, server: Any, **options: Any) -> Any:
    return PLATFORMS[name](server.url, **options)


async def session_of(server: CompanionServer, call: PlatformCall) -> str | None:
    found = await server.sessions.find(conversation_id=call.id)
    return None if found is None else found.session_id


async def screen_of(server: CompanionServer, call: PlatformCall) -> Phone:
    session_id = await session_of(server, call)
    return Phone(server.client("phone", session_id=session_id, role="ui", after=0))


async def records(server: CompanionServer, session_id: str | None, *kinds: str) -> list[Any]:
    assert session_id is not None
    found = await server.sessions.records(session_id, 0, 200)
    return [record for record in found if record["type"] in kinds]


@both
async def test_nobody_was_there_before_the_kill_and_the_late_tap_is_told_once(
    name: str, tmp_path: Path
) -> None:
    server = KillableServer(
        tmp_path / "data", COMPANION_VAPI_SECRET=SECRET, COMPANION_RETELL_API_KEY=SECRET
    )
    await server.start()
    try:
        async with calling(name, server) as call:
            await call.begin()
            asked = await call.tool("companion_choose", CHOICE)
            assert asked["status"] == "no_screen"
            assert asked["say"]
            await server.kill()
            await server.start()
            async with await Phone.pair(server.url, asked["pairing_code"], timeout_s=20) as phone:
                await phone.choose("air")
                news = await call.tool("wait_for_companion", {"seconds": 20})
            [event] = news["companion"]["events"]
            assert event["text"] == "About “Which?”: UPS Next Day."
            again = await call.tool("wait_for_companion", {"seconds": 0})
            assert (again["status"], again["companion"]["events"]) == ("waiting", [])
    finally:
        await server.kill()


@both
async def test_the_agent_asks_and_the_screen_answers(
    name: str, companion_server: CompanionServer
) -> None:
    async with calling(name, companion_server) as call:
        await call.begin()
        async with await screen_of(companion_server, call) as phone:
            asking = asyncio.create_task(call.tool("companion_choose", CHOICE))
            await phone.choose("air")
            reply = await asking
            assert (reply["status"], reply["id"]) == ("chosen", "air")
            assert "FedEx" in (await call.tool("get_shipping_quotes", PARCEL))["result"]


@both
async def test_a_call_whose_begin_nobody_told_begins_with_its_first_tool(
    name: str, companion_server: CompanionServer
) -> None:
    async with calling(name, companion_server) as call:
        await call.tool("wait_for_companion", {"seconds": 0})
        assert await session_of(companion_server, call) is not None


@both
async def test_two_calls_of_one_number_at_once_never_share_a_session(
    name: str, companion_server: CompanionServer
) -> None:
    async with calling(name, companion_server) as one, calling(name, companion_server) as two:
        await one.begin()
        await two.tool("wait_for_companion", {"seconds": 0})
        sessions = {await session_of(companion_server, call) for call in (one, two)}
        assert len(sessions) == 2


@both
async def test_who_calls_again_goes_on_in_the_session_they_had(
    name: str, companion_server: CompanionServer
) -> None:
    async with calling(name, companion_server) as one, calling(name, companion_server) as two:
        await one.begin()
        await one.hang_up()
        await two.begin()
        assert await session_of(companion_server, one) == await session_of(companion_server, two)


@both
async def test_what_is_said_is_written_down_once_and_in_order(
    name: str, companion_server: CompanionServer
) -> None:
    spoken = [("agent", "Hello."), ("user", "Two parcels."), ("agent", "Where to?"), ("user", "Rome.")]
    async with calling(name, companion_server) as call:
        await call.begin()
        await call.said(*spoken)
        await call.said(*spoken)
        await call.hang_up()
        session_id = await session_of(companion_server, call)
        found = await records(companion_server, session_id, "user_transcript", "agent_response")
        assert [_text_of(record) for record in found] == [text for _, text in spoken]


def _text_of(record: dict[str, Any]) -> str:
    kind = record["type"]
    nest = {"user_transcript": "user_transcription_event"}.get(kind, "agent_response_event")
    return str(record[nest][kind])


@both
async def test_the_end_of_a_call_is_told_its_session_with_what_it_was_about(
    name: str, companion_server: CompanionServer
) -> None:
    async with calling(name, companion_server) as call:
        await call.begin()
        session_id = await session_of(companion_server, call)
        assert await companion_server.sessions.calls.is_live(str(session_id))
        for _ in range(2):
            await call.hang_up("Two parcels to Rome.")
        found = await records(companion_server, session_id, "contextual_update")
        assert [record["text"] for record in found] == ["call_ended", "call_ended"]
        assert found[-1]["data"]["summary"] == "Two parcels to Rome."
        assert found[-1]["data"]["reason"]
        assert not await companion_server.sessions.calls.is_live(str(session_id))


@both
async def test_a_call_told_twice_is_asked_once(
    name: str, companion_server: CompanionServer
) -> None:
    async with calling(name, companion_server) as call:
        await call.begin()
        async with await screen_of(companion_server, call) as phone:
            asking = [
                asyncio.create_task(call.tool("companion_choose", CHOICE, "tool_1"))
                for _ in range(3)
            ]
            await phone.choose("air")
            assert [(await each)["id"] for each in asking] == ["air"] * 3
        session_id = await session_of(companion_server, call)
        assert len(await records(companion_server, session_id, "client_tool_call")) == 1


@both
async def test_an_id_used_again_for_another_question_is_another_question(
    name: str, companion_server: CompanionServer
) -> None:
    async with calling(name, companion_server) as call:
        await call.begin()
        async with await screen_of(companion_server, call) as phone:
            for title in ("Which?", "And now?"):
                question = {**CHOICE, "title": title}
                asking = asyncio.create_task(call.tool("companion_choose", question, "call_0"))
                await phone.choose("air")
                assert (await asking)["id"] == "air"
            again = await call.tool("companion_choose", question, "call_0")
            assert again["id"] == "air"
        session_id = await session_of(companion_server, call)
        asked = await records(companion_server, session_id, "client_tool_call")
        titles = [record["client_tool_call"]["parameters"]["title"] for record in asked]
        assert titles == ["Which?", "And now?"]


ODD: list[tuple[str, Any]] = [
    ("null", None), ("text", "no object"), ("a list", [1, 2]), ("a number", 7),
    ("not JSON", '{"title": '), ("nothing to tap", {"title": "Which?", "options": None}),
    ("options in prose", {"title": "Which?", "options": 12}),
]  # fmt: skip


@both
@pytest.mark.parametrize(("about", "arguments"), ODD, ids=[about for about, _ in ODD])
async def test_arguments_that_are_none_get_an_answer_the_model_can_speak(
    name: str, about: str, arguments: Any, companion_server: CompanionServer
) -> None:
    async with calling(name, companion_server) as call:
        await call.begin()
        async with await screen_of(companion_server, call):
            reply = await call.tool("companion_choose", arguments)
            assert reply["status"] == "refused", about
            assert reply["say"]
            assert reply["reason"]


@both
async def test_what_is_too_large_or_no_text_gets_an_answer_too(
    name: str, companion_server: CompanionServer
) -> None:
    async with calling(name, companion_server) as call:
        await call.begin()
        reply = await call.tool("companion_choose", {**CHOICE, "text": "x" * 70_000})
        assert (reply["status"], "too large" in reply["reason"]) == ("refused", True)
        async with await screen_of(companion_server, call) as phone:
            asking = asyncio.create_task(
                call.tool("companion_choose", {**CHOICE, "title": "Half \ud800"})
            )
            await phone.choose("air")
            assert (await asking)["id"] == "air"
        await call.said(("user", "Half \ud800"), ("agent", "x" * 1_000_000), ("user", "\x00"))
        await call.hang_up("Half \udfff" * 10_000)
        session_id = await session_of(companion_server, call)
        found = await records(companion_server, session_id, "user_transcript", "agent_response")
        assert [len(_text_of(record)) < 20_000 for record in found] == [True] * 3


async def test_a_message_beyond_the_bound_of_who_has_the_secret_is_not_sent_again(
    companion_server: CompanionServer,
) -> None:
    async with VapiCall(companion_server.url) as call:
        message = call.message("conversation-update", messages="x" * 5_000_000)
        status, answer = await call.post(json.dumps(message).encode())
        assert (status, answer["results"]) == (200, [])
        assert "too large" in answer["error"] or "at most" in answer["error"]


KEYS = ["message", "type", "call", "chat", "event", "name", "args", "id", "call_id", "status", "role",
        "toolCallList", "toolCalls", "toolWithToolCallList", "toolCall", "function", "arguments",
        "parameters", "customer", "phoneNumber", "number", "analysis", "call_analysis", "duration_ms",
        "transcript", "transcriptType", "transcript_object", "transcript_with_tool_calls", "content",
        "metadata", "assistantOverrides", "variableValues", "companion_session", "timestamp",
        "telephony_identifier", "retell_llm_dynamic_variables", "tool_call_id", "direction"]  # fmt: skip
WORDS = ["tool-calls", "status-update", "ended", "transcript", "final", "user", "agent", "call_ended",
         "end-of-call-report", "call_analyzed", "transcript_updated", "tool_call_invocation", "x", ""]  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(WORDS) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=30,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6), st.sampled_from(WORDS))
def test_whatever_a_body_is_made_of_it_is_read(body: dict[str, Any], kind: str) -> None:
    for platform in (VAPI, RETELL):
        for given_body in (body, {**body, "type": kind, "event": kind}, {"message": {**body, "type": kind}}):
            told = platform.read(given_body)
            result: dict[str, Any] = {"status": "refused"}
            if told.asked is not None:
                json.dumps(platform.answer([(asked, result) for asked in told.asked]))
            assert all(command["requestId"] for command in told.commands)


@both
async def test_arguments_as_json_text_are_read(
    name: str, companion_server: CompanionServer
) -> None:
    async with calling(name, companion_server) as call:
        await call.begin()
        async with await screen_of(companion_server, call) as phone:
            asking = asyncio.create_task(call.tool("companion_choose", json.dumps(CHOICE)))
            await phone.choose("air")
            assert (await asking)["id"] == "air"


NO_EVENTS: list[Any] = [
    None, [], 7, "text", {}, {"message": None}, {"message": "text"}, {"event": 7, "call": "x"},
    {"message": {"type": None, "call": None}}, {"message": {"type": "of-tomorrow", "call": {"id": 7}}},
    {"message": {"type": "status-update", "status": "in-progress", "call": "x"}},
    {"message": {"type": "transcript", "transcriptType": "final", "transcript": {}, "role": []}},
    {"message": {"type": "end-of-call-report", "analysis": "good", "call": {"id": {"a": 1}}}},
    {"message": {"type": "tool-calls", "toolCallList": None, "call": None}},
    {"message": {"type": "conversation-update", "messages": "x" * 300_000}},
    {"event": "of_tomorrow", "call": {"call_id": ["x"]}}, {"event": "call_started", "call": None},
    {"event": "transcript_updated", "call": {"call_id": "x", "transcript_object": "text"}},
    {"event": "transcript_updated", "call": {"call_id": "x", "transcript_object": [None, 7, {}]}},
    {"event": "call_ended", "call": {"call_id": "x", "duration_ms": "long"}},
    {"event": "call_inbound", "call_inbound": {"from_number": "+1"}},
    {"name": None, "args": None, "call": None}, {"name": ["x"], "args": "x", "call": 7},
    {"title": "Which?", "options": OPTIONS},
]  # fmt: skip


@both
async def test_what_means_nothing_here_is_answered_and_changes_nothing(
    name: str, companion_server: CompanionServer
) -> None:
    async with calling(name, companion_server) as call:
        for body in NO_EVENTS:
            await call.send(body)
        for raw in (b"", b"\xff\xfe", b"{", b"[" * 100_000):
            status, _ = await call.post(raw)
            assert status == 200, raw[:5]
        assert companion_server.sessions.calls.count == 0


async def test_each_of_several_tools_in_one_message_is_answered_under_its_id(
    companion_server: CompanionServer,
) -> None:
    async with VapiCall(companion_server.url) as call:
        await call.begin()
        async with await screen_of(companion_server, call) as phone:
            asking = asyncio.create_task(
                call.tools(("a", "companion_choose", CHOICE), ("b", "get_shipping_quotes", PARCEL),
                           ("c", "", {}), ("d", "companion_choose", None))
            )  # fmt: skip
            await phone.choose("air")
            chosen, quotes, nameless, empty = await asking
        assert (chosen["id"], "FedEx" in quotes["result"]) == ("air", True)
        assert {nameless["status"], empty["status"]} == {"refused"}


@pytest.mark.parametrize("form", ["flat", "with tool", "text arguments", "numbered"])
async def test_tool_calls_are_read_in_every_form_vapi_has_had(
    form: str, companion_server: CompanionServer
) -> None:
    flat: dict[str, Any] = {"id": "t1", "name": "get_shipping_quotes", "parameters": PARCEL}
    function = {"name": "get_shipping_quotes", "arguments": json.dumps(PARCEL)}
    fields: dict[str, Any] = {
        "flat": {"toolCallList": [flat]},
        "with tool": {"toolWithToolCallList": [
            {"name": "get_shipping_quotes", "toolCall": {"id": "t1", "parameters": PARCEL}}]},
        "text arguments": {"toolCalls": [{"id": "t1", "type": "function", "function": function}]},
        "numbered": {"toolCallList": [{**flat, "id": 7}]},
    }[form]  # fmt: skip
    async with VapiCall(companion_server.url) as call:
        answer = await call.send(call.message("tool-calls", **fields))
        [reply] = read_results(answer, [7 if form == "numbered" else "t1"])
        assert "FedEx" in reply["result"]


async def test_more_tools_at_once_than_a_person_can_see_are_refused_in_words(
    companion_server: CompanionServer,
) -> None:
    async with VapiCall(companion_server.url) as call:
        wait = ("wait_for_companion", {"seconds": 0})
        replies = await call.tools(*((f"t{place}", *wait) for place in range(40)))
        statuses = [reply["status"] for reply in replies]
        assert statuses == ["waiting"] * 32 + ["refused"] * 8


async def test_an_answer_is_within_what_retell_keeps(companion_server: CompanionServer) -> None:
    async with RetellCall(companion_server.url) as call:
        await call.begin()
        async with await screen_of(companion_server, call) as phone:
            for place in range(30):
                await phone.say(f"{place} " + "“long” " * 300)
            reply = await call.tool("wait_for_companion", {"seconds": 0})
            assert len(reply["companion"]["events"]) == 30
            assert reply["companion"]["events"][0]["text"].startswith("0 ")


@both
async def test_a_page_that_gave_the_call_its_token_has_it_in_its_session(
    name: str, companion_server: CompanionServer
) -> None:
    async with companion_server.client("alice") as alice:
        tokens = Tokens(Keys.load(companion_server.config.data, None))
        token, _ = tokens.issue("session", "alice", 600, session_id=alice.session_id, role="agent")
        async with calling(name, companion_server, caller="") as call:
            if isinstance(call, VapiCall):
                message = call.message("status-update", status="in-progress")
                variables = {"variableValues": {"companion_session": token}}
                message["message"]["call"]["assistantOverrides"] = variables
                await call.send(message)
            else:
                await call.event(
                    "call_started", retell_llm_dynamic_variables={"companion_session": token}
                )
            assert await session_of(companion_server, call) == alice.session_id


VAPI_PROOFS = ["X-Vapi-Secret", "bearer", "hmac", "hmac base64", "hmac and time", "hmac and ms"]


def vapi_proof(kind: str, raw: bytes, secret: str) -> dict[str, str]:
    digest = hmac.digest(secret.encode(), raw, "sha256")
    stamp = str(int(time.time() * (1000 if kind.endswith("ms") else 1)))
    timed = hmac.digest(secret.encode(), f"{stamp}.".encode() + raw, "sha256").hex()
    proofs: dict[str, dict[str, str]] = {
        "X-Vapi-Secret": {"X-Vapi-Secret": secret},
        "bearer": {"Authorization": f"Bearer {secret}"},
        "hmac": {"X-Vapi-Signature": digest.hex()},
        "hmac base64": {"X-Signature": base64.b64encode(digest).decode()},
        "hmac and time": {"X-Signature": f"sha256={timed}", "X-Timestamp": stamp},
        "hmac and ms": {"X-Signature": timed, "X-Timestamp": stamp},
    }
    return proofs[kind]


@pytest.mark.parametrize("kind", VAPI_PROOFS)
async def test_vapi_proves_itself_in_each_of_its_ways_and_nobody_else_in_any(
    kind: str, companion_server: CompanionServer
) -> None:
    async with VapiCall(companion_server.url) as call:
        raw = json.dumps(call.message("status-update", status="in-progress")).encode()
        status, _ = await call.post(raw, vapi_proof(kind, raw, "guessed"))
        assert (status, await session_of(companion_server, call)) == (401, None)
        status, _ = await call.post(raw, vapi_proof(kind, raw, SECRET))
        assert status == 200
        assert await session_of(companion_server, call) is not None


async def test_a_signature_of_another_body_or_of_another_hour_holds_for_neither(
    companion_server: CompanionServer,
) -> None:
    async with VapiCall(companion_server.url) as call:
        raw = json.dumps(call.message("status-update", status="in-progress")).encode()
        signed = hmac.digest(SECRET.encode(), b"1700000000." + raw, "sha256").hex()
        old = {"X-Signature": signed, "X-Timestamp": "1700000000"}
        for headers in (old, vapi_proof("hmac", b"{}", SECRET), {}, {"X-Signature": "\udcff" * 43},
                        {"X-Signature": "x", "X-Timestamp": "soon"}):  # fmt: skip
            assert (await call.post(raw, headers))[0] == 401
        assert await session_of(companion_server, call) is None
    async with RetellCall(companion_server.url) as retell:
        raw = json.dumps({"event": "call_started", "call": retell.call()}).encode()
        stamp = int(time.time() * 1000)
        for headers in (
            retell.headers(raw, stamp - 600_000), retell.headers(raw, stamp + 600_000),
            retell.headers(b"{}"), {}, {"X-Retell-Signature": "v=1,d="},
            {"X-Retell-Signature": f"v={'9' * 400},d={'0' * 64}"},
        ):  # fmt: skip
            assert (await retell.post(raw, headers))[0] == 401
        assert await session_of(companion_server, retell) is None


async def test_a_wrong_secret_ends_no_call_and_asks_nothing(
    companion_server: CompanionServer,
) -> None:
    for name in PLATFORMS:
        async with (
            calling(name, companion_server) as call,
            calling(name, companion_server, secret="guessed") as thief,
        ):
            await call.begin()
            thief.id = call.id
            for attempt in (thief.hang_up, lambda thief=thief: thief.tool("companion_choose", CHOICE)):
                with pytest.raises(AssertionError, match="401"):
                    await attempt()
            session_id = await session_of(companion_server, call)
            assert await companion_server.sessions.calls.is_live(str(session_id))
            found = await records(
                companion_server, session_id, "client_tool_call", "contextual_update"
            )
            assert found == []


@pytest.fixture
async def without_secrets() -> AsyncIterator[CompanionServer]:
    async with CompanionServer() as server:
        yield server


@both
async def test_without_a_secret_there_is_no_such_route(
    name: str, without_secrets: CompanionServer
) -> None:
    for secret in ("", "None", SECRET):
        async with calling(name, without_secrets, secret=secret) as call:
            assert (await call.post(b"{}"))[0] == 404
