"""JSON as models write it: as text in text, fenced, with a comma too many, in single quotes.

What can be understood is; what is read is JSON that the wire can carry. The twin of
static/js/elevenlabs/json-text.js; tests/wire/parameters holds both to the same cases.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

from companion_ws.core.protocol import MAX_DEPTH, MAX_INTEGER

UNREAD: Final = object()
"""What `read_json` returns of a text that no JSON is found in."""
MAX_LEVELS: Final = MAX_DEPTH - 4
"""A record holds what is read here some levels down, and the wire carries MAX_DEPTH in all."""
MAX_NESTED_TEXTS: Final = 4
"""JSON text in JSON text in …: more is no slip but a loop."""

_FENCE: Final = re.compile(r"```[a-zA-Z0-9]*[ \t]*\r?\n?(.*?)```", re.DOTALL)
_TOKEN: Final = re.compile(
    r"""(?P<double>"(?:[^"\\]|\\.)*")|(?P<single>'(?:[^'\\]|\\.)*')"""
    r"""|(?P<comma>,(?=\s*[\]}]))|(?P<word>[A-Za-z_]\w*)(?P<colon>\s*:)?""",
    re.DOTALL,
)
_WORDS: Final = {"True": "true", "False": "false", "None": "null", "undefined": "null"}


class NotUnderstood(Exception):
    """Nothing can be made of what a model wrote; the text tells it what would do."""


def read_json(text: str) -> Any:
    """Return the object or list that a text means, or UNREAD.

    Raises:
        NotUnderstood: it nests too deep.

    >>> read_json('```json\\n[{"id": "air"},]\\n```')
    [{'id': 'air'}]
    >>> read_json('"{\\\\"cost\\\\": 12}"')
    {'cost': 12}
    >>> read_json("UPS Next Day") is UNREAD
    True
    """
    value: Any = text
    for _ in range(MAX_NESTED_TEXTS):
        value = _loaded(value)
        if isinstance(value, dict | list):
            return mended(value)
        if not isinstance(value, str):
            return UNREAD
    return UNREAD


def mended(value: Any, level: int = 1) -> Any:
    """Return a value the wire can carry: half characters replaced, beyond 2^53 as text.

    >>> mended({"id": 12345678901234567890, "name": "A\\ud83d"})
    {'id': '12345678901234567890', 'name': 'A\ufffd'}

    Raises:
        NotUnderstood: it nests too deep.
    """
    if level > MAX_LEVELS and isinstance(value, dict | list | tuple):
        raise NotUnderstood(f"This nests deeper than {MAX_LEVELS} levels.")
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {mended(str(key)): mended(part, level + 1) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [mended(part, level + 1) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if type(value) is int and not -MAX_INTEGER <= value <= MAX_INTEGER:
        return str(value)
    return value


def _loaded(text: str) -> Any:
    fenced = _FENCE.search(text)
    plain = (fenced[1] if fenced else text).strip()
    for written in (text.strip(), plain, _TOKEN.sub(_strict, plain)):
        try:
            return json.loads(written, parse_constant=lambda _: None, parse_int=_whole)
        except (ValueError, RecursionError):
            continue
    return UNREAD


def _whole(digits: str) -> int | str:
    # Python refuses to read numbers of thousands of digits.
    return int(digits) if len(digits) <= len(str(MAX_INTEGER)) + 1 else digits


def _strict(token: re.Match[str]) -> str:
    """Return one token as JSON has it."""
    if token["comma"]:
        return ""
    if token["word"]:
        word, colon = token["word"], token["colon"]
        return f'"{word}"{colon}' if colon else _WORDS.get(word, word)
    if token["single"]:
        inner = token["single"][1:-1].replace("\\'", "'")
        inner = re.sub(r'(?<!\\)"', '\\"', inner)
        return '"' + inner.replace("\r", "\\r").replace("\n", "\\n").replace("\t", "\\t") + '"'
    quoted = token["double"]
    return quoted.replace("\r", "\\r").replace("\n", "\\n").replace("\t", "\\t")
