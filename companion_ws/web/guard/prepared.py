"""What is the same for everybody, prepared once: bytes, zipped bytes and a tag."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from typing import Final

from aiohttp import web

_TEXT: Final = frozenset(
    {"text/css", "text/html", "text/javascript", "application/json", "text/plain", "image/svg+xml"}
)


@dataclass(frozen=True, slots=True)
class Prepared:
    """An answer that only has to be sent."""

    body: bytes
    zipped: bytes | None
    etag: str
    content_type: str


def prepare(body: bytes, content_type: str) -> Prepared:
    """Return `body` ready to be sent; takes milliseconds, so call it in a thread."""
    zipped = gzip.compress(body, mtime=0) if content_type in _TEXT else None
    return Prepared(body, zipped, hashlib.sha256(body).hexdigest()[:20], content_type)


def respond(request: web.Request, prepared: Prepared, cache_control: str) -> web.StreamResponse:
    """Answer with `prepared`, zipped for who can read that; 304 for who has it already."""
    headers = {
        "Cache-Control": cache_control,
        "ETag": f'"{prepared.etag}"',
        "Vary": "Accept-Encoding",
    }
    known = request.if_none_match
    if cache_control != "no-store" and known and any(tag.value == prepared.etag for tag in known):
        return web.Response(status=304, headers=headers)
    is_text = prepared.content_type in _TEXT
    # JSON is UTF-8 and says no charset.
    charset = "utf-8" if is_text and prepared.content_type != "application/json" else None
    body = prepared.body
    if prepared.zipped is not None and "gzip" in request.headers.get("Accept-Encoding", ""):
        headers["Content-Encoding"] = "gzip"
        body = prepared.zipped
    return web.Response(
        body=body, headers=headers, content_type=prepared.content_type, charset=charset
    )
