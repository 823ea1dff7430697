"""Regular expressions matched in time that grows with the text and no faster.

Python's `re` tries one way after the other, and `^(a+)+$` has more ways than anybody
can wait for. Here all ways are walked side by side: a text of n characters costs n
times the steps of the pattern at most, and MAX_WORK in all.

The subset, the same as in static/js/core/matcher.js: characters, `.`, classes `[a-z]`
`[^…]`, \\d \\w \\s \\D \\W \\S, \\b \\B, ^ $, groups `(…)` `(?:…)` `(?<name>…)`, `|`,
`*` `+` `?` `{n}` `{n,}` `{n,m}` (lazy ones too), \\t \\n \\r \\f \\v \\0 \\xhh \\uhhhh
\\u{h…}, and \\p{…} \\P{…} of a general category (`L`, `Lu`, `Nd`, …). Anything else is
`Unsupported`: references back, looking ahead or behind, more than 2,000 steps.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Any, Final, NamedTuple

MAX_PATTERN: Final = 1000
MAX_STEPS: Final = 2000
MAX_DEPTH: Final = 50
MAX_WRITTEN: Final = 20_000
"""Repeating nothing makes no step and still takes time to write."""
MAX_WORK: Final = 20_000
"""Steps walked for one text: about ten milliseconds."""

Test = Callable[[str], bool]
Place = Callable[[str, int], bool]


class Unsupported(Exception):
    """The pattern is no regular expression, or none of the subset."""


class TooLong(Exception):
    """The text is too long to be matched against a pattern of this size."""


class _Part(NamedTuple):
    kind: str
    test: Any = None
    parts: tuple[_Part, ...] = ()
    least: int = 0
    most: int | None = None


class _Step(NamedTuple):
    """Takes a character, looks at a place, forks, or, with none of these, is the end."""

    test: Test | None = None
    holds: Place | None = None
    ways: tuple[int, ...] = ()


class Pattern:
    """A pattern as JSON Schema understands it: found anywhere in the text.

    Raises:
        Unsupported: it is beyond the subset.
    """

    def __init__(self, pattern: str) -> None:
        if len(pattern) > MAX_PATTERN:
            raise Unsupported(f"it is longer than {MAX_PATTERN} characters")
        self._steps: list[_Step] = [_Step()]
        self._written = 0
        self._first = self._write(_Parser(pattern).parse(), 0)

    def is_found_in(self, text: str) -> bool:
        """Whether the pattern matches somewhere in `text`.

        Raises:
            TooLong: finding out would take too long.
        """
        work = 0
        here: dict[int, None] = {}
        for at, sign in enumerate(text):
            if self._enter(here, self._first, text, at):
                return True
            work += len(here)
            if work > MAX_WORK:
                raise TooLong
            after: dict[int, None] = {}
            for step_id in here:
                step = self._steps[step_id]
                if (
                    step.test is not None
                    and step.test(sign)
                    and self._enter(after, step.ways[0], text, at + 1)
                ):
                    return True
            here = after
        return self._enter(here, self._first, text, len(text))

    def _enter(self, walk: dict[int, None], first: int, text: str, at: int) -> bool:
        """Note a step and all it leads to without a character; whether the end is among them."""
        left = [first]
        while left:
            step_id = left.pop()
            if step_id in walk:
                continue
            walk[step_id] = None
            if step_id == 0:
                return True
            step = self._steps[step_id]
            if step.test is None and (step.holds is None or step.holds(text, at)):
                left.extend(step.ways)
        return False

    def _add(self, step: _Step) -> int:
        if len(self._steps) >= MAX_STEPS:
            raise Unsupported(f"it has more than {MAX_STEPS} steps")
        self._steps.append(step)
        return len(self._steps) - 1

    def _write(self, part: _Part, to: int) -> int:
        """Add the steps of a part that leads on to the step `to`; return the first of them."""
        self._written += 1
        if self._written > MAX_WRITTEN:
            raise Unsupported("it repeats too much")
        match part.kind:
            case "one":
                return self._add(_Step(test=part.test, ways=(to,)))
            case "place":
                return self._add(_Step(holds=part.test, ways=(to,)))
            case "sequence":
                for each in reversed(part.parts):
                    to = self._write(each, to)
                return to
            case "either":
                return self._add(_Step(ways=tuple(self._write(way, to) for way in part.parts)))
        [repeated] = part.parts
        end = to
        if part.most is None:
            end = self._add(_Step())
            self._steps[end] = _Step(ways=(to, self._write(repeated, end)))
        else:
            for _ in range(part.least, part.most):
                end = self._add(_Step(ways=(to, self._write(repeated, end))))
        for _ in range(part.least):
            end = self._write(repeated, end)
        return end


class _Parser:
    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0
        self._depth = 0

    def parse(self) -> _Part:
        part = self._either()
        if self._at < len(self._pattern):
            raise Unsupported("a bracket is closed that was not opened")
        return part

    def _next(self) -> str:
        return self._pattern[self._at : self._at + 1]

    def _take(self) -> str:
        sign = self._next()
        if not sign:
            raise Unsupported("it ends too soon")
        self._at += 1
        return sign

    def _skip(self, text: str) -> bool:
        if not self._pattern.startswith(text, self._at):
            return False
        self._at += len(text)
        return True

    def _until(self, end: str) -> str:
        text = ""
        while (sign := self._take()) != end:
            text += sign
        return text

    def _either(self) -> _Part:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise Unsupported("it is nested too deep")
        ways = [self._sequence()]
        while self._skip("|"):
            ways.append(self._sequence())
        self._depth -= 1
        return ways[0] if len(ways) == 1 else _Part("either", parts=tuple(ways))

    def _sequence(self) -> _Part:
        parts = []
        while self._next() not in ("", "|", ")"):
            parts.append(self._repeated())
        return _Part("sequence", parts=tuple(parts))

    def _repeated(self) -> _Part:
        part = self._single()
        while (times := self._times()) is not None:
            if part.kind == "place":
                raise Unsupported("a place cannot be repeated")
            if part.kind == "repeat":
                raise Unsupported("a repetition is repeated without a group")
            part = _Part("repeat", parts=(part,), least=times[0], most=times[1])
            self._skip("?")  # Whether it takes much or little does not change what is found.
        return part

    def _times(self) -> tuple[int, int | None] | None:
        for sign, times in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._skip(sign):
                return times
        if self._next() != "{":
            return None
        found = re.compile(r"\{([0-9]{1,4})(?:(,)([0-9]{0,4}))?\}").match(self._pattern, self._at)
        if found is None:
            raise Unsupported("a brace stands alone")
        self._at = found.end()
        least = int(found[1])
        most = least if found[2] is None else int(found[3]) if found[3] else None
        if most is not None and most < least:
            raise Unsupported("a repetition counts backwards")
        return least, most

    def _single(self) -> _Part:
        sign = self._take()
        match sign:
            case "(":
                return self._group()
            case "[":
                return self._class()
            case ".":
                return _Part("one", lambda each: each not in "\n\r\u2028\u2029")
            case "^":
                return _Part("place", lambda text, at: at == 0)
            case "$":
                return _Part("place", lambda text, at: at == len(text))
            case "\\":
                return self._escaped()
        if sign in "*+?{}])":
            raise Unsupported(f"{sign!r} stands where nothing comes before it")
        return _Part("one", sign.__eq__)

    def _group(self) -> _Part:
        if self._skip("?") and not self._skip(":"):
            if not self._skip("<") or self._next() in ("=", "!"):
                raise Unsupported("it looks ahead or behind")
            self._until(">")
        inside = self._either()
        if not self._skip(")"):
            raise Unsupported("a bracket is not closed")
        return _Part("sequence", parts=(inside,))

    def _escaped(self) -> _Part:
        if self._skip("b"):
            return _Part("place", _is_word_edge)
        if self._skip("B"):
            return _Part("place", lambda text, at: not _is_word_edge(text, at))
        if self._next() and self._next() in "123456789k":
            raise Unsupported("it refers back")
        found = self._escape()
        return _Part("one", found.__eq__ if isinstance(found, str) else found)

    def _escape(self) -> str | Test:
        """Return one character, or the test of many."""
        sign = self._take()
        if sign in _MANY:
            return _MANY[sign]
        if sign in "pP":
            return self._property(is_not=sign == "P")
        if sign in _CONTROLS:
            return _CONTROLS[sign]
        if sign == "x":
            return self._character("".join(self._take() for _ in range(2)))
        if sign == "u":
            wide = self._skip("{")
            return self._character(
                self._until("}") if wide else "".join(self._take() for _ in range(4))
            )
        if sign.isascii() and sign.isalnum():
            raise Unsupported(f"'\\{sign}' is not known here")
        return sign

    def _character(self, number: str) -> str:
        if not re.fullmatch("[0-9a-fA-F]{1,6}", number) or int(number, 16) > 0x10FFFF:
            raise Unsupported("a character's number is none")
        return chr(int(number, 16))

    def _property(self, *, is_not: bool) -> Test:
        if not self._skip("{"):
            raise Unsupported("a property has no name")
        name = self._until("}").removeprefix("gc=").removeprefix("General_Category=")
        if name not in _CATEGORIES:
            raise Unsupported("only general categories are known here")
        return lambda each: unicodedata.category(each).startswith(name) is not is_not

    def _class(self) -> _Part:
        is_not = self._skip("^")
        tests: list[Test] = []
        while not self._skip("]"):
            first = self._member()
            is_range = self._next() == "-" and self._pattern[self._at + 1 : self._at + 2] != "]"
            if not is_range:
                tests.append(first.__eq__ if isinstance(first, str) else first)
                continue
            self._take()
            last = self._member()
            if not isinstance(first, str) or not isinstance(last, str) or last < first:
                raise Unsupported("a range of characters makes no sense")
            tests.append(_between(first, last))
        return _Part("one", lambda each: any(test(each) for test in tests) is not is_not)

    def _member(self) -> str | Test:
        sign = self._take()
        if sign != "\\":
            return sign
        return "\b" if self._skip("b") else self._escape()


def _between(first: str, last: str) -> Test:
    return lambda each: first <= each <= last


def _is_word(sign: str) -> bool:
    return sign.isascii() and (sign.isalnum() or sign == "_")


def _is_word_edge(text: str, at: int) -> bool:
    before = at > 0 and _is_word(text[at - 1])
    after = at < len(text) and _is_word(text[at])
    return before != after


def _is_digit(sign: str) -> bool:
    return "0" <= sign <= "9"


_SPACES: Final = frozenset(
    "\t\n\v\f\r \u00a0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff"
    + "".join(map(chr, range(0x2000, 0x200B)))
)
"""What JavaScript's `\\s` means."""
_MANY: Final[dict[str, Test]] = {
    "d": _is_digit,
    "D": lambda sign: not _is_digit(sign),
    "w": _is_word,
    "W": lambda sign: not _is_word(sign),
    "s": _SPACES.__contains__,
    "S": lambda sign: sign not in _SPACES,
}
_CONTROLS: Final = {"t": "\t", "n": "\n", "v": "\v", "f": "\f", "r": "\r", "0": "\0"}
_CATEGORIES: Final = frozenset(
    ["L", "Lu", "Ll", "Lt", "Lm", "Lo", "M", "Mn", "Mc", "Me", "N", "Nd", "Nl", "No", "P", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "S", "Sm", "Sc", "Sk", "So", "Z", "Zs", "Zl", "Zp", "C", "Cc", "Cf", "Cs", "Co", "Cn"]
)
