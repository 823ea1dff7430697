"""The messages as TypeScript: made of the AsyncAPI document alone, the same text for the same document."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

Schema = Mapping[str, Any]

_HEAD: Final = """\
// The messages of a companion session. Made of its AsyncAPI document by
// `companion-ws asyncapi --typescript`; every change here is lost.
"""
_PLAIN: Final = {
    "string": "string", "integer": "number", "number": "number", "boolean": "boolean",
    "null": "null", "object": "Record<string, any>", "array": "any[]",
}  # fmt: skip
_KINDS: Final = {
    "Command": ("send_", "What a client may send, by `type`."),
    "Message": ("told_", "What the server says, by `type`."),
}


def typescript(document: Schema) -> str:
    """Return declarations of every message of an AsyncAPI document, and of the shapes in them."""
    messages, schemas = document["components"]["messages"], document["components"]["schemas"]
    payloads = {name: _merged(each["payload"], schemas) for name, each in messages.items()}
    parts = [_HEAD]
    for name in sorted(_named_in(payloads.values(), schemas)):
        parts.append(_interface(name, schemas[name], schemas[name].get("description", "")))
    for kind, (prefix, about) in _KINDS.items():
        ours = {name: key for key in messages if (name := key.removeprefix(prefix)) != key}
        for name, key in ours.items():
            parts.append(_interface(_pascal(name) + kind, payloads[key], messages[key]["summary"]))
        lines = [f"  {name}: {_pascal(name)}{kind}" for name in ours]
        parts.append(
            _about(about) + "\n".join([f"export interface {kind}sByType {{", *lines, "}\n"])
        )
        parts.append(f"export type {kind} = {kind}sByType[keyof {kind}sByType]\n")
    records = [
        key
        for key, payload in payloads.items()
        if "seq" in payload["required"] and "sender" in payload["required"]
    ]
    names = [f"{_pascal(key.removeprefix('told_'))}Message" for key in records]
    parts.append(_about("A stored fact with its place in the session's log.")
                 + f"export type Entry = {' | '.join(names)}\n")  # fmt: skip
    return "\n".join(parts)


def _merged(schema: Schema, schemas: Schema) -> dict[str, Any]:
    """Return an object's schema with what `allOf` and a reference bring, in their order."""
    if "$ref" in schema:
        return _merged(schemas[_name_of(schema)], schemas)
    merged: dict[str, Any] = {"properties": {}, "required": []}
    for part in (*(_merged(part, schemas) for part in schema.get("allOf", ())), schema):
        merged["properties"] |= part.get("properties", {})
        merged["required"] += part.get("required", ())
    return merged


def _named_in(parts: Iterable[Any], schemas: Schema) -> set[str]:
    """Return the names of the shapes that are referred to, those within them included."""
    named: set[str] = set()
    waiting = list(parts)
    while waiting:
        part = waiting.pop()
        if isinstance(part, Mapping):
            if "$ref" in part and (name := _name_of(part)) not in named:
                named.add(name)
                waiting.append(schemas[name])
            waiting.extend(part.values())
        elif isinstance(part, list | tuple):
            waiting.extend(part)
    return named


def _interface(name: str, schema: Schema, about: str) -> str:
    required = schema.get("required", ())
    lines = [
        f"  {_key(field)}{'' if field in required else '?'}: {_type(part)}"
        for field, part in sorted(schema["properties"].items(), key=lambda each: each[0] != "type")
    ]
    return _about(about) + "\n".join([f"export interface {name} {{", *lines, "}\n"])


def _type(schema: Schema) -> str:
    match schema:
        case {"$ref": _}:
            return _name_of(schema)
        case {"const": value}:
            return json.dumps(value)
        case {"enum": values}:
            return " | ".join(map(json.dumps, values))
        case {"anyOf": kinds}:
            # "null" last, as people write it.
            return " | ".join(
                dict.fromkeys(sorted(map(_type, kinds), key=lambda kind: kind == "null"))
            )
        case {"type": list(kinds)}:
            return " | ".join(_PLAIN[kind] for kind in kinds)
        case {"type": "array", "items": items}:
            inner = _type(items)
            return f"{inner}[]" if re.fullmatch(r"\w+", inner) else f"({inner})[]"
        case {"type": "object", "properties": properties}:
            required = schema.get("required", ())
            fields = "; ".join(
                f"{_key(name)}{'' if name in required else '?'}: {_type(part)}"
                for name, part in properties.items()
            )
            return f"{{ {fields} }}"
        case {"type": "object", "additionalProperties": Mapping() as values} if values:
            return f"Record<string, {_type(values)}>"
        case {"type": str(kind)}:
            return _PLAIN[kind]
    return "any"


def _name_of(schema: Schema) -> str:
    return str(schema["$ref"]).rpartition("/")[2]


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_$][\w$]*", name) else json.dumps(name)


def _pascal(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _about(text: str) -> str:
    words = " ".join(text.split()).replace("*/", "* /")
    return f"/** {words} */\n" if words else ""
