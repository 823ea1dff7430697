"""The access log: one line per request, in which no credential stands."""

from __future__ import annotations

import logging
from typing import ClassVar

import structlog
from aiohttp.abc import AbstractAccessLogger
from aiohttp.web import BaseRequest, RequestKey, StreamResponse

from companion_ws.logs import shown_path


class AccessLog(AbstractAccessLogger):
    """One line per request: who, what, with which outcome, in how long."""

    __slots__ = ()

    session: ClassVar[RequestKey[str]] = RequestKey("SESSION", str)
    """Where a request that joined has the session's id."""
    connection: ClassVar[RequestKey[str]] = RequestKey("CONNECTION", str)
    """Where a request that joined has the connection's id."""
    request_id: ClassVar[RequestKey[str]] = RequestKey("REQUEST_ID", str)
    """Where a request has the id that stands in every line it causes."""
    client: ClassVar[RequestKey[str]] = RequestKey("CLIENT", str)
    """Where a request has the address that counts, which a proxy may have said."""

    @property
    def enabled(self) -> bool:
        """Whether anybody reads it."""
        return self.logger.isEnabledFor(logging.INFO)

    def log(self, request: BaseRequest, response: StreamResponse, time: float) -> None:
        """Write the line; the query and the Referer stay out of it."""
        peer = request.get(self.client)
        structlog.get_logger(self.logger.name).info(
            "request",
            method=request.method,
            path=shown_path(request.path),
            status=response.status,
            ms=round(time * 1000, 1),
            peer=peer or request.remote,
            **{
                name: request[key]
                for name, key in (
                    ("request_id", self.request_id),
                    ("session_id", self.session),
                    ("connection_id", self.connection),
                )
                if key in request
            },
        )
