"""Joining: what is asked for, what is let in, and in which words it is not."""

from __future__ import annotations

import logging
import uuid
from typing import Any

import aiohttp
import pytest
from running import Running

from companion_ws import __version__

ENTRY = {"connection_id", "role", "user", "device", "device_id", "since", "screen"}


async def test_the_first_message_is_session_joined_with_every_field(server: Running) -> None:
    socket = await server.join(device="Pixel 7", role="ui")

    joined = socket.joined
    assert joined.keys() >= {
        "type", "protocol", "server", "session_id", "created", "requested_session_id", "reason",
        "connection_id", "role", "user", "title", "device_id", "seq", "first_seq", "epoch",
        "recovery", "state", "presence", "conversation_id", "open_calls", "cards", "expires_at",
        "timestamp",
    }  # fmt: skip
    assert uuid.UUID(joined["session_id"]).version == 4
    assert (joined["protocol"], joined["server"]) == (1, __version__)
    assert (joined["created"], joined["requested_session_id"], joined["reason"]) == (
        True,
        None,
        None,
    )
    assert (joined["role"], joined["user"], joined["title"]) == ("ui", "alice", "")
    assert (joined["seq"], joined["first_seq"], joined["recovery"]) == (0, None, "none")
    assert (joined["state"], joined["open_calls"], joined["cards"]) == ({}, [], [])
    assert (joined["device_id"], joined["conversation_id"]) == (None, None)
    assert abs(joined["expires_at"] - joined["timestamp"] - 3_600_000) < 1000
    [entry] = joined["presence"]
    assert entry.keys() == ENTRY
    assert entry["connection_id"] == joined["connection_id"]
    assert (entry["role"], entry["device"], entry["screen"]) == ("ui", "Pixel 7", "")


async def test_two_share_a_session_and_a_third_user_sees_nothing(server: Running) -> None:
    agent, screen = await server.pair_of()
    stranger = await server.join(server.token("mallory"), session_id=agent.session_id)

    assert screen.joined["session_id"] == agent.session_id
    assert screen.joined["created"] is False
    assert [entry["role"] for entry in screen.joined["presence"]] == ["agent", "ui"]
    assert stranger.session_id != agent.session_id
    await agent.say("contextual_update", text="secret")
    assert (await screen.next_of("contextual_update"))["text"] == "secret"
    assert await stranger.quiet() == []


async def test_an_id_that_cannot_be_joined_gives_a_new_session_in_the_same_words(
    start: Any,
) -> None:
    server = await start()
    foreign = await server.join(server.token("bob"))
    ended = await server.new_session()
    assert (await server.http("DELETE", f"/sessions/{ended}")).status == 204

    said = []
    for wanted in (foreign.session_id, ended, str(uuid.uuid4()), "no-uuid", "x" * 200):
        socket = await server.join(session_id=wanted, after=5)
        joined = socket.joined
        assert joined["requested_session_id"] == wanted
        assert joined["session_id"] != wanted
        assert (joined["created"], joined["reason"]) == (True, "session_unavailable")
        assert (joined["seq"], joined["recovery"]) == (0, "none"), "a new session has no past"
        said.append(set(joined))
        assert (await socket.say("contextual_update", text="x"))["seq"] == 1
    assert all(keys == said[0] for keys in said)


