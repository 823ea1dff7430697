"""One page of the docs, before it has a shell around it and addresses in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from companion_ws.web.docs.sections import Section

API: Final = "api"
"""The name of the page that is made from the types."""


@dataclass(frozen=True, slots=True)
class Part:
    """A heading that the contents name, and those below it."""

    anchor: str
    title: str
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Article:
    """What one page says: a title, HTML for its `<main>`, and its parts for the contents."""

    name: str
    title: str
    body: str
    parts: tuple[Part, ...] = ()
    found_as: tuple[Section, ...] = ()
    """What the search finds in it, where that cannot be read from `body`."""
