"""How long people take: from a question to its being seen, and from there to their answer.

Held in memory, measured by a clock that does not step: a restart forgets the questions that were
open, and what is measured is none the worse for it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from companion_ws.core.session import Event

MOST: Final = 10_000
"""Questions that are watched at once, over all sessions; beyond it the oldest is not."""

Step = Literal["shown", "pondered", "answered"]
"""From call to screen, from screen to answer, from call to answer."""


@dataclass(slots=True)
class _Watched:
    asked_ms: int
    shown_ms: int | None = None


class AnswerTimes:
    """Watches questions to screens until a person answers them, in time or later."""

    def __init__(self, observe: Callable[[Step, float], None], clock_ms: Callable[[], int]) -> None:
        self._observe = observe
        self._clock_ms = clock_ms
        self._open: OrderedDict[tuple[str, str], _Watched] = OrderedDict()

    def recorded(self, session_id: str, event: Event) -> None:
        """A record was stored and told."""
        match event.type:
            case "client_tool_call" if event.fields["handled_by"] == "screens":
                key = session_id, event.fields["client_tool_call"].tool_call_id
                self._open[key] = _Watched(self._clock_ms())
                if len(self._open) > MOST:
                    self._open.popitem(last=False)
            case "client_tool_result" if event.fields["answered_by"] != "server":
                self._answered(session_id, event.fields["tool_call_id"])
            case "user_message" if "result" in event.fields:  # a late answer
                self._answered(session_id, event.fields["in_reply_to"])

    def shown(self, session_id: str, record: dict[str, Any]) -> None:
        """A screen has painted a record; the first one counts."""
        call = record.get("client_tool_call")
        watched = self._open.get((session_id, call["tool_call_id"])) if call else None
        if watched is not None and watched.shown_ms is None:
            watched.shown_ms = self._clock_ms()
            self._observe("shown", (watched.shown_ms - watched.asked_ms) / 1000)

    def _answered(self, session_id: str, tool_call_id: str) -> None:
        watched = self._open.pop((session_id, tool_call_id), None)
        if watched is None:
            return  # An answer was changed, or the question is older than this process.
        now_ms = self._clock_ms()
        self._observe("answered", (now_ms - watched.asked_ms) / 1000)
        if watched.shown_ms is not None:
            self._observe("pondered", (now_ms - watched.shown_ms) / 1000)
