"""A network whose proxy strips `Upgrade`: the JavaScript connection goes another way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from node_program import NodeProgram
from running import WAIT_S, Running
from stripping_proxy import StrippingProxy

from companion_ws.client import CompanionClient, CompanionClosed
from companion_ws.core.errors import RevisionConflict

CHOICE = {"title": "Which?", "options": [{"id": "air", "label": "Air"}]}
Start = Callable[..., Awaitable[Running]]


@pytest.fixture
async def node() -> AsyncIterator[NodeProgram]:
    async with NodeProgram() as program:
        yield program


@pytest.fixture
async def proxy(server: Running) -> AsyncIterator[StrippingProxy]:
    async with StrippingProxy(server.url) as between:
        yield between


async def test_a_phone_is_a_screen_and_answers(
    server: Running, proxy: StrippingProxy, node: NodeProgram
) -> None:
    async with server.client() as companion:
        pairing = await companion.pair()
        seat = (await server.http("POST", "/pair", {"code": pairing.code, "device": "Pixel 7"}, token=None)).body
        await node.client(
            url=proxy.url, token=seat["token"], sessionId=companion.session_id,
            role="ui", device="Pixel 7",
        )  # fmt: skip
        assert proxy.refused == 1
        async with asyncio.timeout(WAIT_S):
            screen = await companion.wait_for_screen()
        assert (screen["role"], screen["device"]) == ("ui", "Pixel 7")

        asking = asyncio.create_task(companion.call_tool("companion_choose", **CHOICE))
        await node.run(
            """
            for await (const record of kept.companion.records()) {
              if (record.type !== "client_tool_call") continue
              await kept.companion.answerTool(record.client_tool_call.tool_call_id, { status: "chosen", id: "air" })
              break
            }
            """
        )
        async with asyncio.timeout(WAIT_S):
            assert (await asking)["id"] == "air"
        await node.run("kept.companion.close()")
        async with asyncio.timeout(WAIT_S):
            await companion.wait_until(lambda it: not it.screens)


async def test_the_verbs_work_and_the_order_holds(
    start: Start, node: NodeProgram
) -> None:
    server = await start(limit_messages_per_s=100, limit_burst=10)
    session_id = await server.new_session()
    async with StrippingProxy(server.url) as proxy:
        await node.client(url=proxy.url, token=server.token(), sessionId=session_id)
        said = await node.run(
            """
            const { companion } = kept
            const records = await Promise.all(Array.from({ length: 40 }, (_, n) => companion.setState("n", n)))
            const values = records.sort((a, b) => a.seq - b.seq).map((record) => record.value)
            const failed = await companion.setState("n", 1, { ifRevision: 0 }).catch((error) => error)
            const twice = await companion.send({ type: "contextual_update", text: "x", requestId: "once" })
            const again = await companion.send({ type: "contextual_update", text: "x", requestId: "once" })
            return [values, failed.code, failed.details.value, twice.seq === again.seq, await companion.getState("n")]
            """
        )
        assert said == [list(range(40)), "revision_conflict", 39, True, 39]


async def test_what_happened_while_the_server_was_away_is_made_up_for(
    server: Running, proxy: StrippingProxy, node: NodeProgram
) -> None:
    async with server.client() as companion:
        await node.client(
            url=proxy.url, token=server.token(), sessionId=companion.session_id, role="ui", after=0
        )
        await companion.contextual_update("before")
        await server.stop()
        waiting = node.start('return (await kept.companion.userMessage("kept")).text')
        await server.start()
        async with asyncio.timeout(WAIT_S):
            assert await waiting == "kept"
        await companion.contextual_update("after")
        texts = await node.run(
            """
            const texts = []
            for await (const record of kept.companion.records()) {
              texts.push(record.text)
              if (record.text === "after") return texts
            }
            """
        )
        assert texts == ["before", "kept", "after"]


async def test_a_revoked_phone_is_told_so(
    server: Running, proxy: StrippingProxy, node: NodeProgram
) -> None:
    session_id = await server.new_session()
    pairing = (await server.http("POST", f"/sessions/{session_id}/pairings", {})).body
    seat = (await server.http("POST", "/pair", {"code": pairing["code"], "device": "P"}, token=None)).body
    await node.client(url=proxy.url, token=seat["token"], sessionId=session_id, role="ui")
    await server.http("DELETE", f"/sessions/{session_id}/devices/{seat['device_id']}")
    assert await node.run(
        """
        return await new Promise((resolve) => kept.companion.on("close", (closed) => resolve(closed.code)))
        """
    ) == 4501  # fmt: skip


async def test_a_session_token_is_renewed_over_the_stream(
    server: Running, proxy: StrippingProxy, node: NodeProgram
) -> None:
    session_id = await server.new_session()
    made = await server.http("POST", f"/sessions/{session_id}/tokens", {"role": "ui", "ttl_s": 60})
    token = made.body["token"]
    await node.client(url=proxy.url, token=token, sessionId=session_id, role="ui")
    renewed = await node.run(
        'return (await kept.companion.send({ type: "token_renew" })).token', session=session_id
    )
    assert renewed != token


async def test_a_stream_has_the_role_its_token_allows(server: Running) -> None:
    session_id = await server.new_session()
    path = f"/sessions/{session_id}/records?role=ui"
    stranger = server.made("admin", "root")
    answer = await server.http("GET", path, token=stranger, headers={"Accept": "text/event-stream"})
    assert answer.status == 403
    answer = await server.http(
        "GET", f"/sessions/{session_id}/records?role=king", headers={"Accept": "text/event-stream"}
    )
    assert answer.status == 400


async def test_the_python_client_goes_the_same_way(start: Start) -> None:
    server = await start(limit_messages_per_s=100, limit_burst=10)
    session_id = await server.new_session()
    async with (
        StrippingProxy(server.url) as proxy,
        server.client(session_id=session_id) as companion,
        asyncio.timeout(60),
    ):
        phone = CompanionClient(proxy.url, token=server.token(), session_id=session_id, role="ui")
        async with phone:
            await companion.wait_for_screen()
            asking = asyncio.create_task(companion.call_tool("companion_choose", **CHOICE))
            async for record in phone.records():
                if record["type"] == "client_tool_call":
                    call_id = record["client_tool_call"]["tool_call_id"]
                    await phone.answer_tool(call_id, {"status": "chosen", "id": "air"})
                    break
            assert (await asking)["id"] == "air"
            setting = (phone.set_state("n", n) for n in range(30))
            records = await asyncio.gather(*setting)
            by_place = sorted(records, key=lambda record: record["seq"])
            assert [record["value"] for record in by_place] == list(range(30))
            with pytest.raises(RevisionConflict):
                await phone.set_state("n", 1, if_revision=0)
        await companion.wait_until(lambda it: not it.screens)
        with pytest.raises(CompanionClosed) as refused:
            async with CompanionClient(proxy.url, token="nonsense", session_id=session_id):
                pass
        assert refused.value.code == 4501
