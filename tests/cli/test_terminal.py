"""What a terminal shows."""

from __future__ import annotations

import io

import zxingcpp
from PIL import Image

from companion_ws.cli.terminal import print_qr, qr_lines

URL = "http://192.168.178.23:8000/p#AbCdEfGhIjKlMnOpQrStUv.AbCdEfGhIjKlMnOpQrStUv"


def painted(lines: list[str]) -> Image.Image:
    """Return the picture a terminal makes of half blocks, white on black."""
    image = Image.new("L", (len(lines[0]) * 8, len(lines) * 16), 0)
    for y, line in enumerate(lines):
        for x, block in enumerate(line):
            if block in "█▀":
                image.paste(255, (x * 8, y * 16, x * 8 + 8, y * 16 + 8))
            if block in "█▄":
                image.paste(255, (x * 8, y * 16 + 8, x * 8 + 8, y * 16 + 16))
    return image


def test_a_camera_reads_the_qr_code_off_the_terminal() -> None:
    (found,) = zxingcpp.read_barcodes(painted(qr_lines(URL)))

    assert found.text == URL


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_on_a_terminal_each_line_brings_its_own_colours_and_takes_them_back() -> None:
    out = Terminal()
    print_qr(URL, out)

    lines = out.getvalue().splitlines()
    assert len(lines) == len(qr_lines(URL))
    assert all(line.startswith("\x1b[97;40m") and line.endswith("\x1b[0m") for line in lines)


def test_a_terminal_without_blocks_is_spared_the_code() -> None:
    out = Terminal()
    out.encoding = "ascii"  # type: ignore[misc]
    print_qr(URL, out)

    assert out.getvalue() == ""
