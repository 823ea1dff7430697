"""The SQL of issued tokens, revocations and sign-in tickets, and what erases a session or a user.

Nothing here can be turned back into a credential: tokens are known by id,
tickets by hash, users who signed out everywhere by a keyed hash.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator, Callable, Iterable
from hashlib import sha256
from typing import Any, Final, Literal

import structlog

from companion_ws.access.tokens import MAX_TTL_S, Claims, Kind, Revocations, now_ms
from companion_ws.core.errors import CompanionError, NotFound, Unavailable
from companion_ws.database import Conflict, Database, Statement
from companion_ws.nodes.news import News, NoNews

PURGE_S: Final = 600.0
LISTED_AT_ONCE: Final = 500
GRACE_MS: Final = 60_000
"""Rows outlive what they are about by the longest leeway of a token."""
SIGN_IN_TTL_S: Final = 600.0
SESSION_TOKEN_MS: Final = 12 * 3600 * 1000
"""The longest life of a session token, unless it was made to live longer."""
MAX_TTL_MS: Final = int(MAX_TTL_S * 1000)
LATE_MS: Final = 31 * 86_400_000
"""Longer than any session token lives that another server makes while this one revokes its maker."""
REVOKED: Final = "revoked"
"""News of refusals: rows of `revocations`."""

Refusal = tuple[str, str, int, int]
"""Kind, ref, `at_ms` and `until_ms`, as `Revocations.add` takes them."""

log = structlog.get_logger(__name__)

_REVOKE: Final = """
    INSERT INTO revocations (kind, ref, at_ms, until_ms) VALUES (?, ?, ?, ?)
    ON CONFLICT (kind, ref) DO UPDATE
    SET at_ms = CASE WHEN excluded.at_ms > revocations.at_ms
            THEN excluded.at_ms ELSE revocations.at_ms END,
        until_ms = CASE WHEN excluded.until_ms > revocations.until_ms
            THEN excluded.until_ms ELSE revocations.until_ms END
