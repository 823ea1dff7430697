"""Sentences the agent can speak, and answers put into words."""

from __future__ import annotations

import re
import string
from pathlib import Path
from typing import Any

import pytest
from session_without_server import SessionWithoutServer

from companion_ws.core.phrases import LANGUAGES, phrase, spoken_code
from companion_ws.core.schemas import MAX_FIELDS
from companion_ws.core.tool_calls import choice_of, status_of, unanswerable

PARTS = {
    "no_screen": {"address": "shop.example/c", "code": "482 015 937"},
    "no_answer": {},
    "no_screen_for_card": {"address": "shop.example/c", "code": "482 015 937"},
    "no_answer_to_card": {},
    "refused": {},
    "unreachable": {},
    "late": {"question": "Versand", "answer": "Express"},
}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("key", PARTS)
def test_every_language_says_everything(language: str, key: str) -> None:
    said = phrase(language, key, **PARTS[key])

    for part in PARTS[key].values():
        assert part in said
    assert not set(said) & set("{}")
    assert said[0] in string.ascii_letters or not said[0].isascii()


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_answer_that_says_nothing_is_said_to_have_come(language: str) -> None:
    said = phrase(language, "late", question="Versand", answer=" ")

    word = phrase(language, "answered")
    assert word
    assert said == phrase(language, "late", question="Versand", answer=word)


def test_agents_speak_the_languages_that_screens_show() -> None:
    folder = Path(__file__).parents[2] / "static/js/words"
    files = {file.stem for file in folder.glob("*.js")} - {"words", "asking"}
    shown = {name for name in files if not name.startswith("asking-")}
    listed = {*re.findall(r'import\("./(\w+)\.js"\)', (folder / "words.js").read_text())}

    assert listed == shown
    assert {name.removeprefix("asking-") for name in files - shown} == {"en", *shown}
    assert {*LANGUAGES} == {"en", *shown}


@pytest.mark.parametrize("language", [None, "", "en", "en-GB", "xx", "XX-yy"])
def test_a_language_that_is_not_spoken_here_is_english(language: str | None) -> None:
    assert phrase(language, "no_answer").startswith("I have put")


def test_region_and_case_of_a_language_do_not_matter() -> None:
    assert phrase("DE-at", "no_answer") == phrase("de", "no_answer") != phrase("en", "no_answer")


def test_a_code_is_said_in_three_groups() -> None:
    assert spoken_code("482015937") == "482 015 937"


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ('{"status":"chosen","id":"air","label":"UPS Next Day"}', "UPS Next Day"),
        ('{"status":"chosen","ids":["a","b"],"labels":["Air","Sea"]}', "Air, Sea"),
        ('{"status":"chosen","ids":["a","b"]}', "a, b"),
        ('{"status":"chosen","id":"air","label":""}', "air"),
        ('{"status":"submitted","values":{"name":"Ann","age":7}}', "name: Ann, age: 7"),
        ('{"status":"confirmed"}', "confirmed"),
        ('{"other":1}', '{"other":1}'),
        ("[1, 2]", "[1, 2]"),
        ('"blue"', "blue"),
        (" just words ", "just words"),
        ("true", "true"),
        ('{"status":"submitted","values":{"wrap":true,"size":null}}', "wrap: true, size: null"),
        ('{"status":"chosen","id":7}', "7"),
        ("null", ""),
        ("", ""),
        ('""', ""),
        ("{}", ""),
        ("[]", ""),
    ],
)
def test_an_answer_is_put_into_words(result: str, words: str) -> None:
    assert choice_of(result) == words


CHOOSE, FORM = "companion_choose", "companion_form"
FIELD = {"type": "string"}
NOTHING = {"type": "object"}
TOO_MANY = [str(at) for at in range(MAX_FIELDS)]


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        (CHOOSE, {"options": [{"id": "air", "label": "Air"}]}),
        (CHOOSE, {"options": ["Air"]}),
        (CHOOSE, {"options": [None, {}, {"value": 0}]}),
        (CHOOSE, {"options": [{"id": None, "label": "Air"}]}),
        (FORM, {"schema": {"properties": {"a": True, "b": FIELD}}}),
        (FORM, {"schema": {"properties": {**dict.fromkeys(TOO_MANY), "a": FIELD}}}),
        ("companion_confirm", {}),
        ("companion_show", {}),
        ("draw_a_map", {"options": []}),
    ],
)
def test_a_question_somebody_can_tap_is_left_to_the_screens(
    name: str, parameters: dict[str, Any]
) -> None:
    talk = SessionWithoutServer()
    talk.call("t1", name, parameters=parameters)
    assert unanswerable(talk.session.calls["t1"]) is None


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        (CHOOSE, {}),
        (CHOOSE, {"options": []}),
        (CHOOSE, {"options": "Air, Sea"}),
        (CHOOSE, {"options": {"id": "air"}}),
        (CHOOSE, {"options": ["", 7, None, {}, {"id": True}, {"id": [1]}, {"description": "x"}]}),
        (CHOOSE, {"options": [*[None] * 100, "Air"]}),
        (FORM, {}),
        (FORM, {"schema": "text"}),
        (FORM, {"schema": {"properties": ["a"]}}),
        (FORM, {"schema": {"properties": {}}}),
        (FORM, {"schema": {"properties": {"a": True}}}),
        (FORM, {"schema": {"properties": {**dict.fromkeys(TOO_MANY, NOTHING), "a": FIELD}}}),
    ],
)
def test_a_question_with_nothing_to_tap_is_the_agents_mistake(
    name: str, parameters: dict[str, Any]
) -> None:
    talk = SessionWithoutServer()
    talk.call("t1", name, parameters=parameters)
    wrong = unanswerable(talk.session.calls["t1"])
    assert wrong is not None
    assert wrong.startswith(name)


@pytest.mark.parametrize(
    ("result", "status"),
    [('{"status":"shown"}', "shown"), ('{"status":7}', None), ("[]", None), ("no JSON", None)],
)
def test_the_status_of_a_result_is_read_where_there_is_one(result: str, status: str | None) -> None:
    assert status_of(result) == status
