"""The headers every answer carries, errors and refused handshakes included."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from multidict import CIMultiDict

ALWAYS: Final = {
    "Server": "companion-ws",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Robots-Tag": "noindex",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
HSTS: Final = "max-age=31536000"
EXPOSED: Final = "ETag, Retry-After, WWW-Authenticate, Idempotency-Replayed, Mcp-Session-Id"
ALLOWED_HEADERS: Final = (
    "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, "
    "X-Companion-Session, MCP-Protocol-Version, Mcp-Method, Mcp-Name, Mcp-Session-Id, "
    "traceparent, tracestate, baggage"
)
"""The last are added by pages that are traced; without them the browser would send nothing."""
ALLOWED_METHODS: Final = "GET, HEAD, POST, PUT, PATCH, DELETE"
PREFLIGHT_S: Final = 600

_HOST: Final = re.compile(r"[A-Za-z0-9._:\[\]-]{1,300}")


def content_security_policy(host: str, embedders: Sequence[str] | None) -> str:
    """Return the policy of an answer given under `host`, the text of the `Host` header.

    `embedders` may frame it; None: nobody. The socket's origin is named
    because Safari before 16 does not take it for `'self'`.
    """
    sockets = f" ws://{host} wss://{host}" if _HOST.fullmatch(host) else ""
    ancestors = " ".join(embedders) if embedders else "'none'"
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        f"font-src 'self'; connect-src 'self'{sockets}; manifest-src 'self'; base-uri 'none'; "
        f"form-action 'self'; frame-ancestors {ancestors}; object-src 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )


def secure(
    headers: CIMultiDict[str],
    host: str,
    *,
    is_tls: bool,
    is_embeddable: bool,
    embedders: Sequence[str],
) -> None:
    """Add the headers; a handler's own `Cache-Control` stays, nothing else can be loosened."""
    headers.update(ALWAYS)
    headers.setdefault("Cache-Control", "no-store")
    headers["Content-Security-Policy"] = content_security_policy(
        host, embedders if is_embeddable else None
    )
    if not is_embeddable:
        headers["X-Frame-Options"] = "DENY"
    if is_tls:
        headers["Strict-Transport-Security"] = HSTS


def share(headers: CIMultiDict[str], origin: str) -> None:
    """Let scripts of `origin` read the answer; cookies play no part."""
    headers["Access-Control-Allow-Origin"] = origin
    headers["Access-Control-Expose-Headers"] = EXPOSED


def answer_preflight(headers: CIMultiDict[str]) -> None:
    """Add what a browser wants to know before it sends a request of another origin."""
    headers["Access-Control-Allow-Methods"] = ALLOWED_METHODS
    headers["Access-Control-Allow-Headers"] = ALLOWED_HEADERS
    headers["Access-Control-Max-Age"] = str(PREFLIGHT_S)
    # Chromium asks this when a page of the internet wants a server of the local network.
    headers["Access-Control-Allow-Private-Network"] = "true"
