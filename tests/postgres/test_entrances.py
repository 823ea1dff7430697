"""Two servers of one database: whichever one is asked, the session is the same."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mcp_clients import Tasks, client_at, tasks, until
from node_program import NodeProgram
from postgres_server import PostgresServer
from running import WAIT_S, Running

from companion_ws.client import CompanionClient

SECRETS = {
    "secret_key": "k" * 64, "elevenlabs_tool_secret": "tool-secret", "elevenlabs_user": "alice",
}  # fmt: skip
EVENTS = {"Accept": "text/event-stream"}
CHOICE = {"title": "Which?", "options": [{"id": "air", "label": "Air"}]}


@dataclass
class Two:
    """`one` has the sessions that tests make there; `two` is where others come in."""

    one: Running
    two: Running


@asynccontextmanager
async def two_servers(url: str, **settings: Any) -> AsyncIterator[Two]:
    async with Running(database=url, **SECRETS, **settings) as one:
        async with Running(database=url, **SECRETS, **settings) as two:
            async with asyncio.timeout(WAIT_S):
                while not one.sessions.places.others():
                    await asyncio.sleep(0.02)
            yield Two(one, two)


@pytest.fixture
async def both(tmp_path: Path, postgres: PostgresServer) -> AsyncIterator[Two]:
    async with two_servers(postgres.url(tmp_path)) as both:
        yield both


async def test_a_screen_and_an_agent_at_two_servers_see_everything_in_order(both: Two) -> None:
    agent = await both.one.join()
    screen = await both.two.join(session_id=agent.session_id, role="ui", device="Pixel")
    late = await both.two.join(session_id=agent.session_id, role="ui")
    assert screen.session_id == agent.session_id
    assert (await agent.next_of("presence", event="joined"))["device"] == "Pixel"
    for number in range(30):
        await agent.send("state_update", key="n", value=number)
        await screen.send("user_message", text=f"{number}")
        await late.send("contextual_update", text=f"{number}")
    kinds = ("state_updated", "user_message", "contextual_update")
    seen = [
        [(await each.next_of(*kinds))["seq"] for _ in range(90)] for each in (agent, screen, late)
    ]
    assert seen == [list(range(1, 91))] * 3
    # Who is at the owner's can be seen by anybody, and nobody is at the entrance.
    assert len(both.two.sessions.connections) == 0
    told = await both.two.http("GET", f"/sessions/{agent.session_id}")
    assert told.body["connections"] == {"agent": 1, "ui": 2, "observer": 0}


async def test_a_session_of_a_server_that_has_just_begun_can_be_joined_at_the_other_one(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    url = postgres.url(tmp_path)
    async with Running(database=url, **SECRETS) as one, Running(database=url, **SECRETS) as two:
        agent = await two.join()
        # Within the second in which one server does not know of the other yet.
        screen = await one.join(session_id=agent.session_id, role="ui")
        assert screen.session_id == agent.session_id
        told = await one.http(
            "POST", f"/sessions/{agent.session_id}/messages", {"type": "user_message", "text": "hi"}
        )
        assert await agent.next_of("user_message") == told.body
        assert await screen.next_of("user_message") == told.body


async def test_what_is_asked_over_http_at_the_other_server_happens_in_the_session(both: Two) -> None:
    agent = await both.one.join()
    path = f"/sessions/{agent.session_id}"
    record = (await both.two.http("POST", f"{path}/messages", {"type": "user_message", "text": "hi"})).body
    assert await agent.next_of("user_message") == record
    put = await both.two.http("PUT", f"{path}/state/step", 2)
    assert (put.status, put.headers["ETag"]) == (200, f'"{record["seq"] + 1}"')
    refused = await both.two.http("PUT", f"{path}/state/step", 3, headers={"If-Match": '"1"'})
    assert (refused.status, refused.body["value"], refused.body["revision"]) == (412, 2, 2)
    await both.two.http("PATCH", path, {"title": "Parcels", "language": "de"})
    assert (await both.one.http("GET", path)).body["title"] == "Parcels"
    again = await both.one.join(session_id=agent.session_id)
    assert (again.joined["title"], again.joined["language"]) == ("Parcels", "de")
    assert (await both.two.http("DELETE", path)).status == 204
    assert await agent.close_code() == 4510


async def test_an_embedding_program_tells_a_session_of_another_server(both: Two) -> None:
    screen = await both.one.join(role="ui")
    sessions = both.two.sessions
    record = await sessions.broadcast_to_session(
        screen.session_id, {"type": "contextual_update", "text": "quote_ready", "data": {"n": 1.5}}
    )
    assert await screen.next_of("contextual_update") == record
    await sessions.update_session_state(screen.session_id, "chosen", {"id": "air"})
    await screen.next_of("state_updated")
    assert await sessions.get_session_state(screen.session_id, "chosen") == {"id": "air"}


async def test_a_call_made_at_one_server_waits_for_its_answer_at_the_other(both: Two) -> None:
    agent = await both.one.join()
    screen = await both.two.join(session_id=agent.session_id, role="ui")
    call = {"tool_name": "companion_choose", "tool_call_id": "c1", "parameters": CHOICE}
    asking = asyncio.create_task(
        both.two.http(
            "POST", f"/sessions/{agent.session_id}/messages?wait=20",
            {"type": "client_tool_call", "client_tool_call": call},
        )
    )  # fmt: skip
    await screen.next_of("client_tool_call")
    await screen.say("client_tool_result", tool_call_id="c1", result='{"status":"chosen","id":"air"}')
    answer = await asking
    assert (answer.status, answer.body["type"]) == (200, "client_tool_result")


async def test_an_event_stream_and_its_ticket_lead_to_the_session_from_any_server(both: Two) -> None:
    agent = await both.one.join()
    path = f"/sessions/{agent.session_id}"
    ticket = (await both.one.http("POST", f"{path}/stream-tickets")).body["ticket"]
    url = f"{both.two.url}{path}/records?ticket={ticket}&after=0"
    async with both.two.http_session.get(url, headers=EVENTS) as stream:
        assert stream.status == 200
        await agent.say("contextual_update", text="hello")
        read = b""
        async with asyncio.timeout(WAIT_S):
            while b'"text":"hello"' not in read:
                read += await stream.content.readany()
        assert read.startswith(b'data: {"type":"session_joined"')
        assert b"\nid: " in read or b"id: " in read
    again = await both.two.http("GET", f"{path}/records?ticket={ticket}", token=None, headers=EVENTS)
    assert again.status == 401
    page = await both.two.http("GET", f"{path}/records")
    assert [record["text"] for record in page.body["records"]] == ["hello"]


async def test_an_agent_of_mcp_asks_at_the_other_server(both: Two) -> None:
    screen = await both.one.join(role="ui")

    async def call(name: str, **arguments: Any) -> Any:
        answer = await both.two.http(
            "POST", "/mcp",
            {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}},
            headers={"X-Companion-Session": screen.session_id, "Accept": "application/json, text/event-stream"},
        )  # fmt: skip
        assert answer.status == 200, answer
        return answer.body["result"]["structuredContent"]

    asking = asyncio.create_task(call("ask", **CHOICE))
    asked = await screen.next_of("client_tool_call")
    await screen.send("screen", text="Which?")
    await screen.say(
        "client_tool_result", tool_call_id=asked["client_tool_call"]["tool_call_id"],
        result='{"status":"chosen","id":"air","label":"Air"}',
    )  # fmt: skip
    told = await asking
    assert told["result"]["id"] == "air"
    assert told["companion"]["screens"] == ["Which?"]
    await screen.say("user_message", text="And hurry")
    waited = await call("wait_for_companion", seconds=10)
    assert [event["text"] for event in waited["companion"]["events"]] == ["And hurry"]
    await call("set_state", key="k", value=[1])
    assert (await call("get_state", key="k"))["result"] == [1]


async def test_a_task_of_mcp_is_begun_looked_at_and_withdrawn_at_any_server(both: Two) -> None:
    screen = await both.one.join(role="ui")
    session_id, token = screen.session_id, both.one.token()
    async with (
        client_at(both.two.url, token, session_id, extensions=[Tasks()]) as here,
        client_at(both.one.url, token, session_id, extensions=[Tasks()]) as there,
    ):
        task = await here.session.call_tool("ask", CHOICE, allow_claimed=True)
        asked = await screen.next_of("client_tool_call")
        for client in (here, there):
            told = await tasks(client.session, "get", task.task_id)
            assert (told["status"], told["statusMessage"]) == (
                "working", "The question is on the user's screen.",
            )  # fmt: skip
        await screen.say(
            "client_tool_result", tool_call_id=asked["client_tool_call"]["tool_call_id"],
            result='{"status":"chosen","id":"air","label":"Air"}',
        )  # fmt: skip

        async def over() -> Any:
            told = await tasks(here.session, "get", task.task_id)
            return told if told["status"] != "working" else None

        first = await until(over)
        assert first["result"]["structuredContent"]["result"]["id"] == "air"
        assert (await tasks(there.session, "get", task.task_id))["result"] == first["result"]
        again = {**CHOICE, "title": "And which?"}
        other = await here.session.call_tool("ask", again, allow_claimed=True)
        asked = await screen.next_of("client_tool_call")
        await tasks(here.session, "cancel", other.task_id)
        call_id = asked["client_tool_call"]["tool_call_id"]
        assert (await screen.result(call_id))["said"]["status"] == "cancelled"


async def test_a_webhook_tool_reaches_a_session_of_the_other_server(both: Two) -> None:
    screen = await both.one.join(role="ui")
    token = both.one.made("session", "alice", session_id=screen.session_id, role="agent")

    async def tool(name: str, body: dict[str, Any]) -> Any:
        async with both.two.http_session.post(
            f"{both.two.url}/elevenlabs/tools/{name}", json=body,
            headers={"X-Companion-Secret": "tool-secret", "X-Companion-Session": token},
        ) as answer:  # fmt: skip
            assert answer.status == 200
            return await answer.json()

    asking = asyncio.create_task(tool("companion_choose", CHOICE))
    asked = await screen.next_of("client_tool_call")
    await screen.say(
        "client_tool_result", tool_call_id=asked["client_tool_call"]["tool_call_id"],
        result='{"status":"chosen","id":"air","label":"Air"}',
    )  # fmt: skip
    assert "air" in json.dumps(await asking)
    waiting = asyncio.create_task(tool("wait_for_companion", {"seconds": 15}))
    await asyncio.sleep(0.2)
    await screen.say("user_message", text="Faster please")
    assert "Faster please" in json.dumps(await waiting)


async def test_a_phone_pairs_at_one_server_while_its_owner_looks_at_the_other(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    async with two_servers(postgres.url(tmp_path), pairing="confirm") as both:
        owner = await both.one.join(role="observer", session_id=await both.one.new_session())
        opened = await both.two.http("POST", f"/sessions/{owner.session_id}/pairings")
        ticket = opened.body["url"].partition("#")[2]
        first = await both.two.http("POST", "/pair", {"ticket": ticket, "device": "Pixel"}, token=None)
        assert first.status == 202, first
        asked = await owner.next_of("pairing_request")
        assert asked["verification"] == first.body["verification"]
        await owner.send("pairing_answer", pairing_id=asked["pairing_id"], allow=True)
        async with asyncio.timeout(WAIT_S):
            while True:
                claimed = await both.two.http("POST", "/pair", {"claim": first.body["claim"]}, token=None)
                if claimed.status == 201:
                    break
                await asyncio.sleep(0.05)
        phone = await both.two.join(claimed.body["token"])
        assert phone.session_id == owner.session_id
        assert (await owner.next_of("presence", event="joined"))["device"] == "Pixel"
        undone = await both.two.http(
            "DELETE", f"/sessions/{owner.session_id}/devices/{claimed.body['device_id']}"
        )
        assert undone.status == 204
        assert await phone.close_code() == 4501


async def test_an_admin_sees_which_server_has_a_session_and_figures_say_what_is_passed_on(
    both: Two,
) -> None:
    agent = await both.one.join()
    await both.two.join(session_id=agent.session_id, role="ui")
    other = await both.two.join()
    admin = both.one.token("root", "admin")
    nodes = {server.sessions.places.me.name for server in (both.one, both.two)}
    assert len(nodes) == 2
    for server in (both.one, both.two):
        listed = (await server.http("GET", "/sessions?brief=1", token=admin)).body["sessions"]
        found = {each["session_id"]: each for each in listed}
        assert found[agent.session_id]["node"] == both.one.sessions.places.me.name
        assert found[agent.session_id]["connections"] == {"agent": 1, "ui": 1, "observer": 0}
        assert found[other.session_id]["node"] == both.two.sessions.places.me.name
        own = (await server.http("GET", f"/sessions/{agent.session_id}")).body
        assert "node" not in own
    listed = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "companion_ws", "session", "list", f"--data={both.two.config.data}",
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "COMPANION_SECRET_KEY": SECRETS["secret_key"]},
    )  # fmt: skip
    lines, _ = await listed.communicate()
    [line] = [line for line in lines.decode().splitlines() if agent.session_id in line]
    assert f"1 agent 1 ui on {both.one.sessions.places.me.name}" in line
    async with both.two.http_session.get(f"{both.two.url}/metrics") as answer:
        figures = await answer.text()
    assert "companion_carried_connections 1.0" in figures
    assert "companion_carried_held_bytes 0.0" in figures
    assert 'companion_passed_on_total{verb="Presence.here"}' in figures


async def test_both_clients_come_in_by_another_server(both: Two) -> None:
    agent = await both.one.join()
    async with (
        CompanionClient(both.two.url, token=both.two.token(), session_id=agent.session_id) as python,
        NodeProgram() as node,
    ):
        await node.client(
            url=both.two.url, token=both.two.token(), sessionId=agent.session_id, role="ui"
        )
        assert python.session_id == agent.session_id
        await python.set_state("step", 2)
        await agent.next_of("state_updated", key="step")
        record = await node.run('return await kept.companion.setState("from", "node")')
        assert (await agent.next_of("state_updated", key="from"))["seq"] == record["seq"]
        await python.wait_for_screen()
        asking = asyncio.create_task(python.call_tool("companion_choose", **CHOICE))
        asked = await agent.next_of("client_tool_call")
        await node.run(
            "await kept.companion.answerTool(given.id, { status: 'chosen', id: 'air' })",
            id=asked["client_tool_call"]["tool_call_id"],
        )
        async with asyncio.timeout(WAIT_S):
            assert (await asking)["id"] == "air"


async def test_a_person_erased_at_one_server_is_gone_at_the_other(both: Two) -> None:
    agent = await both.one.join()
    screen = await both.two.join(session_id=agent.session_id, role="ui")
    assert (await both.two.http("DELETE", "/me")).status == 204
    assert await agent.close_code() in (4510, 4501)
    assert await screen.close_code() in (4510, 4501)


async def test_a_stranger_is_given_a_session_of_their_own_where_they_come(both: Two) -> None:
    agent = await both.one.join()
    mallory = both.two.token("mallory")
    stranger = await both.two.join(mallory, session_id=agent.session_id)
    assert stranger.session_id != agent.session_id
    assert stranger.joined["reason"] == "session_unavailable"
    assert len(both.two.sessions.connections) == 1


async def test_a_revoked_token_ends_a_socket_that_came_in_by_another_server(both: Two) -> None:
    agent = await both.one.join()
    token = (await both.one.http("POST", f"/sessions/{agent.session_id}/tokens", {"role": "ui"})).body
    screen = await both.two.join(token["token"])
    assert screen.session_id == agent.session_id
    gone = await both.two.http("DELETE", f"/sessions/{agent.session_id}/tokens/{token['id']}")
    assert gone.status == 204, gone
    assert await screen.close_code() == 4501


