"""Tasks: a question to a person that outlives the request, the program and the server.

Whoever asks gets a handle, 192 random bits that are stored as a hash only, and looks with it
until somebody has answered. The question is a call like any other (`core/tool_calls.py`), which
closes after ten minutes; a look after that asks it again, for as long as the task lives. So the
clock that counts is the task's own, neither the client's nor the call's.

What a task comes to is stored with the events it carries in one transaction, and every further
look gets the same. While it is working, `PollingAgent.news` leaves its answer to it.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from companion_ws.core.errors import SessionNotFound, ToolClosed
from companion_ws.core.phrases import phrase, spoken_code
from companion_ws.core.session import Sender
from companion_ws.core.tool_calls import QUESTION_MS
from companion_ws.database import Conflict
from companion_ws.nodes.verbs import verb
from companion_ws.sessions.live import LiveSession
from companion_ws.sessions.questions import PairingAccess
from companion_ws.sessions.sessions import Sessions
from companion_ws.voice.polling import Answer, PollingAgent
from companion_ws.voice.task_store import Task, TaskStore

TASK_MS: Final = 24 * 3600 * 1000
"""How long a handle is good; the person may be at lunch, or asleep."""
LEAST_MS: Final = 60_000
CALL_MS: Final = 120_000
"""The longest deadline of a call: nobody waits for it, and until then an answer is in time."""
INVITATION_MS: Final = 60_000
"""How long the same way in is told; its code lives longer."""

Told = Callable[[Answer, list[dict[str, Any]], list[str]], Mapping[str, Any]]
"""What a caller is told of an answer, the events beside it and what screens show, as stored."""


@dataclass(frozen=True, slots=True)
class WayIn:
    """A pairing that somebody can come by."""

    code: str
    code_url: str


@dataclass(frozen=True, slots=True)
class Look:
    """How a task stands: the answer, or what keeps it waiting, in words.

    `way_in` is there while nobody is at a screen: where one is opened, and with which code.
    """

    answer: Answer | None
    words: str = ""
    way_in: WayIn | None = None


class Tasks:
    """Asks, looks and withdraws on behalf of those who come again with a handle."""

    def __init__(
        self,
        sessions: Sessions,
        polling: PollingAgent,
        store: TaskStore,
        pairing: PairingAccess,
        told: Told,
    ) -> None:
        self.verbs = sessions.verbs
        self.verbs.serve(self)
        self._told = told
        self._sessions = sessions
        self._polling = polling
        self._store = store
        self._pairing = pairing
        self._ways_in: dict[str, tuple[WayIn, int]] = {}

    async def begin(
        self,
        session_id: str,
        sender: Sender,
        tool_name: str,
        parameters: Mapping[str, Any],
        ttl_ms: int | None = None,
    ) -> Task:
        """Ask, and return a handle that is durable; an answer that is there already is its first look.

        Raises:
            CompanionError: the session would not take the question.
        """
        put = await self._polling.put(
            session_id, sender, tool_name, parameters, timeout_ms=CALL_MS
        )
        at_ms = self._sessions.clock.running_ms()
        task = Task(
            handle=secrets.token_urlsafe(24),
            session_id=session_id,
            user=sender.user,
            tool_call_id=put.tool_call_id,
            asked=json.dumps([tool_name, dict(parameters)]),
            created_at_ms=at_ms,
            updated_at_ms=at_ms,
            until_ms=at_ms + max(LEAST_MS, min(ttl_ms or TASK_MS, TASK_MS)),
        )
        await self._store.add(task)
        return task

    async def find(self, handle: str, user: str) -> Task | None:
        """Return the task of a handle; None where it is unknown, over, or somebody else's."""
        return await self._store.find(handle, user, self._sessions.clock.running_ms())

    @verb(changes=False)
    async def look(self, task: Task, sender: Sender) -> Look:
        """See whether a working task is answered; ask again where its question has closed.

        Raises:
            SessionNotFound: its session is over.
            CompanionError: the session would not take the question again.
        """
        live = await self._live(task.session_id)
        answer = await self._polling.answer_of(task.session_id, task.tool_call_id)
        if answer is not None:
            return Look(answer)
        if not self._is_open(live, task):
            if not self._is_overdue(live, task):
                return Look(Answer(task.tool_call_id, '{"status":"no_answer"}', False))
            tool_name, parameters = json.loads(task.asked)
            put = await self._polling.put(
                task.session_id, sender, tool_name, parameters, timeout_ms=CALL_MS
            )
            await self._store.ask_again(task, put.tool_call_id)
            if put.answer is not None:
                return Look(put.answer)
        if live.screens():
            return Look(None, "The question is on the user's screen.")
        way_in = await self._way_in(task.session_id, sender)
        address = way_in.code_url.split("://", 1)[-1]
        said = phrase(
            live.session.language, "no_screen", address=address, code=spoken_code(way_in.code)
        )
        return Look(None, said, way_in)

    @verb(changes=False)
    async def complete(self, task: Task, answer: Answer) -> str:
        """Store what a task has come to, once; return it, or what another look stored first."""
        text, screens = "", await self._polling.screens(task.session_id)

        def statements(events: list[dict[str, Any]]) -> list[Any]:
            nonlocal text
            told = self._told(answer, events, screens)
            text = json.dumps(told, ensure_ascii=False, separators=(",", ":"))
            return self._store.completed(task, text, self._sessions.clock.running_ms())

        try:
            await self._polling.news(task.session_id, answer.tool_call_id, statements)
        except Conflict:
            stored = await self.find(task.handle, task.user)
            return (stored and stored.result) or text
        return text

    async def cancel(self, task: Task, sender: Sender) -> Task:
        """Withdraw the question, unless somebody else waits for it too; return how it stands."""
        if task.status != "working":
            return task
        at_ms = self._sessions.clock.running_ms()
        try:
            await self._store.cancel(task, at_ms)
        except Conflict:
            return await self.find(task.handle, task.user) or task
        await self.withdraw(task, sender)
        return replace(task, status="cancelled", updated_at_ms=at_ms)

    async def note_shown_in(self, task: Task) -> None:
        """The caller has answered the invitation to the screen."""
        await self._store.note_shown_in(task)

    async def forget(self, task: Task) -> None:
        """The caller goes on without the answer; one that comes late is news."""
        await self._store.forget(task)

    @verb()
    async def withdraw(self, task: Task, sender: Sender) -> None:
        """Take its question off the screens, unless somebody else waits for it too."""
        if await self._sessions.open(task.session_id) is None:
            return
        is_awaited = self._polling.is_awaited(task.session_id, task.tool_call_id)
        if is_awaited or await self._store.others(task, self._sessions.clock.running_ms()):
            return
        command = {"type": "client_tool_cancel", "tool_call_id": task.tool_call_id}
        try:
            await self._sessions.submit(task.session_id, command, sender)
        except (ToolClosed, SessionNotFound):
            return  # It has been answered, or everything is over.

    def _is_open(self, live: LiveSession, task: Task) -> bool:
        call = live.session.calls.get(task.tool_call_id)
        if call is None or call.status == "closed":
            return False
        question = live.session.question_of(call)
        return call.status == "waiting" or question.is_open(live.clock.running_ms())

    def _is_overdue(self, live: LiveSession, task: Task) -> bool:
        """Whether its question closed because nobody answered for so long."""
        call = live.session.calls.get(task.tool_call_id)
        asked_at_ms = task.created_at_ms if call is None else call.asked_at_ms
        return live.clock.running_ms() >= asked_at_ms + QUESTION_MS

    async def _way_in(self, session_id: str, sender: Sender) -> WayIn:
        at_ms = self._sessions.clock.running_ms()
        known, until_ms = self._ways_in.get(session_id, (None, 0))
        if known is None or until_ms <= at_ms:
            opened = await self._pairing.open(session_id, by=sender.token)
            known = WayIn(opened.code, opened.code_url)
            self._ways_in = {
                of: way for of, way in self._ways_in.items() if way[1] > at_ms
            }
            self._ways_in[session_id] = known, at_ms + INVITATION_MS
        return known

    async def _live(self, session_id: str) -> LiveSession:
        live = await self._sessions.open(session_id)
        if live is None:
            raise SessionNotFound
        return live

