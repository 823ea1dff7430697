"""A server tool that makes a span of its own, as instrumented libraries do."""

from __future__ import annotations

from opentelemetry import trace

from companion_ws import tool


@tool
def measure(weight: float) -> dict[str, float]:
    context = trace.get_current_span().get_span_context()
    return {"span": context.span_id, "weight": weight}
