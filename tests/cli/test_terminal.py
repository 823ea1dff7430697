"""What a terminal shows."""

from __future__ import annotations

import io
import re

import cv2
import numpy
import pytest
from PIL import Image

from companion_ws.cli.terminal import print_qr, qr_lines
from tests.camera import scanned


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


URL = "http://192.168.178.23:8000/p#AbCdEfGhIjKlMnOpQrStUv.AbCdEfGhIjKlMnOpQrStUv"


BRIGHT, DARK = 255, 0
COLUMN, ROW = 8, 16


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def painted(text: str, paper: int) -> Image.Image:
    """Return what a terminal shows whose own colour is `paper`, with room around."""
    lines = text.splitlines()
    bare = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in lines]
    size = ((max(map(len, bare)) + 8) * COLUMN, (len(lines) + 8) * ROW)
    image = Image.new("L", size, paper)
    for y, line in enumerate(lines, start=4):
        ink, ground, x = BRIGHT - paper, paper, 4
        for part in re.split(r"(\x1b\[[0-9;]*m)", line):
            if part.startswith("\x1b"):
                own = part == "\x1b[0m"
                assert own or part == "\x1b[97;40m"
                ink, ground = (BRIGHT - paper, paper) if own else (BRIGHT, DARK)
                continue
            for block in part:
                for half, inked in enumerate((block in "█▀", block in "█▄")):
                    top = y * ROW + half * ROW // 2
                    box = (x * COLUMN, top, (x + 1) * COLUMN, top + ROW // 2)
                    image.paste(ink if inked else ground, box)
                x += 1
    return image


@pytest.mark.parametrize("paper", [DARK, BRIGHT], ids=["dark", "light"])
def test_a_camera_reads_the_qr_code_off_a_terminal_of_any_colour(paper: int) -> None:
    out = Terminal()
    print_qr(URL, out)
    picture = painted(out.getvalue(), paper)

    assert scanned(picture) == [URL]
    text, _, _ = cv2.QRCodeDetector().detectAndDecode(numpy.asarray(picture))
    assert text == URL


def test_on_a_terminal_each_line_brings_its_own_colours_and_takes_them_back() -> None:
    out = Terminal()
    print_qr(URL, out)

    lines = out.getvalue().splitlines()
    assert len(lines) == len(qr_lines(URL))
    assert all(line.startswith("\x1b[97;40m") and line.endswith("\x1b[0m") for line in lines)


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_colours_are_left_out_where_a_person_wants_none(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Terminal()
    monkeypatch.setenv(name, value)
    print_qr(URL, out)

    assert out.getvalue().splitlines() == qr_lines(URL)


def test_a_terminal_without_blocks_is_spared_the_code() -> None:
    out = Terminal()
    out.encoding = "ascii"  # type: ignore[misc]
    print_qr(URL, out)

    assert out.getvalue() == ""
