"""A server tool that fails, as its author finds out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from programs import Program, Served

from companion_ws.client import CompanionClient

TOOLS = '''\
import json

from companion_ws import ToolCall, ToolError, tool


def rates() -> list:
    return {}["no such carrier"]


@tool
async def asks(call: ToolCall) -> list:
    return rates()


@tool
def in_a_thread(weight: float) -> list:
    return rates()


@tool
def no_json() -> object:
    return {object()}


@tool
async def leaves() -> None:
    raise SystemExit(3)


@tool
async def says_no() -> None:
    raise ToolError("That carrier does not deliver on Mars.")
'''


async def failures(served: Served, program: Program) -> dict[str, str]:
    """Call each tool; return the messages the agent got."""
    (token,) = await asyncio.to_thread(program.lines, "token", "create", "--user", "alice")
    heard: dict[str, str] = {}
    async with CompanionClient(served.url, token=token) as agent:
        for name in ("asks", "in_a_thread", "no_json", "leaves", "says_no", "missing"):
            tool = "in_a_thread" if name == "missing" else name
            parameters: dict[str, Any] = {} if name == "missing" else {"weight": 1}
            call = {"tool_name": tool, "tool_call_id": f"call-{name}", "parameters": parameters}
            await agent.send({"type": "client_tool_call", "client_tool_call": call})
        async for record in agent.records():
            if record["type"] == "client_tool_result":
                assert record["is_error"]
                name = record["tool_call_id"].removeprefix("call-")
                heard[name] = json.loads(record["result"])["message"]
                if len(heard) == 6:
                    break
    return heard


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    path = tmp_path / "shop_tools.py"
    path.write_text(TOOLS, encoding="utf-8")
    return path


@pytest.mark.parametrize("log_format", ["text", "json"])
async def test_a_traceback_with_the_call_s_id_stands_in_the_log(
    log_format: str, tools: Path, start: Callable[..., Served], program: Program
) -> None:
    served = await asyncio.to_thread(
        start, "--tools", "shop_tools", "--log-format", log_format, PYTHONPATH=str(tools.parent)
    )
    heard = await failures(served, program)
    await asyncio.to_thread(served.stop)

    assert heard["asks"] == heard["in_a_thread"] == heard["no_json"] == "The tool failed."
    assert heard["says_no"] == "That carrier does not deliver on Mars."
    log = "".join(served.errors)
    for name in ("asks", "in_a_thread", "no_json", "leaves"):
        lines = [line for line in served.errors if f"call-{name}" in line]
        assert "tool_failed" in lines[0], name
    assert log.count("Traceback (most recent call last)") == 4
    assert f'{tools}", line 7, in rates' in log.replace('\\"', '"')
    assert "KeyError: 'no such carrier'" in log
    assert any("call-says_no" in line and "Mars" in line for line in served.errors)
    assert str(tools) not in json.dumps(heard)


async def test_in_development_the_error_names_file_and_line(
    tools: Path, start: Callable[..., Served], program: Program
) -> None:
    served = await asyncio.to_thread(
        start, "--reload", "--tools", "shop_tools", PYTHONPATH=str(tools.parent)
    )
    heard = await failures(served, program)

    fault = f"The tool failed: KeyError: 'no such carrier' ({tools}, line 7)."
    assert heard["asks"] == heard["in_a_thread"] == fault
    assert f"({tools}, line 20)" in heard["no_json"], "where it is defined: it had returned"
    assert "SystemExit" in heard["leaves"]
    assert heard["says_no"] == "That carrier does not deliver on Mars."
    assert heard["missing"] == f"The parameter weight is missing. ({tools}, line 15)"
