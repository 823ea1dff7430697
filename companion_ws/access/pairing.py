"""Pairing: from a ticket or a spoken code to a device with a session token, exactly once.

Theory of operation. A person has a phone in hand and no account; all that may let
the phone in is something that was shown to its owner moments ago. A session's id is shown on
pages and kept in logs, so the id alone opens nothing.

A *pairing* is one seat. It has a *ticket*, drawn as a QR code (128 bits, 60 s), and mostly a
*code* of nine digits to type or speak (5 min). The ticket dies soon because anybody may
photograph a screen, so the page draws another before that. All tickets drawn while one of the
seat is good belong to the same seat, and the code under them never changes: a person is
reading it out. A link that is sent is a seat of its own, lives up to 15 min, and has no code.
Nine digits can be guessed, which is why attempts are counted (`guesses.py`); 128 bits cannot.

Nothing secret is stored. Tickets, codes and claims are derived (`derived.py`) from the signing
key and an id or nonce in the row, and found again by a hash. So a page that reloads, or a
restarted server, shows the same live code, and a copy of the database opens nothing. After a
rotation of the key, the older keys still find what was drawn by them.

The first use wins by the database alone: one transaction takes the row under the condition that
it is unused, unexpired and its session open (`expect=1`, or Conflict), ends the rest of its
seat, adds the device, and adds whatever the caller must store with it. There is no check before
that could be out of date by then. Used, wrong, expired and foreign get the same words.

With `--pairing confirm` the same transaction adds a *claim* instead of a device: two digits are
shown on both sides, the owner allows or refuses, and the phone asks again with its claim, which
is taken as a ticket is. A device dies with the token that opened its pairing (`parent`), and
with its user (`made_by`).
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, Literal

import msgspec

from companion_ws.access.derived import (
    claim_of,
    code_hash_of,
    code_of,
    digits_of,
    hash_of,
    session_part,
    ticket_of,
)
from companion_ws.access.devices import TOKEN_TTL_S
from companion_ws.access.guesses import Guesses
from companion_ws.access.keys import Keys
from companion_ws.access.tokens import Claims, Tokens, now_ms
from companion_ws.core.errors import (
    BadRequest,
    NotFound,
    PairingExpired,
    PairingRefused,
    SessionNotFound,
    TooManyRequests,
)
from companion_ws.core.session import TokenRef
from companion_ws.core.text import label
from companion_ws.database import Conflict, Database, NotUnique, Statement

TICKET_TTL_S: Final = 60.0
MAX_TICKET_TTL_S: Final = 900.0
CODE_TTL_S: Final = 300.0
CODE_ATTEMPTS: Final = 5
"""Another session may have the very code: one chance in ten million with 100 live ones."""
CONFIRM_S: Final = 120.0
"""How long a device waits for the owner's yes."""
TOKEN_LIFE_S: Final = 12 * 3600.0
MAX_LABEL: Final = 100
MAX_OPEN: Final = 1000
"""Unused links of one session at a time; a page that redraws needs two."""

