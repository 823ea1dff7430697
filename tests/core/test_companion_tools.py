"""The catalogue of companion tools against every place that has to know of a tool.

A new tool is written in companion_ws/core/companion_tools.py; these tests, and those of
tests/js/companion_tools.test.js, then name what else it needs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from companion_ws.core.companion_tools import (
    COMPANION_TOOLS,
    LINE_FIELDS,
    OPTION_FIELDS,
    CompanionTool,
    is_card,
    is_companion_ui,
    is_question,
    object_schema,
)
from companion_ws.core.schemas import FORMATS, KEYWORDS

ROOT = Path(__file__).parents[2]
LIST = json.loads((ROOT / "tests/wire/companion_tools/list.json").read_text(encoding="utf-8"))


def golden_entry(tool: CompanionTool) -> dict[str, Any]:
    """Return what tests/wire/companion_tools/list.json holds of a tool, besides its example."""
    return {
        "parameters": [*tool.parameters],
        "required": tool.schema["required"],
        "is_question": tool.is_question,
        "is_changeable": tool.is_changeable,
        "answers": {status: [*fields] for status, fields in tool.answers.items()},
    }


def places_without(tool: CompanionTool) -> list[str]:
    """Return the places that do not know a companion tool yet, which should."""
    golden = LIST["tools"].get(tool.name, {})
    rows = [line for line in text_of("docs/protocol.md").splitlines()
            if line.startswith(f"| `{tool.name}` |")]  # fmt: skip
    knows = {
        "companion_ws/core/companion_tools.py: COMPANION_TOOLS": tool.name in COMPANION_TOOLS,
        "tests/wire/companion_tools/list.json": {**golden, "example": 0}
        == {**golden_entry(tool), "example": 0},
        "docs/protocol.md: Companion tools": len(rows) == 1
        and all(name in rows[0] for name in tool.parameters),
        "static/js/core/companion-tools.js": f"\n  {tool.name}: {{" in text_of(
            "static/js/core/companion-tools.js"
        ),
        "static/js/core/questions.js: ASKS": f"\n  {tool.name}: (" in text_of(
            "static/js/core/questions.js"
        ),
    }
    return [place for place, is_known in knows.items() if not is_known]


def text_of(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", COMPANION_TOOLS)
def test_every_place_knows_every_tool(name: str) -> None:
    missing = places_without(COMPANION_TOOLS[name])
    assert not missing, f"`{name}` is missing in: {', '.join(missing)}"


def test_of_a_new_tool_every_place_that_lacks_it_is_named() -> None:
    rate = CompanionTool(
        "companion_imagined",
        when="when the caller should rate something.",
        description="Lets the caller give one to five stars and returns how many.",
        how="",
        schema=object_schema({"title": {"type": "string"}}, ["title"]),
        answers={"rated": ("stars",)},
    )

    assert places_without(rate) == [
        "companion_ws/core/companion_tools.py: COMPANION_TOOLS",
        "tests/wire/companion_tools/list.json",
        "docs/protocol.md: Companion tools",
        "static/js/core/companion-tools.js",
        "static/js/core/questions.js: ASKS",
    ]


def test_the_golden_list_names_no_other_tools_nor_fields_of_an_option() -> None:
    assert [*LIST["tools"]] == [*COMPANION_TOOLS]
    assert LIST["option"] == [*OPTION_FIELDS]
    assert LIST["line"] == [*LINE_FIELDS]
    assert LIST["form"] == {"keywords": [*KEYWORDS], "formats": [*FORMATS]}
    [row] = [line for line in text_of("docs/protocol.md").splitlines()
             if line.startswith("| `companion_choose` |")]  # fmt: skip
    assert [field for field in OPTION_FIELDS if field not in row] == []


@pytest.mark.parametrize("name", COMPANION_TOOLS)
def test_the_example_of_a_tool_can_be_answered(name: str) -> None:
    from companion_ws.voice.parameters import understood

    tool, example = COMPANION_TOOLS[name], LIST["tools"][name]["example"]

    assert tool.fault(example) is None
    assert understood(name, example) == example
    assert {*example} <= {*tool.parameters}
    assert {*tool.schema["required"]} <= {*tool.schema["properties"]}


def test_a_tool_of_the_agents_author_neither_asks_nor_shows() -> None:
    assert (is_question("mine"), is_card("mine")) == (False, False)
    assert [name for name in COMPANION_TOOLS if is_question(name) == is_card(name)] == []


@pytest.mark.parametrize("name", COMPANION_TOOLS)
def test_agents_at_elevenlabs_are_told_when_to_call_a_tool(name: str) -> None:
    from companion_ws.voice.elevenlabs.agent_config import PROMPT, agent_config

    tools = agent_config("https://example.org", kinds=["client"])["tools"]
    assert f"- Call {name} " in PROMPT
    assert [tool["parameters"] for tool in tools if tool["name"] == name] == [
        COMPANION_TOOLS[name].schema
    ]


def test_all_that_a_form_understands_is_taught_to_agents_and_in_the_docs() -> None:
    taught = COMPANION_TOOLS["companion_form"].schema["properties"]["schema"]["description"]
    docs = text_of("docs/forms.md")

    # Ways to write what has a plainer form are read, and not taught.
    plainer = {"type", "properties", "enumNames", "const", "anyOf", "allOf", "$ref", "readOnly", "writeOnly",
               "exclusiveMinimum", "exclusiveMaximum", "uniqueItems", "formatMinimum", "formatMaximum"}  # fmt: skip
    assert [name for name in (*KEYWORDS, *FORMATS) if name not in taught and name not in plainer] == []
    assert [name for name in (*KEYWORDS, *FORMATS) if f"`{name}`" not in docs] == []


def test_what_mcp_asks_is_what_screens_read() -> None:
    from companion_ws.voice.mcp_tools import TOOLS

    offered = {tool["name"]: tool["inputSchema"]["properties"] for tool in TOOLS}
    questions = [tool for tool in COMPANION_TOOLS.values() if tool.is_question]
    assert {*offered["ask"]} - {"kind"} == {name for tool in questions for name in tool.parameters}
    kinds = {tool.name.removeprefix("companion_") for tool in questions}
    assert {*offered["ask"]["kind"]["enum"]} == kinds
    assert {*offered["show"]} == {*COMPANION_TOOLS["companion_show"].parameters}
    assert {*offered["ask"]["options"]["items"]["properties"]} == {*OPTION_FIELDS}
    assert {*offered["ask"]["items"]["items"]["properties"]} == {*LINE_FIELDS}


@pytest.mark.parametrize(
    ("name", "choice"),
    [
        ("companion_show", ""),
        ("companion_choose", "air"),
        ("companion_form", '{"city": "Denver"}'),
        ("companion_confirm", "yes"),
        ("companion_confirm", "no"),
    ],
)
def test_a_headless_screen_answers_as_the_catalogue_says(name: str, choice: str) -> None:
    from companion_ws.cli.headless import answer_to

    result = answer_to(name, LIST["tools"][name]["example"], choice)
    assert result is not None
    answers = COMPANION_TOOLS[name].answers
    assert {*result} - {"status"} <= {*answers[result["status"]]}


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
