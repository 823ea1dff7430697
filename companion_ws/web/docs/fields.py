"""The fields of a msgspec type, in words for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec import NODEFAULT as NONE_GIVEN
from msgspec import UNSET, inspect

_WORDS: Final[dict[type, str]] = {
    inspect.AnyType: "any JSON",
    inspect.BoolType: "boolean",
    inspect.DictType: "object",
    inspect.FloatType: "number",
    inspect.IntType: "integer",
    inspect.NoneType: "null",
    inspect.StrType: "string",
    inspect.StructType: "object",
}
_UNITS: Final = {"_at": "milliseconds since 1970", "_ms": "milliseconds", "_s": "seconds"}
"""House rule: what has a unit ends in it."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field: what may stand in it, and what it means where its type says so.

    `kind`, `limits` and `meaning` are prose with code in backticks; `default` is JSON
    text, empty if there is none. `inner` are the fields of an object in it, or of each
    object in it.
    """

    name: str
    kind: str
    limits: str = ""
    is_required: bool = False
    default: str = ""
    meaning: str = ""
    inner: tuple[Field, ...] = ()


def fields_of(kind: Any) -> tuple[Field, ...]:
    """Return the fields of a struct, or of the structs a list or an object holds."""
    return _fields(inspect.type_info(kind))


def words_of(kind: Any) -> str:
    """Return what JSON a type is, such as "array of objects"."""
    return _words(inspect.type_info(kind))


def _fields(kind: inspect.Type) -> tuple[Field, ...]:
    match kind:
        case inspect.StructType():
            return tuple(_field(field) for field in kind.fields)
        case inspect.Metadata():
            return _fields(kind.type)
        case inspect.UnionType():
            return tuple(field for part in kind.types for field in _fields(part))
        case inspect.ListType():
            return _fields(kind.item_type)
        case inspect.DictType():
            return _fields(kind.value_type)
    return ()


def _field(field: inspect.Field) -> Field:
    kind = field.type
    if field.default is None:
        kind = _without_null(kind)  # null and absent are the same
    limits = [_limits(kind), next((u for end, u in _UNITS.items() if _has(field, end)), "")]
    return Field(
        name=field.encode_name,
        kind=_words(kind),
        limits=", ".join(part for part in limits if part),
        is_required=field.required,
        default=_default(field),
        meaning=_meaning(kind),
        inner=_fields(kind),
    )


def _has(field: inspect.Field, unit: str) -> bool:
    kind = _plain(field.type)
    is_number = isinstance(kind, inspect.IntType | inspect.FloatType)
    return is_number and field.encode_name.endswith(unit)


def _without_null(kind: inspect.Type) -> inspect.Type:
    if not isinstance(kind, inspect.UnionType):
        return kind
    left = tuple(part for part in kind.types if not isinstance(part, inspect.NoneType))
    return left[0] if len(left) == 1 else inspect.UnionType(left)


def _plain(kind: inspect.Type) -> inspect.Type:
    """Return the one type that is left without null and without what is said about it."""
    kind = _without_null(kind)
    return _plain(kind.type) if isinstance(kind, inspect.Metadata) else kind


def _words(kind: inspect.Type) -> str:
    match kind:
        case inspect.Metadata():
            return _words(kind.type)
        case inspect.UnionType():
            return _or([_words(part) for part in kind.types])
        case inspect.LiteralType():
            return _or([f"`{value}`" for value in kind.values])
        case inspect.ListType():
            return f"array of {_words(kind.item_type)}s"
        case inspect.DictType() if _fields(kind.value_type):
            return "object, under each name an object"
    return _WORDS.get(type(kind), "any JSON")


def _or(words: list[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _limits(kind: inspect.Type) -> str:
    kind = _plain(kind)
    match kind:
        case inspect.StrType():
            span = _span(kind.min_length, kind.max_length, " characters")
            pattern = f"matching `{kind.pattern}`" if kind.pattern else ""
            return ", ".join(part for part in (span, pattern) if part)
        case inspect.IntType() | inspect.FloatType():
            return _span(kind.ge, kind.le, "")
    return ""


def _span(least: float | None, most: float | None, of: str) -> str:
    if least is not None and most is not None:
        return f"{least:,} to {most:,}{of}"
    if least is not None:
        return "not empty" if of and least == 1 else f"{least:,} or more{of}"
    return f"at most {most:,}{of}" if most is not None else ""


def _default(field: inspect.Field) -> str:
    if field.default_factory is not NONE_GIVEN:
        return msgspec.json.encode(field.default_factory()).decode()
    if field.default in (NONE_GIVEN, UNSET, None, ""):
        return ""
    value = field.default
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return msgspec.json.encode(value).decode()


def _meaning(kind: inspect.Type) -> str:
    kind = _without_null(kind)
    if not isinstance(kind, inspect.Metadata):
        return ""
    return str((kind.extra_json_schema or {}).get("description", ""))
