"""Event streams: a log that was restored is another one, and a browser signs in by a ticket."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from running import Message, Running

EVENTS = {"Accept": "text/event-stream"}


class Stream:
    def __init__(self, response: Any) -> None:
        self.response = response

    async def next(self) -> tuple[str | None, Message]:
        """Return `id` and data of the next event."""
        name = None
        async with asyncio.timeout(20):
            async for raw in self.response.content:
                line = raw.decode().rstrip("\n")
                if line.startswith("id: "):
                    name = line[4:]
                elif line.startswith("data: "):
                    return name, json.loads(line[6:])
        raise EOFError


async def follow(server: Running, path: str, *, signed: bool = True, **headers: str) -> Stream:
    sent = {**EVENTS, **{name.replace("_", "-"): value for name, value in headers.items()}}
    if signed:
        sent["Authorization"] = f"Bearer {server.token()}"
    response = await server.http_session.get(f"{server.url}{path}", headers=sent)
    assert response.status == 200, await response.text()
    return Stream(response)


async def restored(server: Running, kept: Path) -> str:
    """Let the server go on from a backup; return the epoch it then has."""
    await server.halt()
    for file in server.config.data.glob("companion.db*"):
        file.unlink()
    kept.rename(server.config.database_path)
    server.config.database_path.chmod(0o600)
    await server.start()
    with sqlite3.connect(server.config.database_path) as connection:
        [(epoch,)] = connection.execute("SELECT epoch FROM log").fetchall()
    connection.close()
    return str(epoch)


async def test_the_id_of_an_event_names_its_log(server: Running) -> None:
    agent = await server.join()
    epoch = agent.joined["epoch"]
    for number in range(3):
        await agent.say("contextual_update", text=str(number))
    path = f"/sessions/{agent.session_id}/records"

    for stream in (
        await follow(server, path, Last_Event_ID=f"{epoch}:1"),
        await follow(server, path, Last_Event_ID="1"),
        await follow(server, f"{path}?after=1&epoch={epoch}"),
        await follow(server, f"{path}?after=3&epoch=other", Last_Event_ID=f"{epoch}:1"),
    ):
        assert (await stream.next())[1]["recovery"] == "replay"
        assert [(await stream.next())[0] for _ in range(2)] == [f"{epoch}:2", f"{epoch}:3"]
        stream.response.close()
    for wrong in ("x", "-1", f"{epoch}:", f"{epoch}:x", ":1", "a:b:1", "1" * 16):
        refused = await server.http("GET", path, headers={**EVENTS, "Last-Event-ID": wrong})
        assert (refused.status, refused.code) == (400, "bad_request")


async def test_a_page_says_where_records_are_missing(start: Any) -> None:
    server = await start(limit_records=3)
    agent = await server.join()
    for number in range(6):
        await agent.say("contextual_update", text=str(number))
    path = f"/sessions/{agent.session_id}/records"
    for after, recovery, seqs in (
        (0, "replay", [4, 5, 6]), (2, "snapshot", [4, 5, 6]), (3, "replay", [4, 5, 6]),
        (6, "replay", []), (7, "snapshot", []),
    ):  # fmt: skip
        page = (await server.http("GET", f"{path}?after={after}")).body
        shown = [record["seq"] for record in page["records"]]
        assert (page["recovery"], shown) == (recovery, seqs), after


@pytest.mark.sqlite
async def test_after_a_restore_no_door_goes_on_from_the_old_log(server: Running, tmp_path: Path) -> None:
    agent = await server.join()
    await agent.say("contextual_update", text="0")
    assert server.app is not None
    kept = tmp_path / "backup.db"
    await server.sessions._database.backup(kept)
    old = agent.joined["epoch"]
    for number in range(3):
        await agent.say("contextual_update", text=f"old {number}")
    new = await restored(server, kept)
    assert new != old
    agent = await server.join(session_id=agent.session_id)
    for number in range(3):
        await agent.say("contextual_update", text=f"new {number}")
    path = f"/sessions/{agent.session_id}/records"

    for stream in (
        await follow(server, path, Last_Event_ID=f"{old}:2"),
        await follow(server, f"{path}?after=2&epoch={old}"),
    ):
        _, joined = await stream.next()
        assert (joined["recovery"], joined["epoch"], joined["seq"]) == ("snapshot", new, 4)
        stream.response.close()
    page = (await server.http("GET", f"{path}?after=2&epoch={old}")).body
    assert (page["recovery"], page["epoch"], page["records"], page["next"]) == ("snapshot", new, [], None)
    page = (await server.http("GET", f"{path}?after=2&epoch={new}")).body
    assert (page["recovery"], page["epoch"]) == ("replay", new)
    assert [record["seq"] for record in page["records"]] == [3, 4]
    again = (await server.http("GET", f"{path}?after=0&epoch={old}")).body
    assert [record["seq"] for record in again["records"]] == [1, 2, 3, 4], "from the first one on"


# Tickets.


async def ticket(server: Running, session_id: str, **asking: Any) -> str:
    made = await server.http("POST", f"/sessions/{session_id}/stream-tickets", **asking)
    assert made.status == 201, made
    assert set(made.body) == {"ticket", "expires_at"}
    return str(made.body["ticket"])


async def test_a_ticket_opens_one_stream(server: Running) -> None:
    agent = await server.join()
    path = f"/sessions/{agent.session_id}/records?ticket={await ticket(server, agent.session_id)}"

    for looks in (
        await server.http("HEAD", path, token=None, headers=EVENTS),
        await server.http("GET", path, token=None),
    ):
        assert looks.status == 401, "only a stream uses it"
    stream = await follow(server, path, signed=False)
    assert (await stream.next())[1]["type"] == "session_joined"
    record = await agent.say("contextual_update", text="x")
    assert (await stream.next())[1] == record
    stream.response.close()
    again = await server.http("GET", path, token=None, headers=EVENTS)
    assert (again.status, again.headers["WWW-Authenticate"]) == (401, "Bearer")


async def test_a_ticket_is_for_its_own_session_and_route(server: Running) -> None:
    agent, other = await server.join(), await server.join()
    text = await ticket(server, agent.session_id)
    mine, theirs = f"/sessions/{agent.session_id}", f"/sessions/{other.session_id}"

    for path in (f"{theirs}/records?ticket={text}", f"{mine}/state?ticket={text}", f"{mine}/records?ticket=x"):
        assert (await server.http("GET", path, token=None, headers=EVENTS)).status == 401
    both = await server.http("GET", f"{mine}/records?ticket={text}", headers=EVENTS)
    assert (both.status, both.code) == (400, "bad_request")
    stranger = await server.http("POST", f"{mine}/stream-tickets", token=server.token("bob"))
    assert stranger.status == 404
    assert (await server.http("POST", f"{mine}/stream-tickets", token=None)).status == 401
    await server.http("DELETE", mine)
    assert (await server.http("POST", f"{mine}/stream-tickets")).status == 410


async def test_a_ticket_is_worth_what_the_token_it_was_made_with_is(server: Running) -> None:
    agent = await server.join()
    path = f"/sessions/{agent.session_id}"
    made = await server.http("POST", f"{path}/tokens", {"role": "ui", "ttl_s": 600})
    texts = [await ticket(server, agent.session_id, token=made.body["token"]) for _ in range(2)]
    stream = await follow(server, f"{path}/records?ticket={texts[0]}", signed=False)
    await stream.next()
    listed = (await server.http("GET", f"{path}/tokens")).body["tokens"]
    assert (await server.http("DELETE", f"{path}/tokens/{listed[0]['id']}")).status == 204

    with pytest.raises((EOFError, aiohttp.ClientError)):
        await stream.next()
    refused = await server.http("GET", f"{path}/records?ticket={texts[1]}", token=None, headers=EVENTS)
    assert refused.status == 401


async def test_a_ticket_dies_after_a_minute_and_the_oldest_makes_room(server: Running) -> None:
    from companion_ws.access.keys import Keys
    from companion_ws.core.errors import Unauthenticated
    from companion_ws.web.api.stream_tickets import MOST_PER_SESSION, StreamTickets

    now_ms = [0]
    tickets = StreamTickets(lambda: now_ms[0], server.sessions.verbs, Keys([b"k" * 32]))
    text, expires_ms = tickets.make("s", "token")
    assert expires_ms == 60_000
    now_ms[0] = 59_999
    assert await tickets.redeem("s", text) == "token"
    late, _ = tickets.make("s", "token")
    now_ms[0] += 60_000
    with pytest.raises(Unauthenticated):
        await tickets.redeem("s", late)
    first, *rest = [tickets.make("s", "token")[0] for _ in range(MOST_PER_SESSION + 1)]
    with pytest.raises(Unauthenticated):
        await tickets.redeem("s", first)
    assert await tickets.redeem("s", rest[0]) == "token"
