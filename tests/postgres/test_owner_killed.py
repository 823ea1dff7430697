"""The server that has a session is killed, stopped or cut off: everybody in it goes on by another one."""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
from postgres_server import PostgresServer
from real_server import PATIENCE_S, Screen, Server, joined, running
from running import free_port

from companion_ws.access.keys import Keys
from companion_ws.access.tokens import Tokens

KEY = {"COMPANION_SECRET_KEY": "k" * 64}


def token() -> str:
    """Return what both servers accept: they have the same key."""
    keys = Keys([KEY["COMPANION_SECRET_KEY"].encode()])
    return Tokens(keys).issue("user", "alice", 3600.0)[0]


async def two_servers(
    stack: AsyncExitStack, path: Path, postgres: PostgresServer
) -> tuple[Server, Server, aiohttp.ClientSession]:
    """Run two servers on one database for as long as the stack stands."""
    flag = f"--database={postgres.url(path)}"
    one = await stack.enter_async_context(running(path / "one", flag, environment=KEY))
    two = await stack.enter_async_context(running(path / "two", flag, environment=KEY))
    return one, two, await stack.enter_async_context(aiohttp.ClientSession())


class Between:
    """The network between two servers, which can be cut: connections stand, and nothing arrives."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.is_whole = asyncio.Event()
        self.is_whole.set()
        self._carrying: set[asyncio.Task[None]] = set()

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        for source, target in ((reader, back), (there, writer)):
            task = asyncio.create_task(self._carry(source, target))
            self._carrying.add(task)
            task.add_done_callback(self._carrying.discard)

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while piece := await source.read(65536):
                await self.is_whole.wait()
                target.write(piece)
        target.close()


async def test_owner_cut_off_from_an_entrance_is_told_and_reached_again_once_it_can_be(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    flag, port = f"--database={postgres.url(tmp_path)}", free_port()
    between = Between(port)
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(await asyncio.start_server(between.take, "127.0.0.1", 0))
        node_url = f"--node-url=http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
        one = await stack.enter_async_context(
            running(tmp_path / "one", flag, f"--port={port}", node_url, environment=KEY)
        )
        two = await stack.enter_async_context(running(tmp_path / "two", flag, environment=KEY))
        http = await stack.enter_async_context(aiohttp.ClientSession())
        headers = {"Authorization": f"Bearer {token()}"}
        agent = await stack.enter_async_context(joined(http, one, token=token()))
        session_id = agent.joined["session_id"]
        screen = await stack.enter_async_context(
            joined(http, two, token=token(), session_id=session_id, role="ui")
        )
        between.is_whole.clear()
        cut_s = time.monotonic()
        async with asyncio.timeout(PATIENCE_S):
            while (told := await screen.ws.receive()).type is not aiohttp.WSMsgType.CLOSE:
                assert told.type is aiohttp.WSMsgType.TEXT
        assert told.data == 1012
        print(f"told after {time.monotonic() - cut_s:.2f} s")

        async def say() -> tuple[int, dict[str, object]]:
            async with http.post(
                f"{two.url}/sessions/{session_id}/messages", headers=headers,
                json={"type": "user_message", "text": "hello"},
            ) as answer:  # fmt: skip
                return answer.status, await answer.json()

        status, body = await say()
        assert (status, body["code"]) == (503, "unavailable")
        between.is_whole.set()
        async with asyncio.timeout(PATIENCE_S):
            while (await say())[0] != 200:
                await asyncio.sleep(0.1)
        assert (await agent.until(type="user_message"))["text"] == "hello"


async def test_owner_killed_everybody_is_back_by_another_server_with_everything(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    async with AsyncExitStack() as stack:
        one, two, http = await two_servers(stack, tmp_path, postgres)
        alice = token()
        agent = await stack.enter_async_context(joined(http, one, token=alice))
        session_id = agent.joined["session_id"]
        screen = await stack.enter_async_context(
            joined(http, two, token=alice, session_id=session_id, role="ui")
        )
        for number in range(20):
            await agent.send({"type": "contextual_update", "text": f"{number}"})
        last = await screen.until(type="contextual_update", text="19")

        killed_s = time.monotonic()
        await one.kill()
        while (told := await screen.ws.receive()).type is not aiohttp.WSMsgType.CLOSE:
            assert told.type is aiohttp.WSMsgType.TEXT
        assert told.data == 1012
        told_s = time.monotonic() - killed_s

        async def back(role: str) -> tuple[Screen, float]:
            come = await stack.enter_async_context(
                joined(http, two, token=alice, session_id=session_id, role=role, after=last["seq"] - 5)
            )
            return come, time.monotonic() - killed_s

        (agent, _), (screen, back_s) = await asyncio.gather(back("agent"), back("ui"))
        print(f"told after {told_s:.2f} s, back after {back_s:.2f} s")
        for each in (agent, screen):
            assert each.joined["session_id"] == session_id
            assert each.joined["seq"] == last["seq"]
        await agent.send({"type": "contextual_update", "text": "on we go"})
        assert (await screen.until(text="on we go"))["seq"] == last["seq"] + 1
        replayed = [message["text"] for message in screen.records if "text" in message]
        assert replayed == ["15", "16", "17", "18", "19", "on we go"]


async def test_owner_killed_a_request_at_the_other_server_is_held_and_then_done(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    async with AsyncExitStack() as stack:
        one, two, http = await two_servers(stack, tmp_path, postgres)
        headers = {"Authorization": f"Bearer {token()}"}
        agent = await stack.enter_async_context(joined(http, one, token=token()))
        session_id = agent.joined["session_id"]
        await one.kill()
        began_s = time.monotonic()
        async with http.post(
            f"{two.url}/sessions/{session_id}/messages", headers=headers,
            json={"type": "user_message", "text": "are you there?"},
        ) as answer:  # fmt: skip
            assert (answer.status, (await answer.json())["seq"]) == (200, 1)
        print(f"held for {time.monotonic() - began_s:.2f} s")


async def test_owner_stopped_nobody_is_refused_at_the_other_server(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    async with AsyncExitStack() as stack:
        one, two, http = await two_servers(stack, tmp_path, postgres)
        headers = {"Authorization": f"Bearer {token()}"}
        agent = await stack.enter_async_context(joined(http, one, token=token()))
        session_id = agent.joined["session_id"]
        screen = await stack.enter_async_context(
            joined(http, two, token=token(), session_id=session_id, role="ui")
        )
        stopping = asyncio.create_task(one.end())
        sent, longest_s = 0, 0.0
        while not stopping.done():
            began_s = time.monotonic()
            async with http.post(
                f"{two.url}/sessions/{session_id}/messages", headers=headers,
                json={"type": "contextual_update", "text": f"{sent}"},
            ) as answer:  # fmt: skip
                assert answer.status == 200, await answer.text()
                assert (await answer.json())["seq"] == sent + 1
            longest_s, sent = max(longest_s, time.monotonic() - began_s), sent + 1
        assert await stopping == 0
        print(f"{sent} sent while it stopped, the longest took {longest_s:.2f} s")
        while (told := await screen.ws.receive()).type is not aiohttp.WSMsgType.CLOSE:
            assert told.type is aiohttp.WSMsgType.TEXT
        assert told.data == 1012
        screen = await stack.enter_async_context(
            joined(http, two, token=token(), session_id=session_id, role="ui", after=0)
        )
        assert screen.joined["seq"] == sent
