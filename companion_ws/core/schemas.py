"""The fields of a form, however a model wrote its JSON Schema.

Models write the same field in many ways: `{"$ref": "#/$defs/Size"}` as Pydantic does, `anyOf` with
null as OpenAPI 3.1 does, `"type": "date"` as nobody should. `plain` makes one of them, so that what
checks an answer and what draws a form read the same field.

The twin of static/js/core/schemas.js; tests/wire/forms/cases.json holds both to the same cases.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

Field = dict[str, Any]

MAX_FIELDS: Final = 200
"""Fields of a form that the CompanionUI shows, those of inner objects counted."""
MAX_DEPTH: Final = 3
"""A field of the form's own is 1 deep, one of an object in it 2; what is deeper is not asked for."""
MAX_HOPS: Final = 8
"""References and alternatives followed for one field: a schema may refer to itself."""
MAX_PARTS: Final = 16
"""Parts of one `allOf`, and types of one `anyOf`, that are read."""
MAX_LOOKED: Final = 8
"""Fields of an inner object that are looked at for one to ask."""

KEYWORDS: Final = (
    "type", "title", "description", "default", "examples", "x-unit", "required", "properties",
    "enum", "enumNames", "const", "oneOf", "anyOf", "allOf", "$ref",
    "format", "pattern", "minLength", "maxLength",
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf",
    "items", "minItems", "maxItems", "uniqueItems", "formatMinimum", "formatMaximum",
    "readOnly", "writeOnly",
)  # fmt: skip
"""What is read of a schema. Source: docs/protocol.md."""
FORMATS: Final = (
    "date", "time", "date-time", "email", "uri", "tel", "password", "textarea",
)  # fmt: skip
"""Formats with a field of their own; others are text."""

SCALARS: Final = frozenset({"string", "number", "integer", "boolean"})
_TYPES: Final = SCALARS | {"array", "object", "null"}
_TYPE_ALIASES: Final = {
    "str": "string", "text": "string", "int": "integer", "float": "number", "double": "number",
    "decimal": "number", "bool": "boolean", "list": "array", "dict": "object",
}  # fmt: skip
_FORMAT_ALIASES: Final = {
    "datetime": "date-time", "datetime-local": "date-time", "url": "uri", "phone": "tel",
    "multiline": "textarea",
}  # fmt: skip
_BOUNDS: Final = {"minimum": "formatMinimum", "maximum": "formatMaximum"}


def properties_of(field: Field, root: Any) -> Iterator[tuple[str, Field]]:
    """Yield the names and the plain fields of an object; anything but a schema is left out."""
    properties = field.get("properties")
    if not isinstance(properties, dict):
        return
    for name, part in properties.items():
        found = plain(part, root)
        if found is not None:
            yield name, found


def required_of(field: Field) -> list[Any]:
    """Return the names that an object must have."""
    required = field.get("required")
    return required if isinstance(required, list) else []


def plain(field: Any, root: Any) -> Field | None:
    """Return a field without references and alternatives; None for anything but a schema.

    >>> plain({"anyOf": [{"type": "int", "minimum": 1}, {"type": "null"}]}, {})
    {'type': ['integer', 'null'], 'minimum': 1}
    """
    if not isinstance(field, dict):
        return None
    for _ in range(MAX_HOPS):
        if isinstance(field.get("$ref"), str):
            field = _followed(field, root)
        elif isinstance(field.get("allOf"), list):
            parts = [_followed(part, root) for part in field["allOf"][:MAX_PARTS] if isinstance(part, dict)]
            field = {key: value for part in [*parts, _without(field, "allOf")] for key, value in part.items()}
        elif (name := _ways_in(field)) is not None:
            field = _one_way(field, name, root)
        else:
            break
    return _named(field)


def choices_of(field: Field) -> list[Any] | None:
    """Return the values that a plain field allows, or None where it names none."""
    if "const" in field:
        return [field["const"]]
    if isinstance(field.get("enum"), list):
        return list(field["enum"])
    for name in ("oneOf", "anyOf"):
        ways = field.get(name)
        if isinstance(ways, list) and ways and all(map(_is_choice, ways)):
            return [_chosen(way) for way in ways]
    return None


def types_of(field: Field) -> list[str]:
    """Return the types of a plain field; what an agent wrote there that names none is left out."""
    kind = field.get("type")
    kinds = kind if isinstance(kind, list) else [kind]
    return [each for each in kinds if isinstance(each, str) and each in _TYPES]


def is_null_allowed(field: Field) -> bool:
    """Whether null is an answer to a plain field that is required."""
    return "null" in types_of(field) or None in (choices_of(field) or ())


