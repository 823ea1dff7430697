"""A collector of spans: takes OTLP over HTTP as any other does, and keeps what it was told."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Collection
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from aiohttp.test_utils import TestServer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True, slots=True)
class Told:
    """One span as it was told, with the service that told it."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    began_ns: int
    ended_ns: int
    is_error: bool
    attributes: dict[str, Any]


class Collector:
    """Listens on a port of its own; `url` is what `--traces-to` gets."""

    def __init__(self) -> None:
        self.spans: list[Told] = []
        self._news = asyncio.Condition()

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/v1/traces", self._take)
        self._server = TestServer(app)
        await self._server.start_server()
        self.url = str(self._server.make_url("")).rstrip("/")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._server.close()

    async def told(self, *names: str) -> dict[str, Told]:
        """Wait until there is a span of each of these names; return the newest of each."""
        async with asyncio.timeout(20), self._news:
            while not {*names} <= {span.name for span in self.spans}:
                await self._news.wait()
        return {span.name: span for span in self.spans}

    async def _take(self, request: web.Request) -> web.Response:
        assert request.content_type == "application/x-protobuf"
        body = await request.read()
        if body[:2] == b"\x1f\x8b":  # aiohttp unpacks what says that it is packed
            body = gzip.decompress(body)
        sent = ExportTraceServiceRequest.FromString(body)
        for of_service in sent.resource_spans:
            service = _values(of_service.resource.attributes)["service.name"]
            for scope in of_service.scope_spans:
                self.spans += [_told(service, span) for span in scope.spans]
        async with self._news:
            self._news.notify_all()
        answer = ExportTraceServiceResponse().SerializeToString()
        return web.Response(body=answer, content_type="application/x-protobuf")


def _told(service: str, span: Any) -> Told:
    return Told(
        service, span.name, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(),
        span.start_time_unix_nano, span.end_time_unix_nano, span.status.code == 2,
        _values(span.attributes),
    )  # fmt: skip


def _values(attributes: Collection[Any]) -> dict[str, Any]:
    return {
        each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes
    }
