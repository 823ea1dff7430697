"""The span of a tool call, in a program that uses OpenTelemetry; nothing in any other.

A program that uses it has imported it. So nothing is imported here, and without it a call costs
one look into a dictionary.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

TRACER: Final = "companion_ws"
CALL: Final = "companion.call"
"""The agent's span of a tool call: from asking to its result."""


@contextmanager
def span_of_call(
    session_id: str, tool_name: str, tool_call_id: str, traceparent: str | None
) -> Iterator[SpanOfCall]:
    """Have a span around a call, in the trace that is named, else in the current one."""
    api: Any = sys.modules.get("opentelemetry.trace")
    if api is None:
        yield SpanOfCall(None, traceparent)
        return
    # Imported with the first; the submodule is part of the API.
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    form = TraceContextTextMapPropagator()
    with api.get_tracer(TRACER).start_as_current_span(
        CALL,
        context=None if traceparent is None else form.extract({"traceparent": traceparent}),
        kind=api.SpanKind.CLIENT,
        attributes={
            "gen_ai.tool.name": tool_name,
            "gen_ai.tool.call.id": tool_call_id,
            "companion.session_id": session_id,
        },
    ) as span:
        carrier: dict[str, str] = {}
        form.inject(carrier)
        yield SpanOfCall(span, carrier.get("traceparent", traceparent))


class SpanOfCall:
    """What is sent of a span, and how its call ended."""

    def __init__(self, span: Any, traceparent: str | None) -> None:
        self.traceparent = traceparent
        self._span = span

    def ended(self, result: dict[str, Any]) -> None:
        """Note the `client_tool_result` record; what it says is not part of the trace."""
        if self._span is None:
            return
        if "answered_by" in result:
            self._span.set_attribute("companion.answered_by", result["answered_by"])
        if result.get("is_error"):
            self._span.set_status(sys.modules["opentelemetry.trace"].StatusCode.ERROR)
