"""The pages and the files they are made of: bundled, or as they are in `static/`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from aiohttp import web

from companion_ws import __version__
from companion_ws.core.errors import NotFound
from companion_ws.files import folder
from companion_ws.web.brand import NO_BRAND, Brand
from companion_ws.web.bundles import Bundles
from companion_ws.web.error_page import corrected, error_page, prefers_html
from companion_ws.web.guard.prepared import Prepared, prepare, respond
from companion_ws.web.guard.route import PUBLIC, Route

_TYPES: Final = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".map": "application/json",
    ".md": "text/markdown",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".ts": "text/plain",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
}
LOOK_S: Final = 1.0
"""How often a file is asked whether it has changed, however many people want it."""
_STYLES: Final = "css/base.css"
"""The style sheet every page loads; a brand is appended to it, which saves a request."""
_FRAGMENTS: Final = ("header", "icons")
"""Files whose text several pages have, where they say `{header}` or `{icons}`."""
_ERROR: Final = "error.html"
_COMMENT: Final = re.compile(rb"^[ ]*(?://.*|/\*\*(?:.|\n)*?\*/)$", re.MULTILINE)
"""A comment that has its lines to itself; code never begins a line that way here."""
_INDENT: Final = re.compile(rb"^ +", re.MULTILINE)
"""What stands before a line of code; no text of ours goes over two lines."""


_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Pages:
    """Static shells: the same bytes for every session, user and token. Source: docs/http.md.

    Only files that lay in `static` (by default our own) when the server started are ever served; each
    is prepared once, and once more within a second when it has changed since. Pages load their bundles,
    or with `as_sources` the modules these were made of.
    """

    def __init__(
        self, brand: Brand = NO_BRAND, static: Path | None = None, *, as_sources: bool = False
    ) -> None:
        static = static or folder("static")
        self._brand = brand
        self._bundles = None if as_sources else Bundles(static, brand)
        self._paths = {
            path.relative_to(static).as_posix(): path
            for path in sorted(static.rglob("*"))
            if path.is_file() and path.suffix in _TYPES and path.parent.parent != static / "dist"
        }
        self._read: dict[Path, tuple[int, Prepared]] = {}
        self._looked_at_s: dict[Path, float] = {}

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

    def shell(self, name: str, up: str = "", header: str = "header") -> str:
        """Return a page with what it shares with others, and with its bundles; reads files.

        `up` leads from where it is shown to where `static` is.
        """
        page = self._paths[f"{name}.html"].read_text(encoding="utf-8")
        page = page.replace('="static/', f'="{up}static/')
        for fragment in _FRAGMENTS:
            file = header if fragment == "header" else fragment
            shared = self._paths[f"{file}.html"].read_text(encoding="utf-8")
            page = page.replace(f"{{{fragment}}}", _fitted(shared, name, page))
        return self._bundles.page(name, page) if self._bundles else page

    def asset(self, path: str) -> bytes:
        """Return what `path` in `static` is served as, bundles included; reads files."""
        if self._bundles and (found := self._bundles.find(path)):
            return found[0].body
        return self._load(self._paths[path], "").body

    async def in_words(
        self, request: web.Request, status: int, detail: str
    ) -> web.StreamResponse | None:
        """Return what a person reads instead of a problem; None for a program, which reads JSON.

        An address that is nearly a page's leads there.
        """
        wants_page = request.method in ("GET", "HEAD") and prefers_html(
            request.headers.getall("Accept", [])
        )
        if not wants_page:
            return None
        path = request.rel_url.path
        if status == 404 and (location := corrected(path)):
            query = f"?{request.query_string}" if request.query_string else ""
            return web.Response(status=308, headers={"Location": location + query})
        template = (await self._ready(self._paths[_ERROR])).body.decode()
        return web.Response(
            status=status,
            text=error_page(template, path, status, detail),
            headers={"Cache-Control": "no-store"},
            content_type="text/html",
        )

    def _page(self, name: str) -> _Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            """A page; its script learns from the address what it is about."""
            return await self._answer(request, name, "no-cache")

        return answer

    async def _static(self, request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        if self._bundles and (found := await asyncio.to_thread(self._bundles.find, path)):
            return respond(request, *found)
        return await self._answer(request, path, "no-cache")

    async def _logo(self, request: web.Request) -> web.StreamResponse:
        if self._brand.logo is None:
            raise NotFound("No logo is set.")
        return await self._sent(request, self._brand.logo, "no-cache")

    async def _favicon(self, request: web.Request) -> web.StreamResponse:
        # The pages bring theirs inside; this answers those who ask without reading.
        return web.Response(status=204)

    async def _answer(
        self, request: web.Request, name: str, cache_control: str
    ) -> web.StreamResponse:
        path = self._paths.get(name)
        if path is None:
            raise NotFound("There is no such page.")
        extra = self._brand.css() if name == _STYLES else ""
        return await self._sent(request, path, cache_control, extra)

    async def _sent(
        self, request: web.Request, path: Path, cache_control: str, extra: str = ""
    ) -> web.StreamResponse:
        return respond(request, await self._ready(path, extra), cache_control)

    async def _ready(self, path: Path, extra: str = "") -> Prepared:
        now_s = asyncio.get_running_loop().time()
        if now_s - self._looked_at_s.get(path, -LOOK_S) >= LOOK_S:
            await asyncio.to_thread(self._prepare, path, extra)
            self._looked_at_s[path] = now_s
        return self._read[path][1]

    def _prepare(self, path: Path, extra: str) -> None:
        known = self._read.get(path)
        try:
            changed_ns = path.stat().st_mtime_ns
            if known is None or known[0] != changed_ns:
                self._read[path] = (changed_ns, self._load(path, extra))
        except OSError:
            # Taken away since the start, or no descriptor is left: what was read is still good.
            if known is None:
                raise NotFound("There is no such file any more.") from None

    def _load(self, path: Path, extra: str) -> Prepared:
        body = path.read_bytes() + extra.encode()
        content_type = _TYPES[path.suffix]
        if content_type == "text/javascript":
            body = _INDENT.sub(b"", _COMMENT.sub(_blank, body))
        elif path.suffix == ".webmanifest":
            body = self._brand.manifest(body)
        elif content_type == "text/html":
            body = self.shell(path.stem).encode()
        return prepare(body, content_type)


def _fitted(shared: str, name: str, page: str) -> str:
    """Return what pages share as the page `name` shows it, which may be some folders down."""
    depth = re.search(r'href="((?:\.\./)*)static/', page)
    app = "phone" if name == "phone" else "owner"
    says = {"up": depth[1] if depth else "", "version": __version__, "app": app}
    shared = re.sub(r"\{(up|version|app)\}", lambda found: says[found[1]], shared)
    shared = shared.replace(f'data-page="{name}"', 'aria-current="page"')
    return re.sub(r' data-page="\w+"', "", shared)


def _blank(comment: re.Match[bytes]) -> bytes:
    """Keep the lines of a comment and none of its words: a phone has no use for them.

    They are a fifth of what it would load, and line numbers in a stack trace stay true.
    """
    return b"\n" * comment[0].count(b"\n")
