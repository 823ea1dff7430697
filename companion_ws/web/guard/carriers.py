"""Where a request carries its token: a header, or for a WebSocket one of three places."""

from __future__ import annotations

from typing import Final

from aiohttp import hdrs, web

from companion_ws.core.errors import BadRequest, Unauthenticated

_BEARER: Final = "bearer."


def bearer(request: web.Request) -> str:
    """Return the token of the `Authorization` header.

    Raises:
        Unauthenticated: there is none, or more than one.
    """
    tokens = _authorization(request)
    if len(tokens) != 1:
        raise Unauthenticated("Send a token: Authorization: Bearer …")
    return tokens[0]


def has_authorization(request: web.Request) -> bool:
    """Whether the request has an `Authorization` header, of whatever kind."""
    return hdrs.AUTHORIZATION in request.headers


def carried_token(request: web.Request) -> str | None:
    """Return the token of a WebSocket request, from whichever of its three carriers has one.

    Raises:
        BadRequest: two carriers, or one of them twice.
    """
    carried = [
        # A proxy in front may ask for another scheme, such as Basic; that is not our token.
        *(token for token in _authorization(request) if token),
        *(token for token in request.query.getall("token", []) if token),
        *_subprotocol_tokens(request),
    ]
    if len(carried) > 1 or len(request.query.getall("token", [])) > 1:
        raise BadRequest("Send the token once, and in one place.")
    return carried[0] if carried else None


def _authorization(request: web.Request) -> list[str]:
    tokens = []
    for value in request.headers.getall(hdrs.AUTHORIZATION, []):
        scheme, _, token = value.strip().partition(" ")
        tokens.append(token.strip() if scheme.lower() == "bearer" else "")
    return tokens


def _subprotocol_tokens(request: web.Request) -> list[str]:
    offered = ",".join(request.headers.getall(hdrs.SEC_WEBSOCKET_PROTOCOL, [])).split(",")
    return [
        protocol.strip()[len(_BEARER) :]
        for protocol in offered
        if protocol.strip().startswith(_BEARER)
    ]
