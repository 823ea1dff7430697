"""How long a session lives, and what is left of it afterwards."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from contextlib import closing
from typing import Any

import pytest
from running import Running

from companion_ws.sessions import sessions


async def test_a_session_warns_expires_and_is_gone(start: Any) -> None:
    server = await start(session_ttl=0.6, keep_ended=0)
    agent, screen = await server.pair_of()
    await agent.say("state_update", key="k", value="precious")

    for socket in (agent, screen):
        warned = await socket.next_of("session_expiring")
        assert "seq" not in warned
        assert 0 < warned["expires_at"] - warned["timestamp"] <= 300
        assert await socket.close_code() == 4510
    assert (await server.http("GET", f"/sessions/{agent.session_id}")).status == 404
    again = await server.join(session_id=agent.session_id)
    assert again.joined["reason"] == "session_unavailable"
    assert again.joined["state"] == {}
    assert (await server.refusal(session_id=agent.session_id, strict=1)).code == 4504
    await server.stop()
    assert b"precious" not in b"".join(p.read_bytes() for p in server.config.data.iterdir())


async def test_any_command_keeps_a_session_and_a_ping_does_not(start: Any) -> None:
    server = await start(session_ttl=0.8)
    kept, idle = await server.join(), await server.join()

    async def ping() -> int | None:
        async with asyncio.TaskGroup() as group:
            closing = group.create_task(idle.end())
            while not closing.done():
                await idle.send("ping")
                await asyncio.sleep(0.05)
        return closing.result().code

    async def work() -> None:
        for _ in range(4):
            await kept.next_of("session_expiring")
            await kept.say("state_get")

    async with asyncio.TaskGroup() as group:
        group.create_task(work())
        pinged = group.create_task(ping())
    assert pinged.result() == 4510
    assert (await kept.say("contextual_update", text="x"))["seq"] == 1


async def test_a_connection_that_merely_stays_open_is_no_activity(start: Any) -> None:
    server = await start(session_ttl=0.5)
    agent = await server.join()
    assert await agent.close_code() == 4510


async def test_a_refused_command_keeps_a_session_as_any_other_does(start: Any) -> None:
    server = await start(session_ttl=1.0)
    agent = await server.join()
    for _ in range(4):
        await asyncio.sleep(0.4)
        assert await agent.refused("state_update", key="k", value=1, if_revision=9)
    assert await agent.close_code() == 4510


async def test_ended_sessions_are_kept_readable_as_long_as_was_asked(start: Any) -> None:
    server = await start(keep_ended="1h")
    agent = await server.join()
    await agent.say("contextual_update", text="x")
    path = f"/sessions/{agent.session_id}"
    assert (await server.http("DELETE", path)).status in (200, 204)
    assert await agent.close_code() == 4510

    assert (await server.http("GET", path)).body["ended_at"]
    records = (await server.http("GET", f"{path}/records")).body["records"]
    assert [record["type"] for record in records] == ["contextual_update", "session_ended"]
    say = {"type": "contextual_update", "text": "x"}
    late = await server.http("POST", f"{path}/messages", say)
    assert (late.status, late.code) == (410, "session_ended")
    assert (await server.http("PUT", f"{path}/state/k", 1)).status == 410
    assert (await server.refusal(session_id=agent.session_id, strict=1)).code == 4504
    assert (await server.join(session_id=agent.session_id)).joined["reason"]
    await server.restart()
    assert (await server.http("GET", f"{path}/records")).body["records"] == records
    await server.restart(keep_ended=0, session_ttl=0.4)
    while (await server.http("GET", path)).status != 404:
        await asyncio.sleep(0.05)


async def ended(server: Running, **wanted: Any) -> str:
    session_id = await server.new_session(**wanted)
    assert (await server.http("DELETE", f"/sessions/{session_id}")).status == 204
    return session_id


async def test_an_ended_session_is_kept_a_day_for_its_owner_and_admins_alone(
    server: Running,
) -> None:
    assert server.config.keep_ended_s == 24 * 3600
    agent = await server.join()
    path = f"/sessions/{agent.session_id}"
    made = await server.http("POST", f"{path}/tokens", {"role": "ui", "ttl_s": 600})
    await agent.say("state_update", key="k", value=1)
    assert (await server.http("DELETE", path)).status == 204

    admin = server.token("root", "admin")
    for token in ("", admin):
        assert (await server.http("GET", path, token=token)).body["ended_at"]
        assert (await server.http("GET", f"{path}/state", token=token)).body["k"]["value"] == 1
        assert (await server.http("GET", f"{path}/records", token=token)).status == 200
        assert (await server.http("GET", f"{path}/trail", token=token)).status == 200
    listed = (await server.http("GET", "/me/sessions")).body["sessions"]
    assert [session["session_id"] for session in listed] == [agent.session_id]
    for end in ("/state", "/state/k", "/records"):
        refused = await server.http("GET", f"{path}{end}", token=made.body["token"])
        assert refused.status in (401, 410), end
        assert (await server.http("GET", f"{path}{end}", token=server.token("bob"))).status == 404


async def test_a_session_is_erased_at_once_when_that_is_asked(server: Running) -> None:
    agent = await server.join()
    await agent.say("contextual_update", text="a plugh word")
    path = f"/sessions/{agent.session_id}"

    assert (await server.http("DELETE", f"{path}?erase=1")).status == 204
    assert await agent.close_code() == 4510
    kept = f"/sessions/{await ended(server, title='another plugh')}"
    assert (await server.http("DELETE", kept)).status == 410
    assert (await server.http("DELETE", f"{kept}?erase=0")).status == 410
    assert (await server.http("DELETE", f"{kept}?erase=maybe")).status == 400
    assert (await server.http("DELETE", f"{kept}?erase=1")).status == 204
    for gone in (path, kept):
        assert (await server.http("GET", gone)).status == 404
        assert (await server.http("DELETE", f"{gone}?erase=1")).status == 404
    for file in server.config.data.glob("companion.db*"):
        assert b"plugh" not in file.read_bytes(), file.name


async def test_two_hundred_ended_sessions_are_kept_and_the_first_to_end_goes(
    server: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sessions.MOST_KEPT == 200
    monkeypatch.setattr(sessions, "MOST_KEPT", 3)
    others = await server.new_session(server.token("bob"))
    await server.http("DELETE", f"/sessions/{others}", token=server.token("bob"))
    first, *rest = [await ended(server) for _ in range(4)]

    assert (await server.http("GET", f"/sessions/{first}")).status == 404
    for session_id in rest:
        assert (await server.http("GET", f"/sessions/{session_id}")).status == 200
    admin = server.token("root", "admin")
    assert (await server.http("GET", f"/sessions/{others}", token=admin)).status == 200


async def test_nothing_is_kept_where_that_was_asked(start: Any) -> None:
    server = await start(keep_ended=0)
    assert (await server.http("GET", f"/sessions/{await ended(server)}")).status == 404


async def test_a_session_of_a_short_life_warns_at_half_of_it(start: Any) -> None:
    server = await start(session_ttl=2)
    agent = await server.join()
    warning = await agent.next_of("session_expiring")
    assert 0 < warning["expires_at"] - warning["timestamp"] <= 1000
    assert await agent.close_code() == 4510


async def test_a_restart_gives_sessions_time_to_be_come_back_to(start: Any) -> None:
    server = await start(session_ttl=4)
    agent = await server.join()
    await server.halt()
    await asyncio.sleep(4)  # idle longer than the ttl, while nobody could come
    await server.start()

    back = await server.join(session_id=agent.session_id)
    assert back.session_id == agent.session_id


@pytest.mark.sqlite
async def test_after_a_start_a_session_tells_when_it_really_expires(server: Running) -> None:
    session_id = await server.new_session()
    await server.halt()
    with closing(sqlite3.connect(server.config.database_path)) as stored, stored:
        stored.execute("UPDATE sessions SET last_active_at_ms = last_active_at_ms - 7200000")
    begun_ms = time.time() * 1000
    await server.start()

    shown = (await server.http("GET", f"/sessions/{session_id}")).body
    assert shown["last_active_at"] < begun_ms - 7_000_000
    assert begun_ms + 100_000 < shown["expires_at"] < time.time() * 1000 + 130_000
    [listed] = (await server.http("GET", "/me/sessions")).body["sessions"]
    assert listed["expires_at"] == shown["expires_at"]


async def test_idle_sessions_nobody_has_loaded_since_a_restart_expire_too(start: Any) -> None:
    server = await start(session_ttl=0.4, keep_ended=0)
    session_id = await server.new_session()
    await server.restart()

    async with asyncio.timeout(5):
        while (await server.http("GET", f"/sessions/{session_id}")).status != 404:
            await asyncio.sleep(0.05)


async def test_who_is_erased_leaves_nothing(server: Running) -> None:
    agent = await server.join()
    await agent.say("contextual_update", text="a secret of alice")
    bob = await server.join(server.token("bob"))
    exported = await server.http("GET", "/me/export")
    assert "a secret of alice" in str(exported.body)
    assert (await server.http("DELETE", "/me")).status in (200, 204)

    assert (await agent.end()).code in (4501, 4510)
    assert await bob.quiet() == []
    await server.stop()
    for path in server.config.data.iterdir():
        assert b"a secret of alice" not in path.read_bytes(), path.name
