"""Every command, who may send it, what comes of it, and what is said where nothing does."""

from __future__ import annotations

import json
from typing import Any

import pytest
from running import Running, Socket

COMMON = {"type", "timestamp", "requestId", "session_id", "seq", "sender"}


async def trio(server: Running) -> tuple[Socket, Socket, Socket]:
    agent, screen = await server.pair_of()
    observer = await server.join(session_id=agent.session_id, role="observer")
    return agent, screen, observer


async def test_a_record_goes_to_everybody_the_sender_included(server: Running) -> None:
    agent, screen, observer = await trio(server)
    said = {
        "text": "quote_ready", "data": {"cost": 12.99, "a": [None]}, "ui": {"v": 1}, "context_id": "c"
    }
    record = await agent.say("contextual_update", requestId="r", **said, junk=1)

    assert record.keys() == COMMON | said.keys(), "unknown fields are left out"
    assert {key: record[key] for key in said} == said
    assert record["sender"] == {
        "role": "agent", "user": "alice", "connection_id": agent.connection_id
    }
    assert (record["requestId"], record["session_id"]) == ("r", agent.session_id)
    assert isinstance(record["timestamp"], int)
    for other in (screen, observer):
        assert await other.next_of("contextual_update") == record


async def test_the_text_told_is_the_text_replayed(server: Running) -> None:
    agent = await server.join()
    text = (
        '{"type":"contextual_update","text":"é\\u0000\\ud83d\\ude00","data":'
        '{"b":1.10,"a":1e2,"big":9007199254740991,"empty":"","b":2.50}}'
    )
    await agent.ws.send_str(text)
    live = await agent.next_of("contextual_update")
    assert live["data"] == {"b": 2.5, "a": 100.0, "big": 9007199254740991, "empty": ""}
    assert live["text"] == "é\x00😀"

    back = await server.join(session_id=agent.session_id, after=0)
    assert await back.next_of("contextual_update") == live


SENT: list[tuple[str, dict[str, Any], str]] = [
    ("contextual_update", {"text": "x"}, "agent ui"),
    ("state_update", {"key": "k", "value": 1}, "agent ui"),
    ("state_delete", {"key": "k"}, "agent ui"),
    ("client_tool_call", {"tool_name": "n", "tool_call_id": "t"}, "agent"),
    ("client_tool_result", {"tool_call_id": "t", "result": "{}"}, "ui"),
    ("client_tool_cancel", {"tool_call_id": "t"}, "agent"),
    ("user_message", {"text": "x"}, "agent ui"),
    ("ui_action", {"action_id": "a", "surface_id": "s", "name": "n"}, "ui"),
    ("screen", {"text": "x"}, "ui"),
    ("rendered", {"of_seq": 1}, "ui"),
    ("screen_command", {"name": "toast", "text": "x"}, "agent"),
    ("user_activity", {}, "ui"),
    ("user_transcript", {"user_transcript": "x"}, "agent"),
    ("agent_response", {"agent_response": "x"}, "agent"),
    ("interruption", {}, "agent"),
    ("token_renew", {}, ""),
    ("pairing_answer", {"pairing_id": "x", "allow": True}, ""),
]


@pytest.mark.parametrize("type_", [type_ for type_, _, _ in SENT])
async def test_a_role_that_may_not_say_it_is_told_so_and_nothing_happens(
    server: Running, type_: str
) -> None:
    fields, allowed = next((fields, who.split()) for sent, fields, who in SENT if sent == type_)
    agent, screen, observer = await trio(server)
    sockets = {"agent": agent, "ui": screen, "observer": observer}

    for role in set(sockets) - set(allowed):
        if type_ in ("token_renew", "pairing_answer") and role != "observer":
            continue
        answer = await sockets[role].say(type_, **fields)
        assert answer["type"] == "error"
        # A pairing's owner may answer; one that is not there is said to be not there.
        assert answer["code"] in {"forbidden", "not_found", "invalid_message"}, answer
        if type_ != "pairing_answer":
            assert answer["code"] == "forbidden"
    for socket in sockets.values():
        assert [m for m in await socket.quiet() if "seq" in m] == []


