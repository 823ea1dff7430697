"""A secret that stands in a database, where nobody can read it who has the database alone.

`seal` is encrypt-then-MAC with HMAC-SHA-256 for both, the stream being HMAC in counter mode. A `Box`
is what something can be sealed for that no key known before may open: Diffie-Hellman with
exponents that never leave memory, in the group 15 of RFC 3526. Both ends must trust whoever
may write where the public values stand.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable
from hashlib import sha256
from typing import Final

NONCE_BYTES: Final = 16
TAG_BYTES: Final = 32
EXPONENT_BITS: Final = 256
"""Twice the strength of the group, which is about 128 bits."""
PRIME: Final = int(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74"
    "020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437"
    "4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED"
    "EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF05"
    "98DA48361C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB"
    "9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B"
    "E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF695581718"
    "3995497CEA956AE515D2261898FA051015728E5A8AAAC42DAD33170D04507A33"
    "A85521ABDF1CBA64ECFB850458DBEF0A8AEA71575D060C7DB3970F85A6E1E4C7"
    "ABF5AE8CDB0933D71E8C94E04A25619DCEE3D2261AD2EE6BF12FFA06D98A0864"
    "D87602733EC86A64521F2B18177B200CBBE117577A615D6C770988C0BAD946E2"
    "08E24FA074E5AB3143DB5BFCE0FD108E4B82D120A93AD2CAFFFFFFFFFFFFFFFF",
    16,
)
"""2^3072 - 2^3008 - 1 + 2^64 * (floor(2^2942 pi) + 1690314). Source: RFC 3526, section 4."""
GENERATOR: Final = 2
PUBLIC_BYTES: Final = 384


def seal(key: bytes, secret: bytes) -> bytes:
    """Return a secret so that only `unseal` with the same key finds it."""
    nonce = secrets.token_bytes(NONCE_BYTES)
    hidden = nonce + _hidden(key, nonce, secret)
    return hidden + _tag(key, hidden)


def unseal(key: bytes, sealed: bytes) -> bytes | None:
    """Return what was sealed with this key; None where it was another one, or was changed."""
    hidden, tag = sealed[:-TAG_BYTES], sealed[-TAG_BYTES:]
    if len(hidden) < NONCE_BYTES or not hmac.compare_digest(tag, _tag(key, hidden)):
        return None
    return _hidden(key, hidden[:NONCE_BYTES], hidden[NONCE_BYTES:])


class Box:
    """Something only this process can open; `public` is what others seal for it with."""

    def __init__(self, randbits: Callable[[int], int] = secrets.randbits) -> None:
        self._exponent = randbits(EXPONENT_BITS) | 1 << (EXPONENT_BITS - 1)
        self.public = _packed(pow(GENERATOR, self._exponent, PRIME))

    def key_with(self, public: bytes) -> bytes:
        """Return the key that this box and another one have in common: 32 bytes.

        Raises:
            ValueError: that is not a public value.
        """
        theirs = int.from_bytes(public, "big")
        if len(public) != PUBLIC_BYTES or not 1 < theirs < PRIME - 1:
            raise ValueError("This is not a public value.")
        shared = _packed(pow(theirs, self._exponent, PRIME))
        both = b"".join(sorted((self.public, public)))
        return hmac.digest(sha256(both).digest(), shared, sha256)


def _packed(number: int) -> bytes:
    return number.to_bytes(PUBLIC_BYTES, "big")


def _hidden(key: bytes, nonce: bytes, text: bytes) -> bytes:
    """Return a text hidden, or a hidden one found."""
    stream = b"".join(
        hmac.digest(key, b"stream" + nonce + block.to_bytes(4, "big"), sha256)
        for block in range(-(-len(text) // 32))
    )
    return bytes(a ^ b for a, b in zip(text, stream, strict=False))


def _tag(key: bytes, hidden: bytes) -> bytes:
    return hmac.digest(key, b"tag" + hidden, sha256)
