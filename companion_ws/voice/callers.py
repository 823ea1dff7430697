"""Who calls: one spelling for a telephone number, and none for a caller who has none.

Carriers write one number in many ways, and for a withheld one they send words, their
spelling on a telephone's keys, or digits nobody has. Such a caller is a stranger each time.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final
from urllib.parse import unquote

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumber, ValidationResult

MIN_DIGITS: Final = 7
"""Shorter is an extension or a service, and many people have the same."""
MAX_CHARS: Final = 256
_COUNTED: Final = "01234567890123456789"
"""Digits in a row are what a system without a number makes up."""

_SCHEME: Final = re.compile(r"\s*(?:tel|sips?|sms|whatsapp|callto|phone)\s*:(?://)?", re.IGNORECASE)
_HOST: Final = re.compile(r"\d+(?:\.\d+){3}")
"""The address of a carrier, where there is no number before it."""
_IN_BRACKETS: Final = re.compile(r"<([^<>]*)>")
_WITHHELD: Final = (
    "anonymous", "asserted", "blocked", "callerid", "hidden", "international", "invalid",
    "nocallerid", "noname", "nonumber", "notavailable", "notprovided", "outofarea", "payphone",
    "privacy", "private", "privatenumber", "restricted", "tollfree", "unavailable",
    "unidentified", "unknown", "unknowncaller", "withheld",
)  # fmt: skip
_KEYS: Final = str.maketrans("abcdefghijklmnopqrstuvwxyz", "22233344455566677778889999")
_PLACEHOLDERS: Final = frozenset(word.translate(_KEYS) for word in _WITHHELD)
"""What carriers send for a withheld number where only digits may stand: 266696687 spells ANONYMOUS."""


def number_of(text: str, called: str = "") -> str:
    """Return the E.164 number in what a carrier sends, or "" where it is none to call back.

    A number without its country is read as one of the number that was called.

    >>> [number_of(text) for text in ("+1 (202) 555-0100", "12025550100", "tel:+1-202-555-0100")]
    ['+12025550100', '+12025550100', '+12025550100']
    >>> number_of("sip:2025550100@carrier.example;user=phone", called="+12025550199")
    '+12025550100'
    >>> [number_of(text) for text in ("anonymous", "Restricted", "+266696687", "0", "")]
    ['', '', '', '', '']
    """
    plain = _plain(text)
    digits = "".join(char for char in plain if char.isdigit())
    if not plain or len(digits) < MIN_DIGITS or _is_placeholder(digits):
        return ""
    found = _best(plain, digits, _region_of(called))
    if found is None:
        return ""
    national = str(found.national_number)
    if len(set(national)) == 1 or _is_placeholder(national):
        return ""
    if found.country_code == 1 and national[0] in "01":
        return ""  # No area of North America begins so.
    return phonenumbers.format_number(found, phonenumbers.PhoneNumberFormat.E164)


def called_of(text: str) -> str:
    """Return one spelling of what was called, which need not be a number."""
    return number_of(text) or _bare(text).casefold()


def _bare(text: str) -> str:
    """Return what stands between the scheme and the host of an address."""
    text = unicodedata.normalize("NFKC", unquote(text[:MAX_CHARS]))
    text = "".join(char for char in text if unicodedata.category(char) not in ("Cf", "Cc"))
    in_brackets = _IN_BRACKETS.search(text)
    text = _SCHEME.sub("", in_brackets[1] if in_brackets else text, count=1)
    user = text.split("@", 1)[0].split(";", 1)[0]
    return user.split(":", 1)[0].strip()


def _plain(text: str) -> str:
    """Return the characters of a number, or "" where there are others."""
    bare = _bare(text)
    is_number = bare and not _HOST.fullmatch(bare) and not any(char.isalpha() for char in bare)
    return bare if is_number else ""


def _is_placeholder(digits: str) -> bool:
    stripped = digits.lstrip("0")
    forms = (digits, stripped, stripped.removeprefix("1"))
    if len(set(digits)) == 1 or digits in _COUNTED:
        return True
    return any(form in _PLACEHOLDERS for form in forms)


def _region_of(called: str) -> str | None:
    if not (number := number_of(called) if called else ""):
        return None
    return phonenumbers.region_code_for_country_code(
        phonenumbers.parse(number, None).country_code or 0
    )


def _best(plain: str, digits: str, region: str | None) -> PhoneNumber | None:
    """Return the reading that somebody can have; of several the one that is surely given out."""
    if plain.startswith("+"):
        readings = [(_parsed(plain, None), True)]
    elif plain.startswith("00"):
        readings = [(_parsed(f"+{digits[2:]}", None), True), (_parsed(plain, region), False)]
    else:
        readings = [(_parsed(plain, region), False), (_parsed(f"+{digits}", None), True)]
    known = [(reading, has_country) for reading, has_country in readings if reading is not None]
    for reading, _ in known:
        if phonenumbers.is_valid_number(reading):
            return reading
    for reading, has_country in known:
        # A local number is one only where its country was written with it.
        why = phonenumbers.is_possible_number_with_reason(reading)
        is_local = why == ValidationResult.IS_POSSIBLE_LOCAL_ONLY
        if why == ValidationResult.IS_POSSIBLE or (is_local and has_country):
            return reading
    return None


def _parsed(text: str, region: str | None) -> PhoneNumber | None:
    try:
        return phonenumbers.parse(text, region)
    except NumberParseException:
        return None