_SESSION_IS_OPEN: Final = """
    EXISTS (SELECT 1 FROM sessions AS s WHERE s.session_id = {} AND s.ended_at_ms IS NULL)
"""
_TAKE_TICKET: Final = f"""
    UPDATE pairings SET used_at_ms = ?
    WHERE pairing_id = ? AND used_at_ms IS NULL AND expires_at_ms > ?
      AND {_SESSION_IS_OPEN.format("pairings.session_id")}
"""  # noqa: S608 - joined from constants
_TAKE_CODE: Final = f"""
    UPDATE codes SET used_at_ms = ?
    WHERE code_hash = ? AND used_at_ms IS NULL AND expires_at_ms > ?
      AND {_SESSION_IS_OPEN.format("codes.session_id")}
"""  # noqa: S608
_END_SEAT: Final = (
    """
    UPDATE pairings SET used_at_ms = ?
    WHERE session_id = ? AND seat = ? AND used_at_ms IS NULL
    """,
    "UPDATE codes SET used_at_ms = ? WHERE session_id = ? AND seat = ? AND used_at_ms IS NULL",
)
"""A pairing is one seat: the first use of its ticket or its code ends everything drawn for it."""
_TAKE_CLAIM: Final = f"""
    UPDATE claims SET used_at_ms = ?
    WHERE pairing_id = ? AND used_at_ms IS NULL AND expires_at_ms > ? AND allowed = 1
      AND {_SESSION_IS_OPEN.format("claims.session_id")}
"""  # noqa: S608
_ADD_DEVICE: Final = """
    INSERT INTO devices (device_id, session_id, user, label, created_at_ms, last_active_at_ms,
                         token_until_ms, parent, made_by)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_ADD_PAIRING: Final = """
    INSERT INTO pairings (pairing_id, session_id, user, ticket_hash, expires_at_ms, has_code,
                          parent, made_by, seat)
    SELECT :pairing_id, session_id, user, :ticket_hash, :expires_at_ms, :has_code,
           :parent, :made_by,
           CASE WHEN :has_code = 1 THEN coalesce(
               (SELECT seat FROM codes WHERE session_id = :session_id
                AND used_at_ms IS NULL AND expires_at_ms > :now_ms),
               (SELECT seat FROM pairings WHERE session_id = :session_id AND has_code = 1
                AND used_at_ms IS NULL AND expires_at_ms > :now_ms LIMIT 1),
               :pairing_id) ELSE :pairing_id END
    FROM sessions WHERE session_id = :session_id AND ended_at_ms IS NULL
"""
"""Drawn again while its code, or a ticket drawn beside one, is good, it is the same seat."""
_ADD_CODE: Final = """
    INSERT INTO codes (session_id, user, pairing_id, nonce, code_hash, expires_at_ms, seat, parent,
                       made_by)
    SELECT session_id, user, pairing_id, :nonce, :code_hash, :code_until_ms, seat, parent, made_by
    FROM pairings WHERE pairing_id = :pairing_id
    ON CONFLICT (session_id) DO UPDATE
    SET nonce = excluded.nonce, code_hash = excluded.code_hash, seat = excluded.seat,
        expires_at_ms = excluded.expires_at_ms, used_at_ms = NULL, parent = excluded.parent,
        made_by = excluded.made_by
    WHERE codes.used_at_ms IS NOT NULL OR codes.expires_at_ms <= :now_ms
"""


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """A way in that was opened: a link for a QR code, and a code to type or speak.

    A link that is sent comes without a code: `code` is "" then, and its times are 0.
    """

    pairing_id: str
    url: str
    url_expires_at_ms: int
    code: str
    code_expires_at_ms: int
    code_url: str
    session_id: str
    code_nonce: str
    """What the code is derived from; it is not a secret without the key."""


class Paired(msgspec.Struct, frozen=True, kw_only=True):
    """A device that got in; `Tokens.sign(claims)` is its token."""

    pairing_id: str
    session_id: str
    claims: Claims

    @property
    def user(self) -> str:
        return self.claims.user


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """A device that waits for the owner's yes; `verification` is shown on both sides."""

    claim: str
    pairing_id: str
    session_id: str
    user: str
    device: str
    verification: str
    expires_at_ms: int


class _Way(msgspec.Struct, frozen=True):
    """A ticket, code or claim that was found, and what uses it up for one caller.

    `parent` is the token that opened the pairing and `made_by` its user, where a token did.
    """

    pairing_id: str
    session_id: str
    user: str
    parent: str | None
    made_by: str | None
    take: tuple[Statement, ...]


ExtraStatements = Callable[["Paired | Waiting"], Iterable[Statement]]
"""Further statements of the transaction that lets a device in."""


def _nothing(_: Paired | Waiting) -> Iterable[Statement]:
    return ()


