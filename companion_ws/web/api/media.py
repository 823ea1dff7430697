"""The route that pictures are served by: who knows the id may see it, for as long as it lives."""

from __future__ import annotations

from aiohttp import web

from companion_ws.core.errors import NotFound
from companion_ws.database import Database
from companion_ws.sessions import pictures
from companion_ws.sessions.pictures import Piece
from companion_ws.web.guard import pieces
from companion_ws.web.guard.route import PUBLIC, Route


class MediaRoute:
    """Answers with pictures as they came, and nothing else: `img` sends no token."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def routes(self) -> list[Route]:
        """Return the route of this file."""
        return [
            Route("GET", "/media/{media_id}", PUBLIC, self.show, media="image/*",
                  summary="A picture that a record names by address"),
        ]  # fmt: skip

    async def show(self, request: web.Request) -> web.StreamResponse:
        media_id = request.match_info["media_id"]
        first = await pictures.piece(self._database, media_id, 0)
        if first is None:
            raise NotFound("There is no such picture.")
        return await pieces.send(request, self._pieces(media_id, first), first.media_type)

    async def _pieces(self, media_id: str, piece: Piece) -> pieces.Pieces:
        at = 0
        while True:
            yield piece.body
            at += len(piece.body)
            if at >= piece.total_bytes:
                return
            # Its id may have died while the last piece was read.
            following = await pictures.piece(self._database, media_id, at)
            if following is None:
                raise ConnectionResetError("The picture is gone.")
            piece = following
