"""The pages and the files they are made of, served as they lie in `static/`."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web

from companion_ws.core.errors import NotFound
from companion_ws.files import folder
from companion_ws.web.routes import PUBLIC, Route

_TYPES: Final = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".md": "text/markdown",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".ts": "text/plain",
    ".webp": "image/webp",
}
_TEXT: Final = frozenset(
    {"text/css", "text/html", "text/javascript", "application/json", "text/plain", "image/svg+xml"}
)
_STYLES: Final = "css/base.css"
"""The style sheet every page loads; a brand is appended to it, which saves a request."""
_COMMENT: Final = re.compile(rb"^[ ]*(?://.*|/\*\*(?:.|\n)*?\*/)$", re.MULTILINE)
"""A comment that has its lines to itself; code never begins a line that way here."""
_COLOR: Final = re.compile(r"#[0-9a-fA-F]{6}")
_FONT: Final = re.compile(r"[\w ,'\"-]{1,200}")
_DARK_INK: Final = "#0b0f0d"
_READABLE: Final = 0.179
"""Luminance from which black text has more contrast on a colour than white. Source: WCAG 2.2."""


_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Brand:
    """How the pages look of the house they belong to; None leaves our own look.

    `accent` is `#rrggbb`, `radius_px` that of a card, `font` a CSS font family
    list, `logo` a PNG, SVG or WebP file.

    Raises:
        ValueError: for what is no colour, no font list or no such picture.
    """

    accent: str | None = None
    radius_px: int | None = None
    font: str | None = None
    logo: Path | None = None

    def __post_init__(self) -> None:
        if self.accent is not None and _COLOR.fullmatch(self.accent) is None:
            raise ValueError(f"{self.accent!r} is no colour; write for instance #0d6b57")
        if self.font is not None and _FONT.fullmatch(self.font) is None:
            raise ValueError(f"{self.font!r} is no list of fonts")
        if self.logo is not None and self.logo.suffix not in (".png", ".svg", ".webp"):
            raise ValueError(f"{self.logo} is no PNG, SVG or WebP")

    def css(self) -> str:
        """Return the rules that set our tokens to the brand's; empty without a brand."""
        tokens = []
        if self.accent is not None:
            tokens += [
                f"--accent:light-dark({self.accent},color-mix(in oklab,{self.accent} 55%,#fff))",
                f"--on-accent:light-dark({_ink_on(self.accent)},{_DARK_INK})",
                f"--accent-soft:light-dark(color-mix(in oklab,{self.accent} 12%,#fff),"
                f"color-mix(in oklab,{self.accent} 24%,#111))",
            ]
        if self.radius_px is not None:
            tokens.append(f"--radius:{self.radius_px}px")
        if self.font is not None:
            tokens.append(f"--font:{self.font}")
        rules = f"\n:root{{{';'.join(tokens)}}}" if tokens else ""
        if self.logo is not None:
            rules += (
                "\n.brand:empty{display:block;inline-size:1.75rem;block-size:1.75rem;"
                "background:url(../../brand/logo) center/contain no-repeat}"
            )
        return rules


NO_BRAND: Final = Brand()


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    zipped: bytes | None
    etag: str
    content_type: str


