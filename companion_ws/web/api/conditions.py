"""`If-Match` and `If-None-Match`: whether a state key may be read or changed as it stands.

A revision is the key's entity tag. Source: RFC 9110, sections 8.8.3, 13.1.1, 13.1.2 and 13.2.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from companion_ws.core.errors import BadRequest

_TAG: Final = re.compile(r'(?:W/)?"[\x21\x23-\x7e\x80-\U0010ffff]*"')


class Headers(Protocol):
    """The headers of a request."""

    def getall(self, name: str, default: Iterable[str], /) -> Iterable[str]: ...


@dataclass(frozen=True, slots=True)
class Condition:
    """Tags as they were sent, None where the header is not there; `*` is any revision."""

    match: frozenset[str] | None
    none_match: frozenset[str] | None

    @classmethod
    def of(cls, headers: Headers) -> Condition | None:
        """Return what the headers ask for, None where that is nothing.

        Raises:
            BadRequest: one of them is not a list of entity tags.
        """
        match, none_match = _tags(headers, "If-Match"), _tags(headers, "If-None-Match")
        return None if match is None and none_match is None else cls(match, none_match)

    def holds(self, revision: int) -> bool:
        """Whether a key of this revision may be taken; 0 stands for one that is absent."""
        return self.matches(revision) and not self._is_excluded(revision)

    def matches(self, revision: int) -> bool:
        """Whether `If-Match` holds; tags are compared strongly, so a weak one never matches."""
        if self.match is None:
            return True
        return revision > 0 and ("*" in self.match or f'"{revision}"' in self.match)

    def _is_excluded(self, revision: int) -> bool:
        """Whether `If-None-Match` names it; tags are compared weakly."""
        if self.none_match is None or revision == 0:
            return False
        return "*" in self.none_match or not self.none_match.isdisjoint(
            (f'"{revision}"', f'W/"{revision}"')
        )


def _tags(headers: Headers, name: str) -> frozenset[str] | None:
    lines = [line for line in headers.getall(name, ()) if line.strip()]
    if not lines:
        return None
    text = ",".join(lines)
    if text.strip() == "*":
        return frozenset("*")
    # An empty part of a list is allowed and means nothing.
    parts = {part.strip() for part in _TAG.sub("*", text).split(",")}
    if "*" in _TAG.sub("", text) or not parts <= {"", "*"} or "*" not in parts:
        raise BadRequest(f'{name} is * or a list of ETags of earlier answers, for example "12".')
    return frozenset(_TAG.findall(text))
