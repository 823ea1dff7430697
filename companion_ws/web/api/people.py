"""Routes of a person's own data: devices, everything that is stored, and its end."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from aiohttp import web

from companion_ws.access.credentials import Credentials
from companion_ws.access.devices import Devices
from companion_ws.core.pictures import Picture
from companion_ws.core.protocol import encode
from companion_ws.logs import audit
from companion_ws.sessions import trail
from companion_ws.sessions.sessions import Sessions
from companion_ws.web.api.sessions import raw_state
from companion_ws.web.api.shapes import DeviceList, UserExport
from companion_ws.web.guard import pieces
from companion_ws.web.guard.middleware import CLAIMS
from companion_ws.web.guard.replies import json_reply
from companion_ws.web.guard.route import USER, Route


class PeopleRoutes:
    """Answers what people ask about themselves."""

    def __init__(self, sessions: Sessions, credentials: Credentials, devices: Devices) -> None:
        self._sessions = sessions
        self._credentials = credentials
        self._devices = devices

    def routes(self) -> list[Route]:
        """Return the routes of this file."""
        return [
            Route("GET", "/me/devices", USER, self.list_devices, summary="List your devices",
                  answer=DeviceList),
            Route("GET", "/me/export", USER, self.export, summary="Export everything stored about you",
                  answer=UserExport),
            Route("DELETE", "/me", USER, self.erase, summary="Erase everything stored about you", status=204),
        ]  # fmt: skip

    async def list_devices(self, request: web.Request) -> web.Response:
        return json_reply({"devices": await self._devices.of_user(request[CLAIMS].user)})

    async def export(self, request: web.Request) -> web.StreamResponse:
        return await pieces.send(request, self._exported(request[CLAIMS].user))

    async def _exported(self, user: str) -> pieces.Pieces:
        yield encode({"user": user})[:-1]
        for name, rows in (await self._credentials.export_user(user)).items():
            yield b"," + encode(name) + b":"
            async for piece in pieces.array(pieces.each(rows)):
                yield piece
        store, opening = self._sessions.store, b',"sessions":['
        async for summary in self._sessions.people.sessions_of(user):
            session_id = summary.session_id
            state = (await store.states([session_id]))[session_id]
            row = {
                **{
                    name.removesuffix("_ms"): value
                    for name, value in msgspec.to_builtins(summary).items()
                },
                "trail": await trail.read(store, session_id),
                "state": raw_state(state),
            }
            yield opening + encode(row)[:-1] + b',"records":'
            async for piece in pieces.array(_bodies(store.each_record(session_id))):
                yield piece
            yield b',"media":'
            async for piece in pieces.array(_pictures(self._sessions.showing.exported(session_id))):
                yield piece
            yield b"}"
            opening = b","
        yield b"]}" if opening == b"," else opening + b"]}"

    async def erase(self, request: web.Request) -> web.Response:
        user = request[CLAIMS].user
        refused = await self._credentials.refuse_and_erase(user)
        await self._sessions.people.erase(user, refused)
        audit.info("user_erased")
        return web.Response(status=204)


async def _pictures(
    found: AsyncIterator[tuple[Picture, bytes | None]],
) -> AsyncIterator[dict[str, Any]]:
    async for picture, body in found:
        content = None if body is None else b64encode(body).decode()
        yield {"of_seq": picture.seq, **picture.shown(), "content": content}


async def _bodies(records: AsyncIterator[tuple[int, bytes]]) -> AsyncIterator[bytes]:
    async for _, body in records:
        yield body
