"""`companion-ws mcp` as a host starts it: the official client on its pipes, and the pipes themselves."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp_types import ElicitResult
from programs import PATIENCE_S, RUN, Served, clean_environment

from companion_ws.access.keys import Keys
from companion_ws.access.tokens import Tokens
from companion_ws.cli import mcp_home
from companion_ws.cli.mcp_home import Home
from companion_ws.config import Config
from companion_ws.control import LOCAL_USER
from companion_ws.data_folder import RunningServer
from companion_ws.testing.phone import Phone
from companion_ws.testing.server import free_port
from tests.camera import scanned
from tests.voice.mcp_clients import Tasks as TasksExtension

OPTIONS = [{"id": "air", "label": "UPS Next Day"}, {"id": "ground", "label": "FedEx Ground"}]
QUESTION = {"title": "Which?", "options": OPTIONS}
CHOSEN = {"status": "chosen", "id": "air", "label": "UPS Next Day"}
BOTH = ["auto", "legacy"]


@asynccontextmanager
async def host(
    data: Path, *arguments: str, mode: Any = "auto", **options: Any
) -> AsyncIterator[Client]:
    """The official client, with the program it has started."""
    program = StdioServerParameters(
        command=sys.executable,
        args=[str(RUN), "mcp", "--data", str(data), *arguments],
        env=clean_environment(),
    )
    with open(os.devnull, "w") as nowhere:
        pipes = stdio_client(program, errlog=nowhere)
        async with Client(pipes, mode=mode, **options) as client:
            yield client


def lonely(result: Any) -> dict[str, Any]:
    value: dict[str, Any] = result.structured_content["result"]
    assert value["status"] == "no_screen", value
    return value


def url_of(data: Path) -> str:
    running = RunningServer.read(data)
    assert running is not None
    return running.admin_url


async def tapped(url: str, code: str) -> None:
    async with await Phone.pair(url, code) as phone:
        await phone.choose("air")


async def learned_once(client: Client) -> None:
    result = await client.call_tool("ask", QUESTION)
    assert result.structured_content["result"] == CHOSEN
    state = await client.call_tool("get_state", {})
    assert state.structured_content["companion"]["events"] == []


@pytest.mark.parametrize("mode", BOTH)
async def test_the_first_question_shows_the_way_in_as_words_link_and_picture(
    mode: str, tmp_path: Path
) -> None:
    data, opened = tmp_path / "data", []

    async def opens(context: Any, params: Any) -> ElicitResult:
        opened.append(params.url)
        return ElicitResult(action="decline")

    # Also where the host opens links: it could not open one on the phone.
    async with host(data, "--port", "0", mode=mode, elicitation_callback=opens) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} >= {"ask", "show"}
        result = await client.call_tool("ask", QUESTION)
        code = lonely(result)["pairing_code"]
        kinds = [part.type for part in result.content]
        assert kinds == ["text", "text", "resource_link", "image"]
        _, words, link, picture = result.content
        [found] = scanned(base64.b64decode(picture.data))
        assert picture.mime_type == "image/png"
        assert found == str(link.uri)
        assert found in words.text
        assert "on this computer only" in words.text
        ticket = found.partition("#")[2]
        async with await Phone.pair(url_of(data), ticket) as phone:
            await phone.choose("air")
            await learned_once(client)
            # With a screen there, nobody is shown the way again.
            shown = asyncio.create_task(client.call_tool("show", {"title": "Rates"}))
            await phone.answer("companion_show", {"status": "shown"})
            assert [part.type for part in (await shown).content] == ["text"]
        assert code.isdigit()
        assert opened == []


async def test_the_program_is_killed_and_a_phone_answers_in_the_next_start(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    arguments = ("--port", str(free_port()), "--session", "release")
    async with killed_in_the_end(data, *arguments, mode="legacy") as client:
        code = lonely(await client.call_tool("ask", QUESTION))["pairing_code"]
    async with host(data, *arguments) as client:
        await client.list_tools()
        await tapped(url_of(data), code)
        await learned_once(client)


async def test_a_paired_phone_stays_paired_for_the_next_start(tmp_path: Path) -> None:
    data = tmp_path / "data"
    arguments = ("--port", str(free_port()), "--session", "release")
    async with host(data, *arguments) as client:
        code = lonely(await client.call_tool("ask", QUESTION))["pairing_code"]
        phone = await Phone.pair(url_of(data), code)
        await phone.__aenter__()
    try:
        async with host(data, *arguments) as client:
            asking = asyncio.create_task(client.call_tool("ask", QUESTION))
            await phone.choose("air")
            assert (await asking).structured_content["result"] == CHOSEN
        async with host(data, *arguments[:2], "--session", "another") as client:
            lonely(await client.call_tool("ask", QUESTION))
    finally:
        await phone.__aexit__(None, None, None)


async def test_the_server_on_the_folder_is_used_and_may_be_killed_and_started(
    start: Callable[..., Served], tmp_path: Path
) -> None:
    data, port = tmp_path / "data", str(free_port())
    server = start("--port", port)
    async with host(data, "--session", "release", mode="legacy") as client:
        value = lonely(await client.call_tool("ask", QUESTION))
        assert value["pairing_url"] == f"{server.url}/c"
        server.close()
        server = start("--port", port)
        await tapped(server.url, value["pairing_code"])
        await learned_once(client)


async def test_a_question_under_way_survives_the_server(
    start: Callable[..., Served], tmp_path: Path
) -> None:
    data, port = tmp_path / "data", str(free_port())
    server = start("--port", port)
    async with host(data, "--session", "release") as client:
        code = lonely(await client.call_tool("ask", {"title": "Sure?"}))["pairing_code"]
        async with await Phone.pair(server.url, code) as phone:
            await phone.confirm()
            heard = asyncio.Event()

            async def progress(seconds: float, total: float | None, said: str | None) -> None:
                heard.set()

            asking = asyncio.create_task(
                client.call_tool("ask", QUESTION, progress_callback=progress)
            )
            async with asyncio.timeout(PATIENCE_S):
                await heard.wait()
            server.close()
            server = start("--port", port)
            await phone.choose("air")
            assert (await asking).structured_content["result"] == CHOSEN


async def test_a_task_is_looked_at_through_the_pipe_while_the_server_is_killed_and_started(
    start: Callable[..., Served], tmp_path: Path
) -> None:
    data, port = tmp_path / "data", str(free_port())
    server, extension = start("--port", port), TasksExtension()
    async with host(data, extensions=[extension]) as client:
        asking = asyncio.create_task(client.call_tool("ask", QUESTION))
        said = (await extension.began)["statusMessage"]
        server.close()
        server = start("--port", port)
        await tapped(server.url, "".join(filter(str.isdigit, said.split(" type ", 1)[1])))
        assert (await asking).structured_content["result"] == CHOSEN
        state = await client.call_tool("get_state", {})
        assert state.structured_content["companion"]["events"] == []


async def test_a_session_that_has_ended_is_followed_by_another(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with host(data, "--port", "0", "--session", "release") as client:
        lonely(await client.call_tool("ask", QUESTION))
        token, _ = Tokens(Keys.load(data, None)).issue("user", LOCAL_USER, 600)
        headers = {"Authorization": f"Bearer {token}"}
        async with aiohttp.ClientSession(url_of(data), headers=headers) as http:
            async with http.get("/me/sessions") as answer:
                [session] = (await answer.json())["sessions"]
            assert session["title"] == "release"
            await http.delete(f"/sessions/{session['session_id']}")
        lonely(await client.call_tool("ask", QUESTION))


# The pipes themselves.


async def test_nothing_but_mcp_is_on_stdout_whatever_comes_in(tmp_path: Path) -> None:
    called = {"name": "wait_for_companion", "arguments": {"seconds": 100}}
    sent: list[Any] = [
        {"jsonrpc": "2.0", "id": "1", "method": "initialize", "params": {"protocolVersion": "2025-03-26"}},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        b"", b"   ", b"not json", b"\xff\xfe", b"[]", b"null", b"7", b"[" * 100_000, b'{"id": 1}',
        {"jsonrpc": "2.0", "id": None, "method": "ping"},
        {"jsonrpc": "2.0", "id": True, "method": "ping"},
        {"jsonrpc": "2.0", "id": 2, "method": "no/such\nmethod\u00fc"},
        {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": []},
        {"jsonrpc": "2.0", "id": 4, "method": "tools/call", "params": {"name": "fly"}},
        {"jsonrpc": "2.0", "id": 5, "method": "tools/call", "params": {"name": "x" * 200_000}},
        {"jsonrpc": "2.0", "id": 6, "result": {}},
        [{"jsonrpc": "2.0", "id": 7, "method": "ping"}],
        {"jsonrpc": "2.0", "id": 8, "method": "tools/call", "params": called},
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 8}},
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": None},
        {"jsonrpc": "2.0", "id": 9, "method": "ping"},
    ]  # fmt: skip
    out = await piped(tmp_path / "data", sent)
    answers: dict[Any, Any] = {}
    for line in out:
        message = json.loads(line)
        for one in message if isinstance(message, list) else [message]:
            assert one["jsonrpc"] == "2.0"
            answers.setdefault(one["id"], []).append(one)
    assert answers["1"][0]["result"]["protocolVersion"] == "2025-03-26"
    assert {key: answers[key][0]["error"]["code"] for key in (2, 3, 4)} == {
        2: -32601, 3: -32602, 4: -32602,
    }  # fmt: skip
    assert answers[5][0]["error"]["code"] == -32603
    assert [answers[key][0]["result"] for key in (7, 9)] == [{}, {}]
    assert 8 not in answers
    told = [(one["error"]["code"], one["error"]["message"]) for one in answers[None]]
    assert {code for code, _ in told} == {-32700, -32600, -32603}
    assert ["larger" in words or "bytes" in words for code, words in told if code == -32603] == [True]


async def test_the_sdk_of_before_links_gets_none(tmp_path: Path) -> None:
    sent = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2024-11-05"}},
    ]  # fmt: skip
    process = await started(tmp_path / "data")
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE_S):
            process.stdin.write(json.dumps(sent[0]).encode() + b"\n")
            await process.stdout.readline()
            params = {"name": "ask", "arguments": {"title": "Sure?"}}
            call = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params}
            process.stdin.write(json.dumps(call).encode() + b"\n")
            answer = json.loads(await process.stdout.readline())
            assert [part["type"] for part in answer["result"]["content"]] == ["text", "text", "image"]
            process.stdin.close()
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_it_ends_cleanly_when_it_is_told_to_though_the_pipe_is_open(tmp_path: Path) -> None:
    process = await started(tmp_path / "data")
    assert process.stdin is not None
    assert process.stdout is not None
    ping = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"})
    process.stdin.write(ping.encode() + b"\n")
    await asyncio.wait_for(process.stdout.readline(), PATIENCE_S)
    process.terminate()
    assert await asyncio.wait_for(process.wait(), PATIENCE_S) == 0
    assert process.stderr is not None
    assert b"Fatal" not in await process.stderr.read()


async def test_a_folder_that_cannot_be_used_is_one_sentence_on_stderr(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    process = await started(tmp_path / "file" / "data")
    out, errors = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert (out, process.returncode) == (b"", 1)
    assert errors.startswith(b"Error: ")
    assert b"Traceback" not in errors


async def test_two_hosts_share_one_server_and_the_other_goes_on_without_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp_home, "RETURN_S", 0.2)
    config = Config(data=tmp_path / "data", port=free_port())
    async with aiohttp.ClientSession() as http:
        async with Home(replace(config), http, is_any_port=False) as second:
            async with Home(config, http, is_any_port=False) as first:
                one, other = await first.reached(), await second.reached()
                assert one.url == other.url
            second.lost(other)
            again = await second.reached()
            assert await again.is_alive()
            assert again.url == one.url


async def test_another_port_is_taken_where_the_usual_one_is_in_use(tmp_path: Path) -> None:
    taken = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    config = Config(data=tmp_path / "data", port=port)
    async with taken, aiohttp.ClientSession() as http:
        async with Home(config, http, is_any_port=True) as home:
            reached = await home.reached()
            assert await reached.is_alive()
            assert not reached.url.endswith(f":{port}")


async def started(data: Path) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, str(RUN), "mcp", "--data", str(data), "--port", "0",
        env=clean_environment(), stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, limit=2**24,
    )  # fmt: skip


async def piped(data: Path, sent: list[Any]) -> list[bytes]:
    """Send lines and close the pipe; return what the program has written at its end."""
    process = await started(data)
    lines = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in sent]
    out, errors = await asyncio.wait_for(
        process.communicate(b"\n".join(lines) + b"\n"), PATIENCE_S
    )
    assert process.returncode == 0, errors
    return out.splitlines()


@asynccontextmanager
async def killed_in_the_end(
    data: Path, *arguments: str, mode: Any
) -> AsyncIterator[Client]:
    """A host whose program is killed, as by a power cut."""
    async with host(data, *arguments, mode=mode) as client:
        yield client
        running = RunningServer.read(data)
        assert running is not None
        os.kill(running.pid, signal.SIGKILL)
