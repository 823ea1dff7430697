"""Which session a telephone call belongs to, whatever platform it is a call of.

Rules of this file:

1. A session token leads to its session. An id alone opens only a phone session that no other
   conversation has claimed; the ids of a call lead to where they were bound first.
2. Two calls never share a session. Who calls again, while no call of theirs is under way, goes
   on in the session they had.
3. The first sign of a call begins it.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Final

from companion_ws.access.tokens import Tokens
from companion_ws.core.errors import CompanionError, InvalidMessage
from companion_ws.nodes.turns import Turn, Turns
from companion_ws.sessions.sessions import Sessions
from companion_ws.sessions.summaries import Summary
from companion_ws.voice.callers import called_of, number_of
from companion_ws.voice.store import VoiceStore

MAX_ID_CHARS: Final = 2048
"""The longest of them is a session token."""

_NOTHING: Final = frozenset({"null", "none", "undefined"})
"""What stands in a header or a field where a variable had no value."""


@dataclass(frozen=True, slots=True)
class Binding:
    """What a request says about which call it belongs to; empty text where it says nothing.

    `session` is a session token, or the id of a phone session. Some platforms keep
    tokens to themselves when they tell of a call, so `session_id` may be all that is left.
    """

    session: str = ""
    session_id: str = ""
    conversation_id: str = ""
    call_sid: str = ""
    caller_id: str = ""
    called_number: str = ""

    @property
    def caller(self) -> str:
        """The number that calls in E.164; "" where it is none that tells callers apart."""
        return number_of(self.caller_id, self.called_number)

    @property
    def called(self) -> str:
        """What was called, in one spelling."""
        return called_of(self.called_number)


@dataclass(frozen=True, slots=True)
class ToolRequest:
    """One call of a webhook tool. `tool_call_id` is None where the body is flat."""

    tool_name: str
    parameters: dict[str, Any]
    tool_call_id: str | None
    binding: Binding


def word_of(value: Any) -> str:
    """Return what a field says as text; a variable that has no value says nothing."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return ""
    text = str(value).strip()
    is_nothing = text.lower() in _NOTHING or (text.startswith("{{") and text.endswith("}}"))
    return "" if is_nothing else text


def first_id(*candidates: Any) -> str:
    """Return the first of what was said that can be an id; "" where none can."""
    words = map(word_of, candidates)
    return next((word for word in words if 0 < len(word) <= MAX_ID_CHARS and word.isprintable()), "")


