"""What went wrong in all sessions that are kept, and how long each tool takes."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from aiohttp import web

from companion_ws.database import outlive
from companion_ws.sessions.sessions import Sessions
from companion_ws.web.api.shapes import Overview
from companion_ws.web.guard.replies import json_reply
from companion_ws.web.guard.route import ADMIN, Route

FRESH_S: Final = 2.0
"""Every inspector asks every few seconds; however many they are, it is counted this seldom."""


class OverviewRoutes:
    """Serves `GET /overview`; counted beside the loop, once for all who ask."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._counting: asyncio.Task[dict[str, Any]] | None = None
        self._counted_at_s = 0.0

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/overview", ADMIN, self.overview, admin=True,
                  summary="Count trouble and time tools over all sessions", answer=Overview),
        ]

    async def overview(self, request: web.Request) -> web.Response:
        now_s = asyncio.get_running_loop().time()
        task = self._counting
        if task is None or (task.done() and now_s - self._counted_at_s > FRESH_S):
            task = self._counting = asyncio.create_task(self._count())
            task.add_done_callback(outlive)
            self._counted_at_s = now_s
        return json_reply(await asyncio.shield(task))

    async def _count(self) -> dict[str, Any]:
        troubles = self._sessions.troubles
        return {
            "sessions": await troubles.sessions(),
            "tools": [
                {
                    "tool_name": tool.tool_name,
                    "calls": tool.calls,
                    "troubles": tool.troubles,
                    "p50_ms": tool.p50_ms,
                    "p95_ms": tool.p95_ms,
                }
                for tool in await troubles.tools()
            ],
            "keep_ended_s": self._sessions.rules.keep_ended_s,
        }
