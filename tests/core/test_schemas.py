"""One field written in many ways is one field, and what nobody can be asked for is not missed."""

from __future__ import annotations

from typing import Any

import pytest

from companion_ws.core.schemas import MAX_LOOKED, choices_of, is_askable, plain

TEXT = {"type": "string"}
ROOT: dict[str, Any] = {
    "$defs": {"Size": TEXT, "a/b~c": {"enum": ["x"]}, "Nested": {"type": "object"}},
    "flat": 5,
}


def nested(depth: int) -> dict[str, Any]:
    """An object in an object, so deep, with a text in the innermost."""
    field: dict[str, Any] = TEXT
    for _ in range(depth):
        field = {"type": "object", "properties": {"inner": field}}
    return field


@pytest.mark.parametrize(
    "field",
    [
        {}, TEXT, {"type": ["integer", "null"]}, {"type": "null"}, {"type": "of no kind"},
        {"type": ["object", "boolean"]}, {"type": "object", "enum": [{}]},
        {"type": "array"}, {"type": "array", "items": TEXT}, {"items": TEXT},
        {"type": ["array", "null"], "items": {"type": "number"}},
        {"type": "array", "items": {"$ref": "#/$defs/Size"}},
        {"type": "array", "items": {"type": "object", "enum": [{}]}},
        {"type": "array", "items": {}}, {"type": "array", "properties": {}},
        {"type": "object", "properties": {"a": TEXT}}, {"properties": {"a": TEXT}},
        {"type": ["object", "null"], "properties": {"a": {"type": "object"}, "b": TEXT}},
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/Size"}}},
        nested(2),
    ],
)  # fmt: skip
def test_a_person_can_be_asked_for_it(field: dict[str, Any]) -> None:
    assert is_askable(field, ROOT)


@pytest.mark.parametrize(
    "field",
    [
        {"type": "array", "items": {"type": "array"}}, {"type": "array", "items": {"type": "object"}},
        {"type": "array", "items": {"properties": {}}}, {"type": "array", "items": {"items": {}}},
        {"type": "array", "items": {"$ref": "#/$defs/Nested"}}, {"type": "array", "items": 5},
        {"items": {"type": "object"}}, {"type": "object"}, {"type": "object", "properties": 5},
        {"type": "object", "items": TEXT}, {"properties": {}},
        {"type": "object", "properties": {"a": {"type": "object"}}}, nested(3),
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/Nested"}}},
        {"type": "object",
         "properties": {**{f"o{n}": {"type": "object"} for n in range(MAX_LOOKED)}, "last": TEXT}},
    ],
)  # fmt: skip
def test_nobody_can_be_asked_for_it(field: dict[str, Any]) -> None:
    assert not is_askable(field, ROOT)


@pytest.mark.parametrize(
    ("written", "is_read_as"),
    [
        ({"$ref": "#/$defs/Size", "title": "How large"}, {**TEXT, "title": "How large"}),
        ({"$ref": "#/$defs/a~1b~0c"}, {"enum": ["x"]}),
        ({"$ref": "x/$defs/Size"}, {}),
        ({"$ref": "#/flat/deeper"}, {}),
        ({"$ref": "#/$defs/None/deeper"}, {}),
        ({"$ref": "#/flat"}, {}),
        ({"$ref": "#/", "title": "t"}, {"title": "t"}),
        ({"anyOf": [{"$ref": "#/$defs/Size"}, {"type": "null"}]}, {"type": ["string", "null"]}),
        ({"oneOf": [TEXT, {"type": "integer"}]}, {"type": ["string", "integer"]}),
        ({"oneOf": [{"type": ["string", "boolean"]}], "title": "t"},
         {"type": ["string", "boolean"], "title": "t"}),
        ({"anyOf": [{"enum": ["a", "b"]}, {"type": "null"}]}, {"enum": ["a", "b"], "type": ["null"]}),
        ({"anyOf": [{"const": 1}, {"type": "null"}]}, {"anyOf": [{"const": 1}, {"const": None}]}),
    ],
)  # fmt: skip
def test_however_it_is_written_it_is_one_field(
    written: dict[str, Any], is_read_as: dict[str, Any]
) -> None:
    assert plain(written, ROOT) == is_read_as


def test_alternatives_of_one_value_each_are_choices_and_others_are_none() -> None:
    assert choices_of({"oneOf": [{"const": "a"}, {"enum": ["b"]}]}) == ["a", "b"]
    assert choices_of({"oneOf": [{"const": "a"}, {"enum": ["b", "c"]}]}) is None
    assert choices_of({"oneOf": [{"enum": []}]}) is None
    assert choices_of({"oneOf": []}) is None
