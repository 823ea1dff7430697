"""Whether what a person filled in fits the form that was asked: a subset of JSON Schema.

A fault has the keyword that is not met for its name. Fields are read as schemas.py says; what no
screen can ask for is not missed, and what is beyond the subset is not checked.

The twin of static/js/core/forms.js; tests/wire/forms/cases.json holds both to the same cases, so
that a page never lets through what the server refuses. Source: docs/protocol.md.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from companion_ws.core.patterns import Pattern, TooLong, Unsupported
from companion_ws.core.schemas import (
    MAX_DEPTH,
    Field,
    choices_of,
    is_askable,
    is_null_allowed,
    is_shown_whole,
    plain,
    required_of,
    types_of,
)

_EMAIL: Final = re.compile(r"[^\s@]+@[^\s@]+")
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")
_ZONE: Final = re.compile(r"(?:[Zz]|[+-][0-9]{2}:[0-9]{2})$")
_TIME: Final = re.compile(r"([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.[0-9]{1,9})?)?")
_DATE: Final = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
EXACT: Final = 2**53
"""Up to here a number with nothing behind its point is the same as the integer."""
_DAYS: Final = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


class Fault(NamedTuple):
    """What is wrong with one field."""

    path: tuple[str, ...]
    """The names that lead to it."""
    keyword: str
    """The keyword of JSON Schema that is not met."""
    words: str
    """How a sentence about the field goes on."""

    def __str__(self) -> str:
        return f"{'.'.join(self.path) or 'values'} {self.words}."


def fault_in(schema: Any, result: str) -> str | None:
    """Return what is wrong with the result of a form in a sentence, or None.

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
    fault = next(faults_in(schema, answer.get("values")), None)
    return None if fault is None else str(fault)


def faults_in(schema: Any, values: Any) -> Iterator[Fault]:
    """Yield what is wrong with the values of a form, the first fault of each field."""
    if not isinstance(values, dict):
        yield Fault((), "type", "is an object")
    elif isinstance(schema, dict) and (form := plain(schema, schema)) is not None:
        yield from _object_faults(form, form, values, (), is_shown_whole(form))


def _object_faults(
    field: Field, root: Field, values: dict[str, Any], path: tuple[str, ...], insists: bool
) -> Iterator[Fault]:
    """Yield the faults of an object; nothing is missed where not all of a form is shown."""
    properties = field.get("properties")
    if not isinstance(properties, dict):
        return
    for name in [each for each in values if each in properties and values[each] is not None]:
        part = plain(properties[name], root)
        if part is not None:
            yield from _faults(part, root, values[name], (*path, name), insists)
    for name in required_of(field) if insists else ():
        if isinstance(name, str) and values.get(name) is None:
            part, here = plain(properties.get(name), root), (*path, name)
            if part is not None and not is_null_allowed(part) and is_askable(part, root, len(here)):
                yield Fault(here, "required", "is missing")
    if field.get("additionalProperties") is False:
        for name in values:
            if name not in properties:
                yield Fault((*path, name), "additionalProperties", "is not a field of the form")


def _faults(
    field: Field, root: Field, value: Any, path: tuple[str, ...], insists: bool
) -> Iterator[Fault]:
    fault = _own_fault(field, root, value)
    if fault is not None:
        yield Fault(path, *fault)
    elif isinstance(value, dict) and len(path) < MAX_DEPTH and choices_of(field) is None:
        yield from _object_faults(field, root, value, path, insists)


def _own_fault(
    field: Field, root: Field, value: Any, allowed: frozenset[Any] | None = None
) -> tuple[str, str] | None:
    """Return the keyword and the words of what is wrong with a value itself, or None."""
    choices = choices_of(field) if allowed is None else None
    is_allowed = choices is None or _is_among(value, choices)
    if not is_allowed or (allowed is not None and _key(value) not in allowed):
        return "enum", "is none of the choices"
    kinds = types_of(field)
    if kinds and not any(_is_of(kind, value) for kind in kinds):
        return "type", f"is not of type {' or '.join(kinds)}"
    if isinstance(value, list):
        return _list_fault(field, root, value)
    if isinstance(value, str):
        return _string_fault(field, value)
    return _number_fault(field, value) if _is_number(value) else None


