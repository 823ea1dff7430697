"""What the log says of a normal day, so that an operator can follow one session."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from programs import Program, Served

from companion_ws.client import CompanionClient

Start = Callable[..., Served]
GUIDE = Path(__file__).parents[2] / "docs/sessions.md"


def lines_of(served: Served, event: str, **fields: Any) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in served.errors if line.startswith("{")]
    return [
        line for line in lines if line["event"] == event and fields.items() <= line.items()
    ]


async def live_a_day(served: Served, token: str) -> dict[str, str]:
    """Let sessions be created, joined, left, dropped, ended and expire; return their ids."""
    ids: dict[str, str] = {}
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as http:
        async with http.post(f"{served.url}/sessions", json={"title": "Parcel"}) as response:
            ids["ended"] = (await response.json())["session_id"]
        async with CompanionClient(
            served.url, token=token, session_id=ids["ended"], role="ui", device="Pixel 7"
        ) as phone:
            ids["connection"] = phone.joined["connection_id"]
        params = {"session_id": ids["ended"], "strict": "1"}
        async with http.ws_connect(f"{served.url}/ws", params=params) as ws:
            ids["dropped"] = (await ws.receive_json())["connection_id"]
            assert ws._response.connection is not None
            assert ws._response.connection.transport is not None
            ws._response.connection.transport.abort()
        params["session_id"] = "no-such-session"
        async with http.ws_connect(f"{served.url}/ws", params=params) as ws:
            assert (await ws.receive()).data == 4504
        await http.delete(f"{served.url}/sessions/{ids['ended']}")
        async with http.ws_connect(f"{served.url}/ws") as ws:
            ids["expired"] = (await ws.receive_json())["session_id"]
            while (frame := await ws.receive()).type is aiohttp.WSMsgType.TEXT:
                pass
            assert frame.data == 4510
    return ids


async def day(start: Start, program: Program, log_format: str) -> tuple[Served, dict[str, str]]:
    served = await asyncio.to_thread(
        start, "--session-ttl", "1s", "--keep-ended", "0", "--log-format", log_format
    )
    (token,) = await asyncio.to_thread(program.lines, "token", "create", "--user", "alice")
    ids = await live_a_day(served, token)
    await asyncio.to_thread(served.stop)
    return served, ids


async def test_a_session_is_followed_through_the_log_by_its_id(
    start: Start, program: Program
) -> None:
    served, ids = await day(start, program, "json")

    ended, connection = {"session_id": ids["ended"]}, {"connection_id": ids["connection"]}
    assert len(lines_of(served, "session_created", user="alice", **ended)) == 1
    (joined,) = lines_of(served, "session_joined", **ended, **connection)
    assert (joined["role"], joined["recovery"]) == ("ui", "none")
    (left,) = lines_of(served, "session_left", **ended, **connection)
    assert (left["how"], left["code"]) == ("left", 1000)
    (dropped,) = lines_of(served, "session_left", **ended, connection_id=ids["dropped"])
    assert dropped["how"] == "dropped"
    assert len(lines_of(served, "session_ended", **ended)) == 1
    assert len(lines_of(served, "session_expired", session_id=ids["expired"])) == 1
    assert lines_of(served, "session_ended", session_id=ids["expired"]) == []
    requests = lines_of(served, "request", path="/ws")
    assert {line.get("session_id") for line in requests} == {
        ids["ended"], ids["expired"], None,
    }  # fmt: skip
    refused = lines_of(served, "session_unavailable", session_id="no-such-session")
    assert refused[0]["cause"] == "unknown or expired"


async def test_every_line_names_the_request_that_caused_it_and_the_connection_it_is_about(
    start: Start, program: Program
) -> None:
    served, ids = await day(start, program, "json")
    requests = lines_of(served, "request")
    by_id = {line["request_id"]: line for line in requests}
    assert len(by_id) == len(requests), "no two requests share an id"

    (created,) = lines_of(served, "session_created", session_id=ids["ended"])
    assert by_id[created["request_id"]]["path"] == "/sessions"
    (ended,) = lines_of(served, "session_ended", session_id=ids["ended"])
    assert by_id[ended["request_id"]]["method"] == "DELETE"
    (refused,) = lines_of(served, "join_refused")
    assert by_id[refused["request_id"]]["path"] == "/ws"

    visits = {line["connection_id"]: line for line in requests if "connection_id" in line}
    assert {ids["connection"], ids["dropped"]} <= visits.keys()
    about = [
        line for event in ("session_joined", "session_left") for line in lines_of(served, event)
    ]
    assert len(about) == 6
    for line in about:
        # What a commit brings about is of no one request; where one is named, it is the right one.
        own = visits[line["connection_id"]]
        assert line.get("request_id") in (None, own["request_id"]), line
        assert line["session_id"] == own["session_id"]


async def test_what_a_tool_logs_says_which_call_it_is_about(
    start: Start, program: Program, tmp_path: Path
) -> None:
    module = tmp_path / "talking.py"
    module.write_text(
        "import structlog\nfrom companion_ws import tool\n\n"
        "@tool\ndef in_a_thread() -> str:\n    structlog.get_logger().info('here')\n    return ''\n\n"
        "@tool\nasync def in_the_loop() -> str:\n    structlog.get_logger().info('here')\n    return ''\n"
    )
    served = await asyncio.to_thread(start, "--tools", str(module), "--log-format", "json")
    (token,) = await asyncio.to_thread(program.lines, "token", "create", "--user", "alice")
    async with CompanionClient(served.url, token=token) as agent:
        session_id = agent.session_id
        for name in ("in_a_thread", "in_the_loop"):
            await agent.call_tool(name)
        calls = {
            record["client_tool_call"]["tool_call_id"]
            async for record in before_the_end(served.url, token, session_id)
            if record["type"] == "client_tool_call"
        }
    await asyncio.to_thread(served.stop)
    said = lines_of(served, "here", session_id=session_id)
    assert {line["tool_call_id"] for line in said} == calls
    assert len(said) == 2


async def before_the_end(url: str, token: str, session_id: str) -> AsyncIterator[dict[str, Any]]:
    """Yield the records there are."""
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(headers=headers) as http:
        async with http.get(f"{url}/sessions/{session_id}/records?after=0") as response:
            for record in (await response.json())["records"]:
                yield record


def shape(line: str) -> str:
    """Return a line without what differs from one day to another."""
    line = re.sub(r"^\S+Z", "TIME", line)
    line = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", line)
    line = re.sub(r"\b(ms|code)=[\d.]+", r"\1=N", line)
    line = re.sub(r"\brequest_id=[0-9a-f]{12}", "request_id=HEX", line)
    return re.sub(r"(seq|session_id|reason)=\S+", r"\1=…", " ".join(line.split()))


async def test_the_guide_s_lines_are_lines_of_the_log(start: Start, program: Program) -> None:
    served, _ = await day(start, program, "text")
    page = GUIDE.read_text(encoding="utf-8")
    shown = re.search(r"<!-- log -->\n```\n(.*?)```", page, re.DOTALL)
    assert shown is not None

    real = {shape(line) for line in served.errors}
    assert [line for line in shown[1].splitlines() if shape(line) not in real] == []
    events = {line.split()[3] for line in shown[1].splitlines()}
    assert events >= {"session_created", "session_joined", "session_left", "session_ended",
                      "session_expired", "session_unavailable", "request"}  # fmt: skip


@pytest.mark.parametrize("role", ["agent", "ui"])
async def test_every_join_is_counted_by_role_and_by_how_it_recovered(
    role: Any, start: Start, program: Program
) -> None:
    served = await asyncio.to_thread(start)
    (token,) = await asyncio.to_thread(program.lines, "token", "create", "--user", "alice")
    before = await figures(served)
    async with CompanionClient(served.url, token=token, role=role) as companion:
        session_id = companion.session_id
    async with CompanionClient(
        served.url, token=token, role=role, session_id=session_id, after=0
    ):
        pass
    after = await figures(served)

    def grown(name: str) -> float:
        return after.get(name, 0) - before.get(name, 0)

    assert grown(f'companion_joins_total{{role="{role}"}}') == 2
    assert grown('companion_recoveries_total{recovery="none"}') == 1
    assert grown('companion_recoveries_total{recovery="replay"}') == 1


async def figures(served: Served) -> dict[str, float]:
    async with aiohttp.ClientSession() as http, http.get(f"{served.url}/metrics") as response:
        text = await response.text()
    pairs = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in pairs}