async def test_state_is_shared_with_revisions(server: Running) -> None:
    agent, screen, observer = await trio(server)
    updated = await agent.say("state_update", key="selected", value={"carrier": "FedEx"})

    assert updated["type"] == "state_updated"
    assert updated.keys() == COMMON | {"key", "value", "revision"}
    assert (updated["revision"], updated["value"]) == (updated["seq"], {"carrier": "FedEx"})
    assert await screen.next_of("state_updated") == updated
    snapshot = await observer.say("state_get")
    assert snapshot["type"] == "state_snapshot"
    assert snapshot["state"] == {"selected": {"value": {"carrier": "FedEx"}, "revision": 1}}
    assert "seq" not in snapshot
    assert snapshot["timestamp"]
    assert snapshot["session_id"] == agent.session_id
    deleted = await screen.say("state_delete", key="selected")
    assert deleted.keys() == COMMON | {"key", "revision"}
    assert (deleted["type"], deleted["revision"]) == ("state_deleted", 2)
    assert (await agent.say("state_get", key="selected"))["state"] == {}
    for value in (None, False, 0, "", [], 1.0):
        assert (await agent.say("state_update", key="v", value=value))["value"] == value
    assert (await agent.say("state_get", key="v"))["state"]["v"]["value"] == 1.0
    assert list((await agent.say("state_get"))["state"]) == ["v"]


async def test_if_revision_decides_who_was_first(server: Running) -> None:
    agent, screen = await server.pair_of()
    conflict = await agent.say("state_update", key="k", value=1, if_revision=3)
    assert conflict["code"] == "revision_conflict"
    assert (conflict["value"], conflict["revision"]) == (None, 0)

    await agent.say("state_update", key="k", value={"a": 1}, if_revision=0)
    lost = await screen.say("state_update", key="k", value=2, if_revision=0)
    assert lost["code"] == "revision_conflict"
    assert (lost["value"], lost["revision"]) == ({"a": 1}, 1)
    assert lost.keys() >= {"type", "code", "message", "requestId", "session_id", "timestamp"}
    assert (await screen.say("state_update", key="k", value=2, if_revision=1))["revision"] == 2
    assert (await agent.say("state_delete", key="k", if_revision=1))["code"] == "revision_conflict"
    assert (await agent.say("state_delete", key="k", if_revision=2))["type"] == "state_deleted"
    assert (await agent.say("state_update", key="k", value=1, if_revision=0))["revision"] == 4


async def test_what_is_passed_is_no_record(server: Running) -> None:
    agent, screen, observer = await trio(server)

    await screen.send("rendered", of_seq=3)
    assert (await agent.next_of("rendered"))["of_seq"] == 3
    await screen.send("user_activity")
    passed = await agent.next_of("user_activity")
    assert passed["sender"]["connection_id"] == screen.connection_id
    assert passed["timestamp"]
    assert passed["session_id"] == agent.session_id
    await agent.send("screen_command", name="scroll_to", target="card-3")
    command = await screen.next_of("screen_command")
    assert (command["name"], command["target"]) == ("scroll_to", "card-3")
    await observer.next_of("screen_command")
    assert await screen.refused("screen", text="x" * 501) == "invalid_message"
    await screen.send("screen", text="x" * 500)
    await agent.next_of("screen")
    back = await server.join(session_id=agent.session_id, after=0)
    assert back.joined["seq"] == 0


async def test_what_elevenlabs_says_keeps_its_nesting(server: Running) -> None:
    agent, screen = await server.pair_of()
    nested = {"user_transcription_event": {"user_transcript": "hello", "event_id": 7}}
    record = await agent.say("user_transcript", **nested)
    assert record["user_transcription_event"] == nested["user_transcription_event"]
    assert await screen.next_of("user_transcript") == record
    flat = await agent.say("agent_response", agent_response="hi")
    assert flat["agent_response_event"] == {"agent_response": "hi"}
    bound = await agent.say(
        "conversation_initiation_metadata",
        conversation_initiation_metadata_event={"conversation_id": "conv_7"},
    )
    assert bound["seq"] == 3
    late = await server.join(session_id=agent.session_id, role="observer")
    assert late.joined["conversation_id"] == "conv_7"
    await server.restart()
    late = await server.join(session_id=agent.session_id, role="observer")
    assert late.joined["conversation_id"] == "conv_7"


