"""How the pages look of the house they belong to: four settings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import msgspec

from companion_ws.config import Config

_COLOR: Final = re.compile(r"#[0-9a-fA-F]{6}")
_FONT: Final = re.compile(r"[\w ,'\"-]{1,200}")
_PICTURES: Final = {".png": b"\x89PNG\r\n", ".svg": b"<svg", ".webp": b"WEBP"}
"""By a file's ending, what stands in each picture of that kind."""
_DARK_INK: Final = "#0b0f0d"
_READABLE: Final = 0.179
"""Luminance from which black text has more contrast on a colour than white. Source: WCAG 2.2."""


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

    def manifest(self, text: bytes) -> bytes:
        """Return a manifest for the home screen, with the logo for an icon where there is one."""
        if self.logo is None:
            return text
        manifest = msgspec.json.decode(text)
        kind = "svg+xml" if self.logo.suffix == ".svg" else self.logo.suffix[1:]
        icon = {"src": "../../brand/logo", "sizes": _sizes(self.logo), "type": f"image/{kind}"}
        return msgspec.json.encode({**manifest, "icons": [icon]})


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


def _sizes(picture: Path) -> str:
    """Return what a manifest says of a picture's size; a PNG's stands in its first bytes."""
    if picture.suffix != ".png":
        return "any"
    head = picture.read_bytes()[:24]
    return f"{int.from_bytes(head[16:20])}x{int.from_bytes(head[20:24])}"


def _ink_on(color: str) -> str:
    """Return the text colour that reads best on `color`."""
    channels = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return _DARK_INK if luminance > _READABLE else "#ffffff"
