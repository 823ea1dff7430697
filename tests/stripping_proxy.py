"""A proxy as some offices and carriers have it: HTTP goes through, `Upgrade` does not."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import aiohttp
from aiohttp import web

from companion_ws.testing.server import free_port

HOP_BY_HOP = {"connection", "upgrade", "transfer-encoding", "content-length", "keep-alive"}


class StrippingProxy:
    """Stands at `url` before the server at `target`; `refused` counts what wanted a socket."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.refused = 0

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(auto_decompress=False)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._pass)
        # A client that has gone is gone for the server at once, as with any proxy.
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._runner.cleanup()
        await self._http.close()

    async def _pass(self, request: web.Request) -> web.StreamResponse:
        if "Upgrade" in request.headers:
            self.refused += 1
        headers = {k: v for k, v in request.headers.items() if k.lower() not in HOP_BY_HOP}
        async with self._http.request(
            request.method,
            self._target + request.raw_path,
            headers=headers,
            data=await request.read(),
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=None),
        ) as answer:
            passed = web.StreamResponse(status=answer.status)
            for name, value in answer.headers.items():
                if name.lower() not in HOP_BY_HOP:
                    passed.headers.add(name, value)
            await passed.prepare(request)
            async for chunk in answer.content.iter_any():
                await passed.write(chunk)
            await passed.write_eof()
            return passed
