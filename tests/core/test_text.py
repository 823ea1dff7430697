"""Words that others wrote: shown without acting, and names that every script can have."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from companion_ws.core.text import json_text, label, visible

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
SCOTLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"
THUMB = "\U0001f44d\U0001f3fd"
GERMANY = "\U0001f1e9\U0001f1ea"
ACTING = [
    *map(chr, [*range(32), *range(0x7F, 0xA0)]),
    *"\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff",
]
DROPPED = [
    *map(chr, [*range(32), *range(0x7F, 0xA0)]),
    *"\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff\ud800\udfff",
]
texts = st.text(st.characters(), max_size=60) | st.text(
    st.sampled_from([*ACTING, *FAMILY, *SCOTLAND, *THUMB, *GERMANY, "\ud83d", "é", "a", " ", "한"]),
    max_size=60,
)


@pytest.mark.parametrize("character", ACTING, ids=ascii)
def test_what_would_act_on_a_terminal_is_shown_as_an_escape(character: str) -> None:
    for shown in (visible(f"a{character}b"), json_text(f"a{character}b")):
        assert character not in shown
        assert "\\" in shown


@given(texts)
def test_nothing_acts_whatever_was_written_and_json_reads_back(text: str) -> None:
    shown = visible(text) + json_text({text: [text]}) + visible(text, lines=True).replace("\n", "")
    assert not set(ACTING) - {"\t"} & set(shown)
    assert "\t" not in visible(text)
    assert json.loads(json_text({text: [text]})) == {text: [text]}
    shown.encode()  # no half characters, which no terminal takes


def test_text_of_several_lines_keeps_them_and_indented_json_is_json() -> None:
    assert visible("a\n\tb\r\x1b", lines=True) == "a\n\tb\\r\\x1b"
    assert json_text({"a": ["\x9b"]}, indent=2) == '{\n  "a": [\n    "\\u009b"\n  ]\n}'


@pytest.mark.parametrize("character", DROPPED, ids=ascii)
def test_a_name_drops_what_acts(character: str) -> None:
    assert label(f"Ann{character}a", 100) == "Anna"


@pytest.mark.parametrize(
    "name",
    [
        "Ann's iPhone", FAMILY, SCOTLAND, THUMB, GERMANY, "❤️", "👩🏽‍🚒", "می\u200cخواهم", "क्ष", "한국",
        "a\u200eb\u200fc\u061cd", "é", "e\u0301",
    ],
    ids=ascii,
)  # fmt: skip
def test_a_name_of_any_script_stays_as_it_is(name: str) -> None:
    assert label(name, 100) == name


def test_no_break_spaces_are_spaces_and_tags_only_follow_an_emoji() -> None:
    assert label("\u00a0Ann\u00a0P. ", 100) == "Ann P."
    assert label("a\U000e0067\U000e0001b", 100) == "ab"
    assert label(f"{SCOTLAND}a\U000e0067", 100) == f"{SCOTLAND}a"
    assert label(f"{THUMB}\U000e0067\U000e007f", 100) == f"{THUMB}\U000e0067\U000e007f"


@pytest.mark.parametrize(
    "sign",
    [FAMILY, SCOTLAND, THUMB, GERMANY, "❤️", "e\u0301", "क्ष", "한", "각", "한\u11ab", "\u1100\u1100\u1161"],
    ids=ascii,
)
def test_a_name_that_is_too_long_is_cut_between_signs(sign: str) -> None:
    for limit in range(1, 3 * len(sign) + 1):
        cut = label(sign * 3, limit)
        whole = limit // len(sign)
        if whole:
            assert cut == sign * whole
        else:
            assert cut == sign[:limit], "the beginning of a sign that has no room at all"


@given(texts, st.integers(1, 40))
@example(GERMANY * 30, 7)
def test_a_name_is_never_refused_and_never_too_long(text: str, limit: int) -> None:
    name = label(text, limit)
    assert len(name) <= limit
    assert not set(DROPPED) & set(name)
    assert label(name, limit) == name, "a name that was tidied stays"
    assert name == name.strip()


def test_a_name_of_any_length_costs_no_more_than_a_long_one() -> None:
    assert label("e" + "\u0301" * 1_000_000, 100) == "e" + "\u0301" * 99
    assert len(label("\ufeff" * 50 + "a" * 1_000_000, 200)) == 200


def test_the_marks_of_every_script_belong_to_what_they_stand_on() -> None:
    marks = [chr(c) for c in range(0x300, 0x1000) if unicodedata.category(chr(c)) in ("Mn", "Mc")]
    assert all(label(f"ab{mark}", 2) == "a" for mark in marks)
