"""The Python client against a real server: every command has an end, and order holds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from running import WAIT_S, Running

from companion_ws.client import CompanionClient
from companion_ws.core.errors import (
    BodyTooLarge,
    CompanionError,
    InvalidMessage,
    ToolClosed,
    TooManyRequests,
)

CHOICE = {"title": "Which?", "options": [{"id": "air", "label": "Air"}]}
Start = Callable[..., Awaitable[Running]]


async def within(waiting: Awaitable[Any]) -> Any:
    async with asyncio.timeout(WAIT_S):
        return await waiting


async def ask_and_answer(companion: CompanionClient, server: Running, call_id: str) -> None:
    """Have a screen answer a call of this id."""
    async with server.client(session_id=companion.session_id, role="ui") as screen:
        asking = asyncio.create_task(
            companion.call("companion_choose", CHOICE, tool_call_id=call_id)
        )
        async for record in screen.records():
            if record["type"] == "client_tool_call":
                await screen.answer_tool(call_id, {"status": "chosen", "id": "air"})
                break
        assert (await within(asking))["tool_call_id"] == call_id


async def test_a_call_that_was_answered_before_is_answered_again_by_any_client(
    server: Running,
) -> None:
    async with server.client() as companion:
        await ask_and_answer(companion, server, "c1")
        for _ in range(40):  # more than are ever on their way at once
            again = await within(companion.call("companion_choose", CHOICE, tool_call_id="c1"))
            assert again["result"] == '{"status":"chosen","id":"air"}'
    async with server.client(session_id=companion.session_id) as other:
        again = await within(other.call("companion_choose", CHOICE, tool_call_id="c1"))
        assert again["result"] == '{"status":"chosen","id":"air"}'
        call = {"tool_name": "companion_choose", "tool_call_id": "c1", "parameters": CHOICE}
        record = await within(other.send({"type": "client_tool_call", "client_tool_call": call}))
        assert record["duplicate"]
        assert (await within(other.set_state("still", "here")))["value"] == "here"


async def test_a_call_whose_result_left_the_log_fails_in_words(start: Start) -> None:
    server = await start(limit_records=4)
    async with server.client() as companion:
        await ask_and_answer(companion, server, "c1")
        for n in range(80):
            await companion.contextual_update(str(n))
        with pytest.raises(ToolClosed, match="no longer in the log"):
            await within(companion.call("companion_choose", CHOICE, tool_call_id="c1"))
        assert (await within(companion.set_state("still", "here")))["value"] == "here"


async def test_an_id_used_for_another_question_is_refused_and_nobody_waits(
    server: Running,
) -> None:
    async with server.client() as companion:
        first = asyncio.create_task(companion.call("companion_choose", CHOICE, tool_call_id="c2"))
        await asyncio.sleep(0)
        with pytest.raises(CompanionError):
            await within(companion.call("companion_choose", {"title": "B"}, tool_call_id="c2"))
        await within(companion.cancel_tool("c2"))
        assert '"cancelled"' in (await within(first))["result"]


@pytest.mark.parametrize(
    "command",
    [
        {"type": "no_such_command"},
        {"type": "state_update", "key": 5, "value": 1},
        {"type": "client_tool_result", "tool_call_id": "nobody's", "result": "x"},
        {"type": "client_tool_cancel", "tool_call_id": "nobody's"},
        {"type": "client_tool_call", "client_tool_call": {"tool_name": "t"}},
        {"type": "client_tool_call"},
        {"type": "token_renew"},
        {"type": "ping"},
        {"type": "state_get"},
        {"type": "user_activity"},
        {"type": "pairing_answer", "pairing_id": "none", "allow": True},
        {"type": "contextual_update", "text": "x", "requestId": "r" * 129},
        {"type": "contextual_update", "text": "x", "requestId": 7},
    ],
)
async def test_whatever_the_server_answers_ends_the_wait(
    server: Running, command: dict[str, Any]
) -> None:
    async with server.client() as companion:
        with suppress(CompanionError):
            await within(companion.send(command))
        assert (await within(companion.set_state("still", "here")))["value"] == "here"


async def test_a_command_nobody_answers_ends_within_its_bound(server: Running) -> None:
    async with server.client(answer_within_s=1.0) as companion:
        await server.stop()
        with pytest.raises(CompanionError, match="same requestId"):
            await within(companion.contextual_update("into the dark"))
        with pytest.raises(CompanionError):
            await within(companion.call("companion_choose", CHOICE))


async def test_what_is_said_in_order_is_stored_in_order_above_the_rate(start: Start) -> None:
    server = await start(limit_messages_per_s=200, limit_burst=20)
    async with server.client() as companion:
        setting = (companion.set_state("n", n) for n in range(130))
        records = await within(asyncio.gather(*setting))
        values = [record["value"] for record in sorted(records, key=lambda r: r["seq"])]

        assert values == list(range(130))
        assert await companion.get_state("n") == 129


async def test_a_call_beyond_a_quota_is_refused_and_holds_nobody_up(server: Running) -> None:
    """A quota says no date after which it would be otherwise."""
    async with server.client() as companion:
        refusal = {
            "type": "error", "code": "too_many_requests", "message": "Enough.",
            "requestId": "quota", "session_id": companion.session_id, "timestamp": 1,
        }  # fmt: skip
        waiting = asyncio.ensure_future(companion.send({"type": "state_get", "requestId": "quota"}))
        await asyncio.sleep(0)
        companion._outgoing.hear(refusal)
        with pytest.raises(TooManyRequests):
            await within(waiting)


async def test_a_message_beyond_the_limit_is_refused_before_it_is_sent(start: Start) -> None:
    server = await start(limit_message_bytes=4096)
    async with server.client() as companion:
        connection_id = companion.joined["connection_id"]
        assert companion.joined["limits"] == {"message_bytes": 4096}
        with pytest.raises(BodyTooLarge, match="4,096"):
            await within(companion.contextual_update("ä" * 3000))
        with pytest.raises(BodyTooLarge):
            await within(companion.call_tool("companion_show", title="x" * 5000))
        await within(companion.contextual_update("after all"))
        assert companion.joined["connection_id"] == connection_id


async def test_what_is_no_command_is_refused_at_once(server: Running) -> None:
    async with server.client() as companion:
        with pytest.raises(InvalidMessage, match="128"):
            await companion.send({"type": "state_get", "requestId": "r" * 129})
