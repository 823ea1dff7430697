"""A program that embeds the server, and the verbs of the machine it runs on."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from programs import PATIENCE_S, RUN, Program, clean_environment

from companion_ws import PAIRING, SESSIONS, TOKENS, Config, create_app
from companion_ws.client import CompanionClient, CompanionClosed
from companion_ws.data_folder import DataInUse
from companion_ws.testing.server import CompanionServer, free_port

PAGE = Path(__file__).parents[2] / "docs/embedding.md"


def example() -> str:
    found = re.search(
        r"<!-- example: embedding -->\n```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S
    )
    assert found is not None
    return found[1]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[str]:
    """The page's example, running in a folder of its own."""
    script = tmp_path / "shop.py"
    script.write_text(example(), encoding="utf-8")
    port = free_port()
    running = subprocess.Popen(
        [sys.executable, str(script), str(port)],
        cwd=tmp_path,
        env=clean_environment(PYTHONPATH=str(RUN.parent)),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert running.stdout is not None
    assert "The shop is open" in running.stdout.readline()
    yield f"http://127.0.0.1:{port}"
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=PATIENCE_S)


async def test_the_example_serves_and_every_verb_reaches_it(
    shop: str, program: Program, tmp_path: Path
) -> None:
    async with aiohttp.ClientSession() as http:
        async with http.post(f"{shop}/hello") as response:
            hello = await response.json()
        url, session_id = f"{shop}/companion", hello["session_id"]
        assert hello["scan"].startswith(f"{url}/p#")
        async with CompanionClient(url, token=hello["token"], session_id=session_id) as alice:
            (line,) = await asyncio.to_thread(program.lines, "session", "list")
            assert line.startswith(session_id)
            assert "Parcel to Denver" in line
            async with http.post(f"{shop}/quote/{session_id}") as response:
                assert (await response.json())["seq"] == 1
            (sent,) = await asyncio.to_thread(program.lines, "send", session_id, "hello")
            assert json.loads(sent)["seq"] == 2
            (token,) = await asyncio.to_thread(program.lines, "token", "create", "--user", "bob")
            async with CompanionClient(url, token=token) as bob:
                assert bob.created
            closing = asyncio.ensure_future(alice.wait_until(lambda _: False))
            await asyncio.to_thread(program.lines, "token", "revoke", "--user", "alice")
            with pytest.raises(CompanionClosed) as closed:
                await asyncio.wait_for(closing, 20)
            assert closed.value.code == 4501
    opened = await asyncio.to_thread(program.run, "open", "--print")
    assert "/#signin=" in opened.stdout, opened.stderr
    assert (tmp_path / "data/server.json").stat().st_mode & 0o777 == 0o600


async def test_verbs_see_an_application_behind_a_public_address_and_it_leaves_no_trace(
    tmp_path: Path, program: Program
) -> None:
    async with CompanionServer(
        data=program.data, public_url="https://shop.example", trust_proxy=("127.0.0.1",)
    ) as server:
        assert server.app is not None
        assert server.app[SESSIONS] is server.sessions
        assert server.app[TOKENS].verify(server.token()).user == "alice"
        made = await server.sessions.create("alice")
        pairing = await server.app[PAIRING].open(made.session_id)
        assert pairing.url.startswith("https://shop.example/p#")
        (line,) = await asyncio.to_thread(program.lines, "session", "list")
        assert line.startswith(made.session_id)
        # What came by the verbs' own door says nothing of where phones come in.
        pairing = await server.app[PAIRING].open(made.session_id)
        assert pairing.url.startswith("https://shop.example/p#")
        other = web.AppRunner(await create_app(Config(data=program.data)))
        with pytest.raises(DataInUse, match="Another server works on"):
            await other.setup()
        await other.cleanup()
        assert (program.data / "server.json").exists(), "who was refused takes nothing away"
    assert not (program.data / "server.json").exists()
    assert program.lines("session", "list")[0].startswith(made.session_id)
