"""The pages of `docs/` around the API page: one shell, one list of contents, one search.

`.ci/bundle` has made a fragment of HTML of each page and the list of all of them, in
`static/dist/docs/`. In a fragment a link is `page:NAME#part` and a picture `page:images/FILE`, since
where a page is depends on who asks: the server has the API page at `/docs` and the others below it,
a static folder has a file for each. `Addresses` is the difference; nothing else knows it.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from companion_ws.web.docs.article import API, Article, Part
from companion_ws.web.docs.sections import sections_of

HOME: Final = "index"
SEARCH: Final = "search.json"
IMAGES: Final = "images/"
DOCUMENTS: Final = ("openapi.json", "asyncapi.json")
_SOURCE: Final = re.compile(r"\A<!--[^\n]*-->\n")
_LINK: Final = re.compile(r'"page:([^"#]*)(#[^"]*)?"')
_HEADING: Final = re.compile(r'<h([23]) id="([^"]+)">(.*?)</h\1>')
_TAG: Final = re.compile(r"<[^>]+>")


class Addresses(Protocol):
    """Where pages are, as a link on one of them says it."""

    def link(self, page: str, to: str) -> str:
        """Return the link from `page` to the page, picture or file `to`."""

    def up(self, page: str) -> str:
        """Return what leads from `page` to the folder that holds `static`."""


class Served:
    """On a server: `/docs` is the API page, `/docs/` the home, `/docs/NAME` any other."""

    def link(self, page: str, to: str) -> str:
        if to == API:
            return "docs" if page == API else "../" * (page.count("/") + 1) + "docs"
        if to in DOCUMENTS:
            return self.up(page) + to
        below = "docs/" if page == API else "../" * page.count("/")
        return (below or "./") if to == HOME else below + to

    def up(self, page: str) -> str:
        return "" if page == API else "../" * (page.count("/") + 1)


class Filed:
    """In a static folder: a file for each page, beside `static`."""

    def link(self, page: str, to: str) -> str:
        is_page = to not in (SEARCH, *DOCUMENTS) and not to.startswith(IMAGES)
        return self.up(page) + (f"{to}.html" if is_page else to)

    def up(self, page: str) -> str:
        return "../" * page.count("/")


@dataclass(frozen=True)
class Site:
    """Every page, by name. `around` returns what is around one, given the way up to `static`."""

    made: Path
    api: Callable[[], Article]
    around: Callable[[str], str]
    addresses: Addresses = field(default_factory=Served)

    @property
    def names(self) -> frozenset[str]:
        """The names of all pages, the API page among them."""
        return frozenset(self._titles())

    def page(self, name: str) -> str:
        """Return the HTML of a page; reads files."""
        article = self.article(name)
        shell = self.around(self.addresses.up(name))
        said = {
            "title": f"{html.escape(article.title)} · Companion",
            "contents": self._contents(article),
            "article": article.body,
            "steps": self._steps(name),
        }
        page = re.sub(r"\{(title|contents|article|steps)\}", lambda at: said[at[1]], shell)
        return _LINK.sub(lambda at: f'"{self.addresses.link(name, at[1])}{at[2] or ""}"', page)

    def article(self, name: str) -> Article:
        """Return what a page says; reads files."""
        if name == API:
            return self.api()
        body = _SOURCE.sub("", (self.made / f"{name}.html").read_text(encoding="utf-8"))
        parts: list[Part] = []
        for level, anchor, title in _HEADING.findall(body):
            if level == "2":
                parts.append(Part(anchor, html.unescape(_TAG.sub("", title))))
        return Article(name, self._titles()[name], body, tuple(parts))

    def search(self) -> str:
        """Return what is searched, as JSON: a list of pages, their parts and the words in them."""
        found: list[dict[str, str]] = []
        for name, title in self._titles().items():
            article = self.article(name)
            for each in article.found_as or sections_of(article.body):
                to = self.addresses.link(HOME, name) + (f"#{each.anchor}" if each.anchor else "")
                found.append({"to": to, "page": title, "title": each.title, "text": each.text})
        return json.dumps(found, ensure_ascii=False, separators=(",", ":"))

    def _listed(self) -> Mapping[str, Any]:
        listed: dict[str, Any] = json.loads((self.made / "docs.json").read_text(encoding="utf-8"))
        return listed

    def _titles(self) -> dict[str, str]:
        listed = self._listed()
        in_order = [page for group in listed["groups"] for page in group["pages"]]
        return {HOME: "Documentation", **dict([*in_order, *listed["others"]])}

    def _contents(self, article: Article) -> str:
        return "".join(
            f"<li><p>{html.escape(group['title'])}</p><ul>"
            + "".join(_entry(name, title, article) for name, title in group["pages"])
            + "</ul></li>"
            for group in self._listed()["groups"]
        )

    def _steps(self, name: str) -> str:
        """Return links to the pages before and after, in the order of the contents."""
        titles = self._titles()
        in_order = [name for group in self._listed()["groups"] for name, _ in group["pages"]]
        if name not in in_order:
            return ""
        at = in_order.index(name)
        before, after = in_order[max(0, at - 1) : at], in_order[at + 1 : at + 2]
        shown = _step(before, "prev", "Before", titles) + _step(after, "next", "Next", titles)
        return f'<nav class="steps-between" aria-label="Page before and after">{shown}</nav>'


def _step(names: Iterable[str], rel: str, word: str, titles: Mapping[str, str]) -> str:
    return "".join(
        f'<a rel="{rel}" href="page:{name}"><span>{word}</span> {html.escape(titles[name])}</a>'
        for name in names
    )


def _entry(name: str, title: str, article: Article) -> str:
    if name != article.name:
        return f'<li><a href="page:{name}">{html.escape(title)}</a></li>'
    here = f'<a href="page:{name}" aria-current="page">{html.escape(title)}</a>'
    return f"<li>{here}{_parts(article.parts)}</li>"


def _parts(parts: Iterable[Part]) -> str:
    shown = "".join(
        f'<li><a href="#{part.anchor}">{html.escape(part.title)}</a>{_parts(part.parts)}</li>'
        for part in parts
    )
    return f"<ul>{shown}</ul>" if shown else ""
