"""The Python client and the real server, which is killed and started again underneath it."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable

import pytest
from programs import Program, Served

from companion_ws.client import CompanionClient, ToolFailed
from companion_ws.core.errors import RevisionConflict, ToolClosed

Start = Callable[..., Served]


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


async def test_a_stream_of_updates_survives_kills_without_loss_or_repeats(
    start: Start, program: Program, port: int
) -> None:
    served = await asyncio.to_thread(start, "--port", str(port))
    (token,) = await asyncio.to_thread(program.lines, "token", "create", "--user", "alice")
    seen: list[str] = []
    acknowledged: list[int] = []
    async with (
        CompanionClient(served.url, token=token) as agent,
        CompanionClient(served.url, token=token, session_id=agent.session_id, role="ui") as screen,
    ):

        async def read() -> None:
            async for record in screen.records():
                seen.append(record["text"])
                if record["text"] == "end":
                    return

        async def write() -> None:
            number = 0
            while not killed.is_set():
                record = await agent.contextual_update(str(number))
                acknowledged.append(record["seq"])
                number += 1
                await asyncio.sleep(0.025)  # below the limit of a connection

        killed = asyncio.Event()
        reading, writing = asyncio.create_task(read()), asyncio.create_task(write())
        for _ in range(3):
            enough = len(acknowledged) + 20
            await agent.wait_until(lambda _, enough=enough: len(acknowledged) >= enough, 20)
            await asyncio.to_thread(served.stop, signal.SIGKILL)
            served = await asyncio.to_thread(start, "--port", str(port))
        killed.set()
        await writing
        await agent.contextual_update("end")
        await asyncio.wait_for(reading, 20)

    assert acknowledged == list(range(1, len(acknowledged) + 1))
    assert seen == [*(str(number) for number in range(len(acknowledged))), "end"]


async def test_a_question_outlives_the_server_and_is_answered_once(
    start: Start, program: Program, port: int
) -> None:
    served = await asyncio.to_thread(start, "--port", str(port))
    (token,) = await asyncio.to_thread(program.lines, "token", "create", "--user", "alice")
    async with CompanionClient(served.url, token=token) as agent:
        invitation = await agent.pair()
        assert invitation.url.startswith(f"{served.url}/p#")
        assert len(invitation.code) == 9
        asking = asyncio.create_task(
            agent.call_tool("companion_confirm", timeout_ms=60_000, title="Really?")
        )
        await agent.wait_until(lambda companion: companion.seq == 1, 10)
        await asyncio.to_thread(served.stop, signal.SIGKILL)
        served = await asyncio.to_thread(start, "--port", str(port))

        joining = {"session_id": agent.session_id, "role": "ui"}
        async with CompanionClient(served.url, token=token, **joining) as screen:
            (question,) = screen.joined["open_calls"]
            call_id = question["client_tool_call"]["tool_call_id"]
            await screen.answer_tool(call_id, {"status": "confirmed"})
            assert await asyncio.wait_for(asking, 20) == {"status": "confirmed"}
            with pytest.raises(ToolClosed):
                await screen.answer_tool(call_id, {"status": "declined"})


async def test_state_tools_and_refusals_against_the_real_server(
    server: Served, program: Program
) -> None:
    (token,) = await asyncio.to_thread(program.lines, "token", "create", "--user", "alice")
    async with CompanionClient(server.url, token=token, session_id="unknown") as agent:
        assert (agent.created, agent.reason) == (True, "session_unavailable")
        first = await agent.set_state("step", {"n": 1}, if_revision=0)
        assert agent.state == {"step": {"n": 1}}
        assert agent.revision("step") == first["revision"]
        with pytest.raises(RevisionConflict) as conflict:
            await agent.set_state("step", 2, if_revision=0)
        assert conflict.value.details["value"] == {"n": 1}
        assert await agent.get_state("step") == {"n": 1}
        assert await agent.get_state("absent") is None
        await agent.delete_state("step")
        assert await agent.get_state() == {}

        quotes = await agent.call_tool(
            "get_shipping_quotes", from_zip="94107", to_zip="10001", weight=3
        )
        assert {quote["carrier"] for quote in quotes} == {"FedEx", "UPS", "USPS"}
        assert agent.state["quotes"] == quotes
        with pytest.raises(ToolFailed, match="is not a zip code"):
            await agent.call_tool("get_shipping_quotes", from_zip="x", to_zip="y", weight=3)
        label = await agent.call_tool("create_label", carrier="ups", service="next day")
        assert label["tracking_number"].startswith("1Z")
        nobody = await agent.call_tool("companion_choose", title="?", options=[])
        assert nobody["status"] == "no_screen"
        assert nobody["say"]


async def test_a_burst_beyond_the_servers_rate_arrives_whole(
    start: Start, program: Program
) -> None:
    served = await asyncio.to_thread(start, "--limit-messages-per-s", "100", "--limit-burst", "40")
    (token,) = await asyncio.to_thread(program.lines, "token", "create", "--user", "alice")
    async with CompanionClient(served.url, token=token) as agent:
        records = await asyncio.gather(*(agent.contextual_update(str(n)) for n in range(200)))

        assert sorted(record["seq"] for record in records) == list(range(1, 201))


async def test_transcripts_that_are_not_recorded_still_go_out(
    start: Start, program: Program
) -> None:
    served = await asyncio.to_thread(start, "--no-transcripts")
    (token,) = await asyncio.to_thread(program.lines, "token", "create", "--user", "alice")
    said = {"type": "agent_response", "agent_response_event": {"agent_response": "Hello"}}
    async with CompanionClient(served.url, token=token) as agent:
        joining = {"session_id": agent.session_id, "role": "ui"}
        async with CompanionClient(served.url, token=token, **joining) as screen:
            heard = asyncio.ensure_future(anext(screen.messages()))
            await asyncio.sleep(0)
            assert await agent.send(said) is None
            message = await heard
            while message["type"] != "agent_response":
                message = await anext(screen.messages())
        assert agent.seq == 0
