"""Whether what a person filled in fits the form that was asked: a subset of JSON Schema.

Checked are `required`, `type` (string, number, integer, boolean, array, object one level
deep), `enum`, `oneOf` and `anyOf` of `const`s, `minLength`, `maxLength`, `pattern` (see
patterns.py), `format` (date, time, date-time, email, uri), `minimum`, `maximum`,
`exclusiveMinimum`, `exclusiveMaximum`, `multipleOf`, `minItems`, `maxItems`,
`uniqueItems` and `additionalProperties: false`. What is beyond that is not checked: the
CompanionUI cannot ask it either. Source: docs/protocol.md.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import msgspec

from companion_ws.core.patterns import Pattern, TooLong, Unsupported

MAX_FIELDS: Final = 50
"""What the CompanionUI reads of a form. Source: static/js/core/questions.js."""
_EMAIL: Final = re.compile(r"[^\s@]+@[^\s@]+")
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")
_ZONE: Final = re.compile(r"(?:[Zz]|[+-][0-9]{2}:[0-9]{2})$")
_TIME: Final = re.compile(r"([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.[0-9]{1,9})?)?")
_DATE: Final = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_DAYS: Final = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def fault_in(schema: Any, result: str) -> str | None:
    """Return what is wrong with the result of a form, or None.

    An object that brings no values is the screen's own word, and is not checked.
    """
    try:
        answer = msgspec.json.decode(result)
    except msgspec.MsgspecError:
        answer = None
    if not isinstance(answer, dict):
        return 'The result of a form is the text of {"status": "submitted", "values": {…}}.'
    if answer.get("status") != "submitted" and "values" not in answer:
        return None
    return _object_fault(schema, answer.get("values"), "values", is_inner=False)


def _object_fault(schema: Any, values: Any, where: str, *, is_inner: bool) -> str | None:
    if not isinstance(values, dict):
        return f"{where} is an object."
    properties = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict):
        return None
    required = schema.get("required")
    needed = required if isinstance(required, list) else []
    for name, field in list(properties.items())[:MAX_FIELDS]:
        if not isinstance(field, dict):
            continue
        here = f"{where}.{name}" if is_inner else name
        if values.get(name) is None:
            if name in needed and not _is_null_allowed(field):
                return f"{here} is missing."
        elif (fault := _fault(field, values[name], here, is_inner=is_inner)) is not None:
            return fault
    if schema.get("additionalProperties") is False:
        for name in values:
            if name not in properties:
                return f"{name} is not a field of the form."
    return None


def _is_null_allowed(field: dict[str, Any]) -> bool:
    return "null" in _types(field) and len(_types(field)) > 1


def _types(field: dict[str, Any]) -> list[str]:
    """Return the types of a field; what an agent wrote there that is no text names none."""
    kind = field.get("type")
    kinds = kind if isinstance(kind, list) else [kind]
    return [each for each in kinds if isinstance(each, str)]


def _fault(field: dict[str, Any], value: Any, where: str, *, is_inner: bool) -> str | None:
    choices = _choices(field)
    if choices is not None and not any(_equal(value, choice) for choice in choices):
        return f"{where} is none of the choices."
    kinds = [kind for kind in _types(field) if kind in _CHECKS or kind == "object"]
    if kinds and not any(_is_of(kind, value) for kind in kinds):
        return f"{where} is not of type {' or '.join(kinds)}."
    if isinstance(value, dict):
        if is_inner:
            return None
        return _object_fault(field, value, where, is_inner=True)
    for kind, check in _CHECKS.items():
        if _is_of(kind, value) and (words := check(field, value)) is not None:
            return f"{where} {words}."
    return None


def _choices(field: dict[str, Any]) -> list[Any] | None:
    if isinstance(field.get("enum"), list):
        return list(field["enum"])
    for name in ("oneOf", "anyOf"):
        ways = field.get(name)
        if isinstance(ways, list) and ways and all(
            isinstance(way, dict) and "const" in way for way in ways
        ):
            return [way["const"] for way in ways]
    return None


def _equal(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same; true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    return bool(one == other)


def _is_of(kind: Any, value: Any) -> bool:
    match kind:
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "number":
            return _is_number(value)
        case "integer":
            return _is_number(value) and float(value).is_integer()
        case "array":
            return isinstance(value, list)
    return isinstance(value, dict)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _string_fault(field: dict[str, Any], value: str) -> str | None:
    if _is_number(field.get("minLength")) and len(value) < field["minLength"]:
        return f"has fewer than {field['minLength']} characters"
    if _is_number(field.get("maxLength")) and len(value) > field["maxLength"]:
        return f"has more than {field['maxLength']} characters"
    is_right = _FORMATS.get(field["format"]) if isinstance(field.get("format"), str) else None
    if is_right is not None and not is_right(value):
        return f"is not a valid {field['format']}"
    pattern = _pattern(field["pattern"]) if isinstance(field.get("pattern"), str) else None
    if pattern is None:
        return None
    try:
        return None if pattern.is_found_in(value) else "does not fit the pattern"
    except TooLong:
        return "is too long to be checked"


@lru_cache(maxsize=256)
def _pattern(text: str) -> Pattern | None:
    try:
        return Pattern(text)
    except Unsupported:
        return None


def _number_fault(field: dict[str, Any], value: float) -> str | None:
    for name, is_wrong, words in _RANGES:
        bound: Any = field.get(name)
        if _is_number(bound) and is_wrong(value, bound):
            return f"is {words} {bound}"
    step: Any = field.get("multipleOf")
    if _is_number(step) and step > 0:
        count = value / step
        # Tenths are no exact fractions of two.
        if not math.isfinite(count) or abs(count - round(count)) > 1e-9 * max(1.0, abs(count)):
            return f"is not a multiple of {step}"
    return None


def _list_fault(field: dict[str, Any], value: list[Any]) -> str | None:
    if _is_number(field.get("minItems")) and len(value) < field["minItems"]:
        return f"has fewer than {field['minItems']} entries"
    if _is_number(field.get("maxItems")) and len(value) > field["maxItems"]:
        return f"has more than {field['maxItems']} entries"
    if field.get("uniqueItems") is True and len(set(map(_name, value))) < len(value):
        return "has an entry twice"
    entry = field.get("items")
    if isinstance(entry, dict):
        for each in value:
            fault = _fault(entry, each, "an entry", is_inner=True)
            if fault is not None:
                return f"has a wrong entry: {fault.rstrip('.')}"
    return None


def _name(value: Any) -> bytes:
    return msgspec.json.encode(value, order="deterministic")


def _is_date(text: str) -> bool:
    found = _DATE.fullmatch(text)
    if found is None:
        return False
    year, month, day = (int(part) for part in found.groups())
    is_leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return 1 <= month <= 12 and 1 <= day <= (29 if is_leap and month == 2 else _DAYS[month - 1])


def _is_time(text: str) -> bool:
    """Whether this is a time of day, with or without seconds and zone, as pages send it."""
    found = _TIME.fullmatch(_ZONE.sub("", text))
    return found is not None and int(found[1]) < 24 and int(found[2]) < 60 and int(found[3] or 0) < 60


def _is_date_time(text: str) -> bool:
    return len(text) > 11 and text[10] in "Tt " and _is_date(text[:10]) and _is_time(text[11:])


_FORMATS: Final[dict[str, Callable[[str], object]]] = {
    "date": _is_date,
    "time": _is_time,
    "date-time": _is_date_time,
    "email": _EMAIL.fullmatch,
    "uri": _URI.fullmatch,
}
_RANGES: Final[tuple[tuple[str, Callable[[float, float], bool], str], ...]] = (
    ("minimum", lambda value, bound: value < bound, "less than"),
    ("maximum", lambda value, bound: value > bound, "more than"),
    ("exclusiveMinimum", lambda value, bound: value <= bound, "not more than"),
    ("exclusiveMaximum", lambda value, bound: value >= bound, "not less than"),
)
_CHECKS: Final[dict[str, Callable[[dict[str, Any], Any], str | None]]] = {
    "string": _string_fault,
    "number": _number_fault,
    "integer": lambda field, value: None,
    "boolean": lambda field, value: None,
    "array": _list_fault,
}
