"""One list of the companion tools, for Python, JavaScript and docs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from companion_ws.core.companion_tools import COMPANION_TOOLS, OPTION_FIELDS, is_companion_ui
from companion_ws.core.tool_calls import JOINABLE

ROOT = Path(__file__).parents[2]
LIST = json.loads((ROOT / "tests/wire/companion_tools/list.json").read_text())


def test_python_knows_the_tools_of_the_golden_list() -> None:
    assert {name: [*fields] for name, fields in COMPANION_TOOLS.items()} == LIST["tools"]
    assert [*OPTION_FIELDS] == LIST["option"]
    assert COMPANION_TOOLS.keys() - {"companion_show"} == JOINABLE


def test_agents_are_offered_the_same_tools() -> None:
    from companion_ws.voice.elevenlabs import agent_config

    assert agent_config.COMPANION_TOOLS.keys() == COMPANION_TOOLS.keys()
    for name, (_, schema) in agent_config.COMPANION_TOOLS.items():
        assert schema["properties"].keys() <= {*COMPANION_TOOLS[name]}


def test_docs_name_every_tool_with_its_parameters() -> None:
    page = (ROOT / "docs/protocol.md").read_text()
    for name, fields in COMPANION_TOOLS.items():
        [row] = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
        for field in fields + (OPTION_FIELDS if name == "companion_choose" else ()):
            assert field in row, (name, field)


@pytest.mark.parametrize(
    ("tools", "expected"),
    [
        ({*COMPANION_TOOLS}, True),
        ({*COMPANION_TOOLS, "a_fifth"}, True),
        ({"companion_choose"}, False),
        (set(), False),
        ({"mine"}, False),
    ],
)
def test_a_screen_that_names_the_four_and_more_is_the_companion_ui(
    tools: set[str], expected: bool
) -> None:
    assert is_companion_ui(tools) is expected
