"""Answers in JSON."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from companion_ws.core.protocol import encode


def json_reply(
    value: Any, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    """Return `value` as an answer, written as records are: compact, in UTF-8."""
    return web.Response(
        body=encode(value), status=status, content_type="application/json", headers=headers
    )