async def test_without_transcripts_words_are_passed_on_and_kept_nowhere(start: Any) -> None:
    server = await start(transcripts=False)
    agent, screen = await server.pair_of()
    await agent.send("user_transcript", user_transcript="a secret")
    passed = await screen.next_of("user_transcript")
    assert passed["user_transcription_event"]["user_transcript"] == "a secret"
    assert "seq" not in passed
    await agent.send("conversation_initiation_metadata", conversation_id="conv_7")
    await screen.next_of("conversation_initiation_metadata")
    assert (await agent.say("contextual_update", text="x"))["seq"] == 1
    late = await server.join(session_id=agent.session_id, after=0)
    while late.joined["conversation_id"] is None:  # It is passed on before it is stored.
        await late.leave()
        late = await server.join(session_id=agent.session_id, after=0)
    assert late.joined["conversation_id"] == "conv_7"
    assert [m["type"] for m in await late.quiet()] == ["contextual_update"]
    await server.stop()
    for path in server.config.data.iterdir():
        assert b"a secret" not in path.read_bytes(), path.name
    await server.start()
    late = await server.join(session_id=agent.session_id)
    assert late.joined["conversation_id"] == "conv_7"


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("", "invalid_message"),
        ("no json", "invalid_message"),
        ("[]", "invalid_message"),
        ("null", "invalid_message"),
        ('"ping"', "invalid_message"),
        ("{}", "invalid_message"),
        ('{"type":7}', "invalid_message"),
        ('{"type":"nothing_we_know","requestId":"r9"}', "unknown_type"),
        ('{"type":"state_updated","key":"k","value":1}', "unknown_type"),
        ('{"type":"session_ended","reason":"x"}', "unknown_type"),
        ('{"type":"contextual_update","requestId":"r9"}', "invalid_message"),
        ('{"type":"contextual_update","text":"x","requestId":7}', "invalid_message"),
        ('{"type":"contextual_update","text":NaN}', "invalid_message"),
        ('{"type":"contextual_update","text":"x","data":1e999}', "invalid_message"),
        ('{"type":"contextual_update","text":"x","data":9007199254740992}', "invalid_message"),
        ('{"type":"contextual_update","text":"\\ud800"}', "invalid_message"),
        ('{"type":"contextual_update","text":"x","data":' + "[" * 32 + "]" * 32 + "}", "invalid_message"),
        ("[" * 60_000, "invalid_message"),
        ('{"type":"client_tool_result","tool_call_id":"none","result":"x"}', "forbidden"),
        ('{"type":"client_tool_cancel","tool_call_id":"none"}', "tool_unknown"),
        ('{"type":"token_renew"}', "forbidden"),
    ],
)
async def test_bad_messages_get_an_error_and_the_connection_goes_on(
    server: Running, frame: str, code: str
) -> None:
    agent, screen = await server.pair_of()
    await agent.ws.send_str(frame)

    error = await agent.next()
    assert (error["type"], error["code"]) == ("error", code)
    assert error["message"]
    assert "Traceback" not in error["message"]
    assert error["requestId"] == ("r9" if '"r9"' in frame else None)
    assert error["session_id"] == agent.session_id
    assert error["timestamp"]
    assert (await agent.say("contextual_update", text="still here"))["seq"] == 1
    assert (await screen.next_of("contextual_update"))["text"] == "still here"
    assert len(json.dumps(error)) < 1000


async def test_the_deepest_json_allowed_is_let_in(server: Running) -> None:
    agent = await server.join()
    data = "[" * 31 + "]" * 31
    await agent.ws.send_str('{"type":"contextual_update","text":"x","data":' + data + "}")

    assert (await agent.next())["type"] == "contextual_update"


async def test_binary_frames_are_refused(server: Running) -> None:
    agent = await server.join()
    await agent.ws.send_bytes(b'{"type":"ping"}')

    assert (await agent.next())["code"] == "invalid_message"
    assert await agent.quiet() == []


async def test_a_ping_is_answered_with_its_request_id(server: Running) -> None:
    agent = await server.join()
    await agent.send("ping", requestId="p")
    pong = await agent.next()
    assert (pong["type"], pong["requestId"]) == ("pong", "p")
    assert pong["timestamp"]
    assert pong["session_id"] == agent.session_id
