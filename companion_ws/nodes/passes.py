"""Passes: how one server vouches to another for a request that it passes on.

A pass is one header. It says which server asks which, and who asked it: address, scheme and host
as that server saw them. It is signed with the keys that all servers of a database share, holds for
one request alone (method, path and, where there is one, body), lives for seconds and works once.
Each server remembers those that it has seen, so a pass names the one that it is for.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final

import msgspec
from itsdangerous import BadData, Signer
from msgspec import Struct

HEADER: Final = "X-Companion-Pass"
LIFE_MS: Final = 15_000
"""A pass is used at once; the rest is for clocks of servers that are this far apart."""
MAX_CHARS: Final = 4096
_SALT: Final = b"companion-ws:pass"


class Caller(Struct, frozen=True):
    """Who asked, as the server that was asked saw it."""

    address: str = ""
    scheme: str = ""
    host: str = ""


class Pass(Struct, frozen=True):
    """What a pass says; `body` is the SHA-256 of what it was made for, "" where nothing is bound."""

    node: str
    to: str
    method: str
    path: str
    at_ms: int
    nonce: str
    body: str = ""
    caller: Caller = Caller()

    def is_of(self, body: bytes) -> bool:
        """Whether it was made for this body."""
        return self.body == sha256(body).hexdigest()


_NOBODY: Final = Caller()
"""A server asks for itself."""


class Passes:
    """Makes passes, and reads those of other servers, each once."""

    def __init__(
        self,
        keys: Callable[[], Sequence[bytes]],
        now_ms: Callable[[], int],
        nonce: Callable[[], str],
    ) -> None:
        """`keys` are oldest first: the last one signs, all of them verify."""
        self._keys = keys
        self._now_ms = now_ms
        self._nonce = nonce
        self._used: dict[str, int] = {}
        """Until when each nonce that was seen must not come again, oldest first."""

    def sign(
        self,
        node: str,
        to: str,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        caller: Caller = _NOBODY,
    ) -> str:
        """Return a pass for one request of the server `node` to the server `to`."""
        made = Pass(
            node, to, method, path, self._now_ms(), self._nonce(),
            "" if body is None else sha256(body).hexdigest(), caller,
        )  # fmt: skip
        text = urlsafe_b64encode(msgspec.json.encode(made))
        return self._signer().sign(text).decode()

    def read(self, text: str, to: str, method: str, path: str) -> Pass | None:
        """Return what a pass to the server `to` says.

        None where it is forged, for another server or request, old, or used.
        """
        if len(text) > MAX_CHARS:
            return None
        try:
            found = msgspec.json.decode(
                urlsafe_b64decode(self._signer().unsign(text.encode())), type=Pass
            )
        except (BadData, ValueError, msgspec.MsgspecError):
            return None
        at_ms = self._now_ms()
        if (found.to, found.method, found.path) != (to, method, path):
            return None
        if abs(at_ms - found.at_ms) > LIFE_MS:
            return None
        self._forget_before(at_ms)
        if found.nonce in self._used:
            return None
        self._used[found.nonce] = at_ms + 2 * LIFE_MS
        return found

    def _forget_before(self, at_ms: int) -> None:
        """Forget nonces of passes that are too old by now; the oldest stand first."""
        while self._used:
            nonce = next(iter(self._used))
            if self._used[nonce] >= at_ms:
                return
            del self._used[nonce]

    def _signer(self) -> Signer:
        return Signer(list(self._keys()), salt=_SALT, key_derivation="hmac", digest_method=sha256)
