"""The pages and the files they are made of: bundled, or as they are in `static/`."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from aiohttp import web

from companion_ws import __version__
from companion_ws.config import Config
from companion_ws.core.errors import NotFound
from companion_ws.files import folder
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
    ".webp": "image/webp",
}
LOOK_S: Final = 1.0
"""How often a file is asked whether it has changed, however many people want it."""
_STYLES: Final = "css/base.css"
"""The style sheet every page loads; a brand is appended to it, which saves a request."""
_HEADER: Final = "header.html"
_ERROR: Final = "error.html"
_COMMENT: Final = re.compile(rb"^[ ]*(?://.*|/\*\*(?:.|\n)*?\*/)$", re.MULTILINE)
"""A comment that has its lines to itself; code never begins a line that way here."""
_INDENT: Final = re.compile(rb"^ +", re.MULTILINE)
"""What stands before a line of code; no text of ours goes over two lines."""
_COLOR: Final = re.compile(r"#[0-9a-fA-F]{6}")
_FONT: Final = re.compile(r"[\w ,'\"-]{1,200}")
_PICTURES: Final = {".png": b"\x89PNG\r\n", ".svg": b"<svg", ".webp": b"WEBP"}
"""By a file's ending, what stands in each picture of that kind."""
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
            raise ValueError(f"{self.accent!r} is not a valid colour; use for example #0d6b57")
        if self.font is not None and _FONT.fullmatch(self.font) is None:
            raise ValueError(f"{self.font!r} is not a list of fonts")
        if self.radius_px is not None and self.radius_px < 0:
            raise ValueError(f"A radius of {self.radius_px} px is less than none")
        if self.logo is not None:
            _check_picture(self.logo)

    @classmethod
    def of(cls, config: Config) -> Self:
        """Return the brand that the settings say.

        Raises:
            ValueError: as the brand itself.
        """
        return cls(
            accent=config.brand_accent,
            radius_px=config.brand_radius,
            font=config.brand_font,
            logo=config.brand_logo,
        )

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
                "border-radius:0;background:url(../../brand/logo) center/contain no-repeat}"
            )
        return rules


NO_BRAND: Final = Brand()


def _check_picture(path: Path) -> None:
    """Refuse what would be no picture when the first page asks for it."""
    mark = _PICTURES.get(path.suffix)
    if mark is None:
        raise ValueError(f"{path} is not a PNG, SVG or WebP")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"The logo {path} cannot be read: {error.strerror}") from None
    if mark not in content:
        raise ValueError(f"{path} is not a picture of its kind ({path.suffix[1:].upper()})")


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
        self._bundles = None if as_sources else Bundles(static, brand.css())
        self._paths = {
            path.relative_to(static).as_posix(): path
            for path in sorted(static.rglob("*"))
            if path.is_file() and path.suffix in _TYPES
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

    def shell(self, name: str) -> str:
        """Return a page with the header of all owner's pages, and with its bundles; reads files."""
        page = self._paths[f"{name}.html"].read_text(encoding="utf-8")
        if "{header}" in page:
            header = self._paths[_HEADER].read_text(encoding="utf-8")
            page = page.replace("{header}", _header_of(name, page, header))
        return self._bundles.page(name, page) if self._bundles else page

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
        elif content_type == "text/html":
            body = self.shell(path.stem).encode()
        return prepare(body, content_type)


def _header_of(name: str, page: str, header: str) -> str:
    """Return the header as the page `name` shows it, which may be some folders down."""
    depth = re.search(r'href="((?:\.\./)*)static/', page)
    up = depth[1] if depth else ""
    header = header.replace("{up}", up).replace("{version}", __version__)
    header = header.replace(f'data-page="{name}"', 'aria-current="page"')
    return re.sub(r' data-page="\w+"', "", header)


def _blank(comment: re.Match[bytes]) -> bytes:
    """Keep the lines of a comment and none of its words: a phone has no use for them.

    They are a fifth of what it would load, and line numbers in a stack trace stay true.
    """
    return b"\n" * comment[0].count(b"\n")


def _ink_on(color: str) -> str:
    """Return the text colour that reads best on `color`."""
    channels = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return _DARK_INK if luminance > _READABLE else "#ffffff"