class Pairing:
    """Lets devices into sessions.

    Ticket and code are derived from a key that is not in the database, so a
    page that redraws, or a restart, shows a live one again, and a copy of the
    database opens nothing.
    """

    def __init__(
        self,
        database: Database,
        keys: Keys,
        tokens: Tokens,
        guesses: Guesses,
        base_url: Callable[[], str],
        *,
        mode: Literal["open", "confirm"] = "open",
        now_ms: Callable[[], int] = now_ms,
        shown_ms: Callable[[int], int] = lambda running_ms: running_ms,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
        new_secret: Callable[[], str] = lambda: secrets.token_urlsafe(16),
        randbelow: Callable[[int], int] = secrets.randbelow,
    ) -> None:
        self._database = database
        self._keys = keys
        self._tokens = tokens
        self._guesses = guesses
        self._base_url = base_url
        self._mode = mode
        self._now_ms = now_ms
        """The clock that runs: what is stored is measured by it, and told by `_shown_ms`."""
        self._shown_ms = shown_ms
        self._new_id = new_id
        self._new_secret = new_secret
        self._randbelow = randbelow

    # The side that shows.

    async def open(
        self,
        session_id: str,
        ttl_s: float | None = None,
        *,
        by: TokenRef | None = None,
        has_code: bool | None = None,
    ) -> Opened:
        """Open a new ticket; beside it the session's live code or a new one; both durable.

        Drawn again while it is good, a pairing stays one seat: whichever of its tickets or
        its code is used first ends the others. A live code is never changed. A link that is
        sent, with a `ttl_s`, is a seat of its own and shows no code, unless `has_code` says
        so. What is let in dies with the token of `by`.

        Raises:
            SessionNotFound: the session is unknown or over.
            BadRequest: `ttl_s` is not between 1 and 900.
            TooManyRequests: a thousand links of this session are unused.
        """
        has_code = ttl_s is None if has_code is None else has_code
        ttl_s = TICKET_TTL_S if ttl_s is None else ttl_s
        if not 1 <= ttl_s <= MAX_TICKET_TTL_S:
            raise BadRequest(f"ttl_s is between 1 and {MAX_TICKET_TTL_S:.0f} seconds.")
        pairing_id = self._new_id()
        now = self._now_ms()
        expires_at_ms = now + int(ttl_s * 1000)
        await self._check_room(session_id, now)
        await self._open(session_id, pairing_id, now, expires_at_ms, has_code, by)
        code: list[tuple[str, int]] = []
        if has_code:
            code = await self._database.read(
                "SELECT nonce, expires_at_ms FROM codes WHERE session_id = ?", (session_id,)
            ) or [("", now)]
        [(nonce, code_expires_at_ms)] = code or [("", 0)]
        return await self.opened(
            session_id,
            pairing_id,
            self._shown_ms(expires_at_ms),
            nonce,
            self._shown_ms(code_expires_at_ms) if has_code else 0,
        )

    async def opened(
        self,
        session_id: str,
        pairing_id: str,
        url_expires_at_ms: int,
        code_nonce: str,
        code_expires_at_ms: int,
    ) -> Opened:
        """Return what `open` returned for these, whether it is still good or not."""
        return Opened(
            pairing_id=pairing_id,
            url=self._url(await self._ticket(pairing_id), session_id),
            url_expires_at_ms=url_expires_at_ms,
            code=await self._code(code_nonce) if code_expires_at_ms else "",
            code_expires_at_ms=code_expires_at_ms,
            code_url=f"{self._base_url()}/c",
            session_id=session_id,
            code_nonce=code_nonce,
        )

    async def _check_room(self, session_id: str, now: int) -> None:
        [(count, first_ms)] = await self._database.read(
            """
            SELECT count(*), min(expires_at_ms) FROM pairings
            WHERE session_id = ? AND used_at_ms IS NULL AND expires_at_ms > ?
            """,
            (session_id, now),
        )
        if count >= MAX_OPEN:
            raise TooManyRequests(
                f"{MAX_OPEN} links of this session are unused.", retry_after_ms=first_ms - now
            )

    async def _open(
        self,
        session_id: str,
        pairing_id: str,
        now: int,
        expires_at_ms: int,
        has_code: bool,
        by: TokenRef | None,
    ) -> None:
        key = self._keys.derive("pairing")
        values = {
            "pairing_id": pairing_id,
            "session_id": session_id,
            "ticket_hash": hash_of(ticket_of(key, pairing_id)),
            "expires_at_ms": expires_at_ms,
            "has_code": has_code,
            "parent": by.id if by is not None else None,
            "made_by": by.user if by is not None else None,
            "now_ms": now,
            "code_until_ms": now + int(CODE_TTL_S * 1000),
        }
        drop_dead = Statement("DELETE FROM codes WHERE expires_at_ms <= ?", (now,))
        show_code = Statement(
            "UPDATE codes SET pairing_id = ? WHERE session_id = ?", (pairing_id, session_id)
        )
        for attempt in range(CODE_ATTEMPTS):
            nonce = self._new_secret()
            values |= {"nonce": nonce, "code_hash": code_hash_of(key, code_of(key, nonce))}
            add_pairing = Statement(_ADD_PAIRING, values, expect=1)
            add_code = [Statement(_ADD_CODE, values), show_code] if has_code else []
            try:
                await self._database.transact([add_pairing, drop_dead, *add_code])
            except Conflict:
                raise SessionNotFound from None
            except NotUnique:
                if attempt + 1 == CODE_ATTEMPTS:
                    raise
            else:
                return

    async def url(self, session_id: str, pairing_id: str) -> str:
        """Return the link of a ticket that is still good, for drawing it.

        Raises:
            NotFound: it is used, expired, unknown or another session's.
        """
        rows = await self._database.read(
            """
            SELECT 1 FROM pairings
            WHERE pairing_id = ? AND session_id = ? AND used_at_ms IS NULL AND expires_at_ms > ?
            """,
            (pairing_id, session_id, self._now_ms()),
        )
        if not rows:
            raise NotFound("This pairing is used or has expired. Open another.")
        return self._url(await self._ticket(pairing_id), session_id)

    async def can_anyone_join(self, session_id: str, connected_device_ids: Collection[str]) -> bool:
        """Return whether a screen may still join: a paired device is away, or a way in is open."""
        now = self._now_ms()
        ways = await self._database.read(
            """
            SELECT EXISTS (SELECT 1 FROM pairings
                           WHERE session_id = ? AND used_at_ms IS NULL AND expires_at_ms > ?)
                OR EXISTS (SELECT 1 FROM codes
                           WHERE session_id = ? AND used_at_ms IS NULL AND expires_at_ms > ?)
                OR EXISTS (SELECT 1 FROM claims WHERE session_id = ? AND used_at_ms IS NULL
                           AND expires_at_ms > ?
                           AND (allowed IS NULL OR allowed = 1))
            """,
            (session_id, now) * 3,
        )
        if ways[0][0]:
            return True
        devices = await self._database.read(
            """
            SELECT device_id FROM devices
            WHERE session_id = ? AND revoked_at_ms IS NULL AND token_until_ms > ?
            """,
            (session_id, now),
        )
        return any(device_id not in connected_device_ids for (device_id,) in devices)

    # The side that comes.

    async def redeem(
        self,
        *,
        ticket: str | None = None,
        code: str | None = None,
        device: str = "",
        source: str = "",
        extra_statements: ExtraStatements = _nothing,
    ) -> Paired | Waiting:
        """Let a device in by ticket or code, or let it wait for the owner, for one caller only.

        `ticket` is the fragment of the link, with or without its session
        part; `code` may hold spaces and hyphens; `source` is the caller's
        address. What `extra_statements` returns is stored in the same transaction.

        Raises:
            NotFound: used, wrong or expired; nobody learns which.
            TooManyRequests: too many codes were tried.
            BadRequest: neither or both were given.
        """
        if (ticket is None) == (code is None):
            raise BadRequest("Send either a ticket or a code.")
        name = label(device, MAX_LABEL)
        if ticket is not None:
            return await self._enter(await self._way_of_ticket(ticket), name, extra_statements)
        guess = await self._guesses.begin(source)
        entered = await self._enter(await self._way_of_code(code or ""), name, extra_statements)
        await self._guesses.forgive(guess)
        return entered

    async def _way_of_ticket(self, ticket: str) -> _Way | None:
        bare, _, named = ticket.strip().rpartition("#")[2].partition(".")
        rows = await self._database.read(
            "SELECT pairing_id, session_id, user, parent, made_by, seat FROM pairings"
            " WHERE ticket_hash = ?",
            (hash_of(bare),),
        )
        if not rows:
            return None
        pairing_id, session_id, *_ = rows[0]
        if named and named != session_part(session_id):
            return None  # The page would have named another session than it joins.
        now = self._now_ms()
        return _way(rows[0], now, Statement(_TAKE_TICKET, (now, pairing_id, now), expect=1))

    async def _way_of_code(self, code: str) -> _Way | None:
        digits = digits_of(code)
        if digits is None:
            return None
        for key in self._keys.derive_all("pairing"):
            code_hash = code_hash_of(key, digits)
            rows = await self._database.read(
                "SELECT pairing_id, session_id, user, parent, made_by, seat FROM codes"
                " WHERE code_hash = ?",
                (code_hash,),
            )
            if rows:
                now = self._now_ms()
                return _way(rows[0], now, Statement(_TAKE_CODE, (now, code_hash, now), expect=1))
        return None

    async def _enter(
        self, way: _Way | None, label: str, extra_statements: ExtraStatements
    ) -> Paired | Waiting:
        refusal = NotFound("This code or link does not work. Ask for a fresh one.")
        if way is None:
            raise refusal
        try:
            if self._mode == "open":
                return await self._admit(way, label, extra_statements)
            return await self._let_wait(way, label, extra_statements)
        except Conflict:
            raise refusal from None

    async def _admit(self, way: _Way, label: str, extra_statements: ExtraStatements) -> Paired:
        now = self._now_ms()
        _, claims = self._tokens.issue(
            "session",
            way.user,
            TOKEN_TTL_S,
            session_id=way.session_id,
            role="ui",
            device_id=self._new_id(),
            until_ms=now + int(TOKEN_LIFE_S * 1000),
            parent=way.parent,
            by=way.made_by,
        )
        paired = Paired(pairing_id=way.pairing_id, session_id=way.session_id, claims=claims)
        device = (
            claims.device_id, way.session_id, way.user, label, now, now, claims.expires_at_ms,
            way.parent, way.made_by,
        )  # fmt: skip
        await self._database.transact(
            [*way.take, Statement(_ADD_DEVICE, device), *extra_statements(paired)]
        )
        return paired

    # With `--pairing confirm`.

    async def _let_wait(self, way: _Way, label: str, extra_statements: ExtraStatements) -> Waiting:
        key = self._keys.derive("pairing")
        expires_at_ms = self._now_ms() + int(CONFIRM_S * 1000)
        waiting = Waiting(
            claim=claim_of(key, way.pairing_id),
            pairing_id=way.pairing_id,
            session_id=way.session_id,
            user=way.user,
            device=label,
            verification=await self._free_verification(way.session_id),
            expires_at_ms=self._shown_ms(expires_at_ms),
        )
        added = _add_claim(waiting, way, expires_at_ms)
        await self._database.transact([*way.take, added, *extra_statements(waiting)])
        return waiting

    async def _free_verification(self, session_id: str) -> str:
        """Return two digits no other device that waits here shows."""
        taken = {request["verification"] for request in await self.requests(session_id)}
        free = [number for number in range(100) if f"{number:02d}" not in taken] or list(range(100))
        return f"{free[self._randbelow(len(free))]:02d}"

    async def claim(
        self, claim: str, *, extra_statements: ExtraStatements = _nothing
    ) -> Paired | Waiting:
        """Let a waiting device in if the owner said yes, for one caller only.

        Raises:
            PairingRefused: the owner said no.
            PairingExpired: nobody answered in time, or it is unknown or used.
        """
        rows = await self._database.read(
            """
            SELECT pairing_id, session_id, user, label, verification, expires_at_ms, allowed,
                   parent, made_by, used_at_ms
            FROM claims WHERE claim_hash = ?
            """,
            (hash_of(claim),),
        )
        gone = PairingExpired("This request is over. Scan a fresh code.")
        now = self._now_ms()
        if not rows or rows[0][5] <= now or rows[0][9] is not None:
            raise gone
        pairing_id, session_id, user, label, verification, expires_at_ms, allowed = rows[0][:7]
        parent, made_by = rows[0][7:9]
        if allowed is None:
            return Waiting(
                claim=claim,
                pairing_id=pairing_id,
                session_id=session_id,
                user=user,
                device=label,
                verification=verification,
                expires_at_ms=self._shown_ms(expires_at_ms),
            )
        if not allowed:
            raise PairingRefused("The owner of this session said no.")
        take = Statement(_TAKE_CLAIM, (now, pairing_id, now), expect=1)
        way = _Way(pairing_id, session_id, user, parent, made_by, (take,))
        try:
            return await self._admit(way, label, extra_statements)
        except Conflict:
            raise gone from None

    async def requests(self, session_id: str) -> list[dict[str, Any]]:
        """Return the devices that wait for the owner: `{pairing_id, device, verification, expires_at}`."""
        rows = await self._database.read(
            """
            SELECT pairing_id, label, verification, expires_at_ms FROM claims
            WHERE session_id = ? AND allowed IS NULL AND expires_at_ms > ? ORDER BY expires_at_ms
            """,
            (session_id, self._now_ms()),
        )
        names = ("pairing_id", "device", "verification", "expires_at")
        return [
            dict(zip(names, (*row, self._shown_ms(until_ms)), strict=True))
            for *row, until_ms in rows
        ]

    async def answer(self, session_id: str, pairing_id: str, allow: bool) -> None:
        """Store the owner's answer; the first one counts, repeating it changes nothing.

        Raises:
            NotFound: nobody waits under this id in this session, or the answer was another.
        """
        now = self._now_ms()
        try:
            await self._database.transact(
                [
                    Statement(
                        """
                        UPDATE claims SET allowed = ?, expires_at_ms = ?
                        WHERE session_id = ? AND pairing_id = ? AND used_at_ms IS NULL
                          AND expires_at_ms > ? AND allowed IS NULL
                        """,
                        # The phone has time to ask once more after a late answer.
                        (int(allow), now + int(CONFIRM_S * 1000), session_id, pairing_id, now),
                        expect=1,
                    )
                ]
            )
        except Conflict:
            rows = await self._database.read(
                "SELECT allowed FROM claims WHERE session_id = ? AND pairing_id = ?",
                (session_id, pairing_id),
            )
            if not rows or rows[0][0] != int(allow):
                raise NotFound("No device waits under this id.") from None

    # Deriving.

    def _url(self, ticket: str, session_id: str) -> str:
        return f"{self._base_url()}/p#{ticket}.{session_part(session_id)}"

    async def claim_of(self, pairing_id: str) -> str:
        """Return what the device that waits under this id was given to ask again with."""
        claims = [claim_of(key, pairing_id) for key in self._keys.derive_all("pairing")]
        return await self._stored_of(
            [(claim, hash_of(claim)) for claim in claims],
            "SELECT 1 FROM claims WHERE claim_hash = ?",
        )

    async def _ticket(self, pairing_id: str) -> str:
        tickets = [ticket_of(key, pairing_id) for key in self._keys.derive_all("pairing")]
        return await self._stored_of(
            [(ticket, hash_of(ticket)) for ticket in tickets],
            "SELECT 1 FROM pairings WHERE ticket_hash = ?",
        )

    async def _code(self, nonce: str) -> str:
        codes = [(key, code_of(key, nonce)) for key in self._keys.derive_all("pairing")]
        return await self._stored_of(
            [(code, code_hash_of(key, code)) for key, code in codes],
            "SELECT 1 FROM codes WHERE code_hash = ?",
        )

    async def _stored_of(self, derived: list[tuple[str, bytes]], sql: str) -> str:
        """Return the secret whose hash is stored: the key may have been rotated since.

        Where none is, it is dead, and the newest key's does.
        """
        for secret, stored_hash in derived[1:] and derived:
            if await self._database.read(sql, (stored_hash,)):
                return secret
        return derived[0][0]


def _way(row: tuple[Any, ...], now: int, take: Statement) -> _Way:
    """Return the way in of a ticket's or code's row; taking it ends the rest of its seat."""
    pairing_id, session_id, user, parent, made_by, seat = row
    ends = [Statement(sql, (now, session_id, seat)) for sql in _END_SEAT]
    return _Way(pairing_id, session_id, user, parent, made_by, (take, *ends))


def _add_claim(waiting: Waiting, way: _Way, expires_at_ms: int) -> Statement:
    return Statement(
        """
        INSERT INTO claims (pairing_id, claim_hash, session_id, user, label, verification,
                            expires_at_ms, parent, made_by)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
        """,
        (
            waiting.pairing_id,
            hash_of(waiting.claim),
            waiting.session_id,
            waiting.user,
            waiting.device,
            waiting.verification,
            expires_at_ms,
            way.parent,
            way.made_by,
        ),
    )
