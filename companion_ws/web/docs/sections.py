"""What a page says, heading by heading, for its search."""

from __future__ import annotations

from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Final

_BREAKS: Final = frozenset({"p", "li", "td", "th", "pre", "tr"})
"""After these, words do not run into the next ones."""


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and the words below it, up to the next one."""

    anchor: str
    title: str
    text: str


def sections_of(body: str) -> tuple[Section, ...]:
    """Return the sections of a page's HTML: its title, and each heading that has an id."""
    return tuple(_Reader(body).sections)


class _Reader(HTMLParser):
    def __init__(self, body: str) -> None:
        super().__init__()
        self.sections: list[Section] = []
        self._anchor = self._title = self._text = ""
        self._is_title = False
        self.feed(body)
        self._end()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("h1", "h2", "h3"):
            self._end()
            # The title of a page is the page itself.
            self._anchor = "" if tag == "h1" else dict(attrs).get("id") or ""
            self._is_title = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("h1", "h2", "h3"):
            self._is_title = False
        elif tag in _BREAKS:
            self._text += " "

    def handle_data(self, data: str) -> None:
        if self._is_title:
            self._title += data
        else:
            self._text += data

    def _end(self) -> None:
        if self._title:
            self.sections.append(Section(self._anchor, self._title, " ".join(self._text.split())))
        self._title = self._text = ""
