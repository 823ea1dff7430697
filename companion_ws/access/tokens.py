"""Tokens: who somebody is, signed; and who of those that are shown here is still welcome."""

from __future__ import annotations

import hmac
import json
import re
import secrets
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final

import msgspec
from itsdangerous import BadData, URLSafeSerializer

from companion_ws.access.claims import Claims, Kind
from companion_ws.access.credential import Credential
from companion_ws.access.keys import MAX_KEYS, Keys
from companion_ws.core.errors import Overloaded, TokenExpired, Unauthenticated, Unavailable

__all__ = ["Claims", "Kind", "Revocations", "Tokens", "now_ms"]

MAX_LENGTH: Final = 4096
"""Longer text is refused before anything looks at it."""
MAX_LEEWAY_S: Final = 60.0
"""How much longer than promised a token lives at most, so that a clock step refuses nobody."""
MAX_TTL_S: Final = 366 * 86400.0
"""Nobody is issued a longer token, so a revocation need not be kept longer either."""
MAX_STEP_MS: Final = 86_400_000
"""How far ahead of us a token may have been issued for a sign-out to cover it."""
LEEWAY_SHARE: Final = 0.1
"""A token made for seconds gets no minute on top."""

MAX_REQUEST_S: Final = 600.0
"""No request lasts longer, and what does (sockets, streams) looks at its end itself."""
MAX_NAMES: Final = 10_000
"""Users whose hashes are remembered; beyond it all are worked out again."""

_LETTERS: Final[dict[Kind, str]] = {
    "user": "u", "service": "s", "admin": "a", "session": "d", "metrics": "m",
}  # fmt: skip
_KINDS: Final[dict[str, Kind]] = {letter: kind for kind, letter in _LETTERS.items()}
_FORM: Final = re.compile(r"cw([usadm])_([A-Za-z0-9._-]+)")
_EXPIRED: Final = "This token has expired. Fetch another."
_OUT_OF_TOUCH: Final = "This server has lost touch with the others; try again."
_REFUSAL: Final = "This token is not accepted here. Sign in again."


def now_ms() -> int:
    """Return the time of day in milliseconds since 1970 (UTC)."""
    return time.time_ns() // 1_000_000


class Revocations:
    """Tokens that are refused although their signature is good, in memory.

    `Credentials` stores them and fills this at start. Users are known by a
    keyed hash, so that a name can be erased while its tokens stay dead.
    """

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._until_ms: dict[tuple[str, str], int] = {}
        self._cutoffs_ms: dict[str, int] = {}
        self._refs: dict[str, tuple[str, ...]] = {}
        self._generation = keys.generation
        self.on_change: Callable[[], None] = lambda: None
        """Called when something more is refused."""
        self._latest_ms = 0

    def user_ref(self, user: str) -> str:
        """Return the hash `user` is remembered by."""
        return _user_ref(self._keys.derive("revoked-user"), user)

    def add(self, kind: str, ref: str, at_ms: int, until_ms: int) -> None:
        """Refuse a `token` by id, a `parent` with what it made, a `device`, or a `user`.

        A `user`, by hash, is refused what was issued until `at_ms`, and what those tokens
        made. After `until_ms` all that is refused has expired, and it may be forgotten.
        """
        self._until_ms[kind, ref] = max(until_ms, self._until_ms.get((kind, ref), 0))
        if kind == "user":
            self._cutoffs_ms[ref] = max(at_ms, self._cutoffs_ms.get(ref, 0))
        self.on_change()

    def shorten(self, kind: str, ref: str, until_ms: int) -> None:
        """Take it that all this refuses has expired by `until_ms`."""
        self._until_ms[kind, ref] = until_ms

    def note_issued(self, claims: Claims) -> None:
        """Note when a token was issued: the time of day may be set back after that."""
        self._latest_ms = max(self._latest_ms, claims.issued_at_ms)

    def after_all_issued(self, at_ms: int) -> int:
        """Return `at_ms`, or what is after every token seen if that is later: a good cutoff."""
        return min(max(at_ms, self._latest_ms), at_ms + MAX_STEP_MS)

    def forget_before(self, at_ms: int) -> None:
        """Drop what refuses nothing any more."""
        for kind, ref in [key for key, until_ms in self._until_ms.items() if until_ms < at_ms]:
            del self._until_ms[kind, ref]
            self._cutoffs_ms.pop(ref, None)

    def covers(self, claims: Claims) -> bool:
        """Return whether the token of these claims is refused."""
        refused = self._until_ms
        return bool(refused) and (
            ("token", claims.id) in refused
            or ("parent", claims.id) in refused
            or ("parent", claims.parent) in refused
            or ("device", claims.device_id) in refused
            or claims.issued_at_ms <= self.cutoff_ms(claims.user, claims.by)
        )

    def cutoff_ms(self, *users: str | None) -> int:
        """Return until when tokens of these users are dead, 0 if none ever signed out."""
        if not self._cutoffs_ms:
            return 0
        refs = (ref for user in users if user is not None for ref in self._refs_of(user))
        return max((self._cutoffs_ms.get(ref, 0) for ref in refs), default=0)

    def _refs_of(self, user: str) -> tuple[str, ...]:
        """Return a user's hash under each key: an older one stays good as long as its tokens do."""
        if self._generation != self._keys.generation or len(self._refs) > MAX_NAMES:
            self._generation = self._keys.generation
            self._refs.clear()
        refs = self._refs.get(user)
        if refs is None:
            refs = tuple(_user_ref(key, user) for key in self._keys.derive_all("revoked-user"))
            self._refs[user] = refs
        return refs


