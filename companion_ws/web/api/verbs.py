"""What other servers of the same database ask this one to do in sessions that live here."""

from __future__ import annotations

import msgspec
from aiohttp import web

from companion_ws.core.errors import NotFound
from companion_ws.nodes.verbs import PATH, Verbs
from companion_ws.web.guard.passing import PASS
from companion_ws.web.guard.route import PUBLIC, Route

BODY_BYTES = 64 * 1024 * 1024
"""More than any message: what fits at the entrance fits here, with the caller's name around it."""


class VerbRoute:
    """Serves `POST /nodes/verbs/{name}`; without a good pass there is no such route."""

    def __init__(self, verbs: Verbs) -> None:
        self._verbs = verbs

    def routes(self) -> list[Route]:
        """Return the one route, which stands in no document."""
        return [
            Route("POST", f"{PATH}{{name}}", PUBLIC, self.run, vouch=_vouch,
                  body_bytes=BODY_BYTES, is_internal=True),
        ]  # fmt: skip

    async def run(self, request: web.Request) -> web.Response:
        """Do what is asked, and answer with a result or a refusal; both are 200."""
        name, body = request.match_info["name"], await request.read()
        if not request[PASS].is_of(body) or name not in self._verbs.names:
            raise _nothing()
        try:
            told = await self._verbs.run(name, body, lambda: _is_gone(request))
        except msgspec.MsgspecError:
            raise _nothing() from None  # A server of another version.
        return web.Response(body=told, content_type="application/json")


def _vouch(request: web.Request) -> bool:
    if PASS not in request:
        raise _nothing()
    return True


def _nothing() -> NotFound:
    return NotFound("There is nothing here.")


def _is_gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()
