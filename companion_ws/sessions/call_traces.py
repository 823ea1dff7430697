"""What OpenTelemetry is told of tool calls: where each spent its time, never what it said.

    companion.call (the agent's)
    └─ companion.tool_call      received ──────────────────────────────► result told
       ├─ companion.stored      received ─► committed
       ├─ companion.delivered              committed ─► written to everybody
       ├─ companion.tool_run    a server tool, from start to end
       ├─ companion.shown                              delivered ─► a screen painted it
       └─ companion.answered    a screen's answer, from received to told

A span's id has to stand in the record that a screen gets, so the first is begun before the record
is written; the others are told afterwards, with the times they had. A span ends with its process:
after a restart an answer is told in the trace of its question, which the record still names.

This is imported where spans are written, and nowhere else.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from companion_ws.core.errors import CompanionError
from companion_ws.core.session import Event

MOST: Final = 10_000
"""Calls whose spans are open at once, over all sessions; beyond it the oldest ends."""

_FORM: Final = TraceContextTextMapPropagator()
Key = tuple[str, str]
Refuse = Callable[[CompanionError], None]


@dataclass(slots=True)
class _Open:
    span: Span
    began_ns: int
    has_result: bool = True
    """Whether a result will come, which ends it."""
    told_ns: int = 0


class CallTraces:
    """Begins, tells and ends the spans of all sessions' tool calls."""

    def __init__(self, tracer: Tracer, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._tracer = tracer
        self._now_ns = now_ns
        self._durable_ns = 0
        self._calls: OrderedDict[Key, _Open] = OrderedDict()
        self._answers: OrderedDict[Key, _Open] = OrderedDict()

    def begin(self, session_id: str, event: Event) -> tuple[Event, Refuse | None]:
        """Begin what becomes a record; return it in its trace, and what is called if it is refused."""
        fields = event.fields
        if event.type == "client_tool_call":
            asked = fields["client_tool_call"]
            key = session_id, asked.tool_call_id
            span = self._begin(
                self._calls, key, "companion.tool_call", fields.get("traceparent"),
                {
                    "gen_ai.tool.name": asked.tool_name,
                    "gen_ai.tool.call.id": asked.tool_call_id,
                    "companion.session_id": session_id,
                    "companion.handled_by": fields["handled_by"],
                },
            )  # fmt: skip
            carrier: dict[str, str] = {}
            _FORM.inject(carrier, set_span_in_context(span))
            return (
                Event(event.type, fields | carrier, event.then),
                partial(self._refused, self._calls, key),
            )
        if "traceparent" in fields:
            is_late = event.type == "user_message"
            key = session_id, fields["in_reply_to" if is_late else "tool_call_id"]
            self._begin(
                self._answers, key, "companion.answered", fields["traceparent"],
                {"companion.is_late": is_late},
            )  # fmt: skip
            return event, partial(self._refused, self._answers, key)
        return event, None

    def durable(self) -> None:
        """What is told next was committed now."""
        self._durable_ns = self._now_ns()

    def recorded(self, session_id: str, event: Event, screens: int) -> None:
        """A record was stored and told, to so many screens."""
        if event.type == "client_tool_call":
            self._asked((session_id, event.fields["client_tool_call"].tool_call_id), event, screens)
        elif event.type == "client_tool_result":
            key = session_id, event.fields["tool_call_id"]
            self._end(self._answers, key)
            self._end(
                self._calls, key, is_error=event.fields["is_error"],
                answered_by=event.fields["answered_by"],
            )  # fmt: skip
        elif event.type == "user_message" and "in_reply_to" in event.fields:
            self._end(self._answers, (session_id, event.fields["in_reply_to"]))
        elif event.type == "session_ended":
            for key in [key for key in self._calls if key[0] == session_id]:
                self._end(self._calls, key, is_unanswered=True)

    def shown(self, session_id: str, record: dict[str, Any]) -> None:
        """A screen has painted a record."""
        if record["type"] != "client_tool_call" or "traceparent" not in record:
            return
        call = self._calls.get((session_id, record["client_tool_call"]["tool_call_id"]))
        told_ns = call.told_ns if call is not None else record["timestamp"] * 1_000_000
        self._tell("companion.shown", _within(record["traceparent"]), told_ns, self._now_ns())

    @contextmanager
    def run(self, session_id: str, tool_call_id: str) -> Iterator[Callable[[], None]]:
        """Have a span around the run of a server tool, in which its own stand.

        What it gives is called where the run fails.
        """
        call = self._calls.get((session_id, tool_call_id))
        if call is None:
            yield lambda: None
            return
        with self._tracer.start_as_current_span(
            "companion.tool_run", set_span_in_context(call.span), record_exception=False
        ) as span:
            yield lambda: span.set_status(StatusCode.ERROR)
        if not call.has_result:
            self._end(self._calls, (session_id, tool_call_id))

    def end(self) -> None:
        """End what is open: this process ends."""
        for key in [*self._calls]:
            self._end(self._calls, key, is_unanswered=True)
        for key in [*self._answers]:
            self._end(self._answers, key)

    def _asked(self, key: Key, event: Event, screens: int) -> None:
        call = self._calls.get(key)
        if call is None:
            return
        within, call.told_ns = set_span_in_context(call.span), self._now_ns()
        call.has_result = event.fields["deadline_at"] is not None
        self._tell("companion.stored", within, call.began_ns, self._durable_ns)
        self._tell("companion.delivered", within, self._durable_ns, call.told_ns, screens=screens)
        if event.fields["deadline_at"] is None and event.fields["handled_by"] == "screens":
            self._end(self._calls, key)  # Nobody waits; what a server tool does ends with its run.

    def _begin(
        self,
        among: OrderedDict[Key, _Open],
        key: Key,
        name: str,
        traceparent: str | None,
        attributes: dict[str, Any],
    ) -> Span:
        within = None if traceparent is None else _within(traceparent)
        began_ns = self._now_ns()
        span = self._tracer.start_span(
            name, within, SpanKind.SERVER, attributes, start_time=began_ns
        )
        among[key] = _Open(span, began_ns)
        if len(among) > MOST:
            self._end(among, next(iter(among)))
        return span

    def _tell(
        self, name: str, within: Context, began_ns: int, ended_ns: int, **attributes: Any
    ) -> None:
        span = self._tracer.start_span(name, within, start_time=began_ns)
        for attribute, value in attributes.items():
            span.set_attribute(f"companion.{attribute}", value)
        span.end(max(began_ns, ended_ns))  # the time of day may have been set back

    def _end(
        self, among: OrderedDict[Key, _Open], key: Key, *, is_error: bool = False, **attributes: Any
    ) -> None:
        opened = among.pop(key, None)
        if opened is None:
            return
        for attribute, value in attributes.items():
            opened.span.set_attribute(f"companion.{attribute}", value)
        if is_error:
            opened.span.set_status(StatusCode.ERROR)
        opened.span.end(max(opened.began_ns, self._now_ns()))

    def _refused(
        self, among: OrderedDict[Key, _Open], key: Key, error: CompanionError
    ) -> None:
        """What was begun is not known to be stored."""
        self._end(among, key, is_error=True, refused=error.code)


def _within(traceparent: str) -> Context:
    return _FORM.extract({"traceparent": traceparent}, Context())