class Pages:
    """Static shells: the same bytes for every session, user and token. Source: contract section 5.

    Only files that lay in `static` (by default our own) when the server started are ever served; each
    is read once more when it has changed since.
    """

    def __init__(self, brand: Brand = NO_BRAND, static: Path | None = None) -> None:
        static = static or folder("static")
        self._brand = brand
        self._paths = {
            path.relative_to(static).as_posix(): path
            for path in sorted(static.rglob("*"))
            if path.is_file() and path.suffix in _TYPES
        }
        self._read: dict[str, tuple[int, _File]] = {}

    def routes(self) -> list[Route]:
        """Every page and file, none of which needs a token."""
        pages = {
            "/": ("manager.html", "The session manager"),
            "/p": ("phone.html", "Where a QR code leads"),
            "/c": ("phone.html", "Where a code is typed"),
            "/ui": ("phone.html", "The CompanionUI"),
            "/sessions/{session_id}/pair": ("pair.html", "QR code, code, and who has joined"),
        }
        return [
            *(
                Route("GET", path, PUBLIC, self._page(name), summary=summary, media="text/html")
                for path, (name, summary) in pages.items()
            ),
            Route("GET", "/admin", PUBLIC, self._page("admin.html"), admin=True,
                  summary="The inspector", media="text/html"),
            Route("GET", "/static/{path:.+}", PUBLIC, self._static,
                  summary="A style, a script or a picture of the pages", media="*/*"),
            Route("GET", "/brand/logo", PUBLIC, self._logo, summary="The logo of the branding",
                  media="image/*"),
            Route("GET", "/favicon.ico", PUBLIC, self._favicon, summary="No icon", status=204),
        ]

    def _page(self, name: str) -> _Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            """A page; its script learns from the address what it is about."""
            return await self._answer(request, name, "no-store")

        return answer

    async def _static(self, request: web.Request) -> web.StreamResponse:
        return await self._answer(request, request.match_info["path"], "no-cache")

    async def _logo(self, request: web.Request) -> web.StreamResponse:
        if self._brand.logo is None:
            raise NotFound("No logo is set.")
        file = await asyncio.to_thread(_load, self._brand.logo, "")
        return _respond(request, file, "no-cache")

    async def _favicon(self, request: web.Request) -> web.StreamResponse:
        # The pages bring theirs inside; this answers those who ask without reading.
        return web.Response(status=204)

    async def _answer(
        self, request: web.Request, name: str, cache_control: str
    ) -> web.StreamResponse:
        path = self._paths.get(name)
        if path is None:
            raise NotFound("There is no such page.")
        return _respond(request, await asyncio.to_thread(self._file, name, path), cache_control)

    def _file(self, name: str, path: Path) -> _File:
        changed_ns = path.stat().st_mtime_ns
        known = self._read.get(name)
        if known is None or known[0] != changed_ns:
            extra = self._brand.css() if name == _STYLES else ""
            known = self._read[name] = (changed_ns, _load(path, extra))
        return known[1]


def _load(path: Path, extra: str) -> _File:
    body = path.read_bytes() + extra.encode()
    content_type = _TYPES[path.suffix]
    if content_type == "text/javascript":
        body = _COMMENT.sub(_blank, body)
    zipped = gzip.compress(body, mtime=0) if content_type in _TEXT else None
    etag = hashlib.sha256(body).hexdigest()[:20]
    return _File(body, zipped, etag, content_type)


def _blank(comment: re.Match[bytes]) -> bytes:
    """Keep the lines of a comment and none of its words: a phone has no use for them.

    They are a fifth of what it would load, and line numbers in a stack trace stay true.
    """
    return b"\n" * comment[0].count(b"\n")


def _respond(request: web.Request, file: _File, cache_control: str) -> web.StreamResponse:
    headers = {
        "Cache-Control": cache_control,
        "ETag": f'"{file.etag}"',
        "Vary": "Accept-Encoding",
    }
    known = request.if_none_match
    if cache_control != "no-store" and known and any(tag.value == file.etag for tag in known):
        return web.Response(status=304, headers=headers)
    charset = "utf-8" if file.content_type in _TEXT else None
    body = file.body
    if file.zipped is not None and "gzip" in request.headers.get("Accept-Encoding", ""):
        headers["Content-Encoding"] = "gzip"
        body = file.zipped
    return web.Response(body=body, headers=headers, content_type=file.content_type, charset=charset)


def _ink_on(color: str) -> str:
    """Return the text colour that reads best on `color`."""
    channels = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return _DARK_INK if luminance > _READABLE else "#ffffff"
