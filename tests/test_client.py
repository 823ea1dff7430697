"""The Python client: nothing lost, nothing twice, whatever the connection does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp.test_utils import TestServer
from fake_server import FakeServer

from companion_ws.client import (
    CompanionClient,
    CompanionClosed,
    ToolFailed,
    companion,
    incoming,
    outgoing,
)
from companion_ws.core.errors import (
    BodyTooLarge,
    InvalidMessage,
    RevisionConflict,
    SlowConsumer,
    ToolClosed,
    Unavailable,
)

Connect = Callable[..., CompanionClient]


@pytest.fixture
async def peer() -> FakeServer:
    return FakeServer()


@pytest.fixture
async def connect(peer: FakeServer) -> AsyncIterator[Connect]:
    server = TestServer(peer.app)
    await server.start_server()

    def make(**options: Any) -> CompanionClient:
        url = str(server.make_url("")).replace("http", options.pop("url_scheme", "http"), 1)
        return CompanionClient(url, **{"token": "t", **options})

    yield make
    await server.close()


async def test_an_update_answers_with_its_record(connect: Connect) -> None:
    async with connect() as companion:
        record = await companion.contextual_update("quote_ready", {"cost": 12.99})

        assert (record["text"], record["data"], record["seq"]) == (
            "quote_ready",
            {"cost": 12.99},
            1,
        )
        assert companion.seq == 1
        assert companion.created


async def test_an_update_names_its_keys_and_closes_a_choice(connect: Connect) -> None:
    async with connect() as companion:
        labels = {"cost": "Preis"}
        named = await companion.contextual_update("q", {"cost": 1}, context_id="c", labels=labels)
        closed = await companion.contextual_update("done", context_id="c", locked=True)

        assert (named["labels"], "locked" in named) == (labels, False)
        assert closed["locked"] is True
        assert "data" not in closed


async def test_what_was_not_acknowledged_is_sent_again_with_the_same_request_id(
    peer: FakeServer, connect: Connect
) -> None:
    def store_but_do_not_tell(message: dict[str, Any], ws: Any) -> bool:
        peer.by_request[message["requestId"]] = peer.append(message)
        peer.on_command = lambda *_: False
        peer.cut()
        return True

    async with connect() as companion:
        peer.on_command = store_but_do_not_tell
        record = await companion.contextual_update("once")

        assert record["seq"] == 1
        assert len(peer.log) == 1
        assert peer.joins[1]["after"] == "0"
        assert peer.joins[1]["epoch"] == "e1"
        assert peer.joins[1]["strict"] == "1"
        assert peer.joins[1]["session_id"] == companion.session_id


async def test_a_hundred_updates_over_a_line_that_keeps_breaking_arrive_once_and_in_order(
    peer: FakeServer, connect: Connect
) -> None:
    count = 0

    def break_now_and_then(message: dict[str, Any], ws: Any) -> bool:
        nonlocal count
        count += 1
        if count % 23 == 0:
            peer.cut()
        return count % 23 == 0

    seen: list[int] = []
    async with connect() as companion:
        peer.on_command = break_now_and_then

        async def read() -> None:
            async for record in companion.records():
                seen.append(record["seq"])
                if len(seen) == 100:
                    return

        reading = asyncio.create_task(read())
        await asyncio.gather(*(companion.contextual_update(str(n)) for n in range(100)))
        await asyncio.wait_for(reading, 10)

    assert seen == list(range(1, 101))
    assert sorted(int(record["text"]) for record in peer.log) == list(range(100))
    assert len(peer.joins) > 3


async def test_records_begin_at_the_join_however_late_they_are_read(
    peer: FakeServer, connect: Connect
) -> None:
    for n in range(3):
        peer.append({"type": "contextual_update", "text": f"before {n}"})
    async with connect() as fresh, connect(after=1) as returning:
        await fresh.contextual_update("after")
        texts = [
            [(await anext(records))["text"] for _ in range(count)]
            for records, count in ((fresh.records(), 1), (returning.records(), 3))
        ]

    assert texts == [["after"], ["before 1", "before 2", "after"]]


async def test_a_slow_reader_fetches_what_the_client_no_longer_keeps(
    peer: FakeServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incoming, "MAX_KEPT", 5)
    async with connect() as companion:
        records = companion.records()
        for n in range(40):
            await companion.contextual_update(str(n))
        texts = [(await anext(records))["text"] for _ in range(40)]
        assert texts == [str(n) for n in range(40)]

        behind = companion.records()
        peer.log.clear()
        with pytest.raises(SlowConsumer):
            await anext(behind)


async def test_a_missing_record_is_asked_for_again(peer: FakeServer, connect: Connect) -> None:
    async with connect() as companion:
        records = companion.records()
        peer.append({"type": "contextual_update", "text": "lost on the way"})
        await peer.tell(peer.append({"type": "contextual_update", "text": "next"}))

        assert [(await anext(records))["text"] for _ in range(2)] == ["lost on the way", "next"]


async def test_a_tool_call_across_a_restart_is_one_call_with_one_result(
    peer: FakeServer, connect: Connect
) -> None:
    async with connect() as companion:
        asking = asyncio.create_task(companion.call_tool("companion_choose", title="Which?"))
        await companion.wait_until(lambda c: c.seq == 1, 5)
        call = peer.log[0]["client_tool_call"]
        assert call["parameters"] == {"title": "Which?"}
        peer.cut()
        peer.append(
            {
                "type": "client_tool_result",
                "tool_call_id": call["tool_call_id"],
                "result": '{"status": "chosen", "id": "air"}',
                "is_error": False,
            }
        )

        assert await asyncio.wait_for(asking, 5) == {"status": "chosen", "id": "air"}
        repeats = {message["requestId"] for message in peer.received}
        assert len(repeats) == 1


async def test_a_result_older_than_the_log_comes_as_the_answer_to_the_repeated_call(
    peer: FakeServer, connect: Connect
) -> None:
    async with connect() as companion:
        asking = asyncio.create_task(companion.call_tool("weigh", timeout_ms=1000))
        await companion.wait_until(lambda c: c.seq == 1, 5)
        call = peer.log[0]["client_tool_call"]
        assert call["timeout_ms"] == 1000

        def answer(message: dict[str, Any], ws: Any) -> bool:
            result = {"type": "client_tool_result", "seq": 2, "result": "4.2", "is_error": False}
            peer.soon(
                ws.send_json({**result, "tool_call_id": call["tool_call_id"], "duplicate": True})
            )
            return True

        peer.on_command = answer
        peer.joined_extra = {"recovery": "snapshot", "seq": 500, "first_seq": 400}
        await peer.drop()

        assert await asyncio.wait_for(asking, 5) == 4.2
        assert companion.seq == 500


async def test_a_failing_tool_raises_and_keeps_what_it_said(peer: FakeServer, connect: Connect) -> None:
    async with connect() as companion:
        asking = asyncio.create_task(companion.call_tool("weigh", name="a parameter"))
        await companion.wait_until(lambda c: c.seq == 1, 5)
        call = peer.log[0]["client_tool_call"]
        assert call["parameters"] == {"name": "a parameter"}
        result = {"type": "client_tool_result", "tool_call_id": call["tool_call_id"]}
        await peer.tell(peer.append({**result, "result": "no scales", "is_error": True}))

        with pytest.raises(ToolFailed) as failure:
            await asking
        assert failure.value.result == "no scales"


async def test_refusals_become_exceptions_by_their_code(peer: FakeServer, connect: Connect) -> None:
    def refuse(message: dict[str, Any], ws: Any) -> bool:
        errors = {
            "state_update": {"code": "revision_conflict", "value": 7, "revision": 3},
            "client_tool_result": {"code": "tool_closed"},
        }
        error = {"type": "error", "message": "No.", "requestId": message["requestId"]}
        peer.soon(ws.send_json({**error, **errors[message["type"]]}))
        return True

    async with connect(role="ui") as companion:
        peer.on_command = refuse
        with pytest.raises(RevisionConflict) as conflict:
            await companion.set_state("step", 1, if_revision=0)
        assert conflict.value.details == {"value": 7, "revision": 3}
        with pytest.raises(ToolClosed):
            await companion.answer_tool("call", {"status": "shown"})
        assert json.loads(peer.received[-1]["result"]) == {"status": "shown"}


async def test_the_client_slows_down_when_the_server_says_so(peer: FakeServer, connect: Connect) -> None:
    refusals = 0

    def refuse_twice(message: dict[str, Any], ws: Any) -> bool:
        nonlocal refusals
        refusals += 1
        error = {"type": "error", "code": "too_many_requests", "message": "Slower."}
        peer.soon(ws.send_json({**error, "requestId": message["requestId"], "retry_after_ms": 20}))
        if refusals == 2:
            peer.on_command = lambda *_: False
        return True

    async with connect() as companion:
        peer.on_command = refuse_twice
        record = await asyncio.wait_for(companion.contextual_update("patient"), 5)

    assert record["seq"] == 1
    assert len({message["requestId"] for message in peer.received}) == 1


async def test_a_command_too_large_for_the_server_fails_alone(peer: FakeServer, connect: Connect) -> None:
    def too_large(message: dict[str, Any], ws: Any) -> bool:
        if len(message["text"]) > 1000:
            peer.soon(ws.close(code=1009))
            return True
        return False

    async with connect() as companion:
        peer.on_command = too_large
        large, small = await asyncio.gather(
            companion.contextual_update("x" * 2000),
            companion.contextual_update("small"),
            return_exceptions=True,
        )

    assert isinstance(large, BodyTooLarge)
    assert isinstance(small, dict)


@pytest.mark.parametrize("value", [float("nan"), "\ud800", object(), 2**60])
async def test_what_cannot_be_sent_is_refused_before_it_is_sent(
    value: Any, peer: FakeServer, connect: Connect
) -> None:
    async with connect() as companion:
        with pytest.raises(InvalidMessage):
            await companion.set_state("key", value)
        await companion.set_state("key", None)

    assert [message["value"] for message in peer.received] == [None]


async def test_a_refusal_at_the_first_join_is_raised_at_once(peer: FakeServer, connect: Connect) -> None:
    peer.on_join = lambda _: 4501
    with pytest.raises(CompanionClosed) as closed:
        async with connect():
            pass

    assert closed.value.code == 4501
    assert len(peer.joins) == 1


async def test_an_ended_session_ends_everything_that_waits(peer: FakeServer, connect: Connect) -> None:
    async with connect() as companion:
        records = companion.records()
        await companion.contextual_update("last words")
        peer.on_command = lambda *_: True
        waiting = asyncio.create_task(companion.contextual_update("too late"))
        screen = asyncio.create_task(companion.wait_for_screen())
        await asyncio.sleep(0)
        await peer.drop(4510)

        assert (await anext(records))["text"] == "last words"
        for task in (waiting, screen, asyncio.ensure_future(anext(records))):
            with pytest.raises(CompanionClosed) as closed:
                await asyncio.wait_for(task, 5)
            assert closed.value.code == 4510
        with pytest.raises(CompanionClosed):
            await companion.user_message("hello?")
        assert len(peer.joins) == 1


async def test_an_expired_token_is_fetched_anew(peer: FakeServer, connect: Connect) -> None:
    tokens = iter(["old", "new"])
    peer.on_join = lambda _: 4401 if len(peer.joins) == 1 else None

    async def fetch() -> str:
        return next(tokens)

    async with connect(token=fetch) as companion:
        assert companion.session_id == peer.session_id
    assert [join["token"] for join in peer.joins] == ["old", "new"]

    peer.joins.clear()
    with pytest.raises(CompanionClosed):
        await connect(token="old").__aenter__()


async def test_a_session_token_is_renewed_before_it_ends(peer: FakeServer, connect: Connect) -> None:
    async with connect() as companion:
        await peer.tell({"type": "token_expiring", "expires_at": 1})
        await peer.tell({"type": "token_renewed", "token": "t2", "expires_at": 2})
        await companion.contextual_update("in between")
        await peer.drop()
        await companion.contextual_update("afterwards")

    assert "token_renew" in {message["type"] for message in peer.received}
    assert [join["token"] for join in peer.joins] == ["t", "t2"]


async def test_a_reader_of_messages_sees_what_is_no_record_too(
    peer: FakeServer, connect: Connect
) -> None:
    async with connect() as companion:
        messages = companion.messages()
        first = asyncio.ensure_future(anext(messages))
        await asyncio.sleep(0)
        await peer.tell({"type": "presence", "event": "joined", "connection_id": "c", "role": "ui"})

        assert (await first)["type"] == "presence"
        assert (await companion.wait_for_screen(5))["connection_id"] == "c"
        with pytest.raises(TimeoutError):
            await companion.wait_until(lambda c: not c.screens, 0.01)
        await peer.tell({"type": "presence", "event": "dropped", "connection_id": "c"})
        await companion.wait_until(lambda c: not c.screens, 5)


async def test_a_pairing_is_a_link_and_a_code(connect: Connect) -> None:
    async with connect() as companion:
        invitation = await companion.pair(ttl_s=600)

    assert (invitation.url, invitation.code) == ("http://here/p#ticket", "123456789")


async def test_nobody_there_is_said_within_the_time_given() -> None:
    with pytest.raises(ConnectionError, match="cannot be reached"):
        async with CompanionClient("http://127.0.0.1:1", token="t", open_timeout_s=0.3):
            pass


async def test_a_dead_server_is_said_within_seconds_and_at_once_in_the_log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(companion, "SILENCE_S", 0.3)
    with pytest.raises(ConnectionError, match="cannot be reached"):
        async with CompanionClient("http://127.0.0.1:1", token="t"):
            pass
    assert "cannot be reached" in caplog.text


async def test_a_token_function_that_fails_is_asked_again(connect: Connect) -> None:
    fetched = iter([RuntimeError("the token service is away"), "t"])

    def fetch() -> str:
        token = next(fetched)
        if isinstance(token, Exception):
            raise token
        return token

    async with connect(token=fetch) as companion:
        assert (await companion.contextual_update("here"))["seq"] == 1


async def test_a_token_function_is_asked_when_the_token_has_expired_and_not_before(
    peer: FakeServer, connect: Connect
) -> None:
    tokens = iter(["first", "second"])
    async with connect(token=lambda: next(tokens)) as companion:
        await peer.drop()
        await companion.contextual_update("the same token")
        await peer.drop(4401)
        await companion.contextual_update("another")

    assert [join["token"] for join in peer.joins] == ["first", "first", "second"]


async def test_another_thread_may_use_the_clients_loop(connect: Connect) -> None:
    async with connect() as companion:

        def in_a_thread() -> dict[str, Any]:
            coroutine = companion.contextual_update("from a thread")
            return asyncio.run_coroutine_threadsafe(coroutine, companion.loop).result(5)

        assert (await asyncio.to_thread(in_a_thread))["text"] == "from a thread"


async def test_transcripts_are_no_riddle_where_the_server_only_passes_them_on(
    peer: FakeServer, connect: Connect
) -> None:
    def pass_on(message: dict[str, Any], ws: Any) -> bool:
        return True

    said = {"type": "agent_response", "agent_response_event": {"agent_response": "Hello"}}
    async with connect() as companion:
        recorded = await companion.send(said)
        assert recorded is not None
        assert recorded["seq"] == 1

    async with connect() as companion:
        peer.on_command = pass_on
        assert await asyncio.wait_for(companion.send(said), 5) is None
        assert await asyncio.wait_for(companion.send(said), 5) is None
    assert [message["type"] for message in peer.received] == ["agent_response"] * 3


async def test_a_refusal_that_does_not_say_of_what_repeats_what_is_on_its_way(
    peer: FakeServer, connect: Connect
) -> None:
    def refuse_one(message: dict[str, Any], ws: Any) -> bool:
        peer.on_command = lambda *_: False
        error = {"type": "error", "code": "too_many_requests", "message": "Slower."}
        peer.soon(ws.send_json({**error, "requestId": None, "retry_after_ms": 5}))
        return True

    async with connect() as companion:
        peer.on_command = refuse_one
        updates = (companion.contextual_update(str(n)) for n in range(5))
        await asyncio.wait_for(asyncio.gather(*updates), 5)

    assert sorted(record["text"] for record in peer.log) == [str(n) for n in range(5)]


async def test_a_server_that_cannot_store_is_asked_again(
    peer: FakeServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(message: dict[str, Any], ws: Any) -> bool:
        error = {"type": "error", "code": "unavailable", "message": "The disk is full."}
        peer.soon(ws.send_json({**error, "requestId": message["requestId"]}))
        return True

    def refuse_once(message: dict[str, Any], ws: Any) -> bool:
        peer.on_command = lambda *_: False
        return refuse(message, ws)

    async with connect() as companion:
        peer.on_command = refuse_once
        assert (await asyncio.wait_for(companion.contextual_update("kept"), 10))["seq"] == 1
        monkeypatch.setattr(outgoing, "UNAVAILABLE_S", 0)
        peer.on_command = refuse
        with pytest.raises(Unavailable):
            await companion.contextual_update("given up")


async def test_two_who_make_the_same_call_share_its_result(peer: FakeServer, connect: Connect) -> None:
    async with connect() as companion:
        first, second, gone = (
            asyncio.create_task(companion.call("weigh", {}, tool_call_id="c1")) for _ in range(3)
        )
        await companion.wait_until(lambda c: c.seq == 1, 5)
        gone.cancel()
        result = {"type": "client_tool_result", "tool_call_id": "c1", "is_error": False}
        await peer.tell(peer.append({**result, "result": "4.2"}))

        assert await first == await second
        assert [message["type"] for message in peer.received] == ["client_tool_call"]


async def test_a_reader_who_forgets_to_read_is_told_so(
    peer: FakeServer, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incoming, "MAX_UNREAD", 3)
    async with connect() as companion:
        messages = companion.messages()
        first = asyncio.ensure_future(anext(messages))
        await asyncio.sleep(0)
        for n in range(9):
            await companion.contextual_update(str(n))
        await first
        with pytest.raises(SlowConsumer):
            _ = [message async for message in messages]


async def test_what_is_no_message_is_no_end(peer: FakeServer, connect: Connect) -> None:
    async with connect(url_scheme="ws") as companion:
        for ws in list(peer.sockets):
            await ws.send_str("not JSON")
        assert (await companion.contextual_update("still here"))["seq"] == 1
        assert len(peer.joins) == 2


async def test_leaving_ends_everything_that_waits(peer: FakeServer, connect: Connect) -> None:
    peer.on_command = lambda *_: True
    async with connect() as companion:
        waiting = asyncio.create_task(companion.contextual_update("never answered"))
        listening = asyncio.create_task(anext(companion.messages(), None))
        reading = asyncio.create_task(anext(companion.records(), None))
        await asyncio.sleep(0)
    with pytest.raises(CompanionClosed):
        await waiting
    assert await reading is None
    assert await listening is None
