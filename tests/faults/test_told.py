"""What anybody is told rests on what is stored, whichever door it is told through."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hostile import Call, Machine
from real_server import Message, Screen, Server, joined, running

CARD = {"tool_name": "companion_choose", "tool_call_id": "call 1",
        "parameters": {"title": "Which?", "options": ["a", "b"]}}  # fmt: skip


class Desk:
    """A session with a key, an open question, an agent and a screen, on a disk that can be held."""

    def __init__(
        self, machine: Machine, server: Server, http: aiohttp.ClientSession, agent: Screen,
        screen: Screen,
    ) -> None:  # fmt: skip
        self.machine, self.server, self.http = machine, server, http
        self.agent, self.screen = agent, screen

    @property
    def path(self) -> str:
        return f"/sessions/{self.agent.joined['session_id']}"

    async def ask(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, Any]:
        """Ask over HTTP; return status and body."""
        headers["Authorization"] = f"Bearer {self.server.token()}"
        async with self.http.request(
            method, self.server.url + self.path + path, json=body, headers=headers
        ) as answer:
            is_json = "json" in answer.headers.get("Content-Type", "")
            return answer.status, await answer.json() if is_json else None

    async def change_in_vain(self, message: Message, *doors: Any) -> list[Any]:
        """Send a command whose commit will be refused, knock at `doors` meanwhile; return answers."""
        self.machine.hold(Call.SYNC)
        request_id = await self.screen.send(message)
        await self.machine.held()
        asked = [asyncio.create_task(door) for door in doors]
        # A ping is answered once all that was sent before it has been taken up.
        for _ in range(3):
            await asyncio.sleep(0.02)
            async with self.http.get(f"{self.server.url}/healthz") as answer:
                assert answer.status == 200
        early = [task.result() for task in asked if task.done()]
        assert early == [], "told before anybody can know"
        self.machine.refuse(Call.SYNC, errno.EIO)
        self.machine.hold(Call(0))
        assert (await self.screen.until(requestId=request_id))["code"] == "unavailable"
        return await asyncio.gather(*asked)


@asynccontextmanager
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    data = tmp_path / "data"
    with Machine(tmp_path, data) as machine:
        async with (
            running(data, environment=machine.environment) as server,
            aiohttp.ClientSession() as http,
            joined(http, server) as agent,
            joined(
                http, server, session_id=agent.joined["session_id"], role="ui"
            ) as screen,
        ):
            stored = await agent.send({"type": "state_update", "key": "step", "value": 1})
            await agent.until(requestId=stored)
            asked = await agent.send({"type": "client_tool_call", "client_tool_call": CARD})
            await screen.until(requestId=asked)
            yield Desk(machine, server, http, agent, screen)


STEP = {"type": "state_update", "key": "step", "value": "never stored"}
ANSWER = {"type": "client_tool_result", "tool_call_id": "call 1", "result": '{"id": "a"}'}


@pytest.mark.parametrize(
    ("change", "method", "path", "body", "headers"),
    [
        (STEP, "PUT", "/state/step", 2, {"If-Match": '"1"'}),
        (STEP, "DELETE", "/state/step", None, {"If-Match": '"1"'}),
        (STEP, "POST", "/messages", {**STEP, "if_revision": 1}, {}),
        (STEP, "POST", "/messages", {"type": "state_get"}, {}),
        (ANSWER, "POST", "/messages?role=ui", ANSWER, {}),
        (ANSWER, "POST", "/messages", {"type": "client_tool_cancel", "tool_call_id": "call 1"}, {}),
        ({**STEP, "value": "x" * 30_000}, "POST", "/messages",
         {**STEP, "key": "k", "value": "x" * 30_000}, {}),
    ],
)  # fmt: skip
async def test_over_http_nobody_hears_of_what_was_never_stored(
    change: Message, method: str, path: str, body: Any, headers: dict[str, str], tmp_path: Path
) -> None:
    async with desk(tmp_path) as here:
        door = here.ask(method, path, body, **headers)
        [(status, told)] = await here.change_in_vain(change, door)
        assert status == 503, told
        assert told["code"] == "unavailable"
        assert "never stored" not in str(told)


async def test_over_a_socket_who_stood_behind_a_refused_change_hears_that_nothing_is_known(
    tmp_path: Path,
) -> None:
    async with desk(tmp_path) as here:
        agent, screen = here.agent, here.screen

        async def told(sender: Screen, message: Message) -> Message:
            return await sender.until(requestId=await sender.send(message))

        answers = await here.change_in_vain(
            STEP,
            told(agent, {**STEP, "value": 2, "if_revision": 1}),
        )
        assert [answer.get("code") for answer in answers] == ["unavailable"]
        here.machine.heal()
        await stored_again(here)
        answers = await here.change_in_vain(
            ANSWER, told(agent, {"type": "client_tool_cancel", "tool_call_id": "call 1"})
        )
        assert [answer.get("code") for answer in answers] == ["unavailable"]
        here.machine.heal()
        await stored_again(here)
        # Nothing was lost by it: the question is still open, the value the one that was stored.
        result = await told(screen, {**ANSWER, "requestId": "again"})
        assert result["type"] == "client_tool_result"
        state = await told(screen, {"type": "state_get", "requestId": "look"})
        assert state["state"]["step"]["value"] == 1


async def test_an_end_that_was_not_stored_is_told_to_nobody(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        machine, session_id = here.machine, here.agent.joined["session_id"]
        machine.hold(Call.SYNC)
        ending = asyncio.create_task(here.ask("DELETE", ""))
        await machine.held()
        second = asyncio.create_task(here.ask("DELETE", ""))
        message = asyncio.create_task(
            here.ask("POST", "/messages", {"type": "contextual_update", "text": "too late?"})
        )

        async def come() -> str:
            async with joined(here.http, here.server, session_id=session_id, strict=1) as late:
                return str(late.joined["session_id"])

        coming = asyncio.create_task(come())
        done, _ = await asyncio.wait({second, message, coming, ending}, timeout=0.2)
        assert not done
        machine.refuse(Call.SYNC, errno.EIO)
        machine.hold(Call(0))
        for asked in (ending, second, message):
            assert (await asked)[0] == 503
        with pytest.raises(ConnectionResetError, match="closed 1013"):
            await coming
        machine.heal()
        await stored_again(here)
        async with joined(here.http, here.server, session_id=session_id) as again:
            assert again.joined["created"] is False


async def test_what_rests_on_nothing_is_said_even_when_the_disk_refuses(tmp_path: Path) -> None:
    async with desk(tmp_path) as here:
        agent = here.agent

        async def told(*messages: Message) -> list[Message]:
            sent = [await agent.send(message) for message in messages]
            return [await agent.until(requestId=request_id) for request_id in sent]

        [[pong, unknown]] = await here.change_in_vain(STEP, told({"type": "ping"}, {"type": "?"}))
        assert pong["type"] == "pong"
        assert unknown["code"] == "unknown_type"


async def stored_again(here: Desk) -> None:
    """Wait until the disk takes writes."""
    async with asyncio.timeout(20):
        while True:
            async with here.http.get(f"{here.server.url}/readyz") as answer:
                if answer.status == 200:
                    return
            await asyncio.sleep(0.05)
