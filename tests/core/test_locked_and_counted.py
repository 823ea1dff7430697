"""What an agent has locked stays locked, and what a session remembers is bounded."""

from __future__ import annotations

import json
from typing import Any

import pytest
from session_without_server import SessionWithoutServer

from companion_ws.core.errors import Forbidden, InvalidMessage
from companion_ws.core.session import (
    MAX_LOCKED_KEYS,
    REQUEST_BYTES,
    AnswerCall,
    Limits,
    forget_calls,
    forget_rendered,
    note_rendered,
    remember,
    trim,
)
from companion_ws.core.tool_calls import MAX_CALL_ID, call_id_of

QUOTES = {"quotes": [{"id": "air"}], "select": "selected"}


def card(**fields: Any) -> dict[str, Any]:
    return {"type": "contextual_update", "text": "quote_ready", **fields}


def refuse(talk: SessionWithoutServer, message: dict[str, Any], error: type, role: str = "ui") -> None:
    with pytest.raises(error):
        talk.say(message, role)


def no_answer(talk: SessionWithoutServer, *call_ids: str) -> None:
    for call_id in call_ids:
        talk.say(AnswerCall(tool_call_id=call_id, result='{"status":"no_answer"}'), "server")


def test_a_card_is_recorded_with_the_words_for_its_keys() -> None:
    labels = {"eta": "Arrives in"}
    assert SessionWithoutServer().record(card(data={"eta": "2 days"}, labels=labels))["labels"] == labels


def test_a_locked_choice_is_closed_to_screens_and_open_to_agents() -> None:
    talk = SessionWithoutServer()
    talk.say(card(data=QUOTES, context_id="q"))
    update = {"type": "state_update", "key": "selected", "value": "air"}
    talk.say(update, "ui")
    assert talk.record(card(context_id="q", locked=True))["locked"] is True

    for message in (update, card(data=QUOTES), card(context_id="q", locked=True)):
        with pytest.raises(Forbidden):
            talk.say(message, "ui")
    talk.say({**update, "value": "sea"})
    talk.say(card(data=QUOTES, context_id="q"))
    assert talk.record(update, "ui")["value"] == "air"


def test_an_answer_is_changed_until_the_agent_closes_the_choice() -> None:
    ground = '{"status":"chosen","id":"ground"}'
    change = {"type": "user_message", "text": "Ground", "in_reply_to": "t1", "result": ground}
    talk = SessionWithoutServer()
    talk.call("t1")
    refuse(talk, change, InvalidMessage)
    talk.answer("t1")

    record = talk.record(change, "ui")
    assert (record["result"], record["is_change"], "joins" in record) == (ground, True, False)
    assert not talk.session.calls["t1"].is_open(talk.now_ms)
    refuse(talk, {**change, "in_reply_to": None}, InvalidMessage)
    refuse(talk, {**change, "result": '{"status":"confirmed"}'}, InvalidMessage)
    refuse(talk, change, Forbidden, "agent")

    talk.say(card(context_id="t1", locked=True))
    refuse(talk, change, Forbidden)
    talk.say(card(context_id="t1"))
    assert talk.record(change, "ui")["is_change"] is True


def test_a_change_to_a_question_asked_again_names_the_first_of_them() -> None:
    result = '{"status":"chosen","id":"sea"}'
    talk = SessionWithoutServer()
    talk.call("t1")
    assert talk.call("t2")["joins"] == "t1"
    talk.answer("t1")
    change = {"type": "user_message", "text": "Sea", "in_reply_to": "t2", "result": result}
    assert talk.record(change, "ui")["joins"] == "t1"
    talk.say(card(context_id="t1", locked=True))
    refuse(talk, change, Forbidden)


def test_only_choices_and_forms_are_answered_otherwise_later() -> None:
    talk = SessionWithoutServer()
    for name, result in (("companion_confirm", '{"status":"confirmed"}'), ("mine", "yes")):
        talk.call(name, name)
        talk.answer(name, result)
        refuse(talk, {"type": "user_message", "text": "no", "in_reply_to": name, "result": result}, Forbidden)


def test_a_screen_says_nothing_of_locks_with_a_card_of_its_own() -> None:
    assert SessionWithoutServer().record(card(locked=False), "ui")["locked"] is False


def test_the_choice_locked_first_is_let_go_when_there_are_too_many() -> None:
    talk = SessionWithoutServer()
    for number in range(MAX_LOCKED_KEYS + 1):
        talk.say(card(data={"select": f"key-{number}"}, locked=True))

    assert len(talk.session.locked_keys) == MAX_LOCKED_KEYS
    assert "key-0" not in talk.session.locked_keys
    assert f"key-{MAX_LOCKED_KEYS}" in talk.session.locked_keys


def test_a_late_answer_goes_to_the_one_who_still_asks() -> None:
    talk = SessionWithoutServer()
    talk.call("t1")
    talk.call("t2")
    no_answer(talk, "t1", "t2")
    left = talk.record({"type": "client_tool_cancel", "tool_call_id": "t1"})
    assert (left["type"], left["question_open"]) == ("client_tool_cancel", True)

    late = talk.answer("t1")
    assert (late["type"], late["in_reply_to"], late["joins"]) == ("user_message", "t2", "t1")
    assert not talk.session.unclosed


