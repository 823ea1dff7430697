"""Ticket and code of a pairing, derived from a key; what is stored of them; ids in links."""

from __future__ import annotations

import base64
import hmac
import uuid
from hashlib import sha256
from typing import Final

CODE_DIGITS: Final = 9


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
