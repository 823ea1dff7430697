"""Parameters as models write them, read as the pages' twin reads them: the same cases for both."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from companion_ws.core.protocol import encode, parse
from companion_ws.voice.json_text import UNREAD, mended, read_json
from companion_ws.voice.parameters import NotUnderstood, understood

WIRE = Path(__file__).parent.parent / "wire" / "parameters" / "cases.json"
CASES: list[dict[str, Any]] = json.loads(WIRE.read_text())
TOOLS = ["companion_show", "companion_choose", "companion_form", "companion_confirm", "other"]
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda parts: st.lists(parts) | st.dictionaries(st.text(), parts),
    max_leaves=8,
)
names = st.sampled_from(["title", "options", "schema", "data", "ui", "items", "multiple", "min"])


@pytest.mark.parametrize("case", CASES, ids=[f"{one['tool']}: {one['says']}" for one in CASES])
def test_what_a_model_writes_is_understood(case: dict[str, Any]) -> None:
    if "want" in case:
        assert understood(case["tool"], case["given"]) == case["want"]
    else:
        with pytest.raises(NotUnderstood) as refused:
            understood(case["tool"], case["given"])
        assert str(refused.value) == case["reason"]


@given(st.sampled_from(TOOLS), st.dictionaries(names, json_values))
def test_whatever_a_model_writes_is_understood_or_refused_in_words(
    tool: str, parameters: dict[str, Any]
) -> None:
    with contextlib.suppress(NotUnderstood):
        value = understood(tool, parameters)
        assert parse(encode(value)) == value


@given(st.text(st.sampled_from("{}[]\"',:\\ `\n\taTrueNull1.-")))
def test_whatever_a_text_holds_it_is_read_or_not(text: str) -> None:
    found = read_json(text)
    assert found is UNREAD or isinstance(found, dict | list)


def test_numbers_without_end_are_text() -> None:
    assert read_json(f"[{'9' * 5000}]") == ["9" * 5000]
    assert mended({"n": -(2**53), "f": float("nan")}) == {"n": "-9007199254740992", "f": None}
