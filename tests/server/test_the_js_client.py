"""The JavaScript client in Node against a real server: the same verbs, the same promises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from node_program import NodeProgram, Thrown
from running import WAIT_S, Running, free_port

CHOICE = {"title": "Which?", "options": [{"id": "air", "label": "Air"}]}
Start = Callable[..., Awaitable[Running]]


@pytest.fixture
async def node() -> AsyncIterator[NodeProgram]:
    async with NodeProgram() as program:
        yield program


@pytest.fixture
async def joined(node: NodeProgram, server: Running) -> NodeProgram:
    await node.client(url=server.url, token=server.token())
    return node


async def answer(server: Running, session_id: str, call_id: str) -> None:
    """Answer one call as a screen."""
    async with server.client(session_id=session_id, role="ui", after=0) as screen:
        async with asyncio.timeout(WAIT_S):
            async for record in screen.records():
                call = record.get("client_tool_call") or {}
                if call.get("tool_call_id") == call_id:
                    await screen.answer_tool(call_id, {"status": "chosen", "id": "air"})
                    return


async def test_the_verbs_are_those_of_the_python_client(joined: NodeProgram, server: Running) -> None:
    said = await joined.run(
        """
        const { companion } = kept
        const update = await companion.contextualUpdate("quote_ready", { cost: 12.99 }, { contextId: "q" })
        const set = await companion.setState("step", 2, { ifRevision: 0 })
        let conflict = null
        try { await companion.setState("step", 3, { ifRevision: 0 }) } catch (error) { conflict = error }
        const values = [await companion.getState("step"), await companion.getState()]
        const gone = await companion.deleteState("step")
        const message = await companion.userMessage("hello")
        return {
          update, set, values, gone, message, absent: (await companion.getState("step")) === undefined,
          conflict: { name: conflict.name, code: conflict.code, details: conflict.details },
          seq: companion.seq, created: companion.created, sessionId: companion.sessionId,
          passed: await companion.send({ type: "screen_command", name: "toast", text: "hi" }),
        }
        """
    )
    assert (said["update"]["text"], said["update"]["data"]) == ("quote_ready", {"cost": 12.99})
    assert said["update"]["context_id"] == "q"
    assert said["values"] == [2, {"step": 2}]
    assert said["conflict"]["name"] == "RevisionConflict"
    assert said["conflict"]["details"]["value"] == 2
    assert (said["gone"]["type"], said["message"]["text"]) == ("state_deleted", "hello")
    assert (said["seq"], said["created"], said["absent"]) == (4, True, True)
    assert said["passed"] is None


async def test_names_that_every_object_has_are_keys_like_others(joined: NodeProgram) -> None:
    names = ["__proto__", "valueOf", "constructor"]
    said = await joined.run(
        """
        const { companion } = kept
        for (const name of given.names) {
          if (await companion.getState(name) !== undefined) throw new Error(name)
          await companion.setState(name, name)
        }
        const all = await companion.getState()
        return [given.names.map((name) => all[name]), given.names.map((name) => companion.state[name]),
                await companion.getState("__proto__")]
        """,
        names=names,
    )
    assert said == [names, names, "__proto__"]


async def test_a_question_is_answered_by_a_phone_that_was_paired(
    joined: NodeProgram, server: Running
) -> None:
    from companion_ws.testing.phone import Phone

    pairing = await joined.run("return await kept.companion.pair()")
    async with await Phone.pair(server.url, pairing["code"]) as phone:
        screen = await joined.run("return await kept.companion.waitForScreen({ timeoutMs: 15000 })")
        assert screen["role"] == "ui"
        asking = joined.start(
            'return await kept.companion.callTool("companion_choose", given.choice)', choice=CHOICE
        )
        await phone.choose("air")
        async with asyncio.timeout(WAIT_S):
            assert (await asking)["id"] == "air"


async def test_a_failing_tool_rejects_with_what_it_said(start: Start, node: NodeProgram) -> None:
    server = await start(tools="companion_ws.examples.shipping")
    await node.client(url=server.url, token=server.token())
    with pytest.raises(Thrown, match="from_zip") as failed:
        await node.run('return await kept.companion.callTool("get_shipping_quotes", {})')
    assert failed.value.name == "ToolFailed"


async def test_a_call_that_was_answered_before_is_answered_again_by_any_client(
    joined: NodeProgram, server: Running
) -> None:
    session_id = await joined.run("return kept.companion.sessionId")
    asking = joined.start(
        'return await kept.companion.call("companion_choose", given.choice, { toolCallId: "c1" })',
        choice=CHOICE,
    )
    await answer(server, session_id, "c1")
    async with asyncio.timeout(WAIT_S):
        first = await asking
    again = await joined.run(
        """
        const { CompanionClient } = await load("client.js")
        const { companion } = kept
        const results = []
        for (let n = 0; n < 40; n += 1) {
          results.push((await companion.call("companion_choose", given.choice, { toolCallId: "c1" })).result)
        }
        const call = { tool_name: "companion_choose", tool_call_id: "c1", parameters: given.choice }
        const record = await companion.send({ type: "client_tool_call", client_tool_call: call })
        return [new Set(results).size, results[0], record.duplicate, (await companion.setState("k", 1)).value]
        """,
        choice=CHOICE,
    )
    assert again == [1, first["result"], True, 1]


async def test_an_id_used_for_another_question_is_refused(
    joined: NodeProgram, server: Running
) -> None:
    session_id = await joined.run("return kept.companion.sessionId")
    asking = joined.start(
        'return await kept.companion.call("companion_choose", given.choice, { toolCallId: "c1" })',
        choice=CHOICE,
    )
    await answer(server, session_id, "c1")
    await asking
    with pytest.raises(Thrown) as refused:
        await joined.run(
            'return await kept.companion.call("companion_choose", { title: "B", options: ["x"] }, '
            '{ toolCallId: "c1" })'
        )
    assert refused.value.code == "tool_call_reused"


@pytest.mark.parametrize(
    "command",
    [
        {"type": "no_such_command"},
        {"type": "state_update", "key": 5, "value": 1},
        {"type": "client_tool_cancel", "tool_call_id": "nobody's"},
        {"type": "client_tool_call"},
        {"type": "token_renew"},
        {"type": "ping"},
        {"type": "state_get"},
        {"type": "pairing_answer", "pairing_id": "none", "allow": True},
        {"type": "contextual_update", "text": "x", "requestId": "r" * 129},
        {"type": "agent_response", "agent_response_event": {"agent_response": "hi"}},
    ],
)
@pytest.mark.parametrize("transcripts", [True, False])
async def test_whatever_the_server_answers_ends_the_wait(
    start: Start, node: NodeProgram, command: dict[str, Any], transcripts: bool
) -> None:
    server = await start(transcripts=transcripts)
    await node.client(url=server.url, token=server.token())
    assert await node.run(
        """
        await kept.companion.send(given.command).catch(() => {})
        return (await kept.companion.setState("still", "here")).value
        """,
        command=command,
    ) == "here"  # fmt: skip


async def test_what_is_said_in_order_is_stored_in_order_above_the_rate(
    start: Start, node: NodeProgram
) -> None:
    server = await start(limit_messages_per_s=200, limit_burst=20)
    await node.client(url=server.url, token=server.token())
    values = await node.run(
        """
        const setting = Array.from({ length: 130 }, (_, n) => kept.companion.setState("n", n))
        const records = await Promise.all(setting)
        return records.sort((a, b) => a.seq - b.seq).map((record) => record.value)
        """
    )
    assert values == list(range(130))


async def test_a_message_beyond_the_limit_is_refused_before_it_is_sent(
    start: Start, node: NodeProgram
) -> None:
    server = await start(limit_message_bytes=4096)
    await node.client(url=server.url, token=server.token())
    with pytest.raises(Thrown, match="4096") as refused:
        await node.run('return await kept.companion.contextualUpdate("ä".repeat(3000))')
    assert refused.value.code == "body_too_large"
    with pytest.raises(Thrown, match="4096"):
        await node.run('await kept.companion.callTool("companion_show", { title: "x".repeat(5000) })')
    joins = await node.run(
        """
        const before = kept.companion.joined.connection_id
        await kept.companion.contextualUpdate("after all")
        return before === kept.companion.joined.connection_id
        """
    )
    assert joins is True


async def test_records_come_once_and_in_order_over_a_server_that_is_killed(
    tmp_path: Path, node: NodeProgram
) -> None:
    from tests.faults.real_server import running

    async with running(tmp_path / "data", f"--port={free_port()}") as server:
        await node.client(url=server.url, token=server.token())
        work = node.start(
            """
            const { companion } = kept
            const saying = []
            for (let n = 0; n < 200; n += 1) saying.push(companion.contextualUpdate("u", n))
            const heard = []
            for await (const record of companion.records()) {
              heard.push([record.seq, record.data])
              if (heard.length === 200) break
            }
            await Promise.all(saying)
            return heard
            """
        )
        for _ in range(2):
            await asyncio.sleep(0.3)
            await server.kill()
            await server.start()
        async with asyncio.timeout(60):
            heard = await work
        assert heard == [[n + 1, n] for n in range(200)]
        assert await node.run(
            """
            const { CompanionClient } = await load("client.js")
            kept.companion.close()
            try { await kept.companion.setState("k", 1) } catch (error) { return error.name }
            """
        ) == "CompanionClosed"  # fmt: skip


async def test_a_command_nobody_answers_ends_within_its_bound(
    server: Running, node: NodeProgram
) -> None:
    await node.client(url=server.url, token=server.token(), answerWithinMs=1000)
    await server.stop()
    with pytest.raises(Thrown, match="same requestId"):
        await node.run('await kept.companion.contextualUpdate("into the dark")')


async def test_a_token_may_be_a_function_that_is_asked_again_when_it_has_expired(
    server: Running, node: NodeProgram
) -> None:
    await node.run(
        """
        const { CompanionClient } = await load("client.js")
        kept.tokens = [given.old, given.fresh]
        kept.asked = 0
        const token = async () => kept.tokens[kept.asked++] ?? given.fresh
        kept.companion = new CompanionClient({ url: given.url, token })
        """,
        url=server.url,
        old=server.made(ttl_s=2),
        fresh=server.token(),
    )
    assert await node.run(
        """
        await kept.companion.ready
        const first = kept.companion.joined.connection_id
        await kept.companion.waitUntil((it) => it.joined.connection_id !== first, { timeoutMs: 15000 })
        return [(await kept.companion.setState("k", 1)).value, kept.asked]
        """
    ) == [1, 2]  # fmt: skip