class PhoneSessions:
    """Finds the session of a call, or makes it; `owner` has those that calls make."""

    def __init__(
        self, sessions: Sessions, tokens: Tokens, store: VoiceStore, turns: Turns, owner: str
    ) -> None:
        self._sessions = sessions
        self._tokens = tokens
        self._store = store
        self._owner = owner
        self._calls = sessions.calls
        self._turns = turns

    async def begin(
        self, binding: Binding, language: str | None = None
    ) -> tuple[Summary, bool]:
        """Let a call that rings begin; return its session, and whether it was there before.

        Raises:
            TooManyRequests: there are as many calls as the limit allows.
        """
        async with self._arriving(binding):
            found = await self.find(binding)
            if found is not None and await self._is_anothers(found.session_id, binding):
                found = None
            found = found or await self._of_caller(binding, begins=True)
            summary = await self._on_the_line(found, binding, language)
            # Told by the platform, before the model could write any.
            await self._store.note_number(summary.session_id, binding.caller)
            return summary, found is not None

    async def of_named_call(self, binding: Binding) -> Summary:
        """Return the session of a call whose platform always says which call it is.

        Raises:
            TooManyRequests: it begins, and there are as many calls as the limit allows.
        """
        if await self.find(binding) is None:
            summary, _ = await self.begin(binding)
            return summary
        summary = await self.of_call(binding)
        if binding.caller:
            await self._store.note_number(summary.session_id, binding.caller)
        return summary

    async def of_call(self, binding: Binding) -> Summary:
        """Return the session of a call that is under way; the first sign of one begins it."""
        summary = await self.find(binding)
        if summary is None:
            async with self._arriving(binding):
                found = await self.find(binding) or await self._of_caller(binding, begins=False)
                return await self._on_the_line(found, binding)
        await self._bind(summary, binding)
        if summary.is_call:
            # After a long silence the call goes on; it is not sent away for others.
            await self._calls.begin(summary.session_id)
        self._calls.heard(summary.session_id)
        return summary

    def _arriving(self, binding: Binding) -> AbstractAsyncContextManager[Turn]:
        """Hold a call's turn while it finds its session: the next one must see that it is taken."""
        named = map(self._session_named, filter(None, (binding.session, binding.session_id)))
        told = (binding.caller, binding.conversation_id, binding.call_sid, *named)
        return self._turns.taken(*(f"call\0{word}" for word in told if word))

    def _session_named(self, text: str) -> str:
        """Return the session that a token opens, or the text itself where it is none."""
        try:
            return self._tokens.read(text).session_id or text
        except CompanionError:
            return text

    async def _on_the_line(
        self, found: Summary | None, binding: Binding, language: str | None = None
    ) -> Summary:
        """Let a call begin, or go on, in the session that was found, or in a new one.

        Raises:
            TooManyRequests: there are as many calls as the limit allows.
        """
        if found is not None and await self._calls.is_live(found.session_id):
            await self._calls.begin(found.session_id)
            await self._bind(found, binding)
            return found
        async with self._calls.place() as place:
            summary = found or await self._create(binding, language)
            await self._calls.begin(summary.session_id, place)
        await self._bind(summary, binding)
        return summary

    async def find(self, binding: Binding) -> Summary | None:
        """Return the live session that a call's token or ids lead to; the first way counts."""
        found = await self._named(binding)
        if found is None and binding.conversation_id:
            found = await self._sessions.find(conversation_id=binding.conversation_id)
        if found is None and binding.call_sid:
            found = await self._sessions.find(call_sid=binding.call_sid)
        return found

    async def _named(self, binding: Binding) -> Summary | None:
        """Return the session its token names; an id alone opens only an unclaimed phone session."""
        for named in filter(None, (binding.session, binding.session_id)):
            try:
                claims = self._tokens.verify(named)
            except CompanionError:
                summary = await self._unclaimed(named, binding.conversation_id)
            else:
                is_agents = claims.kind == "session" and claims.role != "ui"
                session_id = claims.session_id if is_agents else None
                summary = _live(await self._sessions.summary(session_id)) if session_id else None
            if summary is not None:
                return summary
        return None

    async def _unclaimed(self, session_id: str, conversation_id: str) -> Summary | None:
        summary = _live(await self._sessions.summary(session_id))
        if summary is None or summary.user != self._owner:
            return None
        since_ms = await self._calls.began_at_ms(session_id)
        known = await self._sessions.conversations.leads_to(session_id, since_ms)
        claimed = {ref for kind, ref in known if kind == "conversation"}
        return None if claimed - {conversation_id} else summary

    async def _is_anothers(self, session_id: str, binding: Binding) -> bool:
        """Whether a call with other ids is under way there: two calls never share a session."""
        if not await self._calls.is_live(session_id):
            return False
        since_ms = await self._calls.began_at_ms(session_id)
        known = await self._sessions.conversations.leads_to(session_id, since_ms)
        told = [("conversation", binding.conversation_id), ("call", binding.call_sid)]
        told = [(kind, ref) for kind, ref in told if ref]
        kinds = {kind for kind, _ in known}
        return not known & set(told) and any(kind in kinds for kind, _ in told)

    async def _of_caller(self, binding: Binding, *, begins: bool) -> Summary | None:
        """Return the session of who calls: where a call begins, one in which none is under way.

        Two people may call from one number at once, and never share a session.

        Raises:
            InvalidMessage: several calls of this number are under way; which one is not said.
        """
        caller = binding.caller
        if not caller:
            return None
        known = await self._store.sessions_of(caller, binding.called)
        calling = [session_id for session_id in known if await self._calls.is_live(session_id)]
        if not begins and len(calling) > 1:
            raise InvalidMessage("Several calls of this number are under way; say which.")
        free = [session_id for session_id in known if session_id not in calling]
        for session_id in free if begins else [*calling, *free]:
            summary = _live(await self._sessions.summary(session_id))
            if summary is not None:
                return summary
        return None

    async def _create(self, binding: Binding, language: str | None) -> Summary:
        return await self._sessions.create(
            self._owner,
            title=f"Call from {binding.caller}" if binding.caller else "Call",
            language=language,
            is_call=True,
        )

    async def _bind(self, summary: Summary, binding: Binding) -> None:
        """Let the call's ids lead here from now on."""
        session_id = summary.session_id
        known = await self._sessions.conversations.leads_to(session_id)
        if binding.conversation_id and ("conversation", binding.conversation_id) not in known:
            await self._sessions.conversations.bind(session_id, conversation_id=binding.conversation_id)
        if binding.call_sid and ("call", binding.call_sid) not in known:
            await self._sessions.conversations.bind(session_id, call_sid=binding.call_sid)
        if binding.caller and summary.user == self._owner:
            await self._store.note_caller(
                binding.caller, binding.called, session_id, self._sessions.now_ms()
            )


def _live(summary: Summary | None) -> Summary | None:
    return summary if summary is not None and summary.ended_at_ms is None else None
