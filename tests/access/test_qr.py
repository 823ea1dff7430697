"""QR codes that a camera reads."""

from __future__ import annotations

import io
import re
from xml.etree import ElementTree

import pytest
import segno
import zxingcpp
from PIL import Image

from companion_ws import qr

URLS = [
    "http://a.b/c",
    "http://192.168.1.20:8000/p#AAAAAAAAAAAAAAAAAAAAAA.BBBBBBBBBBBBBBBBBBBBBB",
    "https://companion.example.com/under/p#AAAAAAAAAAAAAAAAAAAAAA.BBBBBBBBBBBBBBBBBBBBBB",
]


def read(image: Image.Image) -> list[tuple[str, str]]:
    return [(code.text, code.format.name) for code in zxingcpp.read_barcodes(image)]


@pytest.mark.parametrize("url", URLS)
def test_the_picture_says_the_link_and_is_no_micro_qr(url: str) -> None:
    image = Image.open(io.BytesIO(qr.png(url)))
    assert read(image) == [(url, "QRCode")]
    assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("url", URLS)
def test_the_drawing_has_the_same_modules_a_white_plate_and_a_name(url: str) -> None:
    drawing = qr.svg(url, 'Join "this" & <that>')
    root = ElementTree.fromstring(drawing)
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"] == 'Join "this" & <that>'
    size = int(root.attrib["viewBox"].split()[2])
    assert size == segno.make_qr(url, error="m").symbol_size(border=4)[0]
    plate, dark = list(root)
    assert plate.attrib["fill"] == "#fff"
    assert dark.attrib["stroke"] == "#000"
    image = Image.new("RGB", (size, size), "white")
    x = y = 0.0
    for command, numbers in re.findall(r"([Mmh])([^Mmh]*)", dark.attrib["d"]):
        values = [float(number) for number in re.findall(r"-?\d*\.?\d+", numbers)]
        if command == "h":
            for column in range(int(x), int(x + values[0])):
                image.putpixel((column, int(y)), (0, 0, 0))
            x += values[0]
        else:
            x, y = values if command == "M" else (x + values[0], y + values[1])
    assert read(image.resize((size * 6, size * 6), Image.Resampling.NEAREST)) == [(url, "QRCode")]
