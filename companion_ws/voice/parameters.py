"""What an agent's call becomes in the session: its parameters, and how long the agent waits.

The twin of static/js/elevenlabs/parameters.js; tests/wire/parameters holds both to the same cases.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from companion_ws.core.companion_tools import COMPANION_TOOLS, is_card

from .json_text import UNREAD, NotUnderstood, mended, read_json

__all__ = ["NotUnderstood", "arguments_in", "patience_ms", "understood"]

SHOW_MS: Final = 3_000
"""Showing asks nothing, so the agent need not wait until somebody opens the screen."""

_YES: Final = frozenset({"true", "yes", "1", "on"})
_NO: Final = frozenset({"false", "no", "0", "off", ""})
_TITLES: Final = ("title", "question", "heading", "prompt")
_LABELS: Final = ("label", "name", "title", "text")
_IDS: Final = ("id", "value", "key")
_NAMES: Final = ("name", "id", "key", "label")
_AMOUNTS: Final = ("amount", "price", "value")
_TYPES: Final = frozenset({"string", "number", "integer", "boolean", "array", "object"})
_BULLET: Final = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+")
_NUMBER: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_LINE_END: Final = re.compile(r"\r\n|\r|\n")


def patience_ms(tool_name: str, longest_ms: int) -> int:
    """Return how long the agent waits for a tool, `longest_ms` at most."""
    return min(longest_ms, SHOW_MS) if is_card(tool_name) else longest_ms


def understood(tool_name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a companion tool as the screens read them; of others as they are.

    A tool defined at ElevenLabs cannot take an object of unknown shape, so its model writes
    `schema`, `data`, `ui`, `options` or `items` as text, and in forms of its own. null is
    absent. Half characters and numbers beyond JSON's are mended for every tool.

    >>> understood("companion_show", {"title": "Rates", "data": '{"cost": 12}', "ui": None})
    {'title': 'Rates', 'data': {'cost': 12}}

    Raises:
        NotUnderstood: there is nothing a screen could show of it.
    """
    given: dict[str, Any] = mended(dict(parameters))
    if not tool_name.startswith("companion_"):
        return given
    given = _without_nulls(given)
    title = _name_of(given, _TITLES)
    if title is not None:
        given = {"title": _text(given[title]), **_without(given, (title, "title"))}
    tool = COMPANION_TOOLS.get(tool_name)
    for name in tool.parameters if tool is not None else ():
        if name in given and name in _READINGS:
            given[name] = _READINGS[name](given[name])
        elif name in _MISSING:
            raise NotUnderstood(_MISSING[name])
    return dict(mended(given))  # Texts that were read may nest it deeper than it came.


def arguments_in(value: Any) -> dict[str, Any]:
    """Return the arguments of a call, which come as an object, its JSON text, or not at all.

    >>> arguments_in('{"title": "Which?"}'), arguments_in(None), arguments_in("")
    ({'title': 'Which?'}, {}, {})

    Raises:
        NotUnderstood: they are something else.
    """
    if isinstance(value, str) and value.strip() not in ("", "null"):
        value = read_json(value)
    elif value is None or isinstance(value, str):
        value = {}
    if not isinstance(value, Mapping):
        raise NotUnderstood("The arguments of a tool are one JSON object.")
    return dict(value)


_NO_OPTIONS: Final = "`options` is a list of {id, label}, one at least."
_NO_FIELDS: Final = "`schema` is a JSON Schema object with properties, one at least."


def _data(value: Any) -> Any:
    found = read_json(value) if isinstance(value, str) else value
    return value if found is UNREAD else found


def _ui(value: Any) -> Any:
    found = read_json(value) if isinstance(value, str) else value
    if not isinstance(found, dict | list):
        raise NotUnderstood("`ui` is an A2UI card: an object, or its JSON text.")
    return found


# Options of a choice.


def _options(value: Any) -> list[Any]:
    found = _data(value)
    if isinstance(found, str):
        lines = [_BULLET.sub("", line).strip() for line in _LINE_END.split(found)]
        found = [line for line in lines if line]
        if len(found) < 2:
            raise NotUnderstood(_NO_OPTIONS)
    if isinstance(found, dict):
        found = _options_in(found)
    if not isinstance(found, list):
        raise NotUnderstood(_NO_OPTIONS)
    options = [_option(part) for part in found if part is not None]
    if not options:
        raise NotUnderstood(_NO_OPTIONS)
    return options


def _options_in(found: dict[str, Any]) -> Any:
    for name in ("options", "choices", "items"):
        if isinstance(found.get(name), list):
            return found[name]
    if _name_of(found, _LABELS) and _name_of(found, _IDS):
        return [found]
    return [
        {"id": key, **value} if isinstance(value, dict) else {"id": key, "label": value}
        for key, value in found.items()
        if value is not None
    ]


def _option(part: Any) -> dict[str, Any]:
    found = _data(part)
    if isinstance(found, dict):
        label, chosen = _name_of(found, _LABELS), _name_of(found, _IDS)
        label, chosen = label or chosen or "", chosen or label or ""
        if _is_word(found.get(label)) and _is_word(found.get(chosen)):
            kept = _without_nulls(_without(found, (label, chosen)))
            return {"id": _id(found[chosen]), "label": _text(found[label]), **kept}
    elif _is_word(found):
        return {"id": _id(found), "label": _text(found)}
    raise NotUnderstood("Each of the `options` needs an `id` and a `label`.")


