"""A question over MCP that outlives the request: tasks, rounds and links, with the official client."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from typing import Any

import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import ElicitResult

from companion_ws.client import CompanionClient
from companion_ws.core import tool_calls
from companion_ws.testing.phone import Phone
from companion_ws.testing.server import CompanionServer
from companion_ws.voice import task_store
from companion_ws.voice import tasks as tasks_module
from tests.voice.conftest import screen
from tests.voice.mcp_clients import Tasks, client_at, tasks
from tests.voice.test_mcp import OPTIONS, call, post

QUESTION = {"title": "Which?", "options": OPTIONS}
CHOSEN = {"status": "chosen", "id": "air", "label": "UPS Next Day"}
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {
        "extensions": {"io.modelcontextprotocol/tasks": {}}
    },
}


def at(server: CompanionServer, companion: CompanionClient, **options: Any) -> Any:
    return client_at(server.url, server.token(), companion.session_id, **options)


async def modern(
    server: CompanionServer, companion: CompanionClient, method: str, params: Any,
    *, capabilities: Any = None, user: str = "alice",
) -> Any:  # fmt: skip
    meta = dict(META)
    if capabilities is not None:
        meta["io.modelcontextprotocol/clientCapabilities"] = capabilities
    headers = {
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": method,
        "X-Companion-Session": companion.session_id,
        "Authorization": f"Bearer {server.token(user)}",
    }
    name = params.get("name") or params.get("taskId")
    if isinstance(name, str):
        headers["Mcp-Name"] = name
    _, answer = await post(server, call(method, {**params, "_meta": meta}), headers)
    return answer


async def begun(server: CompanionServer, companion: CompanionClient) -> dict[str, Any]:
    answer = await modern(server, companion, "tools/call", {"name": "ask", "arguments": QUESTION})
    assert answer["result"]["resultType"] == "task", answer
    task: dict[str, Any] = answer["result"]
    return task


async def looked(
    server: CompanionServer, companion: CompanionClient, task: dict[str, Any]
) -> dict[str, Any]:
    answer = await modern(server, companion, "tasks/get", {"taskId": task["taskId"]})
    assert answer["result"]["resultType"] == "complete", answer
    told: dict[str, Any] = answer["result"]
    return told


async def until_over(
    server: CompanionServer, companion: CompanionClient, task: dict[str, Any]
) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while (told := await looked(server, companion, task))["status"] == "working":
            await asyncio.sleep(0.05)
    return told


async def test_a_client_with_tasks_waits_for_a_person_by_looking(
    companion_server: CompanionServer, companion: CompanionClient
) -> None:
    extension = Tasks()
    async with at(companion_server, companion, extensions=[extension]) as client:
        asking = asyncio.create_task(client.call_tool("ask", QUESTION))
        task = await extension.began
        assert (task["status"], task["ttlMs"]) == ("working", 24 * 3600 * 1000)
        told = await tasks(client.session, "get", task["taskId"])
        assert "/c " in told["statusMessage"]
        assert told["statusMessage"] == task["statusMessage"]
        async with screen(companion_server, companion.session_id) as phone:
            await phone.choose("air")
            result = await asking
            assert result.structured_content["result"] == CHOSEN
            assert result.structured_content["companion"]["events"] == []
        # It stays to be looked at, and nobody else hears it once more.
        again = await tasks(client.session, "get", task["taskId"])
        assert again["result"]["structuredContent"] == result.structured_content
        state = await client.call_tool("get_state", {})
        assert state.structured_content["companion"]["events"] == []


async def test_what_else_was_done_on_the_screen_comes_with_the_answer_once(
    companion_server: CompanionServer, companion: CompanionClient, here: Phone
) -> None:
    task = await begun(companion_server, companion)
    await here.say("One moment.")
    await here.choose("ground")
    told = await until_over(companion_server, companion, task)
    events = told["result"]["structuredContent"]["companion"]["events"]
    assert [event["text"] for event in events] == ["One moment."]
    assert (await looked(companion_server, companion, task))["result"] == told["result"]
    async with at(companion_server, companion) as client:
        state = await client.call_tool("get_state", {})
        assert state.structured_content["companion"]["events"] == []


async def test_who_does_not_declare_tasks_gets_no_task_and_may_not_look(
    companion_server: CompanionServer, companion: CompanionClient
) -> None:
    asked = {"name": "ask", "arguments": QUESTION}
    answer = await modern(companion_server, companion, "tools/call", asked, capabilities={})
    assert answer["result"]["resultType"] == "complete"
    assert answer["result"]["structuredContent"]["result"]["status"] == "no_screen"
    task = await begun(companion_server, companion)
    for method in ("tasks/get", "tasks/update", "tasks/cancel"):
        params = {"taskId": task["taskId"], "inputResponses": {}}
        refused = await modern(companion_server, companion, method, params, capabilities={})
        assert refused["error"]["code"] == -32021
        needed = refused["error"]["data"]["requiredCapabilities"]["extensions"]
        assert needed == {"io.modelcontextprotocol/tasks": {}}


async def test_a_handle_is_of_its_user_and_session_alone(
    companion_server: CompanionServer, companion: CompanionClient
) -> None:
    task = await begun(companion_server, companion)
    params = {"taskId": task["taskId"]}
    unknown = await modern(companion_server, companion, "tasks/get", {"taskId": "x" * 32})
    foreign = await modern(companion_server, companion, "tasks/get", params, user="bob")
    async with companion_server.client() as another:
        elsewhere = await modern(companion_server, another, "tasks/get", params)
    assert unknown == foreign == elsewhere
    assert unknown["error"]["code"] == -32602
    assert len(task["taskId"]) >= 32


async def test_a_cancelled_task_withdraws_its_question(
    companion_server: CompanionServer, companion: CompanionClient, here: Phone
) -> None:
    task = await begun(companion_server, companion)
    asked = await here.question()
    params = {"taskId": task["taskId"]}
    for _ in range(2):
        answer = await modern(companion_server, companion, "tasks/cancel", params)
        assert answer["result"]["resultType"] == "complete"
    assert (await looked(companion_server, companion, task))["status"] == "cancelled"
    async with asyncio.timeout(20):
        async for record in here.client.records():
            if record["type"] == "client_tool_result":
                assert record["tool_call_id"] == asked["tool_call_id"]
                assert json.loads(record["result"]) == {"status": "cancelled"}
                break


async def test_two_tasks_of_one_question_are_asked_once_and_both_hear_it(
    companion_server: CompanionServer, companion: CompanionClient
) -> None:
    first = await begun(companion_server, companion)
    await modern(companion_server, companion, "tasks/get", {"taskId": first["taskId"]})
    second = await begun(companion_server, companion)
    third = await begun(companion_server, companion)
    await modern(companion_server, companion, "tasks/cancel", {"taskId": third["taskId"]})
    async with screen(companion_server, companion.session_id) as phone:
        await phone.choose("air")
        for task in (first, second):
            told = await until_over(companion_server, companion, task)
            assert told["result"]["structuredContent"]["result"] == CHOSEN
        records = await companion_server.sessions.records(companion.session_id, 0, 100)
        asked = [record for record in records if record["type"] == "client_tool_call"]
        assert sum("joins" not in record for record in asked) == 1


async def test_a_question_that_closed_is_asked_again_while_its_task_lives(
    companion_server: CompanionServer, companion: CompanionClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = await begun(companion_server, companion)
    for module in (tool_calls, tasks_module):
        monkeypatch.setattr(module, "QUESTION_MS", 0)
    await asyncio.sleep(0.01)
    told = await looked(companion_server, companion, task)
    monkeypatch.undo()
    assert told["status"] == "working"
    async with screen(companion_server, companion.session_id) as phone:
        [asked] = phone.client.joined["open_calls"]
        await phone.client.answer_tool(asked["client_tool_call"]["tool_call_id"], CHOSEN)
        told = await until_over(companion_server, companion, task)
        assert told["result"]["structuredContent"]["result"] == CHOSEN


async def test_a_task_of_a_session_that_has_ended_has_failed(
    companion_server: CompanionServer, companion: CompanionClient
) -> None:
    task = await begun(companion_server, companion)
    await companion_server.sessions.end(companion.session_id, "over")
    told = await looked(companion_server, companion, task)
    assert (told["status"], told["error"]["code"]) == ("failed", -32002)


async def test_nothing_is_left_of_a_task_whose_session_is_erased(
    companion_server: CompanionServer, companion: CompanionClient
) -> None:
    task = await begun(companion_server, companion)
    await companion_server.sessions.end(companion.session_id, "over", erase=True)
    answer = await modern(companion_server, companion, "tasks/get", {"taskId": task["taskId"]})
    assert answer["error"]["code"] == -32602
    with closing(sqlite3.connect(companion_server.config.database_path)) as database:
        for table in ("tasks", "unheard"):
            [(count,)] = database.execute(f"SELECT count(*) FROM {table}")
            assert count == 0


@pytest.mark.parametrize(("bound", "value"), [("MAX_TASKS", 2), ("MAX_TASKS_BYTES", 400)])
async def test_the_oldest_tasks_of_a_session_make_room(
    bound: str, value: int, companion_server: CompanionServer, companion: CompanionClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(task_store, bound, value)
    begun_ones = [await begun(companion_server, companion) for _ in range(4)]
    found = [
        "result" in await modern(companion_server, companion, "tasks/get", {"taskId": one["taskId"]})
        for one in begun_ones
    ]
    assert found[0] is False
    assert found[-1] is True


async def test_an_answer_that_came_before_the_task_is_its_first_look(
    companion_server: CompanionServer, companion: CompanionClient
) -> None:
    async with at(companion_server, companion) as client:
        result = await client.call_tool("ask", QUESTION)
        assert result.structured_content["result"]["status"] == "no_screen"
        async with screen(companion_server, companion.session_id) as phone:
            await phone.choose("air")
    task = await begun(companion_server, companion)
    told = await until_over(companion_server, companion, task)
    assert told["result"]["structuredContent"]["result"] == CHOSEN
    assert told["result"]["structuredContent"]["companion"]["events"] == []


@pytest.mark.parametrize("task_id", [None, 7, "", "\ud800", "ü" * 300, ["a"]])
async def test_what_is_no_handle_is_an_invalid_parameter(
    task_id: Any, companion_server: CompanionServer, companion: CompanionClient
) -> None:
    headers = {"MCP-Protocol-Version": "2025-11-25", "X-Companion-Session": companion.session_id}
    for method in ("tasks/get", "tasks/result", "tasks/cancel"):
        _, answer = await post(companion_server, call(method, {"taskId": task_id}), headers)
        assert answer["error"]["code"] == -32602


async def test_the_experiment_of_2025_11_25_is_answered_in_its_own_form(
    companion_server: CompanionServer, companion: CompanionClient
) -> None:
    headers = {"MCP-Protocol-Version": "2025-11-25", "X-Companion-Session": companion.session_id}

    async def said(method: str, **params: Any) -> Any:
        return (await post(companion_server, call(method, params), headers))[1]

    initialized = await said("initialize", protocolVersion="2025-11-25")
    assert initialized["result"]["capabilities"]["tasks"]["requests"] == {"tools": {"call": {}}}
    older = await said("initialize", protocolVersion="2025-06-18")
    assert "tasks" not in older["result"]["capabilities"]
    for task in ([], "yes", 7):
        refused = await said("tools/call", name="ask", arguments=QUESTION, task=task)
        assert refused["error"]["code"] == -32602
    refused = await said("tools/call", name="get_state", arguments={}, task={})
    assert refused["error"]["code"] == -32601
    refused = await said("tools/call", name="ask", arguments={}, task={})
    assert (refused["error"]["code"], "title" in refused["error"]["message"]) == (-32602, True)
    for ttl, kept in ((1, 60_000), (-1, 86_400_000), ("x", 86_400_000), (1e300, 86_400_000)):
        begun = await said("tools/call", name="ask", arguments=QUESTION, task={"ttl": ttl})
        assert begun["result"]["task"]["ttl"] == kept
    task_id = begun["result"]["task"]["taskId"]
    assert (await said("tasks/get", taskId=task_id))["result"]["status"] == "working"
    cancelled = await said("tasks/cancel", taskId=task_id)
    assert cancelled["result"]["status"] == "cancelled"
    for method in ("tasks/cancel", "tasks/result"):
        assert (await said(method, taskId=task_id))["error"]["code"] == -32602
    assert (await said("tasks/list"))["error"]["code"] == -32601
    # A version that knows no tasks leaves out what it does not know.
    headers["MCP-Protocol-Version"] = "2025-06-18"
    assert (await said("tasks/get", taskId=task_id))["error"]["code"] == -32601
    plain = await said("tools/call", name="get_state", arguments={}, task={})
    assert plain["result"]["structuredContent"]["result"] == {}


# Links, for clients that open them.


async def test_a_client_that_opens_links_leads_its_user_to_the_screen(
    companion_server: CompanionServer, companion: CompanionClient
) -> None:
    shown: list[Any] = []
    phones: list[asyncio.Task[Any]] = []

    async def tap(code: str) -> None:
        async with await Phone.pair(companion_server.url, code) as phone:
            await phone.choose("air")

    async def opens(context: Any, params: Any) -> ElicitResult:
        shown.append(params)
        code = "".join(filter(str.isdigit, params.message.split(" type ", 1)[1]))
        phones.append(asyncio.create_task(tap(code)))
        return ElicitResult(action="accept")

    async with at(companion_server, companion, elicitation_callback=opens) as client:
        result = await client.call_tool("ask", QUESTION)
        assert result.structured_content["result"] == CHOSEN
        assert [params.mode for params in shown] == ["url"]
        assert shown[0].url == f"{companion_server.url}/c"
        state = await client.call_tool("get_state", {})
        assert state.structured_content["companion"]["events"] == []
    await asyncio.gather(*phones)


async def test_a_user_who_opens_no_link_lets_the_agent_go_on(
    companion_server: CompanionServer, companion: CompanionClient
) -> None:
    async def refuses(context: Any, params: Any) -> ElicitResult:
        return ElicitResult(action="decline")

    async with at(companion_server, companion, elicitation_callback=refuses) as client:
        result = await client.call_tool("ask", QUESTION)
        assert result.structured_content["result"]["status"] == "no_screen"
        async with screen(companion_server, companion.session_id) as phone:
            await phone.choose("air")
        # The question stayed open; the answer is news.
        state = await client.call_tool("get_state", {})
        [event] = state.structured_content["companion"]["events"]
        assert json.loads(event["result"]) == CHOSEN


async def test_state_of_another_request_is_refused(
    companion_server: CompanionServer, companion: CompanionClient
) -> None:
    opens = {"elicitation": {"url": {}}}
    asked = {"name": "ask", "arguments": QUESTION}
    first = await modern(companion_server, companion, "tools/call", asked, capabilities=opens)
    state = first["result"]["requestState"]
    others = [
        {**asked, "arguments": {"title": "Sure?"}, "requestState": state},
        {**asked, "requestState": state[1:]},
        {**asked, "requestState": "."},
        {**asked, "requestState": 7},
        {**asked, "requestState": state, "inputResponses": []},
    ]
    for params in others:
        answer = await modern(companion_server, companion, "tools/call", params, capabilities=opens)
        assert answer["error"]["code"] == -32602
    theirs = {**asked, "requestState": state}
    answer = await modern(
        companion_server, companion, "tools/call", theirs, capabilities=opens, user="bob"
    )
    assert "error" in answer


async def test_a_task_asks_for_the_link_until_its_client_has_answered(
    companion_server: CompanionServer, companion: CompanionClient
) -> None:
    both = {"elicitation": {"url": {}}, "extensions": {"io.modelcontextprotocol/tasks": {}}}
    task = await begun(companion_server, companion)
    params = {"taskId": task["taskId"]}
    for _ in range(2):
        told = await modern(companion_server, companion, "tasks/get", params, capabilities=both)
        assert told["result"]["status"] == "input_required"
        assert told["result"]["inputRequests"]["screen"]["params"]["mode"] == "url"
    for responses in ({}, {"other": {"action": "accept"}}, {"screen": None}):
        update = {**params, "inputResponses": responses}
        await modern(companion_server, companion, "tasks/update", update)
    told = await modern(companion_server, companion, "tasks/get", params, capabilities=both)
    assert told["result"]["status"] == "input_required"
    update = {**params, "inputResponses": {"screen": {"action": "accept"}}}
    assert "result" in await modern(companion_server, companion, "tasks/update", update)
    told = await modern(companion_server, companion, "tasks/get", params, capabilities=both)
    assert told["result"]["status"] == "working"


async def test_a_client_of_the_version_before_is_told_that_a_link_is_needed_once(
    companion_server: CompanionServer, companion: CompanionClient
) -> None:
    async def opens(context: Any, params: Any) -> ElicitResult:
        return ElicitResult(action="accept")

    options = {"mode": "legacy", "elicitation_callback": opens}
    async with at(companion_server, companion, **options) as client:
        with pytest.raises(MCPError) as refused:
            await client.call_tool("ask", QUESTION)
        assert refused.value.error.code == -32042
        [link] = refused.value.error.data["elicitations"]
        assert (link["mode"], link["url"]) == ("url", f"{companion_server.url}/c")
        async with screen(companion_server, companion.session_id) as phone:
            await phone.choose("air")
            result = await client.call_tool("ask", QUESTION)
            assert result.structured_content["result"] == CHOSEN


# Progress.


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_client_that_asks_for_progress_hears_what_is_waited_for(
    mode: str, companion_server: CompanionServer, companion: CompanionClient, here: Phone
) -> None:
    heard: list[tuple[float, str | None]] = []
    waits = asyncio.Event()

    async def progress(seconds: float, total: float | None, message: str | None) -> None:
        heard.append((seconds, message))
        waits.set()

    async with at(companion_server, companion, mode=mode) as client:
        asking = asyncio.create_task(
            client.call_tool("ask", QUESTION, progress_callback=progress)
        )
        async with asyncio.timeout(20):
            await waits.wait()
        await here.choose("air")
        assert (await asking).structured_content["result"] == CHOSEN
    assert heard[0][0] > 0
    assert "screen" in str(heard[0][1])


async def test_an_error_comes_as_itself_where_progress_was_asked_for(
    companion_server: CompanionServer, companion: CompanionClient
) -> None:
    params = {"name": "fly", "_meta": {"progressToken": 1}}
    headers = {"Accept": "application/json, text/event-stream"}
    status, answer = await post(companion_server, call("tools/call", params), headers)
    assert (status, answer["error"]["code"]) == (200, -32602)


# An agent that goes away.


async def test_an_answer_that_came_after_the_client_had_given_up_is_told_once(
    companion_server: CompanionServer, companion: CompanionClient, here: Phone
) -> None:
    async with at(companion_server, companion) as client:
        with pytest.raises(MCPError):
            await client.call_tool("ask", QUESTION, read_timeout_seconds=0.3)
        await here.choose("air")
        result = await client.call_tool("ask", QUESTION)
        assert result.structured_content["result"] == CHOSEN
        state = await client.call_tool("get_state", {})
        assert state.structured_content["companion"]["events"] == []
        # And as news, to who does not ask again.
        other = {"title": "When?", "options": OPTIONS}
        with pytest.raises(MCPError):
            await client.call_tool("ask", other, read_timeout_seconds=0.3)
        await here.choose("ground")
        waited = await client.call_tool("wait_for_companion", {"seconds": 20})
        [event] = waited.structured_content["companion"]["events"]
        assert event["text"] == "About “When?”: FedEx Ground."
        state = await client.call_tool("get_state", {})
        assert state.structured_content["companion"]["events"] == []
