"""Which trace a tool call belongs to: what W3C allows is passed on, what it forbids counts as none."""

from __future__ import annotations

import msgspec
import pytest
from session_without_server import SessionWithoutServer

from companion_ws.core.protocol import decode
from companion_ws.core.traceparent import is_same_trace, passed_on

TRACE = "0af7651916cd43dd8448eb211c80319c"
GIVEN = f"00-{TRACE}-b7ad6b7169203331-01"
OF_THE_SCREEN = f"00-{TRACE}-00f067aa0ba902b7-01"
OF_ANOTHER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
CALL = {"tool_name": "companion_confirm", "tool_call_id": "c", "parameters": {"title": "Sure?"}}
ANSWER = {"type": "client_tool_result", "tool_call_id": "c", "result": '{"status":"confirmed"}'}


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        (GIVEN, GIVEN),
        (f"00-{TRACE}-b7ad6b7169203331-00", f"00-{TRACE}-b7ad6b7169203331-00"),
        (f"00-{TRACE}-b7ad6b7169203331-ff", f"00-{TRACE}-b7ad6b7169203331-03"),
        (f"cc-{TRACE}-b7ad6b7169203331-01", GIVEN),
        (f"cc-{TRACE}-b7ad6b7169203331-01-what-comes-later", GIVEN),
        (f"cc-{TRACE}-b7ad6b7169203331-01.what-comes-later", None),
        (f"{GIVEN}-more", None),
        (f"ff-{TRACE}-b7ad6b7169203331-01", None),
        (GIVEN.upper(), None),
        (f" {GIVEN}", None),
        (f"{GIVEN}\n", None),
        (f"00-{'0' * 32}-b7ad6b7169203331-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE}-b7ad6b716920333-01", None),
        (f"00-{TRACE}-b7ad6b716920333٣-01", None),
        ("", None),
        (7, None),
        (["x"], None),
        (None, None),
    ],
)
def test_a_traceparent_is_passed_on_as_w3c_has_it(given: object, passed: str | None) -> None:
    assert passed_on(given) == passed


def test_nothing_is_of_the_same_trace_as_none() -> None:
    assert is_same_trace(GIVEN, OF_THE_SCREEN)
    assert not is_same_trace(GIVEN, OF_ANOTHER)
    assert not is_same_trace(GIVEN, None)
    assert not is_same_trace(None, None)


@pytest.mark.parametrize(
    "message",
    [
        {"type": "client_tool_call", "client_tool_call": CALL},
        {"type": "client_tool_call", **CALL},
        {**ANSWER},
        {"type": "client_tool_result", "client_tool_result": ANSWER},
    ],
)
@pytest.mark.parametrize(
    ("given", "read"), [(GIVEN, GIVEN), ("nonsense", None), (5, None), (None, None)]
)
def test_a_command_is_good_whatever_its_traceparent(
    message: dict[str, object], given: object, read: str | None
) -> None:
    command, _ = decode({**message, "traceparent": given})
    assert command.traceparent == read  # type: ignore[attr-defined]


def test_one_inside_the_nested_answer_is_read_as_well() -> None:
    command, _ = decode(
        {"type": "client_tool_result", "client_tool_result": {**ANSWER, "traceparent": "nonsense"}}
    )
    assert command.traceparent is None  # type: ignore[attr-defined]


def last_record(talk: SessionWithoutServer) -> dict[str, object]:
    record: dict[str, object] = msgspec.json.decode(talk.bodies[-1])
    return record


@pytest.mark.parametrize(
    ("sent", "told"), [(OF_THE_SCREEN, OF_THE_SCREEN), (OF_ANOTHER, GIVEN), (None, GIVEN)]
)
@pytest.mark.parametrize("is_late", [False, True])
def test_an_answer_stays_in_the_trace_of_its_question(
    sent: str | None, told: str, is_late: bool
) -> None:
    talk = SessionWithoutServer()
    call = {**CALL, "expects_response": not is_late}
    talk.say({"type": "client_tool_call", "client_tool_call": call, "traceparent": GIVEN})
    assert last_record(talk)["traceparent"] == GIVEN
    talk.say({**ANSWER, "traceparent": sent}, "ui")
    answer = last_record(talk)
    assert answer["type"] == ("user_message" if is_late else "client_tool_result")
    assert answer["traceparent"] == told


def test_without_a_trace_no_record_has_one() -> None:
    talk = SessionWithoutServer()
    talk.say({"type": "client_tool_call", "client_tool_call": CALL})
    talk.say({**ANSWER, "traceparent": OF_ANOTHER}, "ui")
    assert [b"traceparent" in body for body in talk.bodies] == [False, False]
