"""Text to values and back: what is read, what is refused and in which words."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from companion_ws.core import errors
from companion_ws.core.commands import (
    ClientToolCall,
    ClientToolResult,
    ContextualUpdate,
    Relayed,
)
from companion_ws.core.errors import CompanionError, InvalidMessage, RevisionConflict, UnknownType
from companion_ws.core.protocol import (
    MAX_DEPTH,
    MAX_INTEGER,
    decode,
    encode,
    error_message,
    marked,
    parse,
    request_id_in,
    request_id_of,
)

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-MAX_INTEGER, MAX_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


def nested(depth: int, opening: str = "[", closing: str = "]") -> str:
    return opening * depth + closing * depth


@given(json_values)
def test_what_is_written_is_read_again(value: Any) -> None:
    assert parse(encode(value)) == value
    assert parse(json.dumps(value)) == value


@given(st.binary(max_size=40) | st.text(max_size=40))
def test_no_text_makes_the_parser_fall_over(text: bytes | str) -> None:
    with suppress(InvalidMessage):
        parse(text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "not valid JSON"),
        (" ", "not valid JSON"),
        ("{", "not valid JSON"),
        ("{}{}", "not valid JSON"),
        ("{'a':1}", "not valid JSON"),
        ("[1,]", "not valid JSON"),
        ("NaN", "not valid JSON"),
        ('{"a":NaN}', "not valid JSON"),
        ("Infinity", "not valid JSON"),
        ("-Infinity", "not valid JSON"),
        ("1e999", "not valid JSON"),
        ("[-1e999]", "not valid JSON"),
        ('"\\ud800"', "lone surrogate"),
        ('{"a":"\\uDFFF"}', "lone surrogate"),
        ('{"\\ud800x":1}', "lone surrogate"),
        ("\ud800", "lone surrogate"),
        ('"\ud800"', "lone surrogate"),
        (b'"\xff"', "not valid"),
        (b'"\xed\xa0\x80"', "not valid"),
        (str(MAX_INTEGER + 1), "2^53"),
        (str(-MAX_INTEGER - 1), "2^53"),
        (f'{{"a":[{{"b":{2**53}}}]}}', "2^53"),
        (str(10**40), "2^53"),
        (nested(MAX_DEPTH + 1), "deeper than 32"),
        (nested(MAX_DEPTH + 1, '{"a":', "}").replace(":}", ":1}"), "deeper than 32"),
        (nested(100_000), "deeper than 32"),
        (nested(100_000, '{"a":', "}"), "JSON"),
        ("[" * 100_000, "JSON"),
    ],
)
def test_what_breaks_the_rules_is_refused_with_a_sentence(text: str | bytes, sentence: str) -> None:
    with pytest.raises(InvalidMessage, match=sentence.replace("^", r"\^")):
        parse(text)


def test_what_keeps_the_rules_just_so_is_read() -> None:
    assert parse(str(MAX_INTEGER)) == MAX_INTEGER
    assert parse(f"[{-MAX_INTEGER}]") == [-MAX_INTEGER]
    assert parse('{"a":1,"a":2}') == {"a": 2}
    assert parse('"\\ud83d\\ude00"') == "😀"
    assert parse('"1234567890123456789"') == "1234567890123456789"
    assert parse("1e20") == 1e20
    assert parse(nested(MAX_DEPTH)) is not None
    assert parse("[" + ",".join(["{}"] * 1000) + "]") == [{}] * 1000
    assert parse(b'{"a":"\xc3\xa9"}') == {"a": "é"}


@pytest.mark.parametrize("message", [None, 1, "x", [], [{"type": "ping"}]])
def test_a_message_is_an_object(message: Any) -> None:
    with pytest.raises(InvalidMessage, match="object"):
        decode(message)
    assert request_id_of(message) is None


@pytest.mark.parametrize("message", [{}, {"type": None}, {"type": 7}, {"type": ["ping"]}])
def test_a_message_has_a_type(message: Any) -> None:
    with pytest.raises(InvalidMessage, match="type"):
        decode(message)


@pytest.mark.parametrize(
    "name", ["", "Ping", "state_updated", "session_ended", "answer_call", "x" * 9999]
)
def test_an_unknown_type_is_named_briefly(name: str) -> None:
    with pytest.raises(UnknownType) as refused:
        decode({"type": name})
    assert len(refused.value.message) < 120


@pytest.mark.parametrize("request_id", ["", "x" * 129, 7, True, ["a"], {}])
def test_a_request_id_is_a_short_string(request_id: Any) -> None:
    with pytest.raises(InvalidMessage, match="requestId"):
        decode({"type": "ping", "requestId": request_id})


def test_a_request_id_of_one_to_128_characters_is_kept() -> None:
    for request_id in ("x", "ä" * 128):
        assert decode({"type": "ping", "requestId": request_id})[1] == request_id
        assert request_id_of({"requestId": request_id}) == request_id
    assert decode({"type": "ping", "requestId": None})[1] is None
    assert request_id_of({"requestId": "x" * 129}) is None
    assert request_id_of({"requestId": 5}) is None


@pytest.mark.parametrize(
    "message",
    [
        {"type": "contextual_update"},
        {"type": "contextual_update", "text": 1},
        {"type": "contextual_update", "text": "x", "ui": []},
        {"type": "contextual_update", "text": "x", "context_id": ""},
        {"type": "state_update", "key": "k"},
        {"type": "state_update", "value": 1},
        {"type": "state_update", "key": "", "value": 1},
        {"type": "state_update", "key": "k", "value": 1, "if_revision": -1},
        {"type": "state_update", "key": "k", "value": 1, "if_revision": "1"},
        {"type": "state_delete"},
        {"type": "state_get", "key": 1},
        {"type": "client_tool_call"},
        {"type": "client_tool_call", "client_tool_call": "x"},
        {"type": "client_tool_call", "tool_name": "n"},
        {"type": "client_tool_call", "tool_name": "", "tool_call_id": "t"},
        {"type": "client_tool_call", "tool_name": "n", "tool_call_id": "t", "parameters": []},
        {"type": "client_tool_call", "tool_name": "n", "tool_call_id": "t", "timeout_ms": 999},
        {"type": "client_tool_call", "tool_name": "n", "tool_call_id": "t", "timeout_ms": 120_001},
        {"type": "client_tool_result", "tool_call_id": "t"},
        {"type": "client_tool_result", "tool_call_id": "t", "result": {"status": "chosen"}},
        {"type": "client_tool_result", "tool_call_id": "t", "result": "x", "is_error": "no"},
        {"type": "client_tool_cancel"},
        {"type": "user_message"},
        {"type": "ui_action", "action_id": "a", "surface_id": "s"},
        {"type": "screen", "text": "x" * 501},
        {"type": "rendered"},
        {"type": "rendered", "of_seq": 0},
        {"type": "screen_command", "name": "explode"},
        {"type": "user_transcript", "user_transcription_event": {}},
        {"type": "user_transcript", "user_transcription_event": "hi"},
        {"type": "user_transcript", "user_transcription_event": {"user_transcript": 7}},
        {"type": "agent_response", "agent_response_event": {"agent_response": None}},
        {"type": "conversation_initiation_metadata"},
        {"type": "pairing_answer", "pairing_id": "p"},
        {"type": "pairing_answer", "pairing_id": "p", "allow": "yes"},
    ],
)
def test_a_missing_or_wrong_field_is_named(message: dict[str, Any]) -> None:
    with pytest.raises(InvalidMessage, match=message["type"]):
        decode(message)


CALL = {"tool_name": "n", "tool_call_id": "t", "parameters": {"a": 1}}


@pytest.mark.parametrize(
    "message",
    [
        {"type": "client_tool_call", "client_tool_call": CALL},
        {"type": "client_tool_call", **CALL},
        {"type": "client_tool_call", "client_tool_call": {**CALL, "timeout_ms": None, "later": 1}},
        {"type": "client_tool_call", **CALL, "requestId": "r", "session_id": "s", "timestamp": 1},
    ],
)
def test_a_tool_call_is_read_nested_and_flat(message: dict[str, Any]) -> None:
    command, _ = decode(message)

    assert isinstance(command, ClientToolCall)
    asked = command.client_tool_call
    assert (asked.tool_name, asked.tool_call_id, asked.parameters) == ("n", "t", {"a": 1})
    assert (asked.expects_response, asked.timeout_ms) == (True, 18_000)


@pytest.mark.parametrize(
    "message",
    [
        {"type": "client_tool_result", "tool_call_id": "t", "result": "x", "is_error": True},
        {
            "type": "client_tool_result",
            "client_tool_result": {"tool_call_id": "t", "result": "x", "is_error": True},
        },
    ],
)
def test_a_result_is_read_nested_and_flat(message: dict[str, Any]) -> None:
    assert decode(message)[0] == ClientToolResult(tool_call_id="t", result="x", is_error=True)


RELAYED = [
    ("user_transcript", "user_transcription_event", {"user_transcript": "hi"}),
    ("agent_response", "agent_response_event", {"agent_response": "hi"}),
    (
        "agent_response_correction",
        "agent_response_correction_event",
        {"original_agent_response": "a", "corrected_agent_response": "b"},
    ),
    ("interruption", "interruption_event", {"event_id": 7}),
    ("agent_tool_request", "agent_tool_request", {"tool_name": "n"}),
    ("agent_tool_response", "agent_tool_response", {"tool_name": "n", "is_error": False}),
    (
        "conversation_initiation_metadata",
        "conversation_initiation_metadata_event",
        {"conversation_id": "conv_1", "agent_output_audio_format": "pcm_16000"},
    ),
]


@pytest.mark.parametrize(("name", "nest", "fields"), RELAYED)
def test_what_elevenlabs_says_is_read_nested_and_flat(
    name: str, nest: str, fields: dict[str, Any]
) -> None:
    for message in ({"type": name, nest: fields}, {"type": name, "requestId": "r", **fields}):
        command, _ = decode(message)
        assert isinstance(command, Relayed)
        assert command.payload == fields


def test_unknown_fields_and_null_options_are_ignored() -> None:
    command, _ = decode(
        {"type": "contextual_update", "text": "x", "ui": None, "context_id": None, "later": [1]}
    )
    assert command == ContextualUpdate(text="x")


@pytest.mark.parametrize(
    ("refused", "request_id"),
    [
        ('{"requestId": "r1", "key": 1e999}', "r1"),
        ('{"requestId": "r1", "value": ' + "9" * 5000 + "}", "r1"),
        ('{"requestId": "r1", "value": NaN}', "r1"),
        ('{"requestId": "\\ud800"}', None),
        ('{"requestId": 1}', None),
        ('["requestId"]', None),
        ('{"requestId": "r1"', None),
        (b"\xff", None),
        ("[" * 100_000, None),
    ],
)
def test_a_refused_text_still_tells_which_request_it_was(
    refused: str | bytes, request_id: str | None
) -> None:
    assert request_id_in(refused) == request_id


# Messages that the server sends.


def test_an_error_message_carries_code_sentence_and_details() -> None:
    error = RevisionConflict("The key has revision 2.", key="k", value=None, revision=2)

    assert parse(error_message(error, "r1", "s", 7)) == {
        "type": "error",
        "code": "revision_conflict",
        "message": "The key has revision 2.",
        "requestId": "r1",
        "key": "k",
        "value": None,
        "revision": 2,
        "session_id": "s",
        "timestamp": 7,
    }


def test_a_record_that_is_repeated_keeps_its_fields_to_the_byte() -> None:
    body = b'{"type":"state_updated","value":1.50,"seq":7}'

    assert (
        marked(body, duplicate=True)
        == b'{"type":"state_updated","value":1.50,"seq":7,"duplicate":true}'
    )


def test_every_error_has_a_code_of_its_own_and_says_whether_to_come_back() -> None:
    ours = CompanionError.__subclasses__()

    assert len({error.code for error in ours}) == len(ours) == len(errors.ERRORS)
    for error in ours:
        assert 400 <= error.http_status <= 599
        code = error.close_code
        assert code is None or code == 1013 or 4000 <= code <= 4999
    raised = errors.TooManyRequests("Slow down.", retry_after_ms=120)
    assert (str(raised), raised.details) == ("Slow down.", {"retry_after_ms": 120})


def test_an_unknown_session_and_somebody_elses_are_told_in_the_same_words() -> None:
    assert str(errors.SessionNotFound()) == "There is no such session."
