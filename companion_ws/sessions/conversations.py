"""Which conversations and telephone calls lead to a session, and what they say of it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog

from companion_ws.core.protocol import encode
from companion_ws.nodes.verbs import Verbs, verb
from companion_ws.sessions.live import LiveSession
from companion_ws.sessions.store import Kind, Store

LANGUAGE: Final = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8}){0,4}")
"""The shape of a BCP 47 tag."""
MAX_AUDITED: Final = 1000
"""Refused bindings that are remembered, so that each is audited once."""

log = structlog.get_logger(__name__)


class Conversations:
    """Binds the ids of voice platforms to sessions; the first session that asks has an id."""

    def __init__(
        self,
        store: Store,
        open_live: Callable[[str], Awaitable[LiveSession | None]],
        now_ms: Callable[[], int],
        rename: Callable[[str, str | None, str | None], Awaitable[None]],
        verbs: Verbs,
    ) -> None:
        self.verbs = verbs
        self._store = store
        self._open = open_live
        self._now_ms = now_ms
        self._rename = rename
        self._audited: dict[tuple[str, Kind, str], None] = {}
        """Who asked in vain for whose conversation, newest last."""

    @verb()
    async def bind(
        self,
        session_id: str,
        *,
        conversation_id: str | None = None,
        call_sid: str | None = None,
    ) -> None:
        """Let a conversation's or a telephone call's id lead to a session from now on.

        The first session that binds an id has it while it lives; a later one changes
        nothing, and stands in the trails of both.
        """
        at_ms = self._now_ms()
        if conversation_id is not None:
            is_ours = await self._store.bind(session_id, "conversation", conversation_id, at_ms)
            await self._bound(session_id, "conversation", conversation_id, is_ours)
        if call_sid is not None:
            is_ours = await self._store.bind(session_id, "call", call_sid, at_ms)
            await self._bound(session_id, "call", call_sid, is_ours)

    async def leads_to(self, session_id: str, since_ms: int = 0) -> set[tuple[str, str]]:
        """Return `(kind, id)` of every conversation and call of a session, bound since then."""
        return await self._store.bound(session_id, since_ms)

    async def began(self, session_id: str, fields: dict[str, Any], *, is_recorded: bool) -> None:
        """A conversation named itself, and maybe its language; its record has bound it already."""
        metadata = fields["conversation_initiation_metadata_event"]
        conversation_id = metadata["conversation_id"]
        if not is_recorded:
            await self.bind(session_id, conversation_id=conversation_id)
        elif ("conversation", conversation_id) not in await self._store.bound(session_id):
            await self._bound(session_id, "conversation", conversation_id, is_ours=False)

    async def spoke(self, session_id: str, fields: dict[str, Any]) -> None:
        """Let the session speak the conversation's language, where it names one."""
        language = fields["conversation_initiation_metadata_event"].get("language")
        if isinstance(language, str) and LANGUAGE.fullmatch(language):
            await self._rename(session_id, None, language)

    async def _bound(self, session_id: str, kind: Kind, ref: str, is_ours: bool) -> None:
        """An id was bound, or leads to another session already: remember it, or audit it."""
        live = await self._open(session_id)
        if live is not None and kind == "conversation":
            await self._correct(live, ref, is_ours)
        theirs = None if is_ours else await self._store.found(kind, ref)
        if live is None or theirs is None or theirs.session_id == session_id:
            return
        asked = (session_id, kind, ref)
        if asked in self._audited:
            return  # Asking again must not push everything else out of the trail.
        self._audited[asked] = None
        if len(self._audited) > MAX_AUDITED:
            del self._audited[next(iter(self._audited))]
        reason = f"this {kind} belongs to another session"
        log.warning("binding_refused", session_id=session_id, user=live.row.user, reason=reason)
        self._audit(session_id, live.row.user, reason)
        reason = f"another session asked for this one's {kind}"
        self._audit(theirs.session_id, live.row.user, reason)

    async def _correct(self, live: LiveSession, ref: str, is_ours: bool) -> None:
        """Let memory name the conversation that the disk does, unless it has moved on since."""
        if is_ours:
            live.session.conversation_id = ref
            return
        row = await self._store.row(live.session_id)
        if live.session.conversation_id == ref:
            live.session.conversation_id = None if row is None else row.conversation_id

    def _audit(self, session_id: str, user: str, reason: str) -> None:
        details = {
            "role": "agent", "user": user, "device": "", "device_id": None,
            "code": None, "reason": reason,
        }  # fmt: skip
        self._store.trail(session_id, self._now_ms(), "refused", encode(details))