def test_of_two_late_askers_the_second_may_leave_too() -> None:
    talk = SessionWithoutServer()
    talk.call("t1")
    talk.call("t2")
    no_answer(talk, "t1", "t2")
    talk.say({"type": "client_tool_cancel", "tool_call_id": "t2"})

    late = talk.answer("t2")
    assert (late["in_reply_to"], "joins" in late) == ("t1", False)
    assert not talk.session.unclosed


def test_an_answer_of_the_server_is_the_result_of_all_who_wait() -> None:
    talk = SessionWithoutServer()
    talk.call("t1")
    talk.call("t2")
    talk.say(AnswerCall(tool_call_id="t2", result='{"status":"cancelled"}'), "server")

    results = [json.loads(body) for body in talk.bodies[2:]]
    assert sorted(result["tool_call_id"] for result in results) == ["t1", "t2"]
    assert not talk.session.unclosed


def test_as_many_closed_calls_are_remembered_as_fit_and_all_where_there_is_no_limit() -> None:
    talk = SessionWithoutServer(Limits(log_bytes=0))
    talk.call("open")
    for number in range(10, 30):
        talk.call(f"t{number}", expects_response=True, parameters={"number": number})
        talk.answer(f"t{number}")
    assert forget_calls(talk.session, talk.limits) == []

    limits = Limits(log_bytes=talk.session.closed_bytes * 2)
    forgotten = forget_calls(talk.session, limits)
    assert [call.tool_call_id for call in forgotten] == [f"t{number}" for number in range(10, 20)]
    assert talk.session.closed_bytes == limits.log_bytes // 4
    assert list(talk.session.calls) == ["open", *(f"t{number}" for number in range(20, 30))]
    assert forget_calls(talk.session, limits) == []


def test_what_others_know_of_a_forgotten_call_goes_with_it() -> None:
    talk = SessionWithoutServer()
    for number in range(8):
        first, second = f"a{number}", f"b{number}"
        talk.call(first, expects_response=True, parameters={"number": number})
        assert talk.call(second, parameters={"number": number})["joins"] == first
        talk.answer(first, '{"status":"chosen","id":"air"}')
        change = {"type": "user_message", "text": "Sea", "result": '{"status":"chosen","id":"sea"}'}
        talk.record({**change, "in_reply_to": first}, "ui")
    session = talk.session
    assert set(session.joined) == {f"a{number}" for number in range(8)}
    assert set(session.changed) == set(session.calls), "both of each question"

    forgotten = forget_calls(session, Limits(log_bytes=2 * session.closed_bytes))
    gone = {call.tool_call_id for call in forgotten}
    assert {"a0", "b0"} <= gone
    assert not gone & set(session.joined)
    assert not gone & set(session.changed)
    assert set(session.changed) == set(session.calls)
    assert set(session.joined) == {name for name in session.calls if name[0] == "a"}


def test_a_question_is_released_once_every_agent_that_asked_has_gone_on() -> None:
    talk = SessionWithoutServer()
    for call_id in ("t1", "t2", "t3"):
        talk.call(call_id)
    question = talk.session.calls["t1"]
    for call_id in ("t1", "t2"):
        no_answer(talk, call_id)
        assert not talk.session.is_released(question)
    no_answer(talk, "t3")
    assert talk.session.is_released(question)
    talk.record({"type": "client_tool_cancel", "tool_call_id": "t1"})
    assert [talk.session.calls[name].status for name in ("t1", "t2", "t3")] == [
        "withdrawn", "released", "released"
    ]  # fmt: skip


def test_a_closed_choice_is_refused_by_its_name() -> None:
    talk = SessionWithoutServer()
    talk.call("t1")
    talk.answer("t1")
    talk.say(card(context_id="t1", locked=True))
    change = {"type": "user_message", "text": "x", "in_reply_to": "t1", "result": '{"status":"chosen"}'}
    with pytest.raises(Forbidden) as refused:
        talk.say(change, "ui")
    assert refused.value.details == {"tool_call_id": "t1"}


def test_who_has_shown_a_record_is_counted_once_and_goes_with_it() -> None:
    talk = SessionWithoutServer(Limits(records=1))
    session = talk.session
    talk.say(card())
    assert note_rendered(session, 1, "phone", None)
    assert not note_rendered(session, 1, "phone", "too late to say this")
    one = session.rendered_bytes
    assert one == len("phone") + REQUEST_BYTES
    assert note_rendered(session, 1, "tablet", "the picture")
    assert session.rendered_bytes > 2 * one

    forget_rendered(session)
    assert len(session.rendered) == 2, "the record is still there"
    talk.say(card())
    assert note_rendered(session, 2, "phone", None)
    forget_rendered(session)
    assert list(session.rendered) == [(2, "phone")]
    assert session.rendered_bytes == one


def test_a_request_of_a_record_that_is_gone_already_is_counted_as_such() -> None:
    talk = SessionWithoutServer(Limits(records=1))
    talk.say(card())
    remember(talk.session, "sender", "first", 1)
    talk.say(card())
    trim(talk.session, talk.limits)
    kept = talk.session.requests_bytes
    assert [*talk.session.requests] == [1]

    remember(talk.session, "sender", "again", 1)
    assert [*talk.session.requests] == [1, 1]
    assert talk.session.requests_bytes == 2 * kept


def test_the_same_number_in_another_conversation_is_another_call() -> None:
    assert call_id_of("conv_7", "call_0") != call_id_of("conv_8", "call_0")
    long = call_id_of("conv", "c" * MAX_CALL_ID)
    assert len(long) == MAX_CALL_ID
