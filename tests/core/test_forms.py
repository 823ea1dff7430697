"""What a person filled in fits the form that was asked, or is asked for again."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from session_without_server import SessionWithoutServer

from companion_ws.core.commands import AnswerCall
from companion_ws.core.errors import InvalidMessage
from companion_ws.core.forms import fault_in, faults_in
from companion_ws.core.patterns import MAX_WORK, Pattern, TooLong, Unsupported

WIRE = Path(__file__).parents[1] / "wire"
CASES = WIRE / "patterns" / "cases.json"
FORMS = json.loads((WIRE / "forms" / "cases.json").read_text(encoding="utf-8"))
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def fault(field: Any, value: Any, *, required: bool = False) -> str | None:
    schema = {"type": "object", "properties": {"x": field}, "required": ["x"] if required else []}
    return fault_in(schema, json.dumps({"status": "submitted", "values": {"x": value}}))


@pytest.mark.parametrize(("field", "value", "keyword"), FORMS["fields"])
def test_what_does_not_fit_is_said_in_a_sentence(field: Any, value: Any, keyword: str | None) -> None:
    found = [each.keyword for each in faults_in({"properties": {"x": field}}, {"x": value})]
    words = fault(field, value)

    assert found == ([] if keyword is None else [keyword])
    assert (words is None) == (keyword is None)
    assert words is None or (words.startswith("x ") and words.endswith("."))


@pytest.mark.parametrize(("schema", "values", "faults"), FORMS["forms"])
def test_every_field_of_a_form_that_is_wrong_is_named(schema: Any, values: Any, faults: list[Any]) -> None:
    assert sorted([*each.path, each.keyword] for each in faults_in(schema, values)) == sorted(faults)


def test_what_is_required_has_to_be_there_and_what_is_not_may_be_missing_or_null() -> None:
    assert fault({"type": "string"}, None) is None
    assert fault({"type": "string"}, None, required=True) == "x is missing."
    assert fault_in({"required": ["x"], "properties": {"x": {}}}, '{"values": {}}') == "x is missing."
    nobody_can_fill_in = {"required": ["y"], "properties": {"x": {}}}
    assert fault_in(nobody_can_fill_in, '{"status": "submitted", "values": {}}') is None
    assert fault_in({"properties": {}}, '{"status": "submitted"}') == "values is an object."
    closed = {"properties": {"x": {}}, "additionalProperties": False}
    assert fault_in(closed, '{"status": "submitted", "values": {"y": 1}}') == "y is not a field of the form."
    assert fault_in(closed, '{"status": "submitted", "values": {"x": 1}}') is None


@pytest.mark.parametrize("kind", [{}, [], [{}], [[]], 1, None])
def test_a_type_that_is_no_text_asks_for_none(kind: Any) -> None:
    assert fault({"type": kind}, "anything") is None


@pytest.mark.parametrize("result", ['{"status": "declined"}', "{}"])
def test_what_brings_no_values_is_the_screens_own_word(result: str) -> None:
    assert fault_in({"properties": {"x": {}}, "required": ["x"]}, result) is None


@settings(max_examples=300, deadline=None)
@given(PLAIN, PLAIN)
def test_no_form_and_no_answer_is_too_strange(schema: Any, values: Any) -> None:
    result = json.dumps({"status": "submitted", "values": values})
    for each in (schema, {"properties": {"x": schema}}):
        fault_in(each, result)
        fault_in(each, json.dumps({"values": {"x": values}}))


FORM = {"schema": {"properties": {"zip": {"type": "string", "pattern": "^[0-9]{5}$"}}, "required": ["zip"]}}
RIGHT = '{"status":"submitted","values":{"zip":"80202"}}'
WRONG = '{"status":"submitted","values":{"zip":"x"}}'


@pytest.mark.parametrize("released", [False, True])
def test_wrong_values_leave_the_question_open(released: bool) -> None:
    talk = SessionWithoutServer()
    talk.call("t1", "companion_form", parameters=FORM)
    if released:
        talk.say(AnswerCall(tool_call_id="t1", result='{"status":"no_answer"}'), "server")

    with pytest.raises(InvalidMessage, match="zip does not fit the pattern") as refused:
        talk.answer(result=WRONG)
    assert refused.value.details == {"tool_call_id": "t1"}
    assert talk.open_ids() == ["t1"]
    assert talk.answer(result=RIGHT)["result"] == RIGHT


@pytest.mark.parametrize("result", ["", "x", "[]", "null", '"submitted"', "{"])
def test_what_is_no_object_is_no_filled_in_form(result: str) -> None:
    talk = SessionWithoutServer()
    talk.call("t1", "companion_form", parameters=FORM)
    with pytest.raises(InvalidMessage, match="submitted"):
        talk.answer(result=result)
    assert talk.open_ids() == ["t1"]


def test_an_error_of_the_screen_is_no_values() -> None:
    talk = SessionWithoutServer()
    talk.call("t1", "companion_form", parameters=FORM)
    failed = {"type": "client_tool_result", "tool_call_id": "t1", "result": WRONG, "is_error": True}
    assert talk.record(failed, "ui")["is_error"] is True


# Patterns.


@pytest.mark.parametrize(("pattern", "text", "found"), json.loads(CASES.read_text())["cases"])
def test_the_golden_patterns_match_as_they_say(pattern: str, text: str, found: bool | None) -> None:
    if found is None:
        with pytest.raises(Unsupported):
            Pattern(pattern)
    else:
        assert Pattern(pattern).is_found_in(text) is found


simple = st.recursive(
    st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\d", ""]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda pair: f"(?:{pair[0]}|{pair[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{1,2}"])).map(lambda pair: f"(?:{pair[0]}){pair[1]}"),
    ),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(simple, st.text(alphabet="ab1", max_size=8), st.booleans())
def test_simple_patterns_match_as_pythons_do(pattern: str, text: str, whole: bool) -> None:
    anchored = f"^(?:{pattern})$" if whole else pattern
    expected = re.search(anchored.replace("$", r"\Z"), text) is not None
    assert Pattern(anchored).is_found_in(text) is expected


@settings(max_examples=500, deadline=None)
@given(st.text(alphabet="ab()[]{}*+?|^$\\.-,1dwp", max_size=12), st.text(max_size=5))
def test_whatever_stands_there_is_matched_or_refused(pattern: str, text: str) -> None:
    try:
        Pattern(pattern).is_found_in(text)
    except (Unsupported, TooLong):
        return


def test_a_text_that_would_take_too_long_is_not_walked_to_its_end() -> None:
    walked = Pattern("(?:a?){200}b")
    assert walked.is_found_in("a" * 20 + "b")
    with pytest.raises(TooLong):
        walked.is_found_in("a" * MAX_WORK)
    assert fault({"type": "string", "pattern": "(?:a?){200}b"}, "a" * MAX_WORK) == "x is too long to be checked."
