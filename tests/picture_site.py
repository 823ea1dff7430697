"""A site of the internet with pictures, on this machine: what a server fetches that is given its `internet`."""

from __future__ import annotations

import asyncio
import io
from typing import Any, Self

from aiohttp import web
from PIL import Image, ImageDraw

from companion_ws.internet import Address, Internet

PUBLIC = "93.184.215.14"


def picture(
    form: str = "PNG", size: tuple[int, int] = (64, 48), color: str = "teal", **options: Any
) -> bytes:
    """Return a real picture with something to see on it."""
    image = Image.new("RGB", size, color)
    ImageDraw.Draw(image).ellipse((size[0] // 4, size[1] // 4, size[0] // 2, size[1] // 2), "orange")
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


class PictureSite:
    """`http://pictures.example/NAME` for each of `files`, and any other name the same site has."""

    def __init__(self, **files: bytes) -> None:
        self.files = files
        self.types: dict[str, str] = {}
        self.asked: list[str] = []
        self.hold: asyncio.Event | None = None
        """While it is there and not set, nobody is answered."""
        self.under_way = 0
        self.most_at_once = 0
        self.internet = Internet(resolve=self._resolve, reach=self._reach)
        self._runner: web.AppRunner | None = None
        self._port = 0

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/{name:.*}", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def url(self, name: str) -> str:
        return f"http://pictures.example/{name}"

    async def _serve(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        self.asked.append(name)
        self.under_way += 1
        self.most_at_once = max(self.most_at_once, self.under_way)
        try:
            if self.hold is not None:
                await self.hold.wait()
        finally:
            self.under_way -= 1
        body = self.files.get(name)
        if body is None:
            raise web.HTTPNotFound
        return web.Response(body=body, content_type=self.types.get(name, "image/png"))

    async def _resolve(self, host: str, port: int) -> list[str]:
        return [PUBLIC]

    def _reach(self, address: Address, port: int) -> tuple[str, int]:
        assert (str(address), port) == (PUBLIC, 80)
        return "127.0.0.1", self._port
