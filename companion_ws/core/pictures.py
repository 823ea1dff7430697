"""Which words of a record are pictures, and what a picture's first bytes say of it.

A picture is an address (http or https) that ends like one, or that stands under a key that says
so: `image`, `photo_url`, `images`. The pages go by the same rule (static/js/core/pictures.js);
tests/wire/pictures/cases.json holds both to it. What the bytes are is read from the bytes alone:
nothing here decodes a picture, and no name or header is believed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from msgspec import Struct

MAX_URL_CHARS: Final = 2048
MAX_LOOKED_AT: Final = 5000
"""Values of a record that are looked at: a record has 64 KiB, unless somebody raised that."""
MAX_STEPS: Final = 10_000
"""Parts of a file that are looked at before it counts as none: its head comes before them."""

_ENDS: Final = re.compile(r"\.(?:png|jpe?g|webp|gif)$", re.IGNORECASE)
_OTHER: Final = re.compile(r"\.[a-z][a-z0-9]{1,4}$", re.IGNORECASE)
"""The end of a file that is something else: a page, a document, a drawing."""
_KEYS: Final = re.compile(
    r"(?:^|_)(?:image|img|photo|picture|pic|thumbnail|thumb|logo|avatar)s?(?:_(?:url|uri|src|href|link))?$",
    re.IGNORECASE,
)
_ADDRESS_KEYS: Final = frozenset({"url", "uri", "src", "href", "link"})
"""Keys of an object that stand for what the object itself is called."""
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Header(NamedTuple):
    """What a picture is: its media type, and its size in pixels."""

    media_type: str
    width: int
    height: int

    @property
    def pixels(self) -> int:
        return self.width * self.height


class Picture(Struct, frozen=True, kw_only=True):
    """A picture that a record of a session names, and what became of it."""

    url: str
    seq: int
    """Of the newest record that names it; the picture goes with that one."""
    media_id: str | None = None
    """What screens ask `/media/{media_id}` for; None where it was not fetched."""
    media_type: str | None = None
    width: int | None = None
    height: int | None = None
    size_bytes: int = 0
    problem: str | None = None
    """Why it was not fetched, in words."""

    def shown(self) -> dict[str, Any]:
        """Return what is told of it."""
        told = {name: getattr(self, name) for name in self.__struct_fields__ if name != "seq"}
        return {name: value for name, value in told.items() if value not in (None, 0)}


def is_picture(key: str, text: str) -> bool:
    """Whether `text`, found under `key`, is the address of a picture.

    >>> is_picture("image", "https://shop.example/shoe?size=9")
    True
    >>> is_picture("link", "https://shop.example/shoe")
    False
    """
    if len(text) > MAX_URL_CHARS or not text[:8].lower().startswith(("http://", "https://")):
        return False
    try:
        path = urlsplit(text).path
    except ValueError:
        return False
    if any(letter.isspace() for letter in text):
        return False
    if _ENDS.search(path):
        return True
    return _OTHER.search(path) is None and _KEYS.search(_CAMEL.sub("_", key)) is not None


def pictures_in(value: Any, key: str = "") -> list[str]:
    """Return the addresses of pictures in any JSON, each once, in the order they stand in."""
    return list(dict.fromkeys(text for name, text in _texts_in(value, key) if is_picture(name, text)))


def _texts_in(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Give each text with the key it stands under; entries of a list stand under the list's."""
    waiting: list[tuple[str, Any]] = [(key, value)]
    looked_at = 0
    while waiting and looked_at < MAX_LOOKED_AT:
        name, each = waiting.pop()
        looked_at += 1
        if isinstance(each, str):
            yield name, each
        elif isinstance(each, list):
            waiting.extend((name, part) for part in reversed(each))
        elif isinstance(each, dict):
            if each.get("component") == "Image":  # of A2UI
                name = "image"
            waiting.extend(
                (name if part_key.lower() in _ADDRESS_KEYS and name else part_key, part)
                for part_key, part in reversed(each.items())
            )


