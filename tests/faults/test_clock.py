"""The time of day is set, the machine sleeps, the process stands still: nobody is hurried or kept waiting."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hostile import Machine
from real_server import Message, Server, joined, running

HOUR_S = 3600.0
STEPS_S = (2 * HOUR_S, -3 * HOUR_S)


@asynccontextmanager
async def machine_with(
    tmp_path: Path, *flags: str
) -> AsyncIterator[tuple[Machine, Server, aiohttp.ClientSession]]:
    data = tmp_path / "data"
    with Machine(tmp_path, data) as machine:
        async with (
            running(data, *flags, environment=machine.environment) as server,
            aiohttp.ClientSession() as http,
        ):
            yield machine, server, http


def call(tool_call_id: str, timeout_ms: int) -> Message:
    asked = {"tool_name": "companion_confirm", "tool_call_id": tool_call_id,
             "parameters": {"title": "Sure?"}, "timeout_ms": timeout_ms}  # fmt: skip
    return {"type": "client_tool_call", "client_tool_call": asked}


async def ask(
    http: aiohttp.ClientSession, server: Server, method: str, path: str, token: str,
    body: Any = None,
) -> tuple[int, Any]:  # fmt: skip
    async with http.request(
        method, server.url + path, json=body, headers={"Authorization": f"Bearer {token}"}
    ) as answer:
        is_json = "json" in answer.headers.get("Content-Type", "")
        return answer.status, await answer.json() if is_json else None


@pytest.mark.parametrize("step_s", [-600.0, *STEPS_S])
async def test_a_call_is_answered_in_its_time_however_the_clock_is_set(
    step_s: float, tmp_path: Path
) -> None:
    async with (
        machine_with(tmp_path) as (machine, server, http),
        joined(http, server) as agent,
        joined(http, server, session_id=agent.joined["session_id"], role="ui") as screen,
    ):
        loop = asyncio.get_running_loop()
        await agent.send(call("before", 1500))
        record = await screen.until(type="client_tool_call")
        assert record["deadline_at"] == record["timestamp"] + 1500
        began_s = loop.time()
        machine.step(step_s)
        result = await agent.until(type="client_tool_result", tool_call_id="before")
        assert '"no_answer"' in result["result"]
        assert loop.time() - began_s > 1.0, "nobody is hurried either"
        assert abs(result["timestamp"] - record["timestamp"] - step_s * 1000) < 30_000

        # A tap still counts on a question that was there before, and on one that came after.
        await screen.send(
            {"type": "client_tool_result", "tool_call_id": "before", "result": '{"id": "a"}'}
        )
        assert (await screen.until(type="user_message"))["in_reply_to"] == "before"
        await agent.send(call("after", 60_000))
        asked = await screen.until(type="client_tool_call")
        assert asked["deadline_at"] == asked["timestamp"] + 60_000
        async with joined(
            http, server, session_id=agent.joined["session_id"], role="ui"
        ) as late:
            assert [c["client_tool_call"]["tool_call_id"] for c in late.joined["open_calls"]] == [
                "after"
            ]


@pytest.mark.parametrize("step_s", STEPS_S)
async def test_who_is_in_a_session_stays_and_who_joins_finds_it(
    step_s: float, tmp_path: Path
) -> None:
    async with machine_with(tmp_path) as (machine, server, http), joined(http, server) as agent:
        session_id = agent.joined["session_id"]
        user = server.token()
        path = f"/sessions/{session_id}"
        _, made = await ask(http, server, "POST", f"{path}/tokens", user, {"role": "ui"})
        _, opened = await ask(http, server, "POST", f"{path}/pairings", user, {"ttl_s": 60})
        machine.step(step_s)

        async with joined(http, server, session_id=session_id, strict=1) as other:
            assert other.joined["session_id"] == session_id
        async with joined(http, server, token=made["token"]) as screen:
            await screen.send({"type": "token_renew"})
            renewed = await screen.until(type="token_renewed")
        async with joined(http, server, token=renewed["token"]) as screen:
            assert screen.joined["session_id"] == session_id
        ticket = opened["url"].partition("#")[2]
        status, paired = await ask(http, server, "POST", "/pair", user, {"ticket": ticket})
        assert status == 201
        async with joined(http, server, token=paired["token"]) as phone:
            assert phone.joined["role"] == "ui"
            await phone.send({"type": "token_renew"})
            assert (await phone.until(type="token_renewed"))["token"]
        # What ends later is told by the time of day there is now, for pages to count down to.
        _, again = await ask(http, server, "POST", f"{path}/pairings", user, {})
        async with joined(http, server, session_id=session_id) as other:
            left_ms = again["url_expires_at"] - other.joined["timestamp"]
            assert 30_000 < left_ms <= 61_000
        _, shown = await ask(http, server, "GET", path, user)
        assert shown["expires_at"] - other.joined["timestamp"] > HOUR_S * 1000 - 60_000
        await agent.send({"type": "ping", "requestId": "still here"})
        await agent.until(requestId="still here")


@pytest.mark.parametrize("step_s", [-3 * HOUR_S, 2 * HOUR_S])
async def test_signing_out_everywhere_ends_what_was_and_nothing_that_comes(
    step_s: float, tmp_path: Path
) -> None:
    async with machine_with(tmp_path) as (machine, server, http):
        admin = server.token("root", "admin")
        body = {"user": "alice", "role": "user", "ttl_s": 7200}
        session_of = {"role": "ui", "ttl_s": 600}

        async def fresh() -> str:
            status, made = await ask(http, server, "POST", "/tokens", admin, body)
            assert status == 201
            return str(made["token"])

        async def works(token: str) -> bool:
            return (await ask(http, server, "GET", "/me/sessions", token))[0] == 200

        before = await fresh()
        machine.step(step_s)
        between = await fresh()
        machine.step(-step_s)
        assert await works(before)
        assert await works(between)
        machine.step(step_s)
        assert (await ask(http, server, "DELETE", "/tokens?user=alice", admin))[0] == 204
        assert not await works(before)
        assert not await works(between)
        machine.step(-3 * HOUR_S)
        after = await fresh()
        assert await works(after)
        _, made = await ask(http, server, "POST", "/sessions", after, {})
        path = f"/sessions/{made['session_id']}/tokens"
        _, page = await ask(http, server, "POST", path, after, session_of)
        token = page["token"]
        for _ in range(2):
            async with joined(http, server, token=token) as screen:
                await screen.send({"type": "token_renew"})
                token = (await screen.until(type="token_renewed"))["token"]


async def test_a_machine_that_slept_answers_what_was_due_and_ends_nothing_unannounced(
    tmp_path: Path,
) -> None:
    async with machine_with(tmp_path, "--session-ttl=60s") as (machine, server, http):
        token = server.token(ttl_s=10 * HOUR_S)
        async with (
            joined(http, server, token=token) as quiet,
            joined(http, server, token=token) as agent,
            joined(http, server, session_id=agent.joined["session_id"], role="ui") as brief,
        ):
            await agent.send(call("asleep", 100_000))
            await brief.until(type="client_tool_call")
            machine.sleep(2 * HOUR_S)
            told = await quiet.until(type="session_expiring")
            assert 0 < told["expires_at"] - told["timestamp"] <= 30_000
            session_id = quiet.joined["session_id"]
            async with joined(http, server, token=token, session_id=session_id, strict=1) as late:
                assert late.joined["session_id"] == session_id
            await agent.until(type="client_tool_result", tool_call_id="asleep")
            # Its token of one hour ran out meanwhile.
            await brief.to_the_end()
            assert brief.ws.close_code == 4401


async def test_a_process_that_stood_still_ends_nothing_unannounced(tmp_path: Path) -> None:
    async with (
        machine_with(tmp_path, "--session-ttl=2s") as (_, server, http),
        joined(http, server) as agent,
    ):
        session_id = agent.joined["session_id"]
        os.kill(server.pid, signal.SIGSTOP)
        await asyncio.sleep(6)
        os.kill(server.pid, signal.SIGCONT)
        async with joined(http, server, session_id=session_id, strict=1) as late:
            assert late.joined["session_id"] == session_id
            assert (await late.until(type="session_expiring"))["session_id"] == session_id


async def test_a_session_in_which_nothing_happens_lives_its_time_and_no_longer(
    tmp_path: Path,
) -> None:
    loop = asyncio.get_running_loop()
    async with (
        machine_with(tmp_path, "--session-ttl=3s") as (machine, server, http),
        joined(http, server) as agent,
    ):
        await agent.send({"type": "user_message", "text": "the last word"})
        await agent.until(type="user_message")
        began_s = loop.time()
        machine.step(2 * HOUR_S)
        await agent.until(type="session_expiring")
        machine.step(-5 * HOUR_S)
        await agent.until(type="session_ended")
        assert 2.5 < loop.time() - began_s < 20


async def test_a_start_after_the_clock_went_back_goes_on_from_where_it_was(
    tmp_path: Path,
) -> None:
    async with machine_with(tmp_path) as (machine, server, http):
        async with (
            joined(http, server) as agent,
            joined(http, server, session_id=agent.joined["session_id"], role="ui") as screen,
        ):
            session_id = agent.joined["session_id"]
            await agent.send(call("over a restart", 3000))
            await screen.until(type="client_tool_call")
        await server.end()
        machine.step(-600)
        await server.start()
        async with joined(http, server, session_id=session_id, after=0) as agent_again:
            await agent_again.until(type="client_tool_result", tool_call_id="over a restart")
