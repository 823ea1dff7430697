"""The witness sees every kind of broken promise: each history here is sound but for one thing."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from witness import Attempt, History, Look, Message, Sent, State, Visit, faults, state_of


@dataclass
class Told:
    """A sound history, its log, and the state in the end, to be broken by a test."""

    history: History = field(default_factory=History)
    stored: list[Message] = field(default_factory=list)
    state: State = field(default_factory=dict)
    now_s: float = 0.0

    def send(self, role: str, request_id: str, **message: Any) -> Sent:
        return self.history.sent.setdefault((role, request_id), Sent(role, request_id, message))

    def attempt(self, sent: Sent, answer: Message | None) -> None:
        """Send it now; the answer comes a second later, and the next is sent after that."""
        attempt = Attempt(self.now_s, "http")
        sent.attempts.append(attempt)
        if answer is not None:
            attempt.hear(self.now_s + 1, answer)
        self.now_s += 2

    def store(self, role: str, request_id: str, **fields: Any) -> Message:
        seq = len(self.stored) + 1
        record = {**fields, "seq": seq, "requestId": request_id, "sender": {"role": role}}
        if fields["type"].startswith("state_"):
            record["revision"] = seq
        self.stored.append(record)
        return record

    def say(self, role: str, request_id: str, message: Message, record: Message) -> Message:
        """Send a command, have it stored and answered."""
        sent = self.send(role, request_id, **message)
        made = self.store(role, request_id, **record)
        self.attempt(sent, made)
        return made

    def refuse(self, role: str, request_id: str, message: Message, **error: Any) -> Sent:
        sent = self.send(role, request_id, **message)
        self.attempt(sent, {"type": "error", **error})
        return sent

    def read(self, reader: str, after: int | None, joined: int, last: int) -> Visit:
        """Join at a place of the log, and be told on to another."""
        first = joined if after is None else after
        state: dict[str, Message] = {}
        questions: list[Message] = []
        for record in self.stored[:joined]:
            if record["type"] == "state_updated":
                state[record["key"]] = {"value": record["value"], "revision": record["revision"]}
            elif record["type"] == "client_tool_call":
                questions.append(record)
            elif record["type"] == "client_tool_result" and "no_answer" not in record["result"]:
                questions = [q for q in questions if call_of(q) != record["tool_call_id"]]
            elif record["type"] == "user_message" and "in_reply_to" in record:
                questions = [q for q in questions if call_of(q) != record["in_reply_to"]]
        shown = {"seq": joined, "recovery": "none" if after is None else "replay",
                 "state": state, "open_calls": questions}  # fmt: skip
        texts = [(self.now_s, json.dumps(record)) for record in self.stored[first:last]]
        visit = Visit(reader, "socket", after, self.now_s, copy.deepcopy(shown), texts)
        visit.is_last = last == len(self.stored)
        self.history.visits.append(visit)
        return visit

    def verdict(self) -> list[str]:
        return faults(self.history, [json.dumps(record) for record in self.stored], self.state)


def call_of(record: Message) -> str:
    return str(record["client_tool_call"]["tool_call_id"])


def asked(number: int) -> Message:
    call = {"tool_call_id": f"call {number}", "parameters": {"n": number}, "expects_response": True}
    return {"type": "client_tool_call", "client_tool_call": call}


def answer(number: int, result: str) -> Message:
    return {"type": "client_tool_result", "tool_call_id": f"call {number}", "result": result}


def late(number: int, result: str) -> Message:
    return {"type": "user_message", "in_reply_to": f"call {number}", "result": result, "text": ""}


def put(key: str, value: int, revision: int | None = None) -> Message:
    named = {} if revision is None else {"if_revision": revision}
    return {"type": "state_update", "key": key, "value": value, **named}


def updated(key: str, value: int) -> Message:
    return {"type": "state_updated", "key": key, "value": value}


def sound() -> Told:
    """Twelve records: a race for a key, two calls, a late answer, repeats, two readers."""
    told = Told()
    text = {"type": "contextual_update", "text": "hello"}
    told.say("agent", "r1", text, text)
    told.say("ui", "r1", put("a", 1, 0), updated("a", 1))
    told.refuse("agent", "r2", put("a", 2, 1), code="revision_conflict", value=1, revision=2)
    told.say("agent", "r3", put("a", 3, 2), updated("a", 3))
    told.refuse("ui", "r2", answer(1, '"early"'), code="tool_unknown")
    told.say("agent", "r4", asked(1), asked(1))
    told.say("ui", "r3", answer(1, '"yes"'), answer(1, '"yes"'))
    told.refuse("ui", "r4", answer(1, '"no"'), code="tool_closed")
    told.say("agent", "r5", asked(2), asked(2))
    told.store("server", "s1", **answer(2, '{"status": "no_answer"}'))
    told.say("ui", "r5", answer(2, '"late"'), late(2, '"late"'))
    told.history.looks.append(Look(told.now_s, told.now_s, {"a": (3, 3)}))
    # Never answered, and stored; sent again, and answered with the same record.
    repeated = told.send("agent", "r6", **text)
    told.attempt(repeated, None)
    record = told.store("agent", "r6", **text)
    told.attempt(repeated, {**record, "duplicate": True})
    told.attempt(told.send("agent", "r7", **text), None)  # lost on its way
    told.say("agent", "r8", put("b", 1), updated("b", 1))
    told.read("a watcher", None, 0, 5)
    told.read("a watcher", 5, 7, 7)
    told.read("a watcher", 7, 8, 10)
    told.read("a screen", 0, 6, 10)
    told.state = {"a": (3, 3), "b": (1, 10)}
    return told


def test_a_sound_history_is_believed() -> None:
    told = sound()
    assert told.verdict() == []
    assert len(told.stored) == 10


def a_hole(told: Told) -> None:
    told.stored[4]["seq"] = 6


def an_acknowledged_record_is_lost(told: Told) -> None:
    told.stored.pop()
    told.history.visits.clear()
    del told.state["b"]


def a_told_record_is_lost(told: Told) -> None:
    del told.history.sent["agent", "r8"]
    told.stored.pop()
    del told.state["b"]


def a_join_promised_what_is_lost(told: Told) -> None:
    del told.history.sent["agent", "r8"]
    told.stored.pop()
    del told.state["b"]
    for visit in told.history.visits:
        visit.is_last = False
        visit.told = [each for each in visit.told if '"key": "b"' not in each[1]]
    told.history.visits.append(Visit("late", "socket", None, 99.0, {"seq": 10}))


def an_answer_differs_from_what_is_stored(told: Told) -> None:
    told.history.sent["agent", "r1"].attempts[0].answer = {**told.stored[0], "text": "hallo"}


def an_answer_is_somebody_elses(told: Told) -> None:
    told.history.sent["agent", "r6"].attempts[1].answer = told.stored[0]


def a_repeat_is_another_record(told: Told) -> None:
    text = {"type": "contextual_update", "text": "hello"}
    record = told.store("agent", "r6", **text)
    told.attempt(told.history.sent["agent", "r6"], {**record, "duplicate": True})


def a_phantom_is_stored(told: Told) -> None:
    told.store("agent", "r99", type="contextual_update", text="nobody said this")
    told.history.visits.clear()


def another_text_is_stored(told: Told) -> None:
    told.stored[0]["text"] = "hallo"
    told.history.sent["agent", "r1"].attempts[0].answer = None
    told.history.visits.clear()


def a_refused_command_is_stored(told: Told) -> None:
    told.store("agent", "r2", **updated("a", 2))
    told.state["a"] = (2, 11)
    told.history.visits.clear()


def a_record_comes_twice(told: Told) -> None:
    told.history.visits[0].told.insert(2, told.history.visits[0].told[1])


def a_record_comes_again_after_a_resume(told: Told) -> None:
    told.history.visits[1].told.insert(0, told.history.visits[0].told[-1])


def a_record_is_left_out(told: Told) -> None:
    del told.history.visits[3].told[4]


def a_resume_leaves_records_out(told: Told) -> None:
    told.history.visits[1].told.pop(0)


def records_come_in_another_order(told: Told) -> None:
    records = told.history.visits[3].told
    records[1], records[2] = records[2], records[1]


def the_end_never_comes(told: Told) -> None:
    told.history.visits[3].told.pop()


def a_reader_has_another_text(told: Told) -> None:
    at_s, text = told.history.visits[3].told[0]
    told.history.visits[3].told[0] = (at_s, text.replace("hello", "hallo"))


def a_repeat_to_one_reader_differs(told: Told) -> None:
    told.history.visits[3].repeats.append((99.0, {**told.stored[0], "text": "hallo"}))


def a_join_shows_another_state(told: Told) -> None:
    joined = told.history.visits[3].joined
    assert joined is not None
    joined["state"]["a"]["value"] = 4


def a_join_hides_an_open_question(told: Told) -> None:
    joined = told.history.visits[1].joined
    assert joined is not None
    assert len(joined["open_calls"]) == 1
    joined["open_calls"].clear()


def a_resume_becomes_a_snapshot(told: Told) -> None:
    joined = told.history.visits[2].joined
    assert joined is not None
    joined["recovery"] = "snapshot"


def the_state_is_not_the_fold(told: Told) -> None:
    told.state["a"] = (1, 2)


def the_revision_is_not_the_fold(told: Told) -> None:
    told.state["a"] = (3, 2)


def two_swaps_of_one_revision_win(told: Told) -> None:
    told.say("ui", "r9", put("a", 9, 2), updated("a", 9))
    told.state["a"] = (9, 11)
    told.history.visits.clear()


def an_insert_wins_although_the_key_is_there(told: Told) -> None:
    told.say("ui", "r9", put("a", 9, 0), updated("a", 9))
    told.state["a"] = (9, 11)
    told.history.visits.clear()


def a_conflict_names_a_value_that_never_stood(told: Told) -> None:
    told.refuse("ui", "r9", put("a", 9, 1), code="revision_conflict", value=7, revision=3)


def a_conflict_names_what_had_passed(told: Told) -> None:
    told.refuse("ui", "r9", put("a", 9, 1), code="revision_conflict", value=1, revision=2)


def a_conflict_is_none(told: Told) -> None:
    told.refuse("ui", "r9", put("a", 9, 3), code="revision_conflict", value=3, revision=3)


def a_conflict_names_what_comes_later(told: Told) -> None:
    attempt = told.history.sent["agent", "r2"].attempts[0]
    attempt.answer = {"type": "error", "code": "revision_conflict", "value": 3, "revision": 3}


def a_state_is_told_that_had_passed(told: Told) -> None:
    told.history.looks.append(Look(99.0, 99.0, {"a": (1, 2)}))


def a_state_is_told_that_never_stood(told: Told) -> None:
    told.history.looks.append(Look(0.0, 99.0, state_of({"a": {"value": 3, "revision": 2}})))


def what_was_sent_later_stands_earlier(told: Told) -> None:
    told.history.sent["agent", "r1"].attempts[0].sent_s = 50.0
    told.history.sent["agent", "r1"].attempts[0].heard_s = 51.0
    told.history.visits.clear()


def a_call_has_two_results(told: Told) -> None:
    told.store("server", "s2", **answer(2, '{"status": "no_screen"}'))
    told.history.visits.clear()


def a_call_has_no_result(told: Told) -> None:
    told.say("agent", "r9", asked(3), asked(3))
    told.history.visits.clear()


def a_call_is_made_twice(told: Told) -> None:
    told.say("agent", "r9", asked(1), asked(1))
    told.history.visits.clear()


def a_late_answer_counts_twice(told: Told) -> None:
    told.say("ui", "r9", answer(2, '"later"'), late(2, '"later"'))
    told.history.visits.clear()


def an_answer_comes_late_before_the_agent_was_released(told: Told) -> None:
    told.say("agent", "r9", asked(3), asked(3))
    told.say("ui", "r9", answer(3, '"late"'), late(3, '"late"'))
    told.store("server", "s3", **answer(3, '{"status": "no_answer"}'))
    told.history.visits.clear()


def a_result_has_no_call(told: Told) -> None:
    told.store("server", "s3", **answer(3, '{"status": "no_answer"}'))
    told.history.visits.clear()


def an_answer_changes_on_its_way(told: Told) -> None:
    told.stored[4]["result"] = '"no"'
    told.history.sent["ui", "r3"].attempts[0].answer = told.stored[4]
    told.history.visits.clear()


def an_open_call_is_called_closed(told: Told) -> None:
    told.say("agent", "r9", asked(3), asked(3))
    told.refuse("ui", "r9", answer(3, '"yes"'), code="tool_closed")
    told.store("server", "s3", **answer(3, '{"status": "no_answer"}'))
    told.history.visits.clear()


def a_call_that_is_there_is_called_unknown(told: Told) -> None:
    told.refuse("ui", "r9", answer(2, '"yes"'), code="tool_unknown")


def a_new_id_is_called_taken(told: Told) -> None:
    told.refuse("agent", "r9", asked(3), code="tool_call_reused")


def a_refusal_that_nothing_explains(told: Told) -> None:
    text = {"type": "contextual_update", "text": "hello"}
    told.refuse("agent", "r9", text, code="forbidden")


BREAKS: list[tuple[Callable[[Told], None], str]] = [
    (a_hole, "the log has a hole"),
    (an_acknowledged_record_is_lost, "is not stored"),
    (a_told_record_is_lost, "is not stored"),
    (a_join_promised_what_is_lost, "was promised 10 records, and 9 are stored"),
    (an_answer_differs_from_what_is_stored, "is stored as"),
    (an_answer_is_somebody_elses, "somebody else's record"),
    (a_repeat_is_another_record, "made two records"),
    (a_phantom_is_stored, "is a phantom"),
    (another_text_is_stored, "was sent as"),
    (a_refused_command_is_stored, "was refused each time, and is stored"),
    (a_record_comes_twice, "was told 2 where 3 comes next"),
    (a_record_comes_again_after_a_resume, "was told 5 where 6 comes next"),
    (a_record_is_left_out, "was told 6 where 5 comes next"),
    (a_resume_leaves_records_out, "was told 7 where 6 comes next"),
    (records_come_in_another_order, "was told 3 where 2 comes next"),
    (the_end_never_comes, "misses 10 to 10"),
    (a_reader_has_another_text, "is stored"),
    (a_repeat_to_one_reader_differs, "was told a repeat, and"),
    (a_join_shows_another_state, "another state than that of 6"),
    (a_join_hides_an_open_question, "as open, not"),
    (a_resume_becomes_a_snapshot, "recovery snapshot instead of replay"),
    (the_state_is_not_the_fold, "the records add up to"),
    (the_revision_is_not_the_fold, "the records add up to"),
    (two_swaps_of_one_revision_win, "was to change revision 2 of a key, which had 3"),
    (an_insert_wins_although_the_key_is_there, "was to change revision 0"),
    (a_conflict_names_a_value_that_never_stood, "was refused, which was never so"),
    (a_conflict_names_what_had_passed, "was refused, which was never so"),
    (a_conflict_is_none, "was refused, which was never so"),
    (a_conflict_names_what_comes_later, "was refused, which was never so"),
    (a_state_is_told_that_had_passed, "a state was told that never stood"),
    (a_state_is_told_that_never_stood, "a state was told that never stood"),
    (what_was_sent_later_stands_earlier, "stands before what was heard of"),
    (a_call_has_two_results, "has several results"),
    (a_call_has_no_result, "has no result"),
    (a_call_is_made_twice, "was made twice"),
    (a_late_answer_counts_twice, "was answered late twice"),
    (an_answer_comes_late_before_the_agent_was_released, "late before its agent was released"),
    (a_result_has_no_call, "has a result and no call before it"),
    (an_answer_changes_on_its_way, "was sent as"),
    (an_open_call_is_called_closed, "was refused, which was never so"),
    (a_call_that_is_there_is_called_unknown, "was refused, which was never so"),
    (a_new_id_is_called_taken, "was refused, which was never so"),
    (a_refusal_that_nothing_explains, "was refused, which was never so"),
]


@pytest.mark.parametrize(
    ("broken", "words"), BREAKS, ids=[each.__name__ for each, _ in BREAKS]
)
def test_the_witness_refuses_a_history_in_which(
    broken: Callable[[Told], None], words: str
) -> None:
    told = sound()
    broken(told)
    verdict = told.verdict()
    assert any(words in fault for fault in verdict), verdict
