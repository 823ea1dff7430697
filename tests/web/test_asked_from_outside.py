"""What somebody finds who reads the contract to the letter, over HTTP and sockets."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import unused_port
from running import Running

from companion_ws import CompanionClient, Config, create_app
from companion_ws.access.keys import Keys
from companion_ws.access.tokens import Tokens
from companion_ws.data_folder import DataInUse


async def test_long_keys_that_end_alike_are_two_messages(server: Running) -> None:
    path = f"/sessions/{await server.new_session()}/messages"
    seqs = []
    for first in "AB":
        answer = await server.http(
            "POST", path, {"type": "contextual_update", "text": first},
            headers={"Idempotency-Key": first + "x" * 128},
        )  # fmt: skip
        assert answer.body["text"] == first
        seqs.append(answer.body["seq"])
    assert seqs == [1, 2]


async def test_a_key_sent_again_in_another_role_is_another_message(server: Running) -> None:
    path = f"/sessions/{await server.new_session()}/messages"
    body = {"type": "contextual_update", "text": "hello"}
    roles = []
    for role in ("agent", "ui"):
        answer = await server.http(
            "POST", f"{path}?role={role}", body, headers={"Idempotency-Key": "one"}
        )
        roles.append(answer.body["sender"]["role"])
    assert roles == ["agent", "ui"]


async def test_a_call_sent_again_says_so_with_its_result(server: Running) -> None:
    _, screen = await server.pair_of()
    path = f"/sessions/{screen.session_id}/messages"
    call = {"tool_name": "companion_confirm", "tool_call_id": "c1", "parameters": {}}
    body = {"type": "client_tool_call", "client_tool_call": call}
    await server.http("POST", path, body)
    await screen.say("client_tool_result", tool_call_id="c1", result='{"status":"confirmed"}')

    again = await server.http("POST", f"{path}?wait=5", body)

    assert (again.body["type"], again.body["duplicate"]) == ("client_tool_result", True)


async def test_a_session_token_is_renewed_over_http_too(server: Running) -> None:
    session_id = await server.new_session()
    made = await server.http("POST", f"/sessions/{session_id}/tokens", {"role": "ui", "ttl_s": 600})
    path = f"/sessions/{session_id}/messages"

    renewed = await server.http(
        "POST", path, {"type": "token_renew", "requestId": "r"}, token=made.body["token"]
    )

    assert renewed.body["type"] == "token_renewed"
    assert renewed.body["requestId"] == "r"
    assert renewed.body["expires_at"] >= made.body["expires_at"]
    state = await server.http("GET", f"/sessions/{session_id}/state", token=renewed.body["token"])
    assert state.status == 200
    assert (await server.http("POST", path, {"type": "token_renew"})).status == 403


async def test_a_pairing_is_answered_as_a_command_too(start: Any) -> None:
    server = await start(pairing="confirm")
    session_id = await server.new_session()
    opened = (await server.http("POST", f"/sessions/{session_id}/pairings")).body
    page = await server.http("POST", f"/sessions/{session_id}/tokens", {"role": "ui", "ttl_s": 600})
    waiting = await server.http("POST", "/pair", {"code": opened["code"]}, token=None)
    assert waiting.status == 202
    [request] = (await server.http("GET", f"/sessions/{session_id}/pairings")).body["requests"]
    answer = {"type": "pairing_answer", "pairing_id": request["pairing_id"], "allow": True}
    path = f"/sessions/{session_id}/messages"

    refused = await server.http("POST", path, answer, token=page.body["token"])
    assert (refused.status, refused.code) == (403, "forbidden")
    assert (await server.http("POST", path, answer)).status == 200

    entered = await server.http("POST", "/pair", {"claim": waiting.body["claim"]}, token=None)
    assert entered.status == 201


async def test_a_phone_that_pairs_is_told_whether_a_question_waits(start: Any) -> None:
    server = await start()
    session_id = await server.new_session()

    async def paired() -> Any:
        opened = (await server.http("POST", f"/sessions/{session_id}/pairings")).body
        return (await server.http("POST", "/pair", {"code": opened["code"]}, token=None)).body

    assert (await paired())["is_asking"] is False
    call = {"tool_name": "companion_confirm", "tool_call_id": "c", "parameters": {"title": "Go?"}}
    message = {"type": "client_tool_call", "client_tool_call": call}
    asked = await server.http("POST", f"/sessions/{session_id}/messages?role=agent", message)
    assert asked.status == 200
    assert (await paired())["is_asking"] is True


async def test_the_owner_and_nobody_else_is_asked_whether_a_phone_may_join(start: Any) -> None:
    server = await start(pairing="confirm")
    shop = server.made("service", "shop")
    session_id = await server.new_session(shop, user="alice")
    lent = await server.http("POST", f"/sessions/{session_id}/tokens", {"role": "ui", "ttl_s": 600})
    asked = [
        await server.join(session_id=session_id),
        await server.join(session_id=session_id, role="observer"),
        await server.join(shop, session_id=session_id),
    ]
    page = await server.join(lent.body["token"], session_id=session_id)
    opened = (await server.http("POST", f"/sessions/{session_id}/pairings")).body

    await server.http("POST", "/pair", {"code": opened["code"], "device": "Pixel 7"}, token=None)

    for socket in asked:
        assert (await socket.next_of("pairing_request"))["device"] == "Pixel 7"
    assert "pairing_request" not in [message["type"] for message in await page.quiet()]


@pytest.mark.parametrize(
    "value",
    ["9007199254740992", "[" * 40 + "]" * 40, '"\\ud800"', "1e400", "NaN", "1" * 5000],
    ids=["integer", "depth", "surrogate", "infinite", "nan", "digits"],
)
async def test_a_refusal_names_the_command_it_refuses(server: Running, value: str) -> None:
    agent = await server.join()
    await agent.ws.send_str(
        f'{{"type":"state_update","requestId":"mine","key":"k","value":{value}}}'
    )
    error = await agent.next_of("error")
    assert (error["code"], error["requestId"]) == ("invalid_message", "mine")

    await agent.ws.send_str(f'{{"requestId":"\\ud800","value":{value}}}')
    assert (await agent.next_of("error"))["requestId"] is None


async def test_the_trail_waits_for_what_a_slow_disk_has_not_stored_yet(server: Running) -> None:
    session_id = await server.new_session()
    late = server.made("session", "alice", -600, session_id=session_id, role="ui")
    with closing(sqlite3.connect(server.config.database_path)) as disk:
        disk.execute("BEGIN IMMEDIATE")
        assert (await server.refusal(late)).code == 4401
        asking = asyncio.create_task(server.http("GET", f"/sessions/{session_id}/trail"))
        await asyncio.sleep(0.2)
        disk.rollback()
    assert [each["event"] for each in (await asking).body["trail"]] == ["refused"]


async def test_the_trail_tells_of_tokens_that_no_longer_open_the_session(server: Running) -> None:
    session_id = await server.new_session()
    path = f"/sessions/{session_id}"
    opened = (await server.http("POST", f"{path}/pairings")).body
    phone = (
        await server.http("POST", "/pair", {"code": opened["code"], "device": "Pixel"}, token=None)
    ).body
    await server.http("DELETE", f"{path}/devices/{phone['device_id']}")
    late = server.made("session", "alice", -600, session_id=session_id, role="ui")

    assert (await server.refusal(phone["token"])).code == 4501
    assert (await server.refusal(late)).code == 4401
    assert (await server.refusal("cwd_forged.x")).code == 4501

    trail = (await server.http("GET", f"{path}/trail")).body["trail"]
    refused = [each["code"] for each in trail if each["event"] == "refused"]
    assert sorted(refused) == [4401, 4501]


async def test_what_is_read_can_be_asked_for_its_headers_alone(server: Running) -> None:
    session_id = await server.new_session()
    await server.http("PUT", f"/sessions/{session_id}/state/k", 1)
    for path in ("/me/sessions", f"/sessions/{session_id}", f"/sessions/{session_id}/state/k"):
        answer = await server.http("HEAD", path)
        assert (answer.status, answer.body) == (200, None), path
        assert (await server.http("HEAD", path, token=None)).status == 401
    stream = await server.http(
        "HEAD", f"/sessions/{session_id}/records", headers={"Accept": "text/event-stream"}
    )
    assert (stream.status, stream.headers["Content-Type"]) == (200, "text/event-stream")


async def test_what_a_person_takes_along_is_whole_and_named_as_everywhere(server: Running) -> None:
    agent = await server.join(device="Desk")
    await agent.say("contextual_update", text="hello", data={})

    [given] = (await server.http("GET", "/me/export")).body["sessions"]

    shown = (await server.http("GET", f"/sessions/{agent.session_id}")).body
    assert given.items() >= {
        name: shown[name] for name in ("session_id", "user", "title", "created_at", "seq")
    }.items()
    assert not [name for name in given if name.endswith("_ms")]
    assert [entry["device"] for entry in given["trail"]] == ["Desk"]
    assert [record["text"] for record in given["records"]] == ["hello"]


async def test_a_revision_no_key_has_matches_nothing(server: Running) -> None:
    path = f"/sessions/{await server.new_session()}/state/k"
    answer = await server.http("PUT", path, 1, headers={"If-Match": '"0"'})
    assert (answer.status, answer.body["revision"]) == (412, 0)


async def test_two_programs_never_share_a_data_folder(server: Running) -> None:
    second = web.AppRunner(await create_app(Config(data=server.config.data)))
    with pytest.raises(DataInUse, match="Another server works on"):
        await second.setup()
    await second.cleanup()
    assert (await server.http("GET", "/readyz")).status == 200


@pytest.mark.parametrize("mount", ["", "/companion"])
async def test_links_of_an_embedded_server_lead_to_where_it_is(tmp_path: Any, mount: str) -> None:
    config = Config(data=tmp_path / "data")
    app = await create_app(config)
    outer = web.Application()
    if mount:
        outer.add_subapp(mount, app)
    runner = web.AppRunner(outer if mount else app)
    await runner.setup()
    port = unused_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    token, _ = Tokens(Keys.load(config.data)).issue("user", "alice", 60)
    base = f"http://127.0.0.1:{port}{mount}"
    try:
        async with CompanionClient(base, token=token) as companion:
            pairing = await companion.pair()
        async with aiohttp.ClientSession() as http:
            async with http.get(pairing.url) as page:
                assert page.status == 200
                assert "<title>Companion</title>" in await page.text()
            ticket = {"ticket": pairing.url.partition("#")[2]}
            async with http.post(f"{base}/pair", data=json.dumps(ticket)) as entered:
                assert entered.status == 201
        assert pairing.url.startswith(f"{base}/p#")
    finally:
        await runner.cleanup()


async def test_a_proxy_s_own_password_is_no_token(server: Running) -> None:
    basic = {"Authorization": "Basic dXNlcjpwYXNz"}
    assert (await server.join(headers=basic)).joined["type"] == "session_joined"
    assert (await server.refusal(None, headers=basic)).code == 4501


async def test_an_answer_to_no_waiting_phone_is_an_invalid_message(server: Running) -> None:
    agent = await server.join()
    assert await agent.refused("pairing_answer", pairing_id="x", allow=True) == "invalid_message"


async def test_who_waits_for_a_result_when_the_server_stops_is_told_the_call(
    server: Running,
) -> None:
    _, screen = await server.pair_of()
    call = {"tool_name": "companion_confirm", "tool_call_id": "c1", "parameters": {}}
    asking = asyncio.create_task(
        server.http(
            "POST",
            f"/sessions/{screen.session_id}/messages?wait=60",
            {"type": "client_tool_call", "client_tool_call": call},
        )
    )
    await screen.next_of("client_tool_call")

    await server.halt()

    answer = await asking
    assert (answer.status, answer.body["type"]) == (202, "client_tool_call")