def _is_among(value: Any, choices: list[Any]) -> bool:
    """Whether one value is one of the choices; most are found without a look at each in Python."""
    if isinstance(value, str) or value not in choices:
        return value in choices
    key = _key(value)
    return _key(choices[choices.index(value)]) == key or any(_key(each) == key for each in choices)


def _allowed(field: Field) -> frozenset[Any] | None:
    choices = choices_of(field)
    return None if choices is None else frozenset(map(_key, choices))


def _key(value: Any) -> Any:
    """Return what two JSON values share exactly if they are the same: 1 is 1.0, and true is not 1.

    A list of thousands may be looked for among thousands of choices.
    """
    if isinstance(value, list | dict):
        return msgspec.json.encode(_even(value), order="deterministic")
    return isinstance(value, bool), value


def _even(value: Any) -> Any:
    if isinstance(value, list):
        return [_even(part) for part in value]
    if isinstance(value, dict):
        return {name: _even(part) for name, part in value.items()}
    is_even = isinstance(value, float) and value.is_integer() and abs(value) <= EXACT
    return int(value) if is_even else value


def _is_of(kind: str, value: Any) -> bool:
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
        case "object":
            return isinstance(value, dict)
    return value is None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _string_fault(field: Field, value: str) -> tuple[str, str] | None:
    if _is_number(field.get("minLength")) and len(value) < field["minLength"]:
        return "minLength", f"has fewer than {field['minLength']} characters"
    if _is_number(field.get("maxLength")) and len(value) > field["maxLength"]:
        return "maxLength", f"has more than {field['maxLength']} characters"
    is_right = _FORMATS.get(field["format"]) if isinstance(field.get("format"), str) else None
    if is_right is not None and not is_right(value):
        return "format", f"is not a valid {field['format']}"
    return _bound_fault(field, value) or _pattern_fault(field, value)


def _bound_fault(field: Field, value: str) -> tuple[str, str] | None:
    """Dates as JSON writes them are in the order of their letters."""
    if field.get("format") != "date":
        return None
    least, most = field.get("formatMinimum"), field.get("formatMaximum")
    if isinstance(least, str) and _is_date(least) and value < least:
        return "formatMinimum", f"is before {least}"
    if isinstance(most, str) and _is_date(most) and value > most:
        return "formatMaximum", f"is after {most}"
    return None


def _pattern_fault(field: Field, value: str) -> tuple[str, str] | None:
    pattern = _pattern(field["pattern"]) if isinstance(field.get("pattern"), str) else None
    if pattern is None:
        return None
    try:
        return None if pattern.is_found_in(value) else ("pattern", "does not fit the pattern")
    except TooLong:
        return "maxLength", "is too long to be checked"


@lru_cache(maxsize=256)
def _pattern(text: str) -> Pattern | None:
    try:
        return Pattern(text)
    except Unsupported:
        return None


def _number_fault(field: Field, value: float) -> tuple[str, str] | None:
    for name, is_wrong, words in _RANGES:
        bound: Any = field.get(name)
        if _is_number(bound) and is_wrong(value, bound):
            return name, f"is {words} {bound}"
    step: Any = field.get("multipleOf")
    if _is_number(step) and step > 0:
        count = value / step
        # Tenths are no exact fractions of two.
        if not math.isfinite(count) or abs(count - round(count)) > 1e-9 * max(1.0, abs(count)):
            return "multipleOf", f"is not a multiple of {step}"
    return None


def _list_fault(field: Field, root: Field, value: list[Any]) -> tuple[str, str] | None:
    if _is_number(field.get("minItems")) and len(value) < field["minItems"]:
        return "minItems", f"has fewer than {field['minItems']} entries"
    if _is_number(field.get("maxItems")) and len(value) > field["maxItems"]:
        return "maxItems", f"has more than {field['maxItems']} entries"
    if field.get("uniqueItems") is True and len(set(map(_key, value))) < len(value):
        return "uniqueItems", "has an entry twice"
    entry = plain(field.get("items"), root)
    if entry is None:
        return None
    allowed = _allowed(entry)
    for each in value:
        fault = _own_fault(entry, root, each, allowed)
        if fault is not None:
            return "items", f"has a wrong entry: an entry {fault[1]}"
    return None


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