# Fields of a form.


def _schema(value: Any) -> dict[str, Any]:
    found = _data(value)
    if isinstance(found, dict) and "properties" not in found:
        inner = _data(found.get("schema"))
        if isinstance(inner, dict | list):
            found = inner
        elif found and all(isinstance(part, dict) for part in found.values()):
            found = {"properties": found}
    if isinstance(found, list):
        found = {"properties": found}
    properties = _data(found.get("properties")) if isinstance(found, dict) else None
    required = _data(found.get("required")) if isinstance(found, dict) else None
    if isinstance(properties, list):
        properties, named = _fields_of(properties)
        required = required if required is not None else named
    if not isinstance(properties, dict):
        raise NotUnderstood(_NO_FIELDS)
    fields = {name: _field(part) for name, part in properties.items() if part is not None}
    if not fields:
        raise NotUnderstood(_NO_FIELDS)
    schema = {"type": "object", **_without(found, ("properties", "required")), "properties": fields}
    if isinstance(required, str):
        required = [name.strip() for name in required.split(",")]
    if required is True:
        required = list(fields)
    if isinstance(required, list):
        schema["required"] = [name for name in required if name in fields]
    return schema


def _fields_of(found: list[Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the properties, and the names of those required, of a list of fields."""
    properties, required = {}, []
    for part in found:
        called = _name_of(part, _NAMES) if isinstance(part, dict) else None
        name = part[called] if called else part
        if not _is_word(name):
            raise NotUnderstood(_NO_FIELDS)
        rest = _without(part, ("name", "id", "key", "required")) if isinstance(part, dict) else {}
        if "label" in rest:
            rest = {"title": rest["label"], **_without(rest, ("label", "title"))}
        properties[_text(name)] = rest or {"type": "string"}
        if isinstance(part, dict) and _flag_or(part.get("required"), False):
            required.append(_text(name))
    return properties, required


def _field(part: Any) -> dict[str, Any]:
    found = _data(part)
    if isinstance(found, str):
        return {"type": found} if found in _TYPES else {"type": "string", "description": found}
    if not isinstance(found, dict):
        raise NotUnderstood("Each of the `schema`'s properties is an object with a `type`.")
    return _without_nulls(found)


# What a confirmation lists.


def _items(value: Any) -> list[Any]:
    found = _data(value)
    if isinstance(found, dict):
        found = [
            {"label": key, **part} if isinstance(part, dict) else {"label": key, "amount": part}
            for key, part in found.items()
        ]
    if not isinstance(found, list):
        raise NotUnderstood("`items` is a list of {label, amount}.")
    return [_listed(_data(part)) for part in found if part is not None]


def _listed(part: Any) -> dict[str, Any]:
    if _is_word(part):
        return {"label": _text(part)}
    label = _name_of(part, _LABELS) if isinstance(part, dict) else None
    if label is None or not _is_word(part[label]):
        raise NotUnderstood("Each of the `items` needs a `label`.")
    amount = _name_of(part, _AMOUNTS)
    kept = _without_nulls(_without(part, (label, amount or label)))
    listed = {"label": _text(part[label]), **kept}
    return listed if amount is None else {**listed, "amount": _amount(part[amount])}


def _amount(value: Any) -> Any:
    if not isinstance(value, str) or not _NUMBER.fullmatch(value.strip()):
        return value
    text = value.strip()
    return float(text) if "." in text else mended(int(text))


# Single values.


def _flag(value: Any) -> bool:
    flag = _flag_or(value, None)
    if flag is None:
        raise NotUnderstood("`multiple` is true or false.")
    return flag


def _flag_or(value: Any, otherwise: bool | None) -> bool | None:
    text = _text(value).strip().lower() if _is_word(value) or value == "" else None
    return True if text in _YES else False if text in _NO else otherwise


def _count(value: Any) -> int:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and re.fullmatch(r"\d{1,9}", value.strip(), re.ASCII):
        return int(value)
    raise NotUnderstood("`min` and `max` are whole numbers.")


def _is_word(value: Any) -> bool:
    return isinstance(value, str | int | float) and value not in ("",)


def _id(value: Any) -> Any:
    return _text(value) if isinstance(value, bool) else value


def _text(value: Any) -> Any:
    """Return a word as text; what is no word stays."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, int | float) else value


def _name_of(found: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    """Return the first of these names that something stands under."""
    return next((name for name in names if found.get(name) not in (None, "")), None)


def _without(found: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if key not in names}


def _without_nulls(found: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if value is not None}


_READINGS: Final[dict[str, Callable[[Any], Any]]] = {
    "data": _data,
    "ui": _ui,
    "options": _options,
    "multiple": _flag,
    "min": _count,
    "max": _count,
    "schema": _schema,
    "items": _items,
    "amount": _amount,
}
"""How each parameter is read that is more than text."""

_MISSING: Final = {"options": _NO_OPTIONS, "schema": _NO_FIELDS}
"""What is said where a parameter is missing that may not be."""
