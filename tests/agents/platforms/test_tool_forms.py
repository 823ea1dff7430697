"""What `companion-ws tools --for PLATFORM` prints, held against each platform's own types."""

from __future__ import annotations

from typing import Any

import pytest
from anthropic.types import ToolParam
from elevenlabs.types import ClientToolConfigInput, WebhookToolConfigInput
from google.genai import types as gemini
from openai.types.realtime import RealtimeFunctionTool
from openai.types.responses import FunctionToolParam
from pydantic import ConfigDict, TypeAdapter, with_config
from retell.types.llm_create_params import GeneralToolCustomTool
from vapi import CreateFunctionToolDto

from companion_ws.core.companion_tools import COMPANION_TOOLS
from companion_ws.sessions.tools import load_tools
from companion_ws.voice.elevenlabs.agent_config import agent_config
from companion_ws.voice.offered import definitions


def printed(platform: str) -> list[dict[str, Any]]:
    shop = load_tools("companion_ws.examples.shipping").values()
    tools: list[dict[str, Any]] = definitions(platform, "https://x.example", shop)["tools"]
    return tools


def strictly(kind: Any) -> TypeAdapter[Any]:
    """Return what reads a TypedDict of theirs and takes no field that it has not."""
    return TypeAdapter(with_config(ConfigDict(extra="forbid"))(kind))


@pytest.mark.parametrize(
    ("platform", "kind"),
    [
        ("openai", FunctionToolParam),
        ("anthropic", ToolParam),
        ("retell", GeneralToolCustomTool),
    ],
)
def test_a_tool_has_the_fields_of_their_type_and_no_other(platform: str, kind: Any) -> None:
    for tool in printed(platform):
        strictly(kind).validate_python(tool)
        with pytest.raises(ValueError, match="surplus"):
            strictly(kind).validate_python({**tool, "surplus": 1})


def test_openais_realtime_api_takes_the_same_tools() -> None:
    for tool in printed("openai"):
        RealtimeFunctionTool.model_validate(tool)


def test_gemini_reads_every_declaration_as_it_was_meant() -> None:
    [tool] = [gemini.Tool.model_validate(tool) for tool in printed("gemini")]
    declared = {declaration.name: declaration for declaration in tool.function_declarations or []}
    assert {*COMPANION_TOOLS} < {*declared}
    parameters = declared["companion_choose"].parameters
    assert parameters is not None
    assert parameters.required == ["title", "options"]
    options = (parameters.properties or {})["options"]
    assert options.items is not None
    assert options.items.type == gemini.Type.OBJECT


def test_vapi_reads_every_field_and_leaves_none_over() -> None:
    for tool in printed("vapi"):
        read = CreateFunctionToolDto.model_validate(tool)
        assert read.server is not None
        assert (read.server.url, read.server.model_extra) == ("https://x.example/vapi", {})
        assert read.function is not None
        assert read.function.model_extra == {}
        assert read.function.parameters is not None
        assert read.function.parameters.required == tool["function"]["parameters"]["required"]
        assert {*(read.model_extra or {})} <= {"type"}


def test_elevenlabs_takes_what_is_printed_for_it() -> None:
    kinds = {"client": ClientToolConfigInput, "webhook": WebhookToolConfigInput}
    for tool in agent_config("https://x.example")["tools"]:
        kinds[tool["type"]].model_validate(tool)
