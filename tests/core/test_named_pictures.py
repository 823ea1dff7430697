"""Which words are pictures, and what the bytes of a picture say of it."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from PIL import Image

from companion_ws.core.pictures import (
    MAX_LOOKED_AT,
    Header,
    Picture,
    header_of,
    is_picture,
    pictures_in,
)
from companion_ws.core.session import (
    Event,
    Limits,
    Session,
    apply,
    make_room_for_picture,
    put_picture,
    trim,
)

GOLDEN = json.loads(
    (Path(__file__).parents[1] / "wire/pictures/cases.json").read_text(encoding="utf-8")
)


def drawn(form: str, size: tuple[int, int] = (30, 20), **options: Any) -> bytes:
    """Return a real file of a format."""
    file = io.BytesIO()
    Image.new("RGB", size, "teal").save(file, form, **options)
    return file.getvalue()


@pytest.mark.parametrize(("key", "text", "expected"), GOLDEN["cases"])
def test_a_picture_is_known_by_its_address_and_its_key(key: str, text: str, expected: bool) -> None:
    assert is_picture(key, text) is expected


def test_an_address_that_is_none_or_too_long_is_no_picture() -> None:
    assert not is_picture("image", "https://[::1/a.png")
    assert not is_picture("image", f"https://shop.example/{'a' * 3000}.png")


def test_pictures_are_found_wherever_they_stand() -> None:
    png = "https://a.example/{}.png"
    data = {
        "image": "https://a.example/1",
        "images": [png.format(2), {"url": "https://a.example/3", "alt": "x"}, png.format(2)],
        "url": "https://a.example/page",
        "ui": {"component": "Image", "url": "https://a.example/5"},
        "deep": [{"photo": {"src": "https://a.example/4"}}],
        "n": 1,
    }

    assert pictures_in(data) == [
        "https://a.example/1", png.format(2), "https://a.example/3", "https://a.example/5",
        "https://a.example/4",
    ]  # fmt: skip
    assert pictures_in([png.format(1)] * (MAX_LOOKED_AT * 2)) == [png.format(1)]
    assert pictures_in(["x"] * MAX_LOOKED_AT + [png.format(1)]) == []


@pytest.mark.parametrize(
    ("form", "media_type", "options"),
    [
        ("PNG", "image/png", {}),
        ("JPEG", "image/jpeg", {}),
        ("JPEG", "image/jpeg", {"progressive": True, "exif": b"Exif\x00\x00" + b"\xff\xc0" * 50}),
        ("GIF", "image/gif", {}),
        ("GIF", "image/gif", {"comment": b"c" * 700}),
        ("WEBP", "image/webp", {}),
        ("WEBP", "image/webp", {"lossless": True}),
        ("WEBP", "image/webp", {"exif": b"Exif\x00\x00" + b"x" * 31}),
    ],
)
def test_a_real_picture_says_its_type_and_size(
    form: str, media_type: str, options: dict[str, Any]
) -> None:
    header = header_of(drawn(form, **options))

    assert header == Header(media_type, 30, 20)
    assert header is not None
    assert header.pixels == 600


def test_a_moving_picture_is_as_large_as_its_largest_part() -> None:
    frames = [Image.new("RGB", (30, 20), color) for color in ("red", "blue")]
    file = io.BytesIO()
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:])
    body = bytearray(file.getvalue())
    at = body.index(b"ANMF") + 8
    body[at + 6 : at + 9] = (9_999).to_bytes(3, "little")
    gif = bytearray(drawn("GIF"))
    at = gif.index(b",", 13)
    gif[at + 5 : at + 7] = (9_999).to_bytes(2, "little")

    assert header_of(bytes(body)) == Header("image/webp", 10_000, 20)
    assert header_of(bytes(gif)) == Header("image/gif", 9_999, 20)


NOT_PICTURES = {
    "nothing": b"",
    "a page": b"<!doctype html><img src=x>",
    "a drawing": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "a drawing with a declaration": b"<?xml version='1.0'?><svg/>",
    "a PNG without its first chunk": b"\x89PNG\r\n\x1a\n" + b"\x00" * 40,
    "a PNG cut off": drawn("PNG")[:20],
    "a PNG of no size": drawn("PNG")[:16] + b"\x00" * 30,
    "a JPEG cut off": drawn("JPEG")[:30],
    "a JPEG that begins before it says its size": b"\xff\xd8\xff\xda\x00\x02",
    "a JPEG with a part of no size": b"\xff\xd8\xff\xe0\x00\x00" + b"\x00" * 20,
    "a JPEG of marks alone": b"\xff\xd8" + b"\xff\xd0" * 20_000,
    "a JPEG of filling alone": b"\xff\xd8" + b"\xff" * 20_000,
    "a JPEG with no mark where one should be": b"\xff\xd8\xff\xe0\x00\x02abcd",
    "a GIF without a picture": b"GIF89a\x01\x00\x01\x00\x00\x00\x00;",
    "a GIF cut off": b"GIF89a\x01\x00\x01\x00\x80\x00\x00",
    "a GIF too short": b"GIF89a\x01",
    "a GIF of remarks alone": b"GIF89a\x01\x00\x01\x00\x00\x00\x00" + b"!\xfe\x00" * 20_000,
    "a WebP without a picture": b"RIFF\x00\x00\x00\x00WEBP" + b"JUNK\x00\x00\x00\x00" * 20_000,
    "a WebP cut off": b"RIFF\x00\x00\x00\x00WEBPVP8X",
    "a BMP": drawn("BMP"),
    "a TIFF": drawn("TIFF"),
}


@pytest.mark.parametrize("name", NOT_PICTURES)
def test_what_is_no_picture_of_the_four_kinds_is_none(name: str) -> None:
    assert header_of(NOT_PICTURES[name]) is None


@given(some.sampled_from([drawn(form) for form in ("PNG", "JPEG", "GIF", "WEBP")]), some.data())
def test_no_broken_file_breaks_the_reader(body: bytes, data: some.DataObject) -> None:
    changed = bytearray(body)
    for _ in range(data.draw(some.integers(1, 8))):
        changed[data.draw(some.integers(0, len(body) - 1))] = data.draw(some.integers(0, 255))

    header = header_of(bytes(changed[: data.draw(some.integers(0, len(body)))]))

    assert header is None or (header.width > 0 and header.height > 0)


# What a session holds of pictures.


def a_session(records: int) -> Session:
    session = Session("s", "alice")
    for _ in range(records):
        apply(session, Event("user_message", {"text": "x"}), b"x" * 100, 0)
    return session


def of(seq: int, size_bytes: int = 1000) -> Picture:
    return Picture(url=f"https://a.example/{seq}", seq=seq, media_id="m", size_bytes=size_bytes)


def test_a_picture_counts_as_the_log_does_and_goes_with_its_record() -> None:
    session = a_session(10)
    for seq in (1, 5, 9):
        put_picture(session, of(seq))
    put_picture(session, of(9, 2000))  # known better now
    assert session.pictures_bytes == 4000

    assert trim(session, Limits(log_bytes=3500))

    assert [picture.seq for picture in session.pictures.values()] == [9]
    assert session.pictures_bytes == 2000
    assert session.first_seq == 6


def test_older_pictures_make_room_for_a_newer_one_and_none_where_that_is_in_vain() -> None:
    session = a_session(10)
    for seq in (1, 2, 3, 9):
        put_picture(session, of(seq))
    put_picture(session, Picture(url="failed", seq=1, problem="x"))
    limits = Limits(log_bytes=6000)

    assert make_room_for_picture(session, 9, 100, Limits(log_bytes=0)) == []
    assert make_room_for_picture(session, 9, 500, limits) == []
    assert make_room_for_picture(session, 9, 4000, limits) is None
    assert len(session.pictures) == 5
    assert make_room_for_picture(session, 9, 1500, limits) == [f"https://a.example/{seq}" for seq in (1,)]
    assert make_room_for_picture(session, 9, 3500, limits) == [f"https://a.example/{seq}" for seq in (2, 3)]
    assert session.pictures_bytes == 1000


def test_what_is_told_of_a_picture_is_what_is_known() -> None:
    assert of(3, 0).shown() == {"url": "https://a.example/3", "media_id": "m"}
    assert Picture(url="u", seq=3, problem="no").shown() == {"url": "u", "problem": "no"}