async def test_the_log_names_the_cause_that_nobody_is_told(
    server: Running, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    foreign = await server.join(server.token("bob"))
    await server.join(session_id=foreign.session_id)
    await server.join(session_id=str(uuid.uuid4()))

    said = [m for m in caplog.messages if "session_unavailable" in m]
    assert len(said) == 2
    assert "somebody else" in said[0]
    assert "unknown" in said[1]
    assert not [message for message in caplog.messages if "cwu_" in message]


async def test_bad_input_costs_one_log_line_and_no_stack_trace(
    server: Running, caplog: pytest.LogCaptureFixture
) -> None:
    agent = await server.join()
    caplog.set_level(logging.INFO)
    for frame in ("{", '{"type":"x"}', '{"type":"contextual_update"}', "[" * 999):
        caplog.clear()
        await agent.ws.send_str(frame)
        assert (await agent.next())["type"] == "error"
        assert len(caplog.records) == 1
        assert "Traceback" not in caplog.text


async def test_strict_refuses_what_cannot_be_joined_in_the_same_words(server: Running) -> None:
    foreign = await server.join(server.token("bob"))

    refusals = [
        await server.refusal(session_id=wanted, strict=1)
        for wanted in (foreign.session_id, str(uuid.uuid4()))
    ]
    assert [refusal.code for refusal in refusals] == [4504, 4504]
    assert refusals[0].reason == refusals[1].reason
    own = await server.join()
    assert (await server.join(session_id=own.session_id, strict=1)).session_id == own.session_id
    assert (await server.join(session_id=str(uuid.uuid4()), strict=0)).joined["created"]
    assert (await server.join(strict=1)).joined["created"]


# Carriers.


async def test_a_token_comes_in_the_query_the_header_or_the_subprotocol(server: Running) -> None:
    token = server.token()
    bearer = {"Authorization": f"Bearer {token}"}

    await server.join(token)
    await server.join(None, headers=bearer)
    offered = ("companion.v1", f"bearer.{token}")
    by_protocol = await server.join(None, protocols=offered)
    assert by_protocol.ws.protocol == "companion.v1"


@pytest.mark.parametrize("case", ["query+header", "query+protocol", "header+protocol"])
async def test_two_carriers_are_a_bad_request(server: Running, case: str) -> None:
    token = server.token()
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await server.socket(
            token if "query" in case else None,
            headers={"Authorization": f"Bearer {token}"} if "header" in case else {},
            protocols=("companion.v1", f"bearer.{token}") if "protocol" in case else (),
        )
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "name", ["token", "session_id", "after", "role", "device", "strict", "unheard_of"]
)
async def test_a_repeated_parameter_is_a_bad_request(server: Running, name: str) -> None:
    value = server.token() if name == "token" else "1"
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await server.socket(None if name == "token" else "", query=[(name, value), (name, value)])
    assert refused.value.status == 400


async def test_a_plain_request_to_the_socket_is_a_bad_request(server: Running) -> None:
    answer = await server.http("GET", "/ws")
    assert answer.status == 400
    assert answer.code


# Tokens.


@pytest.mark.parametrize(
    "token", [None, "x", "cwu_", "cwu_abc.def", "Bearer", "cwu_" + "A" * 3000, "cwd_WyJhIl0.x", "ü"]
)
async def test_a_dead_token_is_refused_before_anything_else(
    server: Running, token: str | None
) -> None:
    assert (await server.refusal(token, after="nonsense", role="nobody")).code == 4501


async def test_a_token_of_another_server_is_refused(server: Running, start: Any) -> None:
    other = await start()
    assert (await server.refusal(other.token())).code == 4501


async def test_an_expired_token_means_fetch_another(server: Running) -> None:
    assert (await server.refusal(server.made(ttl_s=-100))).code == 4401


async def test_a_token_that_expires_ends_its_connection(server: Running) -> None:
    socket = await server.join(server.made(ttl_s=0.4))

    assert await socket.close_code() == 4401


async def test_a_revoked_token_ends_its_connections_and_lets_in_nobody(server: Running) -> None:
    admin = server.token("root", "admin")
    made = await server.http(
        "POST", "/tokens", {"user": "alice", "role": "user", "ttl_s": 600}, token=admin
    )
    assert made.status == 201
    socket = await server.join(made.body["token"])
    other = await server.join()

    gone = await server.http("DELETE", f"/tokens/{made.body['id']}", token=admin)
    assert gone.status in (200, 204)
    assert await socket.close_code() == 4501
    assert (await server.refusal(made.body["token"])).code == 4501
    assert await other.quiet() == []


# Parameters.


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("after", "-1"),
        ("after", "x"),
        ("after", "1.5"),
        ("after", "٣"),
        ("after", "9" * 40),
        ("after", " 1"),
        ("role", "server"),
        ("role", "UI"),
        ("role", "nobody"),
        ("strict", "maybe"),
        ("session_id", "x" * 500),
        ("epoch", "x" * 500),
        ("tools", ",".join(f"t{number}" for number in range(65))),
    ],
)
async def test_a_malformed_parameter_closes_with_4500(
    server: Running, name: str, value: str
) -> None:
    assert (await server.refusal(**{name: value})).code == 4500


