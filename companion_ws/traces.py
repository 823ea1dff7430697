"""Which trace a request belongs to, and where spans go: OpenTelemetry, where it is wanted.

A `traceparent` is carried whether or not this server writes spans: agent and screen may. The SDK
is the extra `[otel]`; it is imported where spans are written, and nowhere else.

Source: docs/operations.md, "Traces".
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from importlib import import_module
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

from companion_ws.core.traceparent import passed_on

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

NAME: Final = "companion-ws"
"""What the server is called among others; `OTEL_SERVICE_NAME` calls it something else."""
PATH: Final = "/v1/traces"
FLUSH_S: Final = 2.0
"""How long a collector has to take the last spans when the server stops, out of its ten seconds."""

_asked_in: ContextVar[str | None] = ContextVar("companion_traceparent", default=None)


@contextmanager
def asked_in(traceparent: Any) -> Iterator[None]:
    """Have what is called in here belong to this trace; what is none changes nothing."""
    trace = passed_on(traceparent)
    if trace is None:
        yield
        return
    token = _asked_in.set(trace)
    try:
        yield
    finally:
        _asked_in.reset(token)


def in_trace(command: dict[str, Any]) -> dict[str, Any]:
    """Return a command with the trace of the request that brings it, unless it names one itself."""
    trace = _asked_in.get()
    if trace is None or "traceparent" in command:
        return command
    return {**command, "traceparent": trace}


class Spans:
    """Where spans go: to a collector, or to what the program around us has set up."""

    def __init__(self, tracer: Tracer, provider: TracerProvider | None = None) -> None:
        self.tracer = tracer
        self._provider = provider

    async def close(self) -> None:
        """Send what is left, for FLUSH_S; a collector that does not answer keeps no server."""
        if self._provider is None:
            return  # It belongs to the program around us.
        loop, is_sent = asyncio.get_running_loop(), asyncio.Event()

        def send(provider: TracerProvider) -> None:
            provider.shutdown()
            with suppress(RuntimeError):  # the loop is closed where this took too long
                loop.call_soon_threadsafe(is_sent.set)

        Thread(target=send, args=(self._provider,), name="companion-spans", daemon=True).start()
        with suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_S):
                await is_sent.wait()


def check_extra() -> None:
    """Refuse to send spans with what is not installed.

    Raises:
        ValueError: the extra is not installed.
    """
    try:
        import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    except ImportError as error:
        raise ValueError(
            f"--traces-to needs the extra: pip install 'companion-ws[otel]' ({error})"
        ) from None


def spans_of(traces_to: str | None, version: str, instance: str) -> Spans | None:
    """Return where spans go; None where nobody wants any.

    `traces_to` is the address of a collector for OTLP over HTTP. Without one they go to the
    provider that the program around us has set up, if it has.

    Raises:
        ValueError: the extra is not installed.
    """
    if traces_to is None:
        api: Any = sys.modules.get("opentelemetry.trace")
        if api is None or isinstance(api.get_tracer_provider(), api.ProxyTracerProvider):
            return None
        return Spans(api.get_tracer(NAME, version))
    check_extra()
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    ours = {SERVICE_NAME: NAME, "service.version": version, "service.instance.id": instance}
    # What OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say wins.
    resource = Resource.create(ours).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    endpoint = traces_to.rstrip("/").removesuffix(PATH) + PATH
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    return Spans(provider.get_tracer(NAME, version), provider)
