"""Errors as `application/problem+json`: RFC 9457 with `code`, without `instance`."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Any, Final

import msgspec
from aiohttp import web

from companion_ws.core.errors import CompanionError
from companion_ws.core.protocol import encode

_PROBLEM: Final = "application/problem+json"
_CODES: Final = {413: "body_too_large", 500: "internal"}
_OWN_HEADERS: Final = frozenset({"content-type", "content-length"})
RETRY_S: Final = 1
"""When to try again after a 503 that does not say."""


def body_of(status: int, code: str, detail: str, details: dict[str, Any] | None = None) -> bytes:
    """Return the body of a problem."""
    title = HTTPStatus(status).phrase
    standard = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return encode({**(details or {}), **standard, "code": code})


def problem(
    status: int, code: str, detail: str, details: dict[str, Any] | None = None
) -> web.Response:
    """Return a problem as an answer."""
    return web.Response(
        status=status,
        body=body_of(status, code, detail, details),
        content_type=_PROBLEM,
    )


def of_ours(error: CompanionError) -> web.Response:
    """Return what HTTP says for one of our refusals."""
    response = problem(error.http_status, error.code, error.message, error.details)
    if error.http_status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    retry_after_ms = error.details.get("retry_after_ms")
    if isinstance(retry_after_ms, int):
        response.headers["Retry-After"] = str(max(1, math.ceil(retry_after_ms / 1000)))
    elif error.http_status == 503:
        response.headers["Retry-After"] = str(RETRY_S)
    return response


def of_theirs(error: web.StreamResponse) -> web.StreamResponse:
    """Return a refusal of aiohttp's in our form; its headers (`Allow`, `Location`) stay."""
    if error.status < 400:
        return web.Response(status=error.status, headers=headers_of(error))
    status = HTTPStatus(error.status)
    code = _CODES.get(error.status, status.name.lower())
    # Its text may repeat the request; the reason phrase never does.
    response = problem(error.status, code, status.description or status.phrase)
    response.headers.update(headers_of(error))
    return response


def detail_of(response: web.StreamResponse) -> str | None:
    """Return the sentence of a problem that is about to be sent, None for any other answer."""
    if not isinstance(response, web.Response) or response.prepared:
        return None
    if response.content_type != _PROBLEM or not isinstance(response.body, bytes):
        return None
    return str(msgspec.json.decode(response.body)["detail"])


def headers_of(error: web.StreamResponse) -> dict[str, str]:
    """Return what a refusal's headers say beside what its body is."""
    return {
        name: value for name, value in error.headers.items() if name.lower() not in _OWN_HEADERS
    }
