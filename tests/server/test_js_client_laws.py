"""The JavaScript client keeps the laws of the Python one: nothing lost, nothing twice, in order.

The other end is a server that breaks off, refuses and forgets on request; tests/test_client.py
has the same for Python.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestServer
from fake_server import FakeServer
from node_program import NodeProgram, Thrown
from running import WAIT_S, free_port


@pytest.fixture
async def peer() -> FakeServer:
    return FakeServer()


@pytest.fixture
async def url(peer: FakeServer) -> AsyncIterator[str]:
    server = TestServer(peer.app)
    await server.start_server()
    yield str(server.make_url(""))
    await server.close()


@pytest.fixture
async def node(url: str) -> AsyncIterator[NodeProgram]:
    async with NodeProgram() as program:
        yield program


@pytest.fixture
async def joined(node: NodeProgram, url: str) -> NodeProgram:
    await node.client(url=url, token="t")
    return node


async def until(holds: Any) -> None:
    async with asyncio.timeout(WAIT_S):
        while not holds():
            await asyncio.sleep(0.01)


def refuse(peer: FakeServer, times: int, **error: Any) -> None:
    """Refuse the next commands with an error."""
    left = times

    def refusing(message: dict[str, Any], ws: Any) -> bool:
        nonlocal left
        left -= 1
        if left == 0:
            peer.on_command = lambda *_: False
        answer = {"type": "error", "message": "No.", "requestId": message["requestId"], **error}
        peer.soon(ws.send_json(answer))
        return True

    peer.on_command = refusing


async def test_what_was_not_acknowledged_is_sent_again_with_the_same_request_id(
    peer: FakeServer, joined: NodeProgram
) -> None:
    def store_but_do_not_tell(message: dict[str, Any], ws: Any) -> bool:
        peer.by_request[message["requestId"]] = peer.append(message)
        peer.on_command = lambda *_: False
        peer.cut()
        return True

    await joined.run('await kept.companion.contextualUpdate("before")')
    peer.on_command = store_but_do_not_tell
    record = await joined.run('return await kept.companion.contextualUpdate("once")')

    assert record["seq"] == 2
    assert len(peer.log) == 2
    again = {name: peer.joins[1][name] for name in ("after", "epoch", "strict", "session_id")}
    assert again.pop("after") == "1"
    assert again == {"epoch": "e1", "strict": "1", "session_id": peer.session_id}


async def test_a_hundred_updates_over_a_line_that_keeps_breaking_arrive_once_and_in_order(
    peer: FakeServer, joined: NodeProgram
) -> None:
    count = 0

    def break_now_and_then(message: dict[str, Any], ws: Any) -> bool:
        nonlocal count
        count += 1
        if count % 23 == 0:
            peer.cut()
        return count % 23 == 0

    peer.on_command = break_now_and_then
    seen = await joined.run(
        """
        const { companion } = kept
        const saying = Array.from({ length: 100 }, (_, n) => companion.contextualUpdate(String(n)))
        const seen = []
        for await (const record of companion.records()) if (seen.push(record.seq) === 100) break
        await Promise.all(saying)
        return seen
        """
    )
    assert seen == list(range(1, 101))
    assert sorted(int(record["text"]) for record in peer.log) == list(range(100))
    assert len(peer.joins) > 3


async def test_records_begin_at_the_join_however_late_they_are_read(
    peer: FakeServer, node: NodeProgram, url: str
) -> None:
    for n in range(3):
        peer.append({"type": "contextual_update", "text": f"before {n}"})
    texts = await node.run(
        """
        const { CompanionClient } = await load("client.js")
        const fresh = new CompanionClient(given.url, { token: "t" })
        const returning = new CompanionClient(given.url, { token: "t", after: 1 })
        await fresh.ready
        await fresh.contextualUpdate("after")
        const read = async (companion, count) => {
          const texts = []
          for await (const record of companion.records()) if (texts.push(record.text) === count) break
          return texts
        }
        return [await read(fresh, 1), await read(returning, 3)]
        """,
        url=url,
    )
    assert texts == [["after"], ["before 1", "before 2", "after"]]


async def test_a_slow_reader_fetches_what_the_client_no_longer_keeps(
    peer: FakeServer, joined: NodeProgram
) -> None:
    for n in range(1100):
        await peer.tell(peer.append({"type": "contextual_update", "text": str(n)}))
    texts = await joined.run(
        """
        const { companion } = kept
        await companion.waitUntil((it) => it.seq === 1100)
        const texts = []
        for await (const record of companion.records()) if (texts.push(record.text) === 1100) break
        return texts
        """
    )
    assert texts == [str(n) for n in range(1100)]
    peer.log.clear()
    with pytest.raises(Thrown) as refused:
        await joined.run("for await (const record of kept.companion.records()) break")
    assert refused.value.code == "slow_consumer"


async def test_a_missing_record_is_asked_for_again(peer: FakeServer, joined: NodeProgram) -> None:
    peer.append({"type": "contextual_update", "text": "lost on the way"})
    await peer.tell(peer.append({"type": "contextual_update", "text": "next"}))
    texts = await joined.run(
        """
        const texts = []
        for await (const record of kept.companion.records()) if (texts.push(record.text) === 2) break
        return texts
        """
    )
    assert texts == ["lost on the way", "next"]
    assert peer.joins[1]["after"] == "0"


async def test_an_answer_behind_a_gap_is_not_taken_for_none(
    peer: FakeServer, joined: NodeProgram
) -> None:
    def lose_one_first(message: dict[str, Any], ws: Any) -> bool:
        peer.append({"type": "contextual_update", "text": "lost on the way"})
        peer.on_command = lambda *_: False
        return False

    peer.on_command = lose_one_first
    record = await joined.run('return await kept.companion.contextualUpdate("mine")')
    assert (record["text"], record["seq"]) == ("mine", 2)
    assert len(peer.log) == 2


async def test_a_tool_call_across_a_restart_is_one_call_with_one_result(
    peer: FakeServer, joined: NodeProgram
) -> None:
    asking = joined.start(
        'return await kept.companion.callTool("companion_choose", { title: "Which?" })'
    )
    await until(lambda: peer.log)
    call = peer.log[0]["client_tool_call"]
    peer.cut()
    result = {"type": "client_tool_result", "tool_call_id": call["tool_call_id"], "is_error": False}
    peer.append({**result, "result": '{"status": "chosen", "id": "air"}'})

    async with asyncio.timeout(WAIT_S):
        assert await asking == {"status": "chosen", "id": "air"}
    assert len({message["requestId"] for message in peer.received}) == 1


async def test_a_result_older_than_the_log_comes_as_the_answer_to_the_repeated_call(
    peer: FakeServer, joined: NodeProgram
) -> None:
    asking = joined.start('return await kept.companion.callTool("weigh", {}, { timeoutMs: 1000 })')
    await until(lambda: peer.log)
    call = peer.log[0]["client_tool_call"]
    assert call["timeout_ms"] == 1000

    def answer(message: dict[str, Any], ws: Any) -> bool:
        result = {"type": "client_tool_result", "seq": 2, "result": "4.2", "is_error": False}
        told = {**result, "tool_call_id": call["tool_call_id"], "duplicate": True}
        peer.soon(ws.send_json({**told, "requestId": message["requestId"]}))
        return True

    peer.on_command = answer
    peer.joined_extra = {"recovery": "snapshot", "seq": 500, "first_seq": 400}
    await peer.drop()

    async with asyncio.timeout(WAIT_S):
        assert await asking == 4.2
    assert await joined.run("return kept.companion.seq") == 500


@pytest.mark.parametrize(
    "error",
    [
        {"code": "too_many_requests", "retry_after_ms": 20},
        {"code": "too_many_requests", "retry_after_ms": 20, "requestId": None},
        {"code": "unavailable"},
    ],
    ids=["too fast", "of whatever was on its way", "cannot store"],
)
async def test_a_refusal_that_passes_is_waited_out_and_all_is_said_again_in_order(
    peer: FakeServer, joined: NodeProgram, error: dict[str, Any]
) -> None:
    refuse(peer, 1, **error)
    records = await joined.run(
        """
        return await Promise.all([0, 1, 2, 3, 4].map((n) => kept.companion.contextualUpdate(String(n))))
        """
    )
    assert len(records) == 5
    assert sorted(record["text"] for record in peer.log) == ["0", "1", "2", "3", "4"]
    assert len({message["requestId"] for message in peer.received}) == 5


async def test_a_quota_is_an_answer(peer: FakeServer, joined: NodeProgram) -> None:
    refuse(peer, 1, code="too_many_requests")
    with pytest.raises(Thrown) as refused:
        await joined.run('await kept.companion.contextualUpdate("x")')
    assert refused.value.code == "too_many_requests"


async def test_a_command_too_large_for_the_server_fails_alone(
    peer: FakeServer, joined: NodeProgram
) -> None:
    def too_large(message: dict[str, Any], ws: Any) -> bool:
        if len(message["text"]) > 1000:
            peer.soon(ws.close(code=1009))
            return True
        return False

    peer.on_command = too_large
    ends = await joined.run(
        """
        const said = ["x".repeat(2000), "small"].map((text) => kept.companion.contextualUpdate(text))
        return (await Promise.allSettled(said)).map(({ reason, value }) => reason?.code ?? value.text)
        """
    )
    assert ends == ["body_too_large", "small"]


async def test_what_cannot_be_sent_is_refused_before_it_is_sent(
    peer: FakeServer, joined: NodeProgram
) -> None:
    codes = await joined.run(
        """
        const cycle = {}
        cycle.self = cycle
        const codes = []
        for (const value of [cycle, 10n]) {
          await kept.companion.setState("key", value).catch((error) => codes.push(error.code))
        }
        await kept.companion.setState("key", null)
        return codes
        """
    )
    assert codes == ["invalid_message", "invalid_message"]
    assert [message["value"] for message in peer.received] == [None]


async def test_a_refusal_at_the_first_join_ends_at_once(
    peer: FakeServer, node: NodeProgram, url: str
) -> None:
    peer.on_join = lambda _: 4501
    with pytest.raises(Thrown) as closed:
        await node.client(url=url, token="t")
    assert (closed.value.name, closed.value.code) == ("CompanionClosed", 4501)
    assert len(peer.joins) == 1


async def test_an_ended_session_ends_everything_that_waits(
    peer: FakeServer, joined: NodeProgram
) -> None:
    await joined.run('await kept.companion.contextualUpdate("last words")')
    peer.on_command = lambda *_: True
    waiting = joined.start(
        """
        const { companion } = kept
        const heard = []
        const reading = (async () => { for await (const { text } of companion.records()) heard.push(text) })()
        const all = [companion.contextualUpdate("too late"), companion.call("t"), companion.waitForScreen(), reading]
        const ends = (await Promise.allSettled(all)).map(({ reason }) => [reason.name, reason.code])
        return [heard, ends, await companion.userMessage("hello?").catch((error) => error.name)]
        """
    )
    await until(lambda: len(peer.received) == 3)
    await peer.drop(4510)
    async with asyncio.timeout(WAIT_S):
        heard, ends, after = await waiting
    assert heard == ["last words"]
    assert ends == [["CompanionClosed", 4510]] * 4
    assert after == "CompanionClosed"
    assert len(peer.joins) == 1


async def test_leaving_ends_everything_that_waits(peer: FakeServer, joined: NodeProgram) -> None:
    peer.on_command = lambda *_: True
    ends = await joined.run(
        """
        const { companion } = kept
        const read = async () => { for await (const record of companion.records()) throw record }
        const all = [companion.contextualUpdate("never answered"), companion.waitForScreen(), read()]
        setTimeout(() => companion.close())
        return (await Promise.allSettled(all)).map(({ reason }) => reason?.name ?? null)
        """
    )
    assert ends == ["CompanionClosed", "CompanionClosed", None]


FETCHED = """
const { CompanionClient } = await load("client.js")
kept.asked = 0
const token = () => {
  kept.asked += 1
  if (given.tokens[kept.asked - 1] === null) throw new Error("the token service is away")
  return given.tokens[kept.asked - 1]
}
kept.companion = new CompanionClient(given.url, { token })
await kept.companion.ready
"""


async def test_a_token_function_is_asked_when_the_token_has_expired_and_not_before(
    peer: FakeServer, node: NodeProgram, url: str
) -> None:
    await node.run(FETCHED, url=url, tokens=[None, "first", "second"])
    await peer.drop()
    await node.run('await kept.companion.contextualUpdate("the same token")')
    await peer.drop(4401)
    await node.run('await kept.companion.contextualUpdate("another")')
    assert [join["token"] for join in peer.joins] == ["first", "first", "second"]


async def test_an_expired_token_that_is_text_is_the_end(
    peer: FakeServer, node: NodeProgram, url: str
) -> None:
    peer.on_join = lambda _: 4401
    with pytest.raises(Thrown) as closed:
        await node.client(url=url, token="old")
    assert (closed.value.code, len(peer.joins)) == (4401, 1)


async def test_a_session_token_is_renewed_before_it_ends(
    peer: FakeServer, joined: NodeProgram
) -> None:
    await peer.tell({"type": "token_expiring", "expires_at": 1})
    await until(lambda: any(message["type"] == "token_renew" for message in peer.received))
    await peer.tell({"type": "token_renewed", "token": "t2", "expires_at": 2})
    await joined.run('await kept.companion.contextualUpdate("in between")')
    await peer.drop()
    await joined.run('await kept.companion.contextualUpdate("afterwards")')
    assert [join["token"] for join in peer.joins] == ["t", "t2"]


async def test_two_who_make_the_same_call_share_its_result(
    peer: FakeServer, joined: NodeProgram
) -> None:
    asking = joined.start(
        """
        const ask = () => kept.companion.call("weigh", {}, { toolCallId: "c1" })
        return (await Promise.all([ask(), ask()])).map(({ result }) => result)
        """
    )
    await until(lambda: peer.log)
    result = {"type": "client_tool_result", "tool_call_id": "c1", "is_error": False}
    await peer.tell(peer.append({**result, "result": "4.2"}))
    async with asyncio.timeout(WAIT_S):
        assert await asking == ["4.2", "4.2"]
    assert [message["type"] for message in peer.received] == ["client_tool_call"]


async def test_a_question_outlives_a_server_that_is_killed_and_is_answered_once(
    tmp_path: Path, node: NodeProgram
) -> None:
    from companion_ws.testing.phone import Phone
    from tests.faults.real_server import running

    async with running(tmp_path / "data", f"--port={free_port()}") as server:
        await node.client(url=server.url, token=server.token())
        pairing = await node.run("return await kept.companion.pair()")
        asking = node.start(
            """
            const choice = { title: "Which?", options: ["Air", "Ground"] }
            return await kept.companion.callTool("companion_choose", choice, { timeoutMs: 60000 })
            """
        )
        await node.run("await kept.companion.waitUntil((it) => it.seq > 0)")
        await server.kill()
        await server.start()
        async with await Phone.pair(server.url, pairing["code"]) as phone:
            await phone.choose("Air")
            async with asyncio.timeout(WAIT_S):
                assert (await asking)["label"] == "Air"
        types = await node.run(
            """
            const types = []
            const heard = kept.companion.seq
            for await (const { type, seq } of kept.companion.records()) {
              types.push(type)
              if (seq === heard) return types
            }
            """
        )
        assert types.count("client_tool_call") == types.count("client_tool_result") == 1
