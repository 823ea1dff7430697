"""Parameters as models write them, read as the pages' twin reads them: the same cases for both."""

from __future__ import annotations

import contextlib
import json
import subprocess
from pathlib import Path
from random import Random
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


TWIN = """
import { readFileSync } from "node:fs"
import { NotUnderstood, understood } from "PARAMETERS"
const read = ({ tool, given }) => {
  try {
    return { want: understood(tool, given) }
  } catch (error) {
    if (error instanceof NotUnderstood) return { reason: error.message }
    throw error
  }
}
console.log(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(read)))
"""
WORDS = ["air", "", "true", "NO", "1", "2.5", "-3.50", "007", "[1,]", "{", "- a\n- b", "{'a': 'b\"c'}",
         '```json\n[{"id":"a",}]\n```', "None", "a, b", "\ud83d", "\U0001f600", "__proto__", '"[1,2]"',
         "{id: 'a'}", "\u2028a\u2028b", "\u0661", None, True, False, 0, -1, 2.5, 12.0]  # fmt: skip
KEYS = ["id", "label", "value", "name", "text", "title", "options", "items", "amount", "properties",
        "schema", "required", "type", "__proto__", "valueOf", "description"]  # fmt: skip
GIVEN = ["title", "question", "options", "schema", "data", "ui", "items", "amount", "multiple", "max"]


def written(random: Random, level: int = 0) -> Any:
    """Something a model might write."""
    kind = random.random()
    if level > 3 or kind < 0.45:
        return random.choice(WORDS)
    if kind < 0.7:
        return [written(random, level + 1) for _ in range(random.randrange(4))]
    if kind < 0.8:
        return json.dumps(written(random, level + 1))
    return {random.choice(KEYS): written(random, level + 1) for _ in range(random.randrange(4))}


def test_the_twin_in_javascript_understands_the_same(tmp_path: Path) -> None:
    random = Random(2)
    cases = []
    for _ in range(1000):
        names = random.sample(GIVEN, random.randrange(1, 6))
        parameters = {name: written(random) for name in names}
        cases.append({"tool": random.choice(TOOLS[:-1]), "given": parameters})
    script = tmp_path / "twin.mjs"
    parameters_js = Path(__file__).parents[2] / "static" / "js" / "elevenlabs" / "parameters.js"
    script.write_text(TWIN.replace("PARAMETERS", parameters_js.as_uri()))
    done = subprocess.run(
        ["node", str(script)], input=json.dumps(cases), capture_output=True, text=True,
        timeout=60, check=True,
    )  # fmt: skip
    for case, theirs in zip(cases, json.loads(done.stdout), strict=True):
        try:
            ours = {"want": understood(case["tool"], case["given"])}
        except NotUnderstood as why:
            ours = {"reason": str(why)}
        assert ours == theirs, case
