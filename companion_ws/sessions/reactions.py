"""What follows from what happened in a session: waking, counting, asking, logging."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import msgspec
import structlog

from companion_ws.core.session import Event, Sender, TokenRef
from companion_ws.sessions.answer_times import AnswerTimes
from companion_ws.sessions.background import Background
from companion_ws.sessions.connections import Connection
from companion_ws.sessions.conversations import Conversations
from companion_ws.sessions.due import Scheduler
from companion_ws.sessions.live import LiveSession
from companion_ws.sessions.parts import SessionParts
from companion_ws.sessions.phone_calls import HEARD_IN
from companion_ws.sessions.questions import RELOAD_S, Questions
from companion_ws.sessions.showing import Showing
from companion_ws.sessions.waiting import Waiting

RESTARTING: Final = 1012
"""The close code of a server that stops and will be back."""

log = structlog.get_logger(__name__)


class Reactions:
    """Observes every live session (`SessionObserver`)."""

    def __init__(
        self,
        parts: SessionParts,
        background: Background,
        questions: Questions,
        waiting: Waiting,
        scheduler: Scheduler,
        conversations: Conversations,
        showing: Showing,
    ) -> None:
        self._counted = parts.counted
        self._answer_times = AnswerTimes(parts.counted.question, parts.clock.running_ms)
        self._calls = parts.calls
        self._traces = parts.traces
        self._now_ms = parts.clock.now_ms
        self._spawn = background.spawn
        self._questions = questions
        self._waiting = waiting
        self._scheduler = scheduler
        self._conversations = conversations
        self._showing = showing

    def recorded(
        self, live: LiveSession, event: Event, body: bytes, token: TokenRef | None
    ) -> None:
        """A record was stored and delivered."""
        self._counted.recorded(event.type)
        if event.type in HEARD_IN:
            self._calls.heard(live.session_id)
        self._answer_times.recorded(live.session_id, event)
        if self._traces is not None:
            self._traces.recorded(live.session_id, event, len(live.screens()))
        self._waiting.recorded(live.session_id, event, body)
        self._showing.recorded(live, body)
        match event.type:
            case "client_tool_call":
                asked = event.fields["client_tool_call"]
                if event.fields["deadline_at"] is not None:
                    self._scheduler.note()
                self._spawn(
                    self._questions.asked(live, asked.tool_call_id, asked.parameters, token)
                )
            case "client_tool_result":
                self._questions.answered(live.session_id, event.fields["tool_call_id"])
            case "conversation_initiation_metadata":
                self._began(live.session_id, event.fields, is_recorded=True)

    def passed(
        self, live: LiveSession, kind: str, fields: dict[str, Any], sender: Sender
    ) -> None:
        """Something was passed on that is not recorded."""
        if kind == "rendered":
            self._spawn(self._rendered(live, fields, sender, self._now_ms()))
        if kind == "conversation_initiation_metadata":
            self._began(live.session_id, fields, is_recorded=False)
        if kind in HEARD_IN:
            self._calls.heard(live.session_id)

    def joined(self, live: LiveSession, connection: Connection) -> None:
        """A connection was told `session_joined`."""
        self._counted.joined(connection.role, connection.recovery)
        phone = {} if connection.device_id is None else {"device_id": connection.device_id}
        log.info(
            "session_joined",
            session_id=live.session_id,
            connection_id=connection.connection_id,
            role=connection.role,
            user=connection.user,
            recovery=connection.recovery,
            **phone,
        )
        if connection.is_screen:
            self._spawn(self._questions.look(live.session_id))
            self._showing.joined(live)

    def left(self, live: LiveSession, connection: Connection) -> None:
        """A connection is gone; calls that waited for it may be left with nobody."""
        if connection.close_code == RESTARTING:
            return  # The server sent it away and will be back; so will it.
        if connection.is_screen:
            # Who was in it long enough has not asked for it lately: keep it until it is looked at.
            live.used_at_s = asyncio.get_running_loop().time()
            self._spawn(self._questions.look_later(live.session_id, RELOAD_S))

    def _began(self, session_id: str, fields: dict[str, Any], *, is_recorded: bool) -> None:
        self._spawn(self._conversations.began(session_id, fields, is_recorded=is_recorded))
        self._spawn(self._conversations.spoke(session_id, fields))

    async def _rendered(
        self, live: LiveSession, fields: dict[str, Any], sender: Sender, at_ms: int
    ) -> None:
        """Measure how long a record took to a screen; note it of questions, and what went wrong."""
        body = await live.record_text(fields["of_seq"])
        if body is None:
            return
        record = msgspec.json.decode(body)
        self._counted.rendered(max(0, at_ms - record["timestamp"]) / 1000)
        problem = fields.get("problem")
        if problem is None:
            self._answer_times.shown(live.session_id, record)
            is_known = (record["seq"], sender.device_id or "") in live.session.rendered
            if self._traces is not None and not is_known:
                self._traces.shown(live.session_id, record)
        if record["type"] == "client_tool_call" or problem is not None:
            live.note_rendered(record, sender.device_id or "", at_ms, problem)
