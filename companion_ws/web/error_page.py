"""What a person reads in a browser where a program reads a problem as JSON."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import Final

_NEARLY: Final = re.compile(r"(.*/)(p|c|ui|admin|sessions/[^/]+/pair)[/.\s]*", re.IGNORECASE)
"""The address of a page as hands and telephones write it: in capitals, with something at its end."""
_TYPE_CODE: Final = ("c", "Type a code")
_SESSIONS: Final = (".", "Go to your sessions")
_FOR_PROGRAMS: Final = (
    "This address is for programs",
    "Your sessions have a page of their own, where you sign in.",
    _SESSIONS,
)
_WORDS: Final = {
    401: _FOR_PROGRAMS,
    403: _FOR_PROGRAMS,
    405: _FOR_PROGRAMS,
    404: (
        "There is nothing at this address",
        "Check what you typed. A code from another screen or from an agent is typed here:",
        _TYPE_CODE,
    ),
    429: ("Too many requests", "Wait a moment, then load this page again.", _SESSIONS),
}
"""By status what is wrong, what to do, and a link; the same for everybody, whatever was asked for."""


def prefers_html(accept: Iterable[str]) -> bool:
    """Whether who sent these `Accept` headers wants a page rather than JSON.

    A browser names HTML; what takes anything, or both alike, is a program.
    """
    quality: dict[str, float] = {}
    for choice in ",".join(accept).split(","):
        kind, *parameters = (part.strip().lower() for part in choice.split(";"))
        weight = next((each[2:] for each in parameters if each.startswith("q=")), "1")
        quality[kind] = float(weight) if re.fullmatch(r"[01](\.\d{0,3})?", weight) else 0.0
    page = max(quality.get("text/html", 0.0), quality.get("application/xhtml+xml", 0.0))
    json = max(
        quality.get(kind, 0.0)
        for kind in ("application/json", "application/problem+json", "application/*")
    )
    return page > json and page >= quality.get("*/*", 0.0)


def corrected(path: str) -> str | None:
    """Return where a page is whose address is nearly `path`, relative to it, else None."""
    nearly = _NEARLY.fullmatch(path)
    if nearly is None or path == nearly[1] + nearly[2].lower():
        return None
    return "../" * (path.count("/") - nearly[1].count("/")) + nearly[2].lower()


def error_page(template: str, path: str, status: int, detail: str) -> str:
    """Return the page about `status`; `detail` is the server's own sentence about it.

    Links are relative to `path`, as a proxy may have taken away the beginning of it.
    """
    unknown = (
        "This cannot be shown now" if status >= 500 else "This did not work",
        detail,
        _SESSIONS,
    )
    title, text, (href, link) = _WORDS.get(status, unknown)
    up = "../" * (path.count("/") - 1)
    page = template.replace('href="static/', f'href="{up}static/')
    said = {"title": title, "text": text, "href": up + href, "link": link}
    return re.sub(r"\{(title|text|href|link)\}", lambda name: html.escape(said[name[1]]), page)
