"""Words that others wrote: harmless where they are printed, tidy where they are a name.

Rules of this file:

1. `visible` and `json_text` are the only ways of a member's words to a terminal or a
   text log. What would act there instead of being read is escaped, never dropped:
   whoever looks for a fault has to see it.
2. `label` is the only way of a name (a device's label, a session's title) into the
   product, by whichever door. It drops what has no place in a name, and refuses nothing.
"""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any, Final

NAME_CHARACTERS: Final = 200
"""The longest name of a session, or of a device while it is connected."""

_ACTS: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb"
    "\ud800-\udfff]"
)
"""Controls (C0, DEL, C1), line ends, what turns the direction of text, halves of characters."""
_NO_NAME: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
"""What a name drops. Joiners, variation selectors and LRM, RLM, ALM stay: scripts need them."""
_SHORT: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}

_ZWJ: Final = "\u200d"
_JOINERS: Final = frozenset({"\u200c", _ZWJ})
_TAGS: Final = range(0xE0020, 0xE0080)
_SKIN_TONES: Final = range(0x1F3FB, 0x1F400)
_REGIONS: Final = range(0x1F1E6, 0x1F200)
_MARKS: Final = frozenset({"Mn", "Mc", "Me"})
_LINKS_LETTERS: Final = 9
"""The combining class of a virama: the letter after it belongs to the same sign."""
_HANGUL_LEADS: Final = range(0x1100, 0x1160)
_HANGUL_VOWELS: Final = range(0x1160, 0x1200)
"""And the consonants that close a syllable."""
_HANGUL_SYLLABLES: Final = range(0xAC00, 0xD7A4)


def visible(text: str, *, lines: bool = False) -> str:
    r"""Return `text` so that a terminal or a log shows it and does not obey it.

    With `lines` its line breaks and tabs stay: for text of several lines.

    >>> print(visible("a\x1b[2J\nb\u202e"))
    a\x1b[2J\nb\u202e
    """
    return _ACTS.sub(lambda match: _escaped(match[0], lines), text)


def _escaped(character: str, lines: bool) -> str:
    if lines and character in "\n\t":
        return character
    code = ord(character)
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")


def json_text(value: Any, *, indent: int | None = None) -> str:
    r"""Return JSON that a terminal shows and does not obey; read back it is the same value.

    >>> print(json_text({"a": "\x9b2J\u202eé"}))
    {"a":"\u009b2J\u202eé"}
    """
    separators = (",", ":") if indent is None else None
    text = json.dumps(value, ensure_ascii=False, separators=separators, indent=indent)
    # json itself escapes what is below a space; what is left of that are its own line breaks.
    return _ACTS.sub(lambda m: m[0] if m[0] == "\n" else f"\\u{ord(m[0]):04x}", text)


def label(text: str, limit: int = NAME_CHARACTERS) -> str:
    """Return `text` as a name of at most `limit` characters, cut between graphemes.

    >>> label(" Ann\\u00a0\\u202eP.\\x07 ", 100)
    'Ann P.'
    >>> label("ab\\U0001f44d\\U0001f3fd", 3)
    'ab'
    """
    # A text of any length may come; what is far beyond the cut need not be looked at.
    kept = _NO_NAME.sub("", text[: 8 * limit].replace("\u00a0", " "))
    return cut(_without_stray_tags(kept).strip(), limit).rstrip()


def _without_stray_tags(text: str) -> str:
    """Drop tag characters that do not follow an emoji; there they make a flag."""
    if not any(0xE0000 <= ord(character) < 0xE0080 for character in text):
        return text
    kept: list[str] = []
    follows_emoji = False
    for character in text:
        code = ord(character)
        if 0xE0000 <= code < 0xE0080:
            if not (follows_emoji and code in _TAGS):
                continue
        else:
            extends = code in _SKIN_TONES or unicodedata.category(character) == "Mn"
            is_emoji = unicodedata.category(character) == "So"
            follows_emoji = is_emoji or (follows_emoji and extends)
        kept.append(character)
    return "".join(kept)


def cut(text: str, limit: int) -> str:
    """Return the beginning of a text, at most `limit` characters, ended between graphemes."""
    if len(text) <= limit:
        return text
    end = limit
    while end > 0 and not _is_boundary(text, end):
        end -= 1
    # One single sign longer than that is no name anybody reads: its beginning will do.
    return text[: end or limit]


def _is_boundary(text: str, at: int) -> bool:
    """Return whether a grapheme ends before `text[at]`.

    The rules of Unicode's text segmentation (UAX #29) as far as names need them: what
    extends, joins, links letters, builds Hangul, and pairs of regional indicators.
    """
    before, after = text[at - 1], text[at]
    code = ord(after)
    if (
        after in _JOINERS
        or unicodedata.category(after) in _MARKS
        or code in _SKIN_TONES
        or code in _TAGS
        or code in _HANGUL_VOWELS
    ):
        return False
    if before == _ZWJ or unicodedata.combining(before) == _LINKS_LETTERS:
        return False
    if ord(before) in _HANGUL_LEADS and (code in _HANGUL_LEADS or code in _HANGUL_SYLLABLES):
        return False
    if code in _REGIONS:
        return _regions_before(text, at) % 2 == 0
    return True


def _regions_before(text: str, at: int) -> int:
    count = 0
    while at - count > 0 and ord(text[at - count - 1]) in _REGIONS:
        count += 1
    return count