# What the bytes say.


def header_of(body: bytes) -> Header | None:
    """Return what a picture is, or None for what is no PNG, JPEG, WebP or GIF, or has no size.

    Where a file names several sizes, the largest counts.
    """
    for read in (_png, _jpeg, _gif, _webp):
        header = read(body)
        if header is not None:
            return header if header.width > 0 and header.height > 0 else None
    return None


def _png(body: bytes) -> Header | None:
    # The header is the first chunk, or it is no PNG.
    if body[:16] != b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" or len(body) < 33:
        return None
    return Header("image/png", _big(body, 16, 4), _big(body, 20, 4))


def _jpeg(body: bytes) -> Header | None:
    if body[:3] != b"\xff\xd8\xff":
        return None
    at = 2
    for _ in range(MAX_STEPS):
        while body[at : at + 2] == b"\xff\xff":
            at += 1
        marker = body[at + 1 : at + 2]
        if body[at : at + 1] != b"\xff" or not marker:
            return None
        kind = marker[0]
        if kind == 0x01 or 0xD0 <= kind <= 0xD8:
            at += 2
            continue
        size = _big(body, at + 2, 2)
        if kind in (0xD9, 0xDA) or size < 2:
            return None  # The picture itself begins, and nobody said how large it is.
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):
            return Header("image/jpeg", _big(body, at + 7, 2), _big(body, at + 5, 2))
        at += 2 + size
    return None


def _gif(body: bytes) -> Header | None:
    if body[:6] not in (b"GIF87a", b"GIF89a") or len(body) < 13:
        return None
    width, height = _little(body, 6, 2), _little(body, 8, 2)
    at = 13 + _colours(body[10])
    for _ in range(MAX_STEPS):
        kind = body[at : at + 1]
        if kind == b"," and len(body) >= at + 10:
            # The first picture may be larger than the screen it is drawn on.
            left, top = _little(body, at + 1, 2), _little(body, at + 3, 2)
            width = max(width, left + _little(body, at + 5, 2))
            height = max(height, top + _little(body, at + 7, 2))
            return Header("image/gif", width, height)
        if kind == b"!":
            at += 2
        elif not kind or kind == b";":
            return None
        # What is no picture comes in pieces, each with its size before it.
        size = body[at] if at < len(body) else 0
        at += 1 + size
    return None


def _colours(flags: int) -> int:
    """Return the bytes of a GIF's table of colours."""
    return int(3 << ((flags & 7) + 1)) if flags & 0x80 else 0


def _webp(body: bytes) -> Header | None:
    if body[:4] != b"RIFF" or body[8:12] != b"WEBP":
        return None
    width = height = 0
    at = 12
    for _ in range(MAX_STEPS):
        if len(body) < at + 18:
            break
        name, size, inside = body[at : at + 4], _little(body, at + 4, 4), at + 8
        found = (0, 0)
        if name == b"VP8X":
            found = 1 + _little(body, inside + 4, 3), 1 + _little(body, inside + 7, 3)
        elif name == b"ANMF" and len(body) >= inside + 12:
            found = 1 + _little(body, inside + 6, 3), 1 + _little(body, inside + 9, 3)
        elif name == b"VP8 " and body[inside + 3 : inside + 6] == b"\x9d\x01\x2a":
            found = _little(body, inside + 6, 2) & 0x3FFF, _little(body, inside + 8, 2) & 0x3FFF
        elif name == b"VP8L" and body[inside : inside + 1] == b"\x2f":
            bits = _little(body, inside + 1, 4)
            found = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        width, height = max(width, found[0]), max(height, found[1])
        at = inside + size + (size & 1)
    return Header("image/webp", width, height)


def _big(body: bytes, at: int, size: int) -> int:
    return int.from_bytes(body[at : at + size], "big")


def _little(body: bytes, at: int, size: int) -> int:
    return int.from_bytes(body[at : at + size], "little")