async def test_the_largest_numbers_are_numbers_all_the_same(server: Running) -> None:
    own = await server.join()
    for after in (2**53 - 1, 10**15):
        back = await server.join(session_id=own.session_id, after=after)
        assert back.joined["recovery"] == "snapshot"


async def test_blanks_around_the_names_of_tools_do_not_count(server: Running) -> None:
    agent, screen = await server.pair_of(tools=" draw_a_map , draw_a_graph, ")
    await agent.call("t1", "draw_a_graph")
    assert (
        await screen.say("client_tool_result", tool_call_id="t1", result='"drawn"')
    )["answered_by"] == "ui"
    await agent.call("t2", "sing")
    assert (await agent.result("t2"))["said"] == {"status": "shown"}


# Roles and kinds.


@pytest.mark.parametrize("role", ["agent", "ui", "observer"])
async def test_a_user_joins_in_every_role(server: Running, role: str) -> None:
    assert (await server.join(role=role)).joined["role"] == role
    assert (await server.join()).joined["role"] == "agent"


async def test_an_admin_observes_every_session_and_speaks_in_its_own_alone(
    server: Running,
) -> None:
    alices = await server.join()
    admin = server.token("root", "admin")

    watching = await server.join(admin, session_id=alices.session_id, role="observer")
    assert watching.session_id == alices.session_id
    assert await alices.quiet() == [], "observers are not announced"
    for role in ("agent", "ui"):
        elsewhere = await server.join(admin, session_id=alices.session_id, role=role)
        assert elsewhere.joined["reason"] == "session_unavailable"
    strict = await server.refusal(admin, session_id=alices.session_id, role="ui", strict=1)
    assert strict.code == 4504
    own = await server.join(admin)
    assert own.joined["user"] == "root"
    assert (await server.join(admin, session_id=own.session_id)).session_id == own.session_id


async def test_a_service_joins_the_sessions_it_made_and_no_others(server: Running) -> None:
    shop = server.token("shop", "service")
    session_id = await server.new_session(shop, user="customer-42")

    assert (await server.refusal(shop)).code == 4503
    agent = await server.join(shop, session_id=session_id)
    assert agent.session_id == session_id
    customer = await server.join(server.token("customer-42"), session_id=session_id, role="ui")
    assert customer.session_id == session_id
    alices = await server.join()
    other_shop = server.token("other-shop", "service")
    customers_own = await server.join(server.token("customer-42"))
    for token, wanted in (
        (shop, alices.session_id),
        (shop, customers_own.session_id),
        (other_shop, session_id),
    ):
        assert (await server.refusal(token, session_id=wanted)).code == 4503
        assert (await server.refusal(token, session_id=wanted, strict=1)).code == 4504


async def test_a_session_token_joins_its_own_session_in_its_own_role(server: Running) -> None:
    owner = await server.join()
    made = await server.http(
        "POST", f"/sessions/{owner.session_id}/tokens", {"role": "ui", "ttl_s": 600}
    )
    assert made.status == 201
    token = made.body["token"]

    screen = await server.join(token)
    assert (screen.session_id, screen.joined["role"]) == (owner.session_id, "ui")
    assert (screen.joined["created"], screen.joined["requested_session_id"]) == (False, None)
    assert (await server.join(token, session_id=owner.session_id, role="ui")).session_id
    assert (await server.refusal(token, role="agent")).code == 4503
    assert (await server.refusal(token, role="observer")).code == 4503
    other = await server.join()
    for wanted in (other.session_id, str(uuid.uuid4())):
        assert (await server.refusal(token, session_id=wanted)).code == 4503


async def test_a_session_token_outlives_its_session_by_a_clear_word(server: Running) -> None:
    session_id = await server.new_session()
    made = await server.http("POST", f"/sessions/{session_id}/tokens", {"role": "ui", "ttl_s": 600})
    await server.http("DELETE", f"/sessions/{session_id}")

    assert (await server.refusal(made.body["token"])).code == 4510
    assert (await server.refusal(made.body["token"], session_id=session_id)).code == 4510


