"""Who may say what, and what becomes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw
from session_without_server import START_MS, SessionWithoutServer

from companion_ws.core.commands import (
    AGENTS,
    COMMANDS,
    EVERYBODY,
    SCREENS,
    AnswerCall,
    EndSession,
)
from companion_ws.core.companion_tools import COMPANION_TOOLS, is_question
from companion_ws.core.errors import (
    Forbidden,
    RevisionConflict,
    SessionEnded,
    StateTooLarge,
    ToolCallReused,
    ToolClosed,
    ToolUnknown,
    TooManyRequests,
)
from companion_ws.core.session import (
    SERVER,
    Event,
    Limits,
    Repeat,
    Reply,
    Sender,
    Transient,
    forget_calls,
)
from companion_ws.core.tool_calls import QUESTION_MS

CATALOGUE = json.loads(
    (Path(__file__).parents[1] / "wire/messages/catalogue.json").read_text(encoding="utf-8")
)["commands"]
EXAMPLES: dict[str, tuple[dict[str, Any], set[str]]] = {
    name: (command["example"], {*command["roles"]})
    for name, command in CATALOGUE.items()
    if not command["by_entrance"]
}
BY_THE_ENTRANCE = CATALOGUE.keys() - EXAMPLES.keys()


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_command_becomes_what_the_catalogue_says(name: str) -> None:
    talk = SessionWithoutServer()
    talk.call("open")
    kind = COMMANDS[name]

    decision = talk.say({"type": name, **EXAMPLES[name][0]}, sorted(kind.roles)[0])
    fates = {Event: "recorded", Transient: "passed", Reply: "answered"}
    assert (fates[type(decision)], decision.type) == (kind.fate, kind.outcome())


@pytest.mark.parametrize("role", ["agent", "ui", "observer"])
@pytest.mark.parametrize("name", EXAMPLES)
def test_each_role_says_what_the_contract_lets_it_say(name: str, role: str) -> None:
    talk = SessionWithoutServer()
    talk.call("open")
    fields, roles = EXAMPLES[name]

    if role in roles:
        talk.say({"type": name, **fields}, role)
    else:
        with pytest.raises(Forbidden, match=name):
            talk.say({"type": name, **fields}, role)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_server_itself_may_say_everything(name: str) -> None:
    talk = SessionWithoutServer()
    talk.call("open")

    talk.say({"type": name, **EXAMPLES[name][0]}, "server")


@pytest.mark.parametrize("name", sorted(BY_THE_ENTRANCE))
def test_what_belongs_to_a_connection_changes_no_session(name: str) -> None:
    with pytest.raises(Forbidden):
        SessionWithoutServer().say({"type": name, "pairing_id": "p", "allow": True}, "ui")


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_nothing_is_accepted_after_the_end(name: str) -> None:
    talk = SessionWithoutServer()
    talk.call("open")
    assert talk.record(EndSession(reason="expired"), "server")["reason"] == "expired"

    with pytest.raises(SessionEnded):
        talk.say({"type": name, **EXAMPLES[name][0]}, "server")
    assert talk.session.ended == "expired"


def test_an_update_is_recorded_as_it_was_said() -> None:
    talk = SessionWithoutServer()

    assert talk.say({"type": "contextual_update", "text": "x"}) == Event(
        "contextual_update", {"text": "x"}
    )
    full = {"text": "x", "data": None, "ui": {"a": 1}, "context_id": "c"}
    assert talk.say({"type": "contextual_update", **full}) == Event("contextual_update", full)


def test_words_of_the_person_are_recorded_with_what_they_refer_to() -> None:
    talk = SessionWithoutServer()
    talk.call()

    message = talk.record({"type": "user_message", "text": "air", "in_reply_to": "t1"}, "ui")
    action = {"action_id": "a", "surface_id": "s", "name": "n"}
    assert (message["text"], message["in_reply_to"]) == ("air", "t1")
    assert talk.say({"type": "ui_action", **action}, "ui") == Event("ui_action", action)
    with_context = {**action, "context": [1]}
    assert talk.say({"type": "ui_action", **with_context}, "ui") == Event("ui_action", with_context)
    assert talk.open_ids() == ["t1"], "only an answer closes a question"


def test_what_is_passed_reaches_the_side_it_is_for() -> None:
    talk = SessionWithoutServer()

    assert talk.say({"type": "screen", "text": "x"}, "ui") == Transient("screen", {"text": "x"}, AGENTS)
    assert talk.say({"type": "rendered", "of_seq": 7}, "ui") == Transient(
        "rendered", {"of_seq": 7}, AGENTS
    )
    with_problem = {"of_seq": 7, "problem": "There is no component “x”."}
    assert talk.say({"type": "rendered", **with_problem}, "ui") == Transient(
        "rendered", with_problem, AGENTS
    )
    assert talk.say({"type": "user_activity"}, "ui") == Transient("user_activity", {}, EVERYBODY)
    assert talk.say({"type": "screen_command", "name": "toast"}) == Transient(
        "screen_command", {"name": "toast"}, SCREENS
    )
    command = {"name": "highlight", "target": "#a", "text": "x"}
    assert talk.say({"type": "screen_command", **command}) == Transient(
        "screen_command", command, SCREENS
    )
    assert talk.session.seq == 0


def test_what_is_spoken_is_recorded_unless_transcripts_are_off() -> None:
    said = {"type": "user_transcript", "user_transcription_event": {"user_transcript": "hi"}}
    fields = {"user_transcription_event": {"user_transcript": "hi"}}

    assert SessionWithoutServer().say(said) == Event("user_transcript", fields)
    assert SessionWithoutServer(Limits(transcripts=False)).say(said) == Transient(
        "user_transcript", fields, EVERYBODY
    )


def test_the_conversations_id_is_bound_to_the_session() -> None:
    talk = SessionWithoutServer()
    talk.record({"type": "conversation_initiation_metadata", "conversation_id": "conv_1"})

    assert talk.session.conversation_id == "conv_1"


# State.


def test_a_state_key_has_the_revision_of_its_record() -> None:
    talk = SessionWithoutServer()
    talk.say({"type": "contextual_update", "text": "x"})
    record = talk.record({"type": "state_update", "key": "k", "value": {"a": [1, None]}})

    assert record["revision"] == record["seq"] == 2
    assert talk.say({"type": "state_get"}, "observer") == Reply(
        "state_snapshot", {"state": talk.session.snapshot()}
    )
    assert talk.session.snapshot()["k"] == {"value": Raw(b'{"a":[1,null]}'), "revision": 2}
    assert talk.say({"type": "state_get", "key": "other"}) == Reply("state_snapshot", {"state": {}})
    assert talk.session.snapshot("k") == talk.session.snapshot()
    assert talk.session.snapshot("other") == {}


def test_if_revision_holds_or_tells_what_is_there() -> None:
    talk = SessionWithoutServer()
    with pytest.raises(RevisionConflict) as absent:
        talk.say({"type": "state_update", "key": "k", "value": 1, "if_revision": 5})
    assert absent.value.details == {"key": "k", "value": None, "revision": 0}

    talk.say({"type": "state_update", "key": "k", "value": 1, "if_revision": 0})
    with pytest.raises(RevisionConflict) as present:
        talk.say({"type": "state_update", "key": "k", "value": 2, "if_revision": 0})
    assert bytes(present.value.details["value"]) == b"1"
    assert present.value.details["revision"] == 1

    with pytest.raises(RevisionConflict):
        talk.say({"type": "state_delete", "key": "k", "if_revision": 7})
    assert talk.record({"type": "state_delete", "key": "k", "if_revision": 1})["revision"] == 2
    assert (talk.session.state, talk.session.state_bytes) == ({}, 0)
    talk.say({"type": "state_delete", "key": "k"})
    assert talk.session.state_bytes == 0


def test_a_value_may_be_as_large_as_its_limit_and_no_larger() -> None:
    talk = SessionWithoutServer(Limits(value_bytes=10))

    talk.say({"type": "state_update", "key": "k", "value": "12345678"})
    with pytest.raises(StateTooLarge):
        talk.say({"type": "state_update", "key": "k", "value": "123456789"})
    with pytest.raises(StateTooLarge):
        talk.say({"type": "state_update", "key": "k", "value": "ééééé"})
    talk.say({"type": "state_update", "key": "k", "value": "éééé"})


def test_the_whole_state_may_be_as_large_as_its_limit_and_no_larger() -> None:
    talk = SessionWithoutServer(Limits(state_bytes=20))  # "a" and its quotes are 3, 1234567 are 7: 10 a key

    talk.say({"type": "state_update", "key": "a", "value": 1234567})
    talk.say({"type": "state_update", "key": "b", "value": 1234567})
    with pytest.raises(StateTooLarge):
        talk.say({"type": "state_update", "key": "b", "value": 12345678})
    talk.say({"type": "state_update", "key": "b", "value": 7654321})
    talk.say({"type": "state_delete", "key": "a"})
    talk.say({"type": "state_update", "key": "b", "value": 12345678901234567})
    assert talk.session.state_bytes == 20


def test_there_may_be_as_many_keys_as_the_limit_says_and_no_more() -> None:
    talk = SessionWithoutServer(Limits(state_keys=2))

    talk.say({"type": "state_update", "key": "a", "value": 1})
    talk.say({"type": "state_update", "key": "b", "value": 1})
    talk.say({"type": "state_update", "key": "b", "value": 2})
    with pytest.raises(StateTooLarge):
        talk.say({"type": "state_update", "key": "c", "value": 1})


def test_zero_means_no_limit() -> None:
    talk = SessionWithoutServer(Limits(state_bytes=0, value_bytes=0, state_keys=0, records=0, log_bytes=0))

    for number in range(1100):
        talk.say({"type": "state_update", "key": f"k{number}", "value": "x" * 400})
    talk.say({"type": "state_update", "key": "big", "value": "x" * 60_000})
    assert (len(talk.session.state), talk.session.oldest) == (1101, 1)


# Tool calls.


def test_a_call_is_recorded_with_its_deadline_and_who_answers_it() -> None:
    talk = SessionWithoutServer(server_tools=("quotes",))

    asked = talk.call("t1", "companion_choose", timeout_ms=1000)
    assert (asked["handled_by"], asked["deadline_at"]) == ("screens", START_MS + 1000)
    assert asked["client_tool_call"]["timeout_ms"] == 1000
    run = talk.call("t2", "quotes")
    assert (run["handled_by"], run["deadline_at"]) == ("server", START_MS + 18_000)
    assert talk.call("t3", "companion_form", expects_response=False)["deadline_at"] is None
    assert talk.open_ids() == ["t1", "t3"]


def test_the_first_answer_wins() -> None:
    talk = SessionWithoutServer()
    talk.call()

    result = talk.answer(result='{"status":"chosen","id":"air"}')
    assert result["answered_by"] == "ui"
    assert result["tool_name"] == "companion_choose"
    assert (result["result"], result["is_error"]) == ('{"status":"chosen","id":"air"}', False)
    with pytest.raises(ToolClosed):
        talk.answer()
    with pytest.raises(ToolUnknown):
        talk.answer("nobody's")


def test_a_call_that_comes_again_answers_what_stands() -> None:
    talk = SessionWithoutServer()
    talk.call()
    again = {
        "type": "client_tool_call", "tool_name": "companion_choose", "tool_call_id": "t1",
        "timeout_ms": 2000, "expects_response": False,
    }  # fmt: skip

    assert talk.say(again) == Repeat((1,))
    talk.answer()
    assert talk.say(again) == Repeat((1, 2))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"a": 1, "b": [1, 2]}, {"b": [1.0, 2], "a": 1.0}),
        ({"x": {"y": 1e2, "z": None}}, {"x": {"z": None, "y": 100}}),
        ({"n": 0}, {"n": -0.0}),
    ],
)
def test_parameters_are_compared_as_json_values(first: Any, second: Any) -> None:
    talk = SessionWithoutServer()
    talk.call(parameters=first)
    again = {"tool_name": "companion_choose", "tool_call_id": "t1", "parameters": second}

    assert talk.say({"type": "client_tool_call", "client_tool_call": again}) == Repeat((1,))


@pytest.mark.parametrize(
    ("tool_name", "parameters"),
    [
        ("companion_form", {"n": 1}),
        ("companion_choose", {"n": 2}),
        ("companion_choose", {"n": True}),
        ("companion_choose", {"n": "1"}),
        ("companion_choose", {"n": [1]}),
        ("companion_choose", {"n": 1, "m": None}),
        ("companion_choose", {}),
    ],
)
def test_an_id_that_comes_again_with_another_question_is_refused(
    tool_name: str, parameters: Any
) -> None:
    talk = SessionWithoutServer()
    talk.call(parameters={"n": 1})
    other = {"tool_name": tool_name, "tool_call_id": "t1", "parameters": parameters}

    for _ in range(2):  # While it is open, and once it is answered.
        with pytest.raises(ToolCallReused):
            talk.say({"type": "client_tool_call", "client_tool_call": other})
        if talk.open_ids():
            talk.answer()


# The same question once more.


@pytest.mark.parametrize("answered", ["t1", "t2"])
@pytest.mark.parametrize("name", sorted(filter(is_question, COMPANION_TOOLS)))
def test_the_same_question_is_open_once_and_both_calls_get_the_answer(
    name: str, answered: str
) -> None:
    talk = SessionWithoutServer()
    assert "joins" not in talk.call("t1", name, parameters={"n": 1})
    assert talk.call("t2", name, parameters={"n": 1.0})["joins"] == "t1"
    assert talk.open_ids() == ["t1"]

    talk.answer(answered)
    results = [json.loads(body) for body in talk.bodies[2:]]
    assert {record["tool_call_id"] for record in results} == {"t1", "t2"}
    assert results[0]["tool_call_id"] == answered
    assert {record["result"] for record in results} == {'{"id":"air"}'}
    assert talk.open_ids() == []
    assert not talk.session.unclosed
    for call_id in ("t1", "t2"):
        with pytest.raises(ToolClosed):
            talk.answer(call_id)


def test_other_tools_other_questions_and_closed_ones_are_never_joined() -> None:
    talk = SessionWithoutServer()
    for call_id, name in (("t1", "companion_show"), ("t2", "companion_show"), ("t3", "mine"), ("t4", "mine")):
        assert "joins" not in talk.call(call_id, name)
    talk.call("t5", parameters={"n": 1})
    assert "joins" not in talk.call("t6", parameters={"n": 2})
    talk.answer("t5")
    assert "joins" not in talk.call("t7", parameters={"n": 1})
    talk.now_ms += QUESTION_MS
    assert "joins" not in talk.call("t8", parameters={"n": 1})


@pytest.mark.parametrize("order", [("t1", "t2"), ("t2", "t1")])
def test_the_last_cancel_withdraws_the_question(order: tuple[str, str]) -> None:
    talk = SessionWithoutServer()
    talk.call("t1")
    talk.call("t2")
    first, last = order

    cancelled = talk.record({"type": "client_tool_cancel", "tool_call_id": first})
    assert (cancelled["tool_call_id"], cancelled["question_open"]) == (first, True)
    assert talk.open_ids() == ["t1"]
    with pytest.raises(ToolClosed):
        talk.say({"type": "client_tool_cancel", "tool_call_id": first})
    withdrawn = talk.record({"type": "client_tool_cancel", "tool_call_id": last})
    assert "question_open" not in withdrawn
    assert talk.open_ids() == []
    with pytest.raises(ToolClosed):
        talk.answer("t1")


@pytest.mark.parametrize("answered", ["t1", "t2"])
def test_who_has_not_cancelled_gets_the_answer_alone(answered: str) -> None:
    talk = SessionWithoutServer()
    talk.call("t1")
    talk.call("t2")
    talk.say({"type": "client_tool_cancel", "tool_call_id": "t1"})

    assert talk.answer(answered)["tool_call_id"] == "t2"
    assert len(talk.bodies) == 4
    assert talk.open_ids() == []


def test_a_late_answer_to_a_question_asked_twice_is_told_once() -> None:
    talk = SessionWithoutServer()
    talk.call("t1")
    talk.call("t2")
    for call_id in ("t1", "t2"):
        talk.say(AnswerCall(tool_call_id=call_id, result='{"status":"no_answer"}'), "server")
    assert talk.open_ids() == ["t1"]

    assert talk.answer("t1")["in_reply_to"] == "t1"
    assert len(talk.bodies) == 5
    assert not talk.session.unclosed


def test_an_answer_that_comes_while_one_of_two_waits_is_its_result_and_no_message() -> None:
    talk = SessionWithoutServer()
    talk.call("t1")
    talk.say(AnswerCall(tool_call_id="t1", result='{"status":"no_answer"}'), "server")
    talk.now_ms += QUESTION_MS - 1
    talk.call("t2")
    talk.now_ms += 1000

    assert talk.open_ids() == ["t1"], "ten minutes from whoever asked last"
    assert talk.answer("t1")["tool_call_id"] == "t2"
    assert not talk.session.unclosed


def test_a_question_goes_on_without_a_call_that_was_cancelled_and_forgotten() -> None:
    talk = SessionWithoutServer(Limits(log_bytes=4))
    talk.call("t1")
    talk.call("t2")
    talk.say({"type": "client_tool_cancel", "tool_call_id": "t2"})
    assert [call.tool_call_id for call in forget_calls(talk.session, talk.limits)] == ["t2"]

    assert talk.open_ids() == ["t1"]
    assert talk.answer("t1")["tool_call_id"] == "t1"
    assert talk.session.closed_bytes > 0
    assert not talk.session.unclosed


# How many are open.


def test_sixty_four_calls_are_open_and_one_more_is_refused() -> None:
    talk = SessionWithoutServer(server_tools=("quotes",))
    for number in range(64):
        talk.call(f"t{number}", "quotes" if number % 2 else "ask", parameters={"n": number})
    with pytest.raises(TooManyRequests) as refused:
        talk.call("t64", "ask")
    assert refused.value.details == {}, "whoever waits in order could not even cancel"
    with pytest.raises(TooManyRequests):
        talk.call("t64", "ask", expects_response=False)

    talk.answer("t0")
    talk.call("t64", "ask")


def test_joining_counts_too() -> None:
    talk = SessionWithoutServer(Limits(open_calls=2))
    talk.call("t1")
    talk.call("t2")
    with pytest.raises(TooManyRequests):
        talk.call("t3")


def test_open_calls_have_so_many_bytes_and_no_more() -> None:
    talk = SessionWithoutServer(Limits(open_calls_bytes=10_000, open_calls=0))
    talk.call("t1", "ask", parameters={"x": "x" * 9000})
    with pytest.raises(TooManyRequests):
        talk.call("t2", "ask", parameters={"x": "x" * 2000})
    talk.answer("t1")
    talk.call("t2", "ask", parameters={"x": "x" * 2000})

    free = SessionWithoutServer(Limits(open_calls_bytes=0, open_calls=0))
    for number in range(100):
        free.call(f"t{number}", "ask", parameters={"x": "x" * 9000})


def test_a_question_that_is_over_counts_no_more_and_its_text_is_let_go() -> None:
    talk = SessionWithoutServer(Limits(open_calls=1))
    talk.call("t1", "ask", expects_response=False)
    with pytest.raises(TooManyRequests):
        talk.call("t2", "ask")
    talk.now_ms += QUESTION_MS
    talk.call("t2", "ask")

    assert talk.session.calls["t1"].body == b""
    assert list(talk.session.unclosed) == ["t2"]


def test_screens_do_not_answer_server_tools() -> None:
    talk = SessionWithoutServer(server_tools=("quotes",))
    talk.call("t1", "quotes")

    with pytest.raises(ToolClosed):
        talk.answer()
    done = talk.record(AnswerCall(tool_call_id="t1", result="[]", is_error=True), "server")
    assert (done["answered_by"], done["is_error"]) == ("server", True)
    with pytest.raises(ToolClosed):
        talk.say(AnswerCall(tool_call_id="t1", result="[]"), "server")


@pytest.mark.parametrize("status", ["no_screen", "no_answer"])
def test_a_late_answer_is_a_message_and_closes_the_question(status: str) -> None:
    talk = SessionWithoutServer(language="de")
    talk.call(parameters={"title": "Versand"})
    talk.record(AnswerCall(tool_call_id="t1", result=f'{{"status":"{status}"}}'), "server")
    assert talk.open_ids() == ["t1"]

    late = talk.answer(result='{"status":"chosen","id":"air","label":"Express"}')
    assert late["type"] == "user_message"
    assert late["text"] == "Zu „Versand“: Express."
    assert late["in_reply_to"] == "t1"
    assert late["result"] == '{"status":"chosen","id":"air","label":"Express"}'
    assert talk.open_ids() == []
    with pytest.raises(ToolClosed):
        talk.answer()


def test_a_screens_no_answer_is_an_answer() -> None:
    talk = SessionWithoutServer()
    talk.call()
    talk.answer(result='{"status":"no_answer"}')

    assert talk.open_ids() == []


def test_a_question_without_title_is_named_by_its_tool() -> None:
    talk = SessionWithoutServer()
    talk.call("t1", "pick_a_colour", expects_response=False, parameters={"title": 7})

    assert talk.answer(result="blue")["text"] == "About “pick a colour”: blue."


def test_a_question_ends_ten_minutes_after_its_record() -> None:
    talk = SessionWithoutServer()
    talk.call("t1", expects_response=False)
    talk.call("t2", "companion_form")

    talk.now_ms += QUESTION_MS - 1
    assert talk.open_ids() == ["t1", "t2"]
    talk.now_ms += 1
    assert talk.open_ids() == []
    with pytest.raises(ToolClosed):
        talk.answer()


def test_a_server_tool_nobody_waits_for_is_no_question() -> None:
    talk = SessionWithoutServer(server_tools=("quotes",))
    talk.call("t1", "quotes", expects_response=False)

    assert talk.open_ids() == []
    with pytest.raises(ToolClosed):
        talk.say(AnswerCall(tool_call_id="t1", result="[]"), "server")


def test_an_agent_withdraws_a_call_in_every_phase() -> None:
    talk = SessionWithoutServer()
    cancel = {"type": "client_tool_cancel", "tool_call_id": "t1"}
    with pytest.raises(ToolUnknown):
        talk.say(cancel)

    talk.call()
    result = talk.record(cancel)
    assert (result["type"], result["answered_by"]) == ("client_tool_result", "agent")
    assert (result["result"], result["is_error"]) == ('{"status":"cancelled"}', False)
    with pytest.raises(ToolClosed):
        talk.say(cancel)

    talk.call("t2")
    talk.record(AnswerCall(tool_call_id="t2", result='{"status":"no_answer"}'), "server")
    assert talk.record({**cancel, "tool_call_id": "t2"})["type"] == "client_tool_cancel"
    assert talk.open_ids() == []
    with pytest.raises(ToolClosed):
        talk.say({**cancel, "tool_call_id": "t2"})


def test_a_request_belongs_to_user_role_and_device_not_to_the_connection() -> None:
    phone = Sender("ui", "alice", "c1", "d1")

    assert phone.key == Sender("ui", "alice", "c2", "d1").key
    others = [Sender("ui", "alice", "c1"), Sender("agent", "alice", "c1", "d1"), SERVER]
    assert phone.key not in {other.key for other in others}
    assert phone.shown("alice") == {"role": "ui", "user": "alice", "connection_id": "c1"}
    assert SERVER.shown("alice") == {"role": "server", "user": "alice", "connection_id": None}
