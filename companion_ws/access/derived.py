"""Ticket and code of a pairing, derived from a key; what is stored of them; ids in links."""

from __future__ import annotations

import base64
import hmac
import re
import unicodedata
import uuid
from hashlib import sha256
from typing import Final

CODE_DIGITS: Final = 9
_MOST_TYPED: Final = 4096
"""Longer than any sentence around a code."""
_TOGETHER: Final = re.compile(r"[0-9](?:[\s._·/-]{0,3}[0-9])*")


def digits_of(text: str) -> str | None:
    """Return the nine digits somebody typed, pasted or was read; None where there are none.

    They may be any script's digits, with whatever stands between and around them. The twin of
    `codeIn` in static/js/core/protocol.js; tests/wire/codes holds both to the same cases.

    >>> digits_of("Code: \u200b\u0661\u0662\u0663 \u2013 456 789")
    '123456789'
    """
    plain = "".join(map(_plain, unicodedata.normalize("NFKC", text[:_MOST_TYPED])))
    every = re.sub(r"[^0-9]", "", plain)
    if len(every) == CODE_DIGITS:
        return every
    # In a sentence with other numbers: nine that stand together.
    groups = (re.sub(r"[^0-9]", "", group) for group in _TOGETHER.findall(plain))
    whole = [digits for digits in groups if len(digits) == CODE_DIGITS]
    return whole[0] if len(whole) == 1 else None


def _plain(letter: str) -> str:
    category = unicodedata.category(letter)
    if category == "Nd":
        return str(unicodedata.decimal(letter))
    return "" if category == "Cf" else "-" if category == "Pd" else letter


def session_part(session_id: str) -> str:
    """Return a session id as 22 characters of base64url, as links carry it.

    >>> session_part("00000000-0000-4000-8000-000000000000")
    'AAAAAAAAQACAAAAAAAAAAA'
    """
    return _base64url(uuid.UUID(session_id).bytes)


def ticket_of(key: bytes, pairing_id: str) -> str:
    """Return the ticket of a pairing: 128 bits as 22 characters of base64url."""
    return _base64url(hmac.digest(key, f"ticket:{pairing_id}".encode(), sha256)[:16])


def claim_of(key: bytes, pairing_id: str) -> str:
    """Return what a device that waits under this id proves itself by: 128 bits."""
    return _base64url(hmac.digest(key, f"claim:{pairing_id}".encode(), sha256)[:16])


def code_of(key: bytes, nonce: str) -> str:
    """Return the code to speak or type: 9 digits."""
    number = int.from_bytes(hmac.digest(key, f"code:{nonce}".encode(), sha256), "big")
    return f"{number % 10**CODE_DIGITS:0{CODE_DIGITS}d}"


def code_hash_of(key: bytes, code: str) -> bytes:
    """Return what a code is stored as: guessing it takes the key, not only the database."""
    return hmac.digest(key, f"code-hash:{code}".encode(), sha256)


def hash_of(secret: str) -> bytes:
    """Return what a secret of 128 bits is stored as."""
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
