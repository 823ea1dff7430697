"""What README promises, done."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import aiohttp
import click
import pytest
from programs import PATIENCE_S, Program, Served, clean_environment

from companion_ws.cli import main
from companion_ws.client import CompanionClient

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def example() -> str:
    found = re.search(r"<!-- example: agent -->\n```python\n(.*?)```", README, re.DOTALL)
    assert found is not None
    return found[1]


async def test_the_python_example_asks_a_phone_and_prints_its_answer(
    server: Served, program: Program
) -> None:
    (token,) = await asyncio.to_thread(program.lines, "token", "create", "--user", "alice")
    agent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", example()),
        cwd=ROOT,
        env=clean_environment(COMPANION_URL=server.url, COMPANION_TOKEN=token),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert agent.stdout is not None
    invitation = (await asyncio.wait_for(agent.stdout.readline(), PATIENCE_S)).decode()
    code = re.search(r"type (\d{9}) at", invitation)
    assert code is not None
    async with aiohttp.ClientSession() as http:
        body = {"code": code[1], "device": "Pixel 7"}
        async with http.post(f"{server.url}/pair", json=body) as response:
            paired = await response.json()
    async with CompanionClient(server.url, token=paired["token"], role=None, after=0) as phone:
        async for record in phone.records():
            if record["type"] == "client_tool_call":
                call = record["client_tool_call"]
                option = call["parameters"]["options"][1]
                await phone.answer_tool(call["tool_call_id"], {"status": "chosen", **option})
                break
    out, errors = await asyncio.wait_for(agent.communicate(), PATIENCE_S)
    assert out.decode() == "{'status': 'chosen', 'id': 'air', 'label': 'UPS Next Day'}\n"
    assert errors == b""


def test_the_program_that_is_shown_is_the_one_in_the_wheel() -> None:
    assert example() == (ROOT / "companion_ws/examples/first_agent.py").read_text(encoding="utf-8")


def verbs(group: click.Group, before: str = "") -> list[str]:
    found = []
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            found += verbs(command, f"{before}{name} ")
        else:
            found.append(before + name)
    return found


@pytest.mark.parametrize("verb", verbs(main))
def test_every_verb_is_documented_and_explains_itself(verb: str) -> None:
    page = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    group, _, last = verb.rpartition(" ")
    command: click.Command = main
    for name in verb.split():
        assert isinstance(command, click.Group)
        command = command.commands[name]

    assert re.search(rf"`[^`]*{group}[ \w\\|]*\b{last}\b", page), verb
    assert command.help


def test_the_first_command_is_one_line_that_ends_in_the_demo() -> None:
    commands = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)

    assert commands[0].count("\n") == 1
    assert commands[0].strip().endswith("companion-ws demo --lan")
    assert commands[1].count("\n") == 1
    assert re.search(r"&& \.venv/bin/pytest( -\S+ \S+| --\S+ \S+)*$", commands[1].strip())