def _user_ref(key: bytes, user: str) -> str:
    return hmac.digest(key, user.encode("utf-8", "surrogatepass"), sha256).hex()


class Tokens:
    """Issues and verifies tokens.

    Text form: `cw`, the kind's letter, `_`, a readable payload, `.`, a
    signature; all of it in `[A-Za-z0-9._-]`, so that it is legal in a URL, in
    `Sec-WebSocket-Protocol`, and easy to find in a log. Each kind has a salt
    of its own: none can stand in for another.
    """

    def __init__(
        self,
        keys: Keys,
        revocations: Revocations | None = None,
        *,
        now_ms: Callable[[], int] = now_ms,
        time_of_day_ms: Callable[[], int] | None = None,
        new_id: Callable[[], str] = lambda: secrets.token_hex(12),
        is_current: Callable[[], bool] = lambda: True,
    ) -> None:
        """`now_ms` is the clock that runs; programs that only sign go by the time of day.

        `is_current` says whether every revocation that was acknowledged is known here.
        """
        self._keys = keys
        self._revocations = revocations or Revocations(keys)
        self._now_ms = now_ms
        self._time_of_day_ms = time_of_day_ms or now_ms
        self._new_id = new_id
        self._is_current = is_current
        self._generation = -1
        self._serializers: dict[Kind, URLSafeSerializer] = {}
        self._shown: set[Credential] = set()
        self._compromised_at_ms = 0
        self._revocations.on_change = self._look
        keys.on_rotation = self._rotated

    def issue(
        self,
        kind: Kind,
        user: str,
        ttl_s: float,
        *,
        session_id: str | None = None,
        role: str | None = None,
        device_id: str | None = None,
        until_ms: int | None = None,
        parent: str | None = None,
        by: str | None = None,
    ) -> tuple[str, Claims]:
        """Return a new token and what it says. Nothing is stored.

        A token issued after its user signed out everywhere is good, even in
        the same millisecond or when the clock was set back since.
        """
        by = None if by == user else by
        issued_at_ms = self._later_than_cutoffs(user, by)
        ttl_ms = int(ttl_s * 1000)
        expires_at_ms = issued_at_ms + ttl_ms
        if until_ms is not None:
            expires_at_ms = min(expires_at_ms, until_ms)
        claims = Claims(
            kind=kind,
            user=user,
            id=self._new_id(),
            issued_at_ms=issued_at_ms,
            expires_at_ms=expires_at_ms,
            session_id=session_id,
            role=role,
            device_id=device_id,
            until_ms=until_ms,
            ttl_ms=ttl_ms if kind == "session" else None,
            parent=parent,
            by=by,
        )
        # Dated after the cutoffs there are; the next one has to come after it.
        self._revocations.note_issued(claims)
        return self.sign(claims), claims

    def _later_than_cutoffs(self, user: str, by: str | None) -> int:
        cutoff_ms = max(self._compromised_at_ms, self._revocations.cutoff_ms(user, by))
        return max(self._now_ms(), cutoff_ms + 1)

    # Tokens that are shown.

    def show(self, token: str, claims: Claims | None = None) -> Credential:
        """Return `token` as a credential in use; its holder lets go of it.

        `claims` is what `read` found in it a moment ago, so that it need not be read again.

        Raises:
            Unauthenticated: malformed, forged or revoked; nobody learns which.
            TokenExpired: it was good once.
        """
        if claims is None:
            claims = self.read(token)
        self.check_usable(claims)
        credential = Credential(token, claims, self._shown.discard)
        self._shown.add(credential)
        left_s = self.left_s(credential.claims) + _leeway_ms(credential.claims) / 1000
        if left_s < MAX_REQUEST_S:
            credential.end_in(left_s, TokenExpired(_EXPIRED))
        return credential

    def _look(self) -> None:
        """End every credential in use that is refused by now."""
        for credential in list(self._shown):
            if self._revocations.covers(credential.claims):
                credential.end(Unauthenticated(_REFUSAL))

    def _rotated(self, is_compromised: bool) -> None:
        """A key was replaced: see whose signature is still good."""
        if is_compromised:
            latest_ms = max(self._now_ms(), self._time_of_day_ms())
            self._compromised_at_ms = self._revocations.after_all_issued(latest_ms)
        elif len(self._keys.all) < MAX_KEYS:
            return  # No key was dropped.
        for credential in list(self._shown):
            if is_compromised or self._read(credential.text) is None:
                credential.end(Unauthenticated(_REFUSAL))

    def end_all(self) -> None:
        """End every credential in use: this server knows of none any more whether it is good."""
        for credential in list(self._shown):
            credential.end(Overloaded(_OUT_OF_TOUCH))

    def check(self, claims: Claims) -> None:
        """Look again whether a token verified before is still good.

        A caller that verified it and then awaited something calls this in the step
        that gives access; a revocation may have come in between.

        Raises:
            Unauthenticated: it was revoked.
            Unavailable: this server does not know whether it was.
        """
        self.check_current()
        if self._revocations.covers(claims):
            raise Unauthenticated(_REFUSAL)

    def check_current(self) -> None:
        """Refuse to go by what is known here where that may be out of date.

        Raises:
            Unavailable: another server may have revoked something since.
        """
        if not self._is_current():
            raise Unavailable(_OUT_OF_TOUCH)

    def renew(self, claims: Claims, ttl_s: float) -> tuple[str, Claims]:
        """Return a token that lives on from now, at most until `until_ms`, under the same id.

        It lives as long as it did at first; `ttl_s` counts for one that does not say. The same
        id, so that revoking it kills every renewal.

        Raises:
            Unauthenticated: it was revoked in the meantime.
        """
        self.check(claims)
        # What was revoked has been looked at; a clock set back since must not make it so.
        at_ms = self._later_than_cutoffs(claims.user, claims.by)
        until_ms = claims.expires_at_ms if claims.until_ms is None else claims.until_ms
        ttl_ms = int(ttl_s * 1000) if claims.ttl_ms is None else claims.ttl_ms
        renewed = msgspec.structs.replace(
            claims, issued_at_ms=at_ms, expires_at_ms=min(at_ms + ttl_ms, until_ms)
        )
        self._revocations.note_issued(renewed)
        return self.sign(renewed), renewed

    def sign(self, claims: Claims) -> str:
        """Return the token that says `claims`: what an answer given twice is made of.

        Raises:
            Unauthenticated: it is from before the key was replaced after a compromise.
        """
        if claims.issued_at_ms <= self._compromised_at_ms:
            raise Unauthenticated(_REFUSAL)
        text = self._serializer(claims.kind).dumps(_pack(claims))
        return f"cw{_LETTERS[claims.kind]}_{text if isinstance(text, str) else text.decode()}"

    def verify(self, token: str) -> Claims:
        """Return what `token` says.

        Raises:
            Unauthenticated: malformed, forged or revoked; nobody learns which.
            TokenExpired: it was good once.
        """
        claims = self.read(token)
        self.check_usable(claims)
        return claims

    def read(self, token: str) -> Claims:
        """Return what `token` says, whether or not it still opens anything.

        Raises:
            Unauthenticated: malformed or forged.
        """
        claims = self._read(token)
        if claims is None:
            raise Unauthenticated(_REFUSAL)
        return claims

    def check_usable(self, claims: Claims) -> None:
        """Raise what `verify` does for claims that were read, and no longer open anything."""
        self.check(claims)
        self._revocations.note_issued(claims)
        if self.left_s(claims) * 1000 < -_leeway_ms(claims):
            raise TokenExpired(_EXPIRED)

    def left_s(self, claims: Claims) -> float:
        """Return how long a token still lives; setting the time of day takes nothing from it."""
        running_ms, time_of_day_ms = self._now_ms(), self._time_of_day_ms()
        # What was issued later than it is now was issued before the time of day was set back.
        is_from_before = claims.issued_at_ms > time_of_day_ms
        at_ms = running_ms if is_from_before else min(running_ms, time_of_day_ms)
        return (claims.expires_at_ms - at_ms) / 1000

    def _read(self, token: str) -> Claims | None:
        match = _FORM.fullmatch(token) if len(token) <= MAX_LENGTH else None
        if match is None:
            return None
        kind = _KINDS[match[1]]
        try:
            return _unpack(kind, self._serializer(kind).loads(match[2]))
        except (BadData, ValueError, TypeError, KeyError):
            return None

    def _serializer(self, kind: Kind) -> URLSafeSerializer:
        if self._generation != self._keys.generation:
            self._generation = self._keys.generation
            self._serializers = {
                kind: URLSafeSerializer(
                    list(self._keys.all),
                    salt=f"companion.{kind}.v1",
                    serializer=_CompactJson(),
                    signer_kwargs={"key_derivation": "hmac", "digest_method": sha256},
                )
                for kind in _LETTERS
            }
        return self._serializers[kind]


class _CompactJson:
    @staticmethod
    def dumps(value: Any) -> str:
        return json.dumps(value, separators=(",", ":"))

    @staticmethod
    def loads(text: str | bytes) -> Any:
        return json.loads(text)


def _leeway_ms(claims: Claims) -> int:
    """Return how much longer than promised a token is taken."""
    life_ms = max(0, claims.expires_at_ms - claims.issued_at_ms)
    return int(min(MAX_LEEWAY_S * 1000, LEEWAY_SHARE * life_ms))


# A list, not an object: a third shorter in every URL and header.
_ORDER: Final = (
    "id",
    "user",
    "issued_at_ms",
    "expires_at_ms",
    "session_id",
    "role",
    "device_id",
    "until_ms",
    "ttl_ms",
    "parent",
    "by",
)


def _pack(claims: Claims) -> list[Any]:
    packed = [getattr(claims, name) for name in _ORDER]
    while packed[-1] is None:
        packed.pop()
    return packed


def _unpack(kind: Kind, packed: list[Any]) -> Claims:
    said = dict(zip(_ORDER, packed, strict=False))
    return msgspec.convert({"kind": kind, **said}, Claims)
