"""What `companion-ws tools --for PLATFORM` prints, told from the one catalogue."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from companion_ws.cli import main
from companion_ws.core.companion_tools import COMPANION_TOOLS

PLATFORMS = ["elevenlabs", "openai", "anthropic", "gemini", "vapi", "retell", "livekit", "pipecat"]
SHOP = ["--tools", "companion_ws.examples.shipping"]


def printed(*words: str) -> str:
    done = CliRunner().invoke(main, ["tools", *words, "--url", "https://x.example/"])
    assert done.exit_code == 0, done.output
    return done.stdout


def functions(tools: list[dict[str, Any]]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield name, description and schema of each, whatever form they stand in."""
    for tool in tools:
        if "functionDeclarations" in tool:
            yield from functions(tool["functionDeclarations"])
            continue
        about = tool.get("function", tool)
        schema = about.get("parameters") or about.get("input_schema")
        if "api_schema" in tool:
            schema = tool["api_schema"]["request_body_schema"]
        if schema is None:
            schema = {"type": "object", **{key: about[key] for key in ("properties", "required")}}
        yield about["name"], about["description"], schema


@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_platform_is_offered_every_tool_of_the_catalogue_and_of_the_server(
    platform: str,
) -> None:
    config = json.loads(printed("--for", platform, *SHOP))

    offered = {name: (about, schema) for name, about, schema in functions(config["tools"])}
    for name, tool in COMPANION_TOOLS.items():
        about, schema = offered[name]
        assert about == tool.description
        assert {**tool.schema, **schema} == tool.schema
        assert f"Call {name} " in config["prompt"]
    assert "from_zip" in offered["get_shipping_quotes"][1]["properties"]
    for _, schema in offered.values():
        Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("platform", ["vapi", "retell"])
def test_a_platform_that_calls_by_webhook_is_told_where_and_how_to_wait(platform: str) -> None:
    config = json.loads(printed("--for", platform))

    urls = {tool.get("url") or tool["server"]["url"] for tool in config["tools"]}
    assert urls == {f"https://x.example/{platform}"}
    assert "wait_for_companion" in [name for name, *_ in functions(config["tools"])]
    assert "wait_for_companion" in config["prompt"]


def test_the_prompt_alone_is_text() -> None:
    assert printed("--for", "openai", "--prompt").startswith("# Your companion screen\n")


def test_elevenlabs_gets_what_its_own_verb_prints() -> None:
    done = CliRunner().invoke(main, ["elevenlabs", "agent-config", "--url", "https://x.example/"])
    assert done.stdout == printed("--for", "elevenlabs")


def test_a_platform_that_nobody_knows_is_refused_with_those_that_are() -> None:
    done = CliRunner().invoke(main, ["tools", "--for", "siri"])
    assert done.exit_code == 2
    for platform in PLATFORMS:
        assert platform in done.output
