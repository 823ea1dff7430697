"""Whether the process lives, whether it can store, and its figures."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from companion_ws.core.errors import Unavailable
from companion_ws.database import Database
from companion_ws.metrics import Metrics
from companion_ws.nodes.place import Places
from companion_ws.web.api.shapes import HealthStatus
from companion_ws.web.guard.route import METRICS, PUBLIC, Route

INSTANCE_HEADER: Final = "Companion-Instance"
"""In the answer of `/healthz`: another for each start of a server, so that who asks through a
tunnel or a proxy knows whether it leads to this one."""


class Health:
    """Serves /healthz, /readyz and /metrics."""

    def __init__(
        self, database: Database, places: Places, metrics: Metrics, instance: str
    ) -> None:
        self._database = database
        self._places = places
        self._metrics = metrics
        self._instance = instance

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/healthz", PUBLIC, self.lives, summary="The process answers",
                  answer=HealthStatus),
            Route("GET", "/readyz", PUBLIC, self.ready, summary="The database is whole and takes writes",
                  answer=HealthStatus),
            Route("GET", "/metrics", PUBLIC, self.figures, admin=True, anywhere=METRICS,
                  summary="Figures in Prometheus' exposition format", media="text/plain"),
        ]

    async def lives(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"}, headers={INSTANCE_HEADER: self._instance})

    async def ready(self, request: web.Request) -> web.Response:
        trouble = self._database.trouble
        if trouble is not None:
            raise Unavailable(f"The database is not well: {trouble}.", retry_after_ms=1000)
        if not self._places.is_good:
            raise Unavailable("This server has no lease: it has lost the database, or stops.", retry_after_ms=1000)
        return web.json_response({"status": "ready"})

    async def figures(self, request: web.Request) -> web.Response:
        return web.Response(
            body=self._metrics.text(),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )
