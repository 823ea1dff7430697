"""Walks through docs/quickstart.md and README's first command as a stranger does, and times it.

`python -m tests.quickstart clone FOLDER` or `package FOLDER` installs as the page says and prints how long
each step took; `.ci/quickstart` prepares the folders. `tests/cli/test_quickstart.py` takes the same steps
with what is installed already. The phone is played over HTTP.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp

from companion_ws.client import CompanionClient

ROOT = Path(__file__).parents[1]
PATIENCE_S = 300.0


def steps() -> dict[str, str]:
    """Return the commands of the page by the names they have in it."""
    page = (ROOT / "docs/quickstart.md").read_text(encoding="utf-8")
    found = re.findall(r"<!-- quickstart: (\w+) -->\n +```sh\n(.*?)```", page, re.DOTALL)
    return {name: re.sub(r"^ +", "", code, flags=re.MULTILINE) for name, code in found}


def first_command() -> str:
    """Return README's first command."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(r"```sh\n(.*?)```", readme, re.DOTALL)[0]


class Shell:
    """A terminal in `folder`, with settings of its own for nothing but ports."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        ours = {
            name: text for name, text in os.environ.items() if not name.startswith("COMPANION_")
        }
        self._environment = {
            **ours,
            "PYTHONUNBUFFERED": "1",
            "COMPANION_PORT": str(self.port),
            "COMPANION_URL": f"http://localhost:{self.port}",
        }

    @asynccontextmanager
    async def run(self, command: str) -> AsyncIterator[asyncio.StreamReader]:
        """Run a command as long as the block lasts; yields what it prints."""
        program = await asyncio.create_subprocess_exec(
            *("sh", "-c", command),
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=sys.stderr if "-v" in sys.argv else subprocess.STDOUT,
            start_new_session=True,
        )
        assert program.stdout is not None
        try:
            yield program.stdout
        finally:
            with suppress(ProcessLookupError):  # It may have ended by itself.
                os.killpg(program.pid, signal.SIGINT)
            await asyncio.wait_for(program.communicate(), PATIENCE_S)


async def until(output: asyncio.StreamReader, pattern: str) -> re.Match[str]:
    """Wait for a line that matches; what came before is told where none does."""
    seen = []
    async with asyncio.timeout(PATIENCE_S):
        while line := (await output.readline()).decode():
            seen.append(line)
            if found := re.search(pattern, line):
                return found
    raise AssertionError(f"{pattern!r} never came: {''.join(seen)}")


async def pair(url: str, code: str) -> dict[str, str]:
    """Do what a phone does once somebody typed `code` at `url`."""
    async with aiohttp.ClientSession() as http:
        body = {"code": code.replace(" ", ""), "device": "Pixel 7"}
        async with http.post(f"{url}/pair", json=body) as response:
            assert response.status == 201, await response.text()
            paired: dict[str, str] = await response.json()
    return paired


async def see(shell: Shell, command: str) -> None:
    """README's first command: the demo runs, and a phone is in its session."""
    async with shell.run(command) as output:
        code = await until(output, r"type\s+(\d{3} \d{3} \d{3})\s+at (\S+)/c")
        await pair(code[2], code[1])


async def use(shell: Shell) -> str:
    """Steps 2 to 5 of the page: returns what the agent prints of the tap."""
    url = f"http://127.0.0.1:{shell.port}"
    async with shell.run(steps()["serve"]) as server:
        await until(server, r"ready at http://")
        async with shell.run(steps()["ask"]) as agent:
            invited = await until(agent, r"Scan (\S+) or type (\d{9}) at (\S+)/c")
            paired = await pair(url, invited[2])
            async with CompanionClient(url, token=paired["token"], role=None, after=0) as phone:
                async for record in phone.records():
                    if record["type"] == "client_tool_call":
                        call = record["client_tool_call"]
                        tapped = call["parameters"]["options"][1]
                        await phone.answer_tool(
                            call["tool_call_id"], {"status": "chosen", **tapped}
                        )
                        break
            return (await until(agent, r"^\{.*\}$"))[0]


async def rest_of(output: asyncio.StreamReader) -> str:
    return (await output.read()).decode()


async def walk(way: str, folder: Path) -> None:
    began = time.monotonic()
    async with Shell(folder).run(steps()[way]) as output:
        said = await rest_of(output)
    assert (folder / ".venv/bin/companion-ws").exists(), said
    installed_s = time.monotonic() - began
    *_, demo = first_command().split(" && ")
    await see(Shell(folder), demo)
    seen_s = time.monotonic() - began - installed_s
    await use(Shell(folder))
    asked_s = time.monotonic() - began - installed_s - seen_s
    print(f"{way}: installed in {installed_s:.0f} s")
    print(f"{way}: README's demo has a paired phone {seen_s:.0f} s later")
    print(f"{way}: or the quickstart's agent an answer {asked_s:.0f} s later")


if __name__ == "__main__":
    asyncio.run(walk(sys.argv[1], Path(sys.argv[2])))