@pytest.mark.parametrize("keep_ended", ["0", "1h"])
async def test_a_phone_whose_session_has_ended_is_told_so_and_nothing_else(
    start: Any, keep_ended: str
) -> None:
    server = await start(keep_ended=keep_ended)
    agent = await server.join()
    made = await server.http("POST", f"/sessions/{agent.session_id}/pairings", {})
    code = {"code": made.body["code"], "device": "Pixel"}
    paired = await server.http("POST", "/pair", code, token=None)
    phone = await server.join(paired.body["token"])
    await server.http("DELETE", f"/sessions/{agent.session_id}")

    assert await phone.close_code() == 4510
    assert (await server.refusal(paired.body["token"])).code == 4510
    await server.restart()
    assert (await server.refusal(paired.body["token"])).code == 4510

# Host and origin: the only refusals before the upgrade besides 400.


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "https://127.0.0.1"}, 403),
    ],
)
async def test_pages_and_names_of_others_are_refused_before_the_upgrade(
    server: Running, headers: dict[str, str], status: int
) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await server.socket(headers=headers)
    assert refused.value.status == status


async def test_our_own_pages_and_allowed_ones_may_connect(start: Any) -> None:
    server = await start(allow_origin=("https://shop.example",), allow_host=("shop.internal",))

    await server.join(headers={"Origin": server.url})
    await server.join(headers={"Origin": "https://shop.example"})
    await server.join(headers={"Host": "shop.internal"})
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await server.socket(headers={"Origin": "https://shop.example.evil.example"})


# Presence.


async def test_everybody_learns_who_comes_and_how_they_go(server: Running) -> None:
    agent = await server.join()
    params = {"session_id": agent.session_id, "role": "ui", "device": "Pixel 7"}
    screen = await server.join(**params)

    came = await agent.next_of("presence")
    assert came.keys() >= {
        "event", "connection_id", "role", "user", "device", "device_id", "since", "session_id",
        "timestamp",
    }  # fmt: skip
    assert (came["event"], came["connection_id"]) == ("joined", screen.connection_id)
    assert (came["role"], came["device"], came["user"]) == ("ui", "Pixel 7", "alice")
    assert "seq" not in came
    assert await screen.quiet() == [], "nobody is told of themselves"

    await screen.leave()
    left = await agent.next_of("presence")
    assert (left["event"], left["connection_id"]) == ("left", screen.connection_id)
    other = await server.join(**params)
    await agent.next_of("presence", event="joined")
    other.vanish()
    dropped = await agent.next_of("presence")
    assert (dropped["event"], dropped["connection_id"]) == ("dropped", other.connection_id)


async def test_observers_see_everything_and_are_seen_by_nobody(server: Running) -> None:
    agent = await server.join()
    observer = await server.join(session_id=agent.session_id, role="observer")

    assert await agent.quiet() == []
    assert [entry["role"] for entry in observer.joined["presence"]] == ["agent"]
    screen = await server.join(session_id=agent.session_id, role="ui")
    assert [entry["role"] for entry in screen.joined["presence"]] == ["agent", "ui"]
    assert (await observer.next_of("presence"))["event"] == "joined"
    await observer.leave()
    await agent.next_of("presence", event="joined")
    assert await agent.quiet() == []


async def test_what_a_screen_shows_is_in_presence_and_passed_to_agents(server: Running) -> None:
    agent, screen = await server.pair_of()
    observer = await server.join(session_id=agent.session_id, role="observer")

    await screen.send("screen", text="Three quotes; none chosen")
    told = await agent.next_of("screen")
    assert told["text"] == "Three quotes; none chosen"
    assert told["sender"]["connection_id"] == screen.connection_id
    assert "seq" not in told
    await observer.next_of("screen")
    await screen.send("screen", text="Air chosen")
    await agent.next_of("screen", text="Air chosen")
    late = await server.join(session_id=agent.session_id, role="ui")
    shown = {entry["connection_id"]: entry["screen"] for entry in late.joined["presence"]}
    assert shown[screen.connection_id] == "Air chosen"
    assert "screen" not in [message["type"] for message in await late.quiet()]
