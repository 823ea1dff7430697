"""An agent that uses OpenTelemetry as its author would: asks on the screen, inside a span of its own.

    python traced_agent.py COLLECTOR URL TOKEN
"""

from __future__ import annotations

import asyncio
import sys

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from companion_ws import CompanionClient


async def main(collector: str, url: str, token: str) -> None:
    provider = TracerProvider(resource=Resource({"service.name": "the agent"}))
    exporter = OTLPSpanExporter(endpoint=f"{collector}/v1/traces")
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    async with CompanionClient(url, token=token) as companion:
        pairing = await companion.pair()
        print(pairing.url, flush=True)
        await companion.wait_for_screen(20)
        with trace.get_tracer("my agent").start_as_current_span("a turn"):
            await companion.call_tool("companion_confirm", title="The secret question")
            await companion.call_tool("measure", weight=2)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