"""
_FORGET_SESSION: Final = (
    "DELETE FROM tokens WHERE session_id = ?",
    "DELETE FROM pairings WHERE session_id = ?",
    "DELETE FROM codes WHERE session_id = ?",
    "DELETE FROM claims WHERE session_id = ?",
    "DELETE FROM devices WHERE session_id = ?",
    "DELETE FROM answers WHERE session_id = ?",
)
_FORGET_OPEN_DOORS: Final = (
    "DELETE FROM tokens WHERE :user IN (user, made_by)",
    "DELETE FROM pairings WHERE :user IN (user, made_by)",
    "DELETE FROM codes WHERE :user IN (user, made_by)",
    "DELETE FROM claims WHERE :user IN (user, made_by)",
    "DELETE FROM sign_ins WHERE user = :user",
    "DELETE FROM answers WHERE user = :user",
)
_FORGET_MADE_BY: Final = (
    "DELETE FROM tokens WHERE parent = :parent",
    "DELETE FROM pairings WHERE parent = :parent",
    "DELETE FROM codes WHERE parent = :parent",
    "DELETE FROM claims WHERE parent = :parent",
    "UPDATE devices SET revoked_at_ms = :now_ms WHERE parent = :parent AND revoked_at_ms IS NULL",
)
_CLOSE_EVERY_DOOR: Final = (
    "DELETE FROM tokens",
    "DELETE FROM pairings",
    "DELETE FROM codes",
    "DELETE FROM claims",
    "DELETE FROM sign_ins",
    "DELETE FROM answers",
    "DELETE FROM devices",
)
_PURGE: Final = (
    "DELETE FROM tokens WHERE expires_at_ms < ?",
    "DELETE FROM revocations WHERE until_ms < ?",
    "DELETE FROM pairings WHERE expires_at_ms < ?",
    "DELETE FROM codes WHERE expires_at_ms < ?",
    "DELETE FROM claims WHERE expires_at_ms < ?",
    "DELETE FROM devices WHERE token_until_ms < ?",
    "DELETE FROM sign_ins WHERE expires_at_ms < ?",
    "DELETE FROM answers WHERE expires_at_ms < ?",
)


class Credentials:
    """What was issued and what of it is refused; `revocations` mirrors the latter in memory.

    A revocation is refused in memory first, and durable and known to every server of the
    database when the call returns, so that it never comes back once somebody was told of it.
    """

    def __init__(
        self,
        database: Database,
        revocations: Revocations,
        *,
        now_ms: Callable[[], int] = now_ms,
        latest_ms: Callable[[], int] | None = None,
        new_ticket: Callable[[], str] = lambda: secrets.token_urlsafe(16),
        news: News | None = None,
    ) -> None:
        self._database = database
        self._news = news or NoNews(database)
        self._news.on(REVOKED, self._refuse)
        self._news.on_missed(self._read_refusals)
        self._revocations = revocations
        self._now_ms = now_ms
        """By it things expire; where the time of day was set, `_latest_ms` is after all of them."""
        self._latest_ms = latest_ms or now_ms
        self._new_ticket = new_ticket

    async def load(self) -> None:
        """Drop what has expired and read what is refused; call it before the first request."""
        with contextlib.suppress(Unavailable):
            await self.purge()  # A disk that refuses keeps no server from starting.
        await self._read_refusals()

    async def _read_refusals(self) -> None:
        """Refuse everything that is refused by now, whoever revoked it."""
        for row in await self._database.read("SELECT kind, ref, at_ms, until_ms FROM revocations"):
            self._revocations.add(*row)

    async def purge(self) -> None:
        """Delete rows nobody can use any more."""
        before_ms = self._now_ms() - GRACE_MS
        await self._database.transact(Statement(sql, (before_ms,)) for sql in _PURGE)
        self._revocations.forget_before(before_ms)

    async def purge_forever(self) -> None:
        """Purge every ten minutes; the application runs this as a task."""
        while True:
            await asyncio.sleep(PURGE_S)
            try:
                await self.purge()
            except CompanionError as error:
                log.warning("purge_refused", code=error.code)

    async def has_device(self, session_id: str) -> bool:
        """Return whether a paired device of a session may still come."""
        rows = await self._database.read(
            "SELECT 1 FROM devices WHERE session_id = ? AND revoked_at_ms IS NULL"
            " AND token_until_ms > ? LIMIT 1",
            (session_id, self._now_ms()),
        )
        return bool(rows)

    # Issued tokens.

    def issued(self, claims: Claims) -> Statement:
        """Return what lists an issued token; the same id again moves its expiry."""
        return Statement(
            """
            INSERT INTO tokens
                (token_id, kind, user, session_id, role, issued_at_ms, expires_at_ms, until_ms,
                 parent, made_by)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
            ON CONFLICT (token_id) DO UPDATE SET expires_at_ms = excluded.expires_at_ms
            """,
            (
                claims.id,
                claims.kind,
                claims.user,
                claims.session_id,
                claims.role,
                claims.issued_at_ms,
                claims.expires_at_ms,
                claims.until_ms,
                claims.parent,
                claims.by,
            ),
        )

    async def record(self, claims: Claims, *extra_statements: Statement) -> None:
        """Store that a token was issued, so that it can be listed and revoked."""
        await self._database.transact([self.issued(claims), *extra_statements])

    async def tokens(
        self, user: str | None = None, session_id: str | None = None
    ) -> list[dict[str, Any]]:
        """Return issued tokens that still live, newest first: `{id, kind, user, …}`."""
        return [token async for token in self.each_token(user, session_id)]

    async def each_token(
        self, user: str | None = None, session_id: str | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """Return the same one by one, some of them read at a time."""
        names = ("id", "kind", "user", "session_id", "role", "issued_at", "expires_at")
        now_ms, before = self._now_ms(), (2**62, "")
        while rows := await self._database.read(
            """
            SELECT token_id, kind, user, session_id, role, issued_at_ms, expires_at_ms
            FROM tokens WHERE expires_at_ms >= :now_ms AND (:user IS NULL OR user = :user)
            AND (:session_id IS NULL OR session_id = :session_id)
            AND (-issued_at_ms, token_id) > (-:at_ms, :token_id)
            ORDER BY issued_at_ms DESC, token_id LIMIT :limit
            """,
            {
                "now_ms": now_ms, "user": user, "session_id": session_id, "at_ms": before[0],
                "token_id": before[1], "limit": LISTED_AT_ONCE,
            },
        ):
            for row in rows:
                yield dict(zip(names, row, strict=True))
            before = (rows[-1][5], rows[-1][0])

    # Revocations.

    async def revoke_token(
        self, token_id: str, *, session_id: str | None = None, keep_sessions: bool = False
    ) -> None:
        """Refuse one token from now on, and every session token that it made.

        With `keep_sessions` what it made lives on; revoked again without, it does not.

        Raises:
            NotFound: no live token has this id, or had it and made one that lives, or, where
                a `session_id` is named, it is none of that session's.
        """
        rows = await self._database.read(
            "SELECT coalesce(until_ms, expires_at_ms) FROM tokens"
            " WHERE token_id = :token_id AND (:session_id IS NULL OR session_id = :session_id)",
            {"token_id": token_id, "session_id": session_id},
        )
        made_until_ms = await self._made_until_ms(token_id) if session_id is None else 0
        if not rows and made_until_ms < self._now_ms():
            raise NotFound("There is no such token.")
        until_ms = rows[0][0] if rows else 0
        kind: Literal["token", "parent"] = "token" if keep_sessions else "parent"
        # Nobody waits for the disk: refused first, for as long as anything it made may live.
        refusal = (kind, token_id, 0, self._now_ms() + MAX_TTL_MS)
        self._revocations.add(*refusal)
        await self._news.tell(REVOKED, token_id, _body([refusal]))
        # What a session token's calls opened counts as made by the maker of that one.
        made = [] if keep_sessions else await self._session_tokens_of(token_id)
        for each, each_until_ms in made:
            self._revocations.add("parent", each, 0, each_until_ms)
        if not keep_sessions:
            until_ms = max(until_ms, await self._made_until_ms(token_id))
        self._revocations.shorten(kind, token_id, until_ms + GRACE_MS)
        named = {"now_ms": self._now_ms()}
        forgotten = () if keep_sessions else _FORGET_MADE_BY
        await self._tell(
            [
                self._revocation(kind, token_id, until_ms),
                *(("parent", each, 0, each_until_ms) for each, each_until_ms in made),
            ],
            Statement("DELETE FROM tokens WHERE token_id = ?", (token_id,)),
            *(
                Statement(sql, {**named, "parent": parent})
                for parent, _ in [*made, (token_id, 0)]
                for sql in forgotten
            ),
        )

    async def _session_tokens_of(self, token_id: str) -> list[tuple[str, int]]:
        """Return the session tokens a token made, and until when what they made may live."""
        rows = await self._database.read(
            "SELECT token_id FROM tokens WHERE parent = ?", (token_id,)
        )
        made = [(each, await self._made_until_ms(each)) for (each,) in rows]
        return [(each, until_ms + GRACE_MS) for each, until_ms in made if until_ms]

    async def _made_until_ms(self, token_id: str) -> int:
        """Return how long what a token made may live, 0 if there is nothing."""
        [(until_ms,)] = await self._database.read(
            """
            SELECT max(until_ms) FROM (
                SELECT max(coalesce(until_ms, expires_at_ms)) AS until_ms
                FROM tokens WHERE parent = ?
                UNION ALL SELECT max(created_at_ms) + ? FROM devices WHERE parent = ?
                UNION ALL SELECT max(expires_at_ms) + ? FROM pairings WHERE parent = ?
                UNION ALL SELECT max(expires_at_ms) + ? FROM codes WHERE parent = ?
                UNION ALL SELECT max(expires_at_ms) + ? FROM claims WHERE parent = ?
            ) AS made
            """,
            (
                token_id,
                *(value for _ in range(4) for value in (SESSION_TOKEN_MS, token_id)),
            ),
        )
        return int(until_ms or 0)

    async def revoke_user(self, user: str) -> None:
        """Sign `user` out everywhere: tokens, devices, pairings not yet used."""
        statements = [Statement(sql, {"user": user}) for sql in _FORGET_OPEN_DOORS]
        statements.append(
            Statement(
                "UPDATE devices SET revoked_at_ms = :now_ms"
                " WHERE :user IN (user, made_by) AND revoked_at_ms IS NULL",
                {"now_ms": self._now_ms(), "user": user},
            )
        )
        await self._revoke(
            "user",
            self._revocations.user_ref(user),
            self._latest_ms() + MAX_TTL_MS,
            *statements,
        )

    async def revoke_device(self, session_id: str, device_id: str) -> None:
        """Refuse a paired phone from now on.

        Raises:
            NotFound: this session has no such device.
        """
        rows = await self._database.read(
            "SELECT revoked_at_ms FROM devices WHERE session_id = ? AND device_id = ?",
            (session_id, device_id),
        )
        if not rows or rows[0][0] is not None:
            raise NotFound("There is no such device.")
        now = self._now_ms()
        await self._revoke(
            "device",
            device_id,
            self._latest_ms() + SESSION_TOKEN_MS,
            Statement("UPDATE devices SET revoked_at_ms = ? WHERE device_id = ?", (now, device_id)),
        )

    async def close_every_door(self) -> None:
        """Forget all tokens, devices, links and codes; for when the key was in other hands.

        With the key, every ticket that was not used yet can be derived.
        """
        await self._database.transact(Statement(sql) for sql in _CLOSE_EVERY_DOOR)

    async def _revoke(
        self,
        kind: Literal["device", "user"],
        ref: str,
        until_ms: int,
        *extra_statements: Statement,
    ) -> None:
        await self._tell([self._revocation(kind, ref, until_ms)], *extra_statements)

    def _revocation(self, kind: str, ref: str, until_ms: int) -> Refusal:
        """Return what refuses something from now on, and refuse it here."""
        at_ms = self._revocations.after_all_issued(self._latest_ms())
        refusal = (kind, ref, at_ms, until_ms + GRACE_MS)
        self._revocations.add(*refusal)
        return refusal

    async def _tell(self, refusals: list[Refusal], *extra_statements: Statement) -> None:
        """Store what is refused here already, with what goes with it; known everywhere on return."""
        stored = [Statement(_REVOKE, refusal) for refusal in refusals]
        if self._news.is_shared:
            # First all refuse it. What they were about to store for it is stored by then, and
            # goes with the rest; what they may have made with it lives on no longer than this.
            late_ms = self._now_ms() + LATE_MS
            late = [(kind, ref, at_ms, max(until_ms, late_ms)) for kind, ref, at_ms, until_ms in refusals]
            for refusal in late:
                self._revocations.add(*refusal)
            stored = [Statement(_REVOKE, refusal) for refusal in late]
            await self._news.tell(REVOKED, refusals[0][1], _body(late), stored)
            stored = []
        await self._database.transact([*stored, *extra_statements])

    async def _refuse(self, ref: str, body: str) -> None:
        """Another server has revoked something: refuse it, and store first what was under way."""
        for refusal in json.loads(body):
            self._revocations.add(*refusal)
        await self._database.transact(())

    # Sign-in tickets.

    async def open_sign_in(
        self, user: str = "local", kind: Kind = "admin", ttl_s: float = SIGN_IN_TTL_S
    ) -> str:
        """Return a ticket that signs in once, for the `#signin=` link."""
        ticket = self._new_ticket()
        await self._database.transact(
            [
                Statement(
                    """
                    INSERT INTO sign_ins (ticket_hash, user, kind, expires_at_ms)
                    VALUES (?, ?, ?, ?)
                    """,
                    (_hash(ticket), user, kind, self._now_ms() + int(ttl_s * 1000)),
                )
            ]
        )
        return ticket

    async def sign_in(
        self,
        ticket: str,
        extra_statements: Callable[[str, Kind], Iterable[Statement]] = lambda user, kind: (),
    ) -> tuple[str, Kind]:
        """Return user and token kind of a sign-in ticket and use it up, for one caller only.

        What `extra_statements` returns, given both, is stored in the same transaction. A token is issued
        there, before anybody waits: signed out meanwhile, it is dead like the others.

        Raises:
            NotFound: used, wrong or expired.
        """
        refusal = NotFound("This sign-in link does not work any more. Ask for another.")
        ticket_hash = _hash(ticket)
        rows = await self._database.read(
            "SELECT user, kind FROM sign_ins WHERE ticket_hash = ?", (ticket_hash,)
        )
        if not rows:
            raise refusal
        user, kind = rows[0]
        use_up = Statement(
            "DELETE FROM sign_ins WHERE ticket_hash = ? AND expires_at_ms > ?",
            (ticket_hash, self._now_ms()),
            expect=1,
        )
        try:
            await self._database.transact([use_up, *extra_statements(user, kind)])
        except Conflict:
            raise refusal from None
        return user, kind

    # What goes when a session or a user goes.

    def forget_session(self, session_id: str) -> list[Statement]:
        """Return what erases a session's rows here; part of the transaction that deletes it."""
        return [Statement(sql, (session_id,)) for sql in _FORGET_SESSION]

    async def refuse_and_erase(self, user: str) -> list[Statement]:
        """Refuse a user's tokens from now on; return what erases the user's rows here.

        What stays is a keyed hash of the name, so that an old token cannot
        bring the user back.
        """
        until_ms = self._latest_ms() + MAX_TTL_MS
        refusal = self._revocation("user", self._revocations.user_ref(user), until_ms)
        if self._news.is_shared:
            await self._tell([refusal])
        return [
            Statement(_REVOKE, refusal),
            *(Statement(sql, {"user": user}) for sql in _FORGET_OPEN_DOORS),
            Statement("DELETE FROM devices WHERE :user IN (user, made_by)", {"user": user}),
            Statement("UPDATE sessions SET service = NULL WHERE service = ?", (user,)),
        ]

    async def export_user(self, user: str) -> dict[str, Any]:
        """Return what is stored here about a user: `{tokens, devices}`."""
        devices = await self._database.read(
            """
            SELECT device_id, session_id, label, created_at_ms, last_active_at_ms
            FROM devices WHERE user = ? ORDER BY created_at_ms
            """,
            (user,),
        )
        names = ("device_id", "session_id", "device", "created_at", "last_active_at")
        return {
            "tokens": await self.tokens(user),
            "devices": [dict(zip(names, row, strict=True)) for row in devices],
        }


def _body(refusals: list[Refusal]) -> str:
    return json.dumps(refusals)


def _hash(ticket: str) -> bytes:
    return sha256(ticket.encode("utf-8", "surrogatepass")).digest()
