"""The guides of docs/: their programs and commands are run as they stand there."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from programs import PATIENCE_S, clean_environment

from companion_ws.core.commands import COMMANDS
from companion_ws.testing.server import CompanionServer, free_port
from tests.pages import blocks, rows


class Reader:
    """Somebody with a terminal in `folder`, for whom `companion-ws` and Python's tools are installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = clean_environment(
            COMPANION_PORT=str(self.port), URL=self.url, PATH=f"{sys.prefix}/bin:{os.environ['PATH']}"
        )

    async def does(self, command: str) -> str:
        """Run commands to their end; return what they print."""
        shell = await self._begin("set -eu\n" + command)
        out, errors = await asyncio.wait_for(shell.communicate(), PATIENCE_S)
        assert shell.returncode == 0, f"{command}\n{out.decode()}\n{errors.decode()}"
        return out.decode()

    @asynccontextmanager
    async def serves(self, command: str = "companion-ws serve") -> AsyncIterator[None]:
        """Run a server as long as the block lasts."""
        shell = await self._begin(command)
        assert shell.stdout is not None
        try:
            async with asyncio.timeout(PATIENCE_S):
                while "ready at" not in (line := (await shell.stdout.readline()).decode()):
                    assert line, (await shell.communicate())[1].decode()
            yield
        finally:
            os.killpg(shell.pid, signal.SIGTERM)
            await asyncio.wait_for(shell.communicate(), PATIENCE_S)

    async def _begin(self, command: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *("sh", "-c", command),
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    return Reader(tmp_path)


async def test_a_tool_of_one_s_own_answers_and_a_talk_with_it_is_played_again(
    reader: Reader,
) -> None:
    page = blocks("docs/own-tools.md")
    (reader.folder / "prices.py").write_text(page["prices.py"])
    definitions = await reader.does(page["definitions"])
    assert "Prices a parcel for a service" in definitions

    async with reader.serves(page["serve"]):
        wrong = page["call"].splitlines()[2:]
        said = await reader.does(
            page["call"] + "\necho\n" + "\n".join(wrong).replace("air", "sea").replace("c-1", "c-2")
            + "\necho\necho $TOKEN $SESSION"
        )  # fmt: skip
        answer, refusal, (token, session) = *map(json.loads, said.splitlines()[:2]), said.split()[-2:]
        assert json.loads(answer["result"]) == {"service": "air", "price": 20.5, "currency": "USD"}
        assert refusal["is_error"]
        assert "There is no service sea; there are ground, air." in refusal["result"]
        replay = blocks("docs/testing.md")["replay"].replace("SESSION", session)
        await reader.does(f"export COMPANION_TOKEN={token}\n{replay}")


async def test_a_backup_that_was_looked_at_is_restored_and_settings_are_looked_at_before_an_upgrade(
    reader: Reader,
) -> None:
    backups, upgrade = blocks("docs/backups.md"), blocks("docs/upgrade.md")
    async with reader.serves():
        made = json.loads(await reader.does(blocks("docs/own-page.md")["token"]))
        assert made["role"] == "ui"
        state = f"{reader.url}/sessions/{made['session_id']}/state"
        asking = {"Authorization": f"Bearer {made['token']}"}
        async with aiohttp.ClientSession(headers=asking) as http:
            await http.put(f"{state}/step", json=1)
            await reader.does(backups["backup"])
            await http.put(f"{state}/step", json=2)
        assert (await reader.does(upgrade["config"])).strip() == "ok"
    assert "ok" in await reader.does(backups["check"])
    await reader.does(backups["restore"])
    async with reader.serves():
        async with aiohttp.ClientSession(headers=asking) as http, http.get(state) as answer:
            assert (await answer.json())["step"]["value"] == 1
        await reader.does(upgrade["after"])


async def test_a_first_test_passes_as_it_stands(reader: Reader) -> None:
    page = blocks("docs/testing.md")
    (reader.folder / "test_greeting.py").write_text(page["test_greeting.py"])
    *_, run = page["run"].splitlines()

    assert "1 passed" in await reader.does(f"{run} -p no:cacheprovider")


async def test_the_tools_of_a_telephone_agent_are_printed_for_its_address(reader: Reader) -> None:
    printed = await reader.does(blocks("docs/phone-calls.md")["agent-config"])

    assert "https://voice.example/elevenlabs/tools/" in printed


MIGRATED = {
    "contextual_update": {"text": "quote_ready", "data": {"carrier": "FedEx"}},
    "client_tool_call": {"client_tool_call": {"tool_name": "get_shipping_quotes", "tool_call_id": "c-1",
                         "parameters": {"from_zip": "94107", "to_zip": "10001", "weight": 5}}},
    "ping": {},
}  # fmt: skip
"""What the original was sent beside `type`, of what works here as it was."""


async def test_each_message_and_route_of_the_guide_s_server_does_what_the_notes_say() -> None:
    page = "docs/migration.md"
    async with (
        CompanionServer(tools="companion_ws.examples.shipping") as server,
        aiohttp.ClientSession() as http,
        http.ws_connect(f"{server.url}/ws?token={server.token()}") as socket,
    ):
        assert (await socket.receive_json())["type"] == "session_joined"
        for name, here, instead in rows(page, "sent to the original"):
            kind = name.strip("`")
            fields = MIGRATED.get(kind, {"payload": {}})
            await socket.send_json({"type": kind, **fields, "requestId": kind})
            async with asyncio.timeout(PATIENCE_S):
                while (answer := await socket.receive_json()).get("requestId") != kind:
                    pass
            if "refused" in here:
                assert answer["type"] == "error", kind
                assert f"`{answer['code']}`" in here
                assert instead != "nothing"
            else:
                assert answer["type"] == ("pong" if kind == "ping" else kind)
        asking = {"Authorization": f"Bearer {server.token('root', 'admin')}"}
        for name, here, _ in rows(page, "route of the original"):
            method, path = name.strip("`").split()
            async with http.request(method, server.url + path, headers=asking) as response:
                assert response.status == (404 if here == "404" else 200), name
    known = {name.strip("`") for name, *_ in rows(page, "sent to the original")}
    assert known & COMMANDS.keys() == MIGRATED.keys()