def is_askable(field: Field, root: Any, depth: int = 1) -> bool:
    """Whether a person can be asked for a plain field that is `depth` deep."""
    if choices_of(field) is not None:
        return True
    kinds = [kind for kind in types_of(field) if kind != "null"]
    if any(kind in SCALARS for kind in kinds):
        return True
    if "array" in kinds or (not kinds and "items" in field):
        entry = plain(field["items"], root) if "items" in field else {}
        return entry is not None and _is_one_line(entry)
    if "object" in kinds or "properties" in field:
        inner = islice(properties_of(field, root), MAX_LOOKED)
        return depth < MAX_DEPTH and any(is_askable(part, root, depth + 1) for _, part in inner)
    return kinds == []


def is_shown_whole(schema: Field) -> bool:
    """Whether a form has no more fields than are shown."""
    left = [MAX_FIELDS]
    _count(schema, schema, 0, left)
    return left[0] >= 0


def _count(field: Field, root: Any, depth: int, left: list[int]) -> None:
    for _, part in properties_of(field, root):
        left[0] -= 1
        if left[0] < 0:
            return
        if depth < MAX_DEPTH and choices_of(part) is None:
            _count(part, root, depth + 1, left)


def _is_one_line(entry: Field) -> bool:
    kinds = types_of(entry)
    is_nested = "properties" in entry or "items" in entry
    return choices_of(entry) is not None or (not is_nested and not {*kinds} & {"array", "object"})


def _followed(field: Field, root: Any) -> Field:
    """Return a field with what its `$ref` names, which it may add to."""
    path = field.get("$ref")
    if not isinstance(path, str):
        return field
    target = root
    for step in path.split("/")[1:] if path.startswith("#/") else ():
        name = step.replace("~1", "/").replace("~0", "~")
        target = target.get(name) if isinstance(target, dict) else None
    known = target if isinstance(target, dict) and target is not root else {}
    return {**known, **_without(field, "$ref")}


def _ways_in(field: Field) -> str | None:
    """Return the keyword under which a field has alternatives that are no list of choices."""
    for name in ("anyOf", "oneOf"):
        ways = field.get(name)
        if isinstance(ways, list) and any(isinstance(way, dict) for way in ways) and not all(map(_is_choice, ways)):
            return name
    return None


def _one_way(field: Field, name: str, root: Any) -> Field:
    """Return a field with its only alternative beside null, or with the types of all."""
    ways = [_followed(way, root) for way in field[name] if isinstance(way, dict)]
    kept = [way for way in ways if way.get("type") != "null"]
    rest = _without(field, name)
    if kept and all(map(_is_choice, kept)):
        return {**rest, name: [*kept, {"const": None}]}
    types = [kind for way in kept[:MAX_PARTS] for kind in _listed(way)]
    only = kept[0] if len(kept) == 1 else {"type": types}
    if len(kept) < len(ways):
        only = {**only, "type": [*_listed(only), "null"]}
    return {**only, **rest}


def _listed(field: Field) -> list[Any]:
    kind = field.get("type")
    return kind if isinstance(kind, list) else [] if kind is None else [kind]


def _is_choice(way: Any) -> bool:
    if not isinstance(way, dict):
        return False
    values = way.get("enum")
    return "const" in way or (isinstance(values, list) and len(values) == 1)


def _chosen(way: Field) -> Any:
    return way["const"] if "const" in way else way["enum"][0]


def _named(field: Field) -> Field:
    """Return a field with types and formats by the names that JSON Schema has for them."""
    kinds = _listed(field)
    written = [kind.strip().lower() if isinstance(kind, str) else kind for kind in kinds]
    named = [_TYPE_ALIASES.get(kind, kind) if isinstance(kind, str) else kind for kind in written]
    of_format = [kind for kind in named if isinstance(kind, str) and _format(kind) in FORMATS and kind not in _TYPES]
    if of_format:
        named = ["string" if kind in of_format else kind for kind in named]
        field = {"format": of_format[0], **field}
    if kinds:
        field = {**field, "type": named if isinstance(field["type"], list) else named[0]}
    if isinstance(field.get("format"), str):
        field = {**field, "format": _format(field["format"])}
    for name, other in _BOUNDS.items():
        if isinstance(field.get(name), str) and other not in field:
            field = {**_without(field, name), other: field[name]}
    return field


def _format(name: str) -> str:
    return _FORMAT_ALIASES.get(name.lower(), name.lower())


def _without(field: Field, name: str) -> Field:
    return {key: value for key, value in field.items() if key != name}
