"""What people type, paste and hear as a code means its nine digits."""

from __future__ import annotations

import json
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from companion_ws.access.derived import CODE_DIGITS, digits_of

CASES = json.loads(
    (Path(__file__).resolve().parents[1] / "wire" / "codes" / "typed.json").read_text("utf-8")
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: ascii(case["text"]))
def test_a_code_is_read_however_it_is_written(case: dict[str, str | None]) -> None:
    assert digits_of(case["text"] or "") == case["code"]


def test_every_script_has_its_ten_digits() -> None:
    for letter in map(chr, range(sys.maxunicode + 1)):
        if unicodedata.category(letter) == "Nd":
            assert digits_of(f"12345678{letter}") == f"12345678{unicodedata.decimal(letter)}"


@given(st.text())
def test_whatever_is_typed_is_nine_digits_or_nothing(text: str) -> None:
    found = digits_of(text)
    assert found is None or (len(found) == CODE_DIGITS and found.isascii() and found.isdigit())
