"""QR codes: black on an always white plate, never Micro QR, which phone cameras do not read."""

from __future__ import annotations

import io
from html import escape
from typing import Final

import segno

BORDER: Final = 4
"""The quiet zone the standard asks for, in modules."""
SCALE: Final = 8


def _qr(text: str) -> segno.QRCode:
    return segno.make_qr(text, error="m")


def svg(text: str, label: str) -> bytes:
    """Return an SVG document that scales with its surroundings; `label` is read aloud."""
    out = io.BytesIO()
    code = _qr(text)
    code.save(
        out,
        kind="svg",
        border=BORDER,
        dark="#000",
        light="#fff",
        xmldecl=False,
        svgclass=None,
        lineclass=None,
        omitsize=True,
        nl=False,
    )
    width, height = code.symbol_size(scale=SCALE, border=BORDER)
    attributes = f'role="img" aria-label="{escape(label)}" width="{width}" height="{height}"'
    return out.getvalue().replace(b"<svg ", f"<svg {attributes} ".encode(), 1)


def png(text: str) -> bytes:
    """Return a PNG picture, eight pixels a module."""
    out = io.BytesIO()
    _qr(text).save(out, kind="png", scale=SCALE, border=BORDER, dark="#000", light="#fff")
    return out.getvalue()
