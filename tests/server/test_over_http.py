"""What a session's owner, its members and the operator ask over HTTP."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

import pytest
from running import WAIT_S, Message, Running

SHOWN = {
    "session_id", "user", "title", "created_at", "last_active_at", "expires_at", "seq",
    "conversation_id", "connections", "state",
}  # fmt: skip


@pytest.fixture
def admin(server: Running) -> str:
    return server.token("root", "admin")


# Sessions.


async def test_a_session_is_made_named_shown_and_ended(server: Running) -> None:
    made = await server.http("POST", "/sessions", {"title": "Parcel", "language": "de-AT"})
    assert made.status == 201
    assert made.body.keys() >= {"session_id"}
    path = f"/sessions/{made.body['session_id']}"

    shown = await server.http("GET", path)
    assert shown.body.keys() >= SHOWN
    assert (shown.body["title"], shown.body["user"]) == ("Parcel", "alice")
    assert shown.body["connections"] == {"agent": 0, "ui": 0, "observer": 0}
    renamed = await server.http("PATCH", path, {"title": "Letter"})
    assert (renamed.status, renamed.body["title"]) == (200, "Letter")
    assert renamed.body["language"] == "de-AT", "what is not named stays"
    assert (await server.http("PATCH", path, {"language": None})).body["language"] is None
    socket = await server.join(session_id=made.body["session_id"])
    assert socket.joined["title"] == "Letter"
    assert (await server.http("GET", path)).body["connections"]["agent"] == 1
    assert (await server.http("DELETE", path)).status in (200, 204)
    assert (await socket.next_of("session_ended"))["reason"]
    assert await socket.close_code() == 4510
    assert (await server.http("GET", path)).body["ended_at"], "kept for its owner"


async def test_an_absent_body_is_an_empty_object(server: Running) -> None:
    assert (await server.http("POST", "/sessions")).status == 201
    assert (await server.http("POST", "/sessions", data=b"")).status == 201
    for bad in (b"{", b"[]", b'"x"', b'{"title":7}', b'{"language":"not a tag!"}', b"\xff"):
        answer = await server.http("POST", "/sessions", data=bad)
        assert answer.status == 400, bad
        assert answer.code in {"invalid_message", "bad_request"}


async def test_a_body_that_is_not_what_its_headers_say_is_a_bad_request(server: Running) -> None:
    for encoding in ("gzip", "deflate"):
        answer = await server.http(
            "POST", "/sessions", data=b"no such thing", headers={"Content-Encoding": encoding}
        )
        assert (answer.status, answer.code) == (400, "bad_request")


async def test_a_service_names_the_owner(server: Running) -> None:
    shop = server.token("shop", "service")
    assert (await server.http("POST", "/sessions", {}, token=shop)).status == 400
    session_id = await server.new_session(shop, user="customer-42", title="Order")

    path = f"/sessions/{session_id}"
    assert (await server.http("GET", path, token=shop)).body["user"] == "customer-42"
    assert (await server.http("GET", path, token=server.token("customer-42"))).status == 200
    assert (await server.http("GET", path, token=server.token("shop"))).status == 404
    assert (await server.http("GET", path, token=server.token("other", "service"))).status == 404
    assert (await server.http("GET", "/me/sessions", token=shop)).status == 403


@pytest.mark.parametrize(
    ("method", "suffix", "body"),
    [
        ("GET", "", None),
        ("PATCH", "", {"title": "x"}),
        ("DELETE", "", None),
        ("GET", "/state", None),
        ("GET", "/state/k", None),
        ("PUT", "/state/k", 1),
        ("DELETE", "/state/k", None),
        ("POST", "/messages", {"type": "contextual_update", "text": "x"}),
        ("GET", "/records", None),
        ("GET", "/trail", None),
        ("POST", "/tokens", {"role": "ui", "ttl_s": 60}),
        ("POST", "/pairings", {}),
        ("GET", "/qr.svg?content=session", None),
        ("GET", "/qr.png?content=session", None),
        ("POST", "/pairings/x", {"allow": True}),
        ("DELETE", "/devices/x", None),
    ],
)
async def test_unknown_and_foreign_sessions_are_the_same_404(
    server: Running, method: str, suffix: str, body: Any
) -> None:
    foreign = await server.new_session(server.token("bob"))
    await server.http("PUT", f"/sessions/{foreign}/state/k", 1, token=server.token("bob"))
    answers = [
        await server.http(method, f"/sessions/{session_id}{suffix}", body)
        for session_id in (foreign, str(uuid.uuid4()), "nonsense")
    ]

    assert [answer.status for answer in answers] == [404] * 3
    assert answers[0].body == answers[1].body == answers[2].body
    assert answers[0].code == "session_not_found"
    for token in (None, "x", server.made(ttl_s=-100)):
        refused = await server.http(method, f"/sessions/{foreign}{suffix}", body, token=token or None)
        assert refused.status == 401
        assert refused.headers["WWW-Authenticate"] == "Bearer"
        assert refused.code in {"unauthenticated", "token_expired"}


async def test_one_lists_ones_own_sessions_and_the_admin_all(server: Running, admin: str) -> None:
    mine = [await server.new_session(title=str(number)) for number in range(3)]
    bobs = await server.new_session(server.token("bob"))

    own = await server.http("GET", "/me/sessions")
    assert [s["session_id"] for s in own.body["sessions"]] == mine[::-1]
    assert own.body["next"] is None
    assert own.body["sessions"][0].keys() >= SHOWN
    everything = await server.http("GET", "/sessions", token=admin)
    assert [s["session_id"] for s in everything.body["sessions"]] == [bobs, *mine[::-1]]
    bob = await server.http("GET", "/sessions?user=bob", token=admin)
    assert [s["session_id"] for s in bob.body["sessions"]] == [bobs]
    for token in (server.token(), server.token("shop", "service")):
        refused = await server.http("GET", "/sessions", token=token)
        assert (refused.status, refused.code) == (403, "forbidden")
    assert (await server.http("GET", "/sessions", token=None)).status == 401


async def test_a_list_is_read_page_by_page(server: Running, admin: str) -> None:
    ids = [await server.new_session() for _ in range(5)]
    seen, cursor = [], ""
    while cursor is not None:
        page = await server.http("GET", f"/sessions?limit=2&cursor={cursor}", token=admin)
        assert len(page.body["sessions"]) <= 2
        seen += [s["session_id"] for s in page.body["sessions"]]
        cursor = page.body["next"]
    assert seen == ids[::-1]
    for bad in ("limit=0", "limit=x", "limit=-1", "cursor=!!", "cursor=AAAA"):
        assert (await server.http("GET", f"/sessions?{bad}", token=admin)).status == 400, bad


async def test_a_conversation_leads_to_its_session(server: Running, admin: str) -> None:
    agent = await server.join()
    await agent.say("conversation_initiation_metadata", conversation_id="conv_9")

    found = await server.http("GET", "/sessions?conversation_id=conv_9", token=admin)
    assert [s["session_id"] for s in found.body["sessions"]] == [agent.session_id]
    assert found.body["sessions"][0]["conversation_id"] == "conv_9"
    assert (await server.http("GET", "/me/sessions?conversation_id=conv_9")).body["sessions"]
    none = await server.http("GET", "/sessions?conversation_id=conv_0", token=admin)
    assert none.body["sessions"] == []


async def test_an_admin_reads_and_ends_every_session(server: Running, admin: str) -> None:
    agent = await server.join()
    path = f"/sessions/{agent.session_id}"
    body = {"type": "contextual_update", "text": "from the operator"}

    assert (await server.http("GET", path, token=admin)).status == 200
    assert (await server.http("POST", f"{path}/messages", body, token=admin)).body["seq"] == 1
    record = await agent.next_of("contextual_update")
    assert record["sender"] == {"role": "agent", "user": "root", "connection_id": None}
    assert (await server.http("GET", f"{path}/trail", token=admin)).status == 200
    assert (await server.http("DELETE", path, token=admin)).status in (200, 204)
    assert await agent.close_code() == 4510


# State.


async def test_state_over_http_has_etags(server: Running) -> None:
    agent = await server.join()
    path = f"/sessions/{agent.session_id}/state"
    assert (await server.http("GET", path)).body == {}

    put = await server.http("PUT", f"{path}/step", {"a": [1]})
    assert (put.status, put.headers["ETag"]) == (200, '"1"')
    assert (await agent.next_of("state_updated"))["value"] == {"a": [1]}
    got = await server.http("GET", f"{path}/step")
    assert got.body == {"step": {"value": {"a": [1]}, "revision": 1}}
    assert got.headers["ETag"] == '"1"'
    same = await server.http("GET", f"{path}/step", headers={"If-None-Match": '"1"'})
    assert same.status == 304
    assert (await server.http("GET", path)).body == got.body
    assert (await server.http("DELETE", f"{path}/step")).status in (200, 204)
    assert (await agent.next_of("state_deleted"))["revision"] == 2
    assert (await server.http("GET", f"{path}/step")).status == 404
    assert (await server.http("DELETE", f"{path}/step")).status == 404


@pytest.mark.parametrize("value", [None, 0, False, "", [], {}, "ü", 1.5])
async def test_the_body_of_a_put_is_the_bare_value(server: Running, value: Any) -> None:
    session_id = await server.new_session()
    path = f"/sessions/{session_id}/state/k"

    data = json.dumps(value).encode()
    assert (await server.http("PUT", path, data=data)).status == 200
    assert (await server.http("GET", path)).body["k"]["value"] == value


@pytest.mark.parametrize("key", ["a/b", "a b", "ü", "%2F", "..", "?", "#"])
async def test_a_key_may_be_any_text(server: Running, key: str) -> None:
    from urllib.parse import quote

    session_id = await server.new_session()
    path = f"/sessions/{session_id}/state/{quote(key, safe='')}"
    if key != "..":
        assert (await server.http("PUT", path, 1)).status == 200
        assert list((await server.http("GET", f"/sessions/{session_id}/state")).body) == [key]


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_preconditions_answer_412_with_what_is_there(server: Running, method: str) -> None:
    session_id = await server.new_session()
    path = f"/sessions/{session_id}/state/k"

    async def change(**headers: str) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await server.http(method, path, 7 if method == "PUT" else None, headers=named)

    for header in ('"3"', "*", '"3", "4"', '"x"'):
        absent = await change(If_Match=header)
        assert (absent.status, absent.code) == (412, "precondition_failed"), header
        assert (absent.body["value"], absent.body["revision"]) == (None, 0)
    await server.http("PUT", path, {"a": 1})
    for headers in ({"If_None_Match": "*"}, {"If_Match": '"9"'}, {"If_Match": '"8", "9"'}):
        lost = await change(**headers)
        assert lost.status == 412
        assert (lost.body["value"], lost.body["revision"]) == ({"a": 1}, 1)
    for header in ("1", "nonsense"):
        assert (await change(If_Match=header)).status == 400
    assert (await change(If_Match='"1"')).status in (200, 204)
    await server.http("PUT", path, 1)
    assert (await change(If_Match="*")).status in (200, 204)
    await server.http("PUT", path, 1)
    revision = (await server.http("GET", path)).body["k"]["revision"]
    assert (await change(If_Match=f'"99", "{revision}"')).status in (200, 204)


# Messages.


async def test_any_command_goes_over_http_and_answers_its_record(server: Running) -> None:
    agent = await server.join()
    path = f"/sessions/{agent.session_id}/messages"
    body = {"type": "contextual_update", "text": "x", "data": 1, "requestId": "r1"}

    record = await server.http("POST", path, body)
    assert record.status in (200, 201)
    assert record.body == await agent.next_of("contextual_update")
    assert record.body["sender"] == {"role": "agent", "user": "alice", "connection_id": None}
    snapshot = await server.http("POST", path, {"type": "state_get"})
    assert snapshot.body["type"] == "state_snapshot"
    assert (await server.http("POST", path, {"type": "ping"})).body["type"] == "pong"
    tap = {"type": "ui_action", "action_id": "a", "surface_id": "s", "name": "n"}
    assert (await server.http("POST", f"{path}?role=ui", tap)).body["sender"]["role"] == "ui"
    passed = {"type": "screen_command", "name": "toast"}
    assert (await server.http("POST", path, passed)).status in (200, 202, 204)


@pytest.mark.parametrize(
    ("query", "body", "status", "code"),
    [
        ("", {"type": "ui_action", "action_id": "a", "surface_id": "s", "name": "n"}, 403, "forbidden"),
        ("?role=observer", {"type": "contextual_update", "text": "x"}, 403, "forbidden"),
        ("?role=server", {"type": "contextual_update", "text": "x"}, 400, "bad_request"),
        ("", {"type": "nothing"}, 400, "unknown_type"),
        ("", {}, 400, "invalid_message"),
        ("", [], 400, None),
        ("", {"type": "contextual_update"}, 400, "invalid_message"),
        ("", {"type": "state_update", "key": "k", "value": 1, "if_revision": 4}, 409, "revision_conflict"),
        ("", {"type": "client_tool_cancel", "tool_call_id": "x"}, 404, "tool_unknown"),
        ("?role=ui", {"type": "client_tool_result", "tool_call_id": "x", "result": ""}, 404, "tool_unknown"),
        ("?wait=x", {"type": "ping"}, 400, "bad_request"),
    ],
)
async def test_what_is_refused_over_http_has_its_code(
    server: Running, query: str, body: Any, status: int, code: str | None
) -> None:
    session_id = await server.new_session()
    answer = await server.http("POST", f"/sessions/{session_id}/messages{query}", body)

    assert answer.status == status
    assert code is None or answer.code == code
    assert answer.body["detail"]


async def test_a_session_token_speaks_in_its_session_and_role(server: Running) -> None:
    session_id = await server.new_session()
    other = await server.new_session()
    made = await server.http("POST", f"/sessions/{session_id}/tokens", {"role": "ui", "ttl_s": 60})
    token = made.body["token"]
    path = f"/sessions/{session_id}"
    say = {"type": "user_message", "text": "x"}

    record = await server.http("POST", f"{path}/messages", say, token=token)
    assert record.body["sender"]["role"] == "ui"
    for suffix in ("/state", "/records"):
        assert (await server.http("GET", f"{path}{suffix}", token=token)).status == 200
        assert (await server.http("GET", f"/sessions/{other}{suffix}", token=token)).status == 404
    assert (await server.http("POST", f"{path}/messages?role=agent", say, token=token)).status == 403
    for method, closed in (
        ("GET", path), ("DELETE", path), ("GET", f"{path}/trail"), ("POST", f"{path}/pairings"),
        ("POST", f"{path}/tokens"), ("GET", "/me/sessions"), ("POST", "/sessions"),
    ):  # fmt: skip
        refused = await server.http(method, closed, {} if method == "POST" else None, token=token)
        assert (refused.status, refused.code) == (403, "forbidden"), closed


async def test_an_idempotency_key_makes_one_thing(server: Running) -> None:
    key = {"Idempotency-Key": "order-66"}
    first = await server.http("POST", "/sessions", {"title": "a"}, headers=key)
    again = await server.http("POST", "/sessions", {"title": "a"}, headers=key)

    assert again.status == 201
    assert again.body["session_id"] == first.body["session_id"]
    other = await server.http("POST", "/sessions", {"title": "b"}, headers=key)
    assert (other.status, other.code) == (422, "idempotency_mismatch")
    bobs = await server.http("POST", "/sessions", {"title": "a"}, headers=key, token=server.token("bob"))
    assert bobs.body["session_id"] != first.body["session_id"]
    path = f"/sessions/{first.body['session_id']}/messages"
    say = {"type": "contextual_update", "text": "x"}
    records = await asyncio.gather(
        *(server.http("POST", path, say, headers={"Idempotency-Key": "k"}) for _ in range(5))
    )
    assert {record.body["seq"] for record in records} == {1}
    changed = {"type": "contextual_update", "text": "y"}
    mismatch = await server.http("POST", path, changed, headers={"Idempotency-Key": "k"})
    assert mismatch.status == 422


async def test_waiting_for_a_result_that_does_not_come_answers_the_call(server: Running) -> None:
    agent, screen = await server.pair_of()
    body = {"type": "client_tool_call", "tool_name": "n", "tool_call_id": "t1"}
    path = f"/sessions/{agent.session_id}/messages?wait=0.2"

    answer = await server.http("POST", path, body)
    assert answer.status in (200, 202)
    assert answer.body["type"] == "client_tool_call"
    await screen.say("client_tool_result", tool_call_id="t1", result="x")
    again = await server.http("POST", path, body)
    assert (again.body["type"], again.body["result"]) == ("client_tool_result", "x")


# Records.


async def test_records_are_read_page_by_page(start: Any) -> None:
    server = await start(limit_records=8)
    agent = await server.join()
    path = f"/sessions/{agent.session_id}/records"
    empty = (await server.http("GET", path)).body
    assert (empty["records"], empty["first_seq"], empty["next"]) == ([], None, None)
    for number in range(10):
        await agent.say("contextual_update", text=str(number))

    page = (await server.http("GET", f"{path}?after=0&limit=5")).body
    assert [record["seq"] for record in page["records"]] == [3, 4, 5, 6, 7]
    assert (page["first_seq"], page["next"]) == (3, 7)
    rest = (await server.http("GET", f"{path}?after={page['next']}&limit=5")).body
    assert [record["seq"] for record in rest["records"]] == [8, 9, 10]
    assert rest["next"] is None
    assert rest["records"][-1] == agent.heard[-1]
    assert (await server.http("GET", f"{path}?after=99")).body["records"] == []
    for bad in ("after=x", "after=-1", "limit=x", "limit=-1", "after=1.5"):
        assert (await server.http("GET", f"{path}?{bad}")).status == 400, bad


class Events:
    """An open event stream."""

    def __init__(self, response: Any) -> None:
        self.response = response

    async def next(self) -> tuple[str | None, Message]:
        """Return id and message of the next event."""
        name, data = None, ""
        async with asyncio.timeout(WAIT_S):
            while True:
                line = (await self.response.content.readline()).decode()
                if line == "":
                    raise EOFError
                line = line.rstrip("\n")
                if line.startswith("id:"):
                    name = line[3:].strip()
                elif line.startswith("data:"):
                    data += line[5:].strip()
                elif line == "" and data:
                    return name, json.loads(data)


async def follow(server: Running, path: str, token: str = "", **headers: str) -> Events:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    response = await server.http_session.get(
        f"{server.url}{path}",
        headers={
            "Accept": "text/event-stream",
            "Authorization": f"Bearer {token or server.token()}",
            **named,
        },
    )
    assert response.status == 200, await response.text()
    assert response.headers["Content-Type"].startswith("text/event-stream")
    return Events(response)


async def test_an_event_stream_begins_with_the_join_and_goes_on_live(server: Running) -> None:
    agent = await server.join()
    await agent.say("state_update", key="k", value=1)
    events = await follow(server, f"/sessions/{agent.session_id}/records")

    name, joined = await events.next()
    assert (name, joined["type"], joined["seq"]) == (None, "session_joined", 1)
    assert joined["state"] == {"k": {"value": 1, "revision": 1}}
    assert joined["recovery"] == "none"
    record = await agent.say("contextual_update", text="line\nbreak")
    assert await events.next() == (f"{joined['epoch']}:2", record)
    assert await agent.quiet() == [], "a stream is not announced"
    events.response.close()


async def test_an_event_stream_resumes_where_it_broke_off(server: Running) -> None:
    agent = await server.join()
    for number in range(5):
        await agent.say("contextual_update", text=str(number))
    path = f"/sessions/{agent.session_id}/records"

    for events in (
        await follow(server, path, Last_Event_ID="2"),
        await follow(server, f"{path}?after=2"),
        await follow(server, f"{path}?after=0", Last_Event_ID="2"),
    ):
        _, joined = await events.next()
        assert joined["recovery"] == "replay"
        epoch = joined["epoch"]
        assert [(await events.next())[0] for _ in range(3)] == [f"{epoch}:{n}" for n in (3, 4, 5)]
        events.response.close()
    beyond = await follow(server, path, Last_Event_ID="99")
    assert (await beyond.next())[1]["recovery"] == "snapshot"
    beyond.response.close()


async def test_an_event_stream_ends_with_its_session_and_its_token(server: Running) -> None:
    agent = await server.join()
    path = f"/sessions/{agent.session_id}/records"
    until_expiry = await follow(server, path, token=server.made(ttl_s=0.5))
    to_the_end = await follow(server, path)
    await until_expiry.next()
    await to_the_end.next()
    with pytest.raises(EOFError):
        await until_expiry.next()
    await server.http("DELETE", f"/sessions/{agent.session_id}")
    assert (await to_the_end.next())[1]["type"] == "session_ended"
    with pytest.raises(EOFError):
        await to_the_end.next()


# Trail.


async def test_the_trail_tells_who_came_and_how_they_went(server: Running) -> None:
    agent = await server.join()
    session_id = agent.session_id
    screen = await server.join(session_id=session_id, role="ui", device="Pixel 7")
    await screen.ws.close(code=4000, message=b"moving on")
    await agent.next_of("presence", event="left")
    made = await server.http("POST", f"/sessions/{session_id}/tokens", {"role": "ui", "ttl_s": 60})
    await server.refusal(made.body["token"], role="agent", device="Tablet")
    await server.refusal(session_id=session_id, after="nonsense")
    await server.refusal(server.token("mallory"), session_id=session_id, after="nonsense")
    await agent.say("contextual_update", text="x")

    trail = (await server.http("GET", f"/sessions/{session_id}/trail")).body["trail"]
    told = [entry["event"] for entry in trail]
    assert told == ["joined", "joined", "left", "refused", "refused"]
    left, refused, malformed = trail[2:]
    assert (refused["device"], refused["role"], malformed["code"]) == ("Tablet", "ui", 4500)
    assert (left["device"], left["code"], left["reason"]) == ("Pixel 7", 4000, "moving on")
    assert refused["code"] == 4503
    assert all(isinstance(entry["at"], int) for entry in trail)


async def test_the_trail_keeps_its_newest_thousand(server: Running) -> None:
    session_id = await server.new_session()
    for number in range(1010):
        server.sessions.store.trail(session_id, number, "joined", b"{}")
    made = await server.http("PATCH", f"/sessions/{session_id}", {"title": "stored after them"})
    assert made.status == 200

    trail = (await server.http("GET", f"/sessions/{session_id}/trail")).body["trail"]
    assert [entry["at"] for entry in trail] == list(range(10, 1010))


# Health, errors, headers.


async def test_health_readiness_and_figures(server: Running) -> None:
    await server.join()
    assert (await server.http("GET", "/healthz", token=None)).status == 200
    assert (await server.http("GET", "/readyz", token=None)).status == 200
    async with server.http_session.get(f"{server.url}/metrics") as response:
        assert response.status == 200
        assert "# TYPE" in await response.text()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("PUT", "/sessions", 405), ("GET", "/pair", 405), ("POST", "/healthz", 405)],
)
async def test_wrong_paths_and_methods_are_problems_too(
    server: Running, method: str, path: str, status: int
) -> None:
    answer = await server.http(method, path)
    assert answer.status == status
    assert answer.code
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["/healthz", "/nowhere", "/me/sessions", "/", "/ui", "/ws"])
async def test_every_answer_carries_the_security_headers(server: Running, path: str) -> None:
    answer = await server.http("GET", path, token=None)

    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["Referrer-Policy"]
    elsewhere = await server.http("GET", path, token=None, headers={"Host": "evil.example"})
    assert elsewhere.status == (200 if path == "/healthz" else 421), "health answers any name"


async def test_event_streams_delay_no_stop_and_resume_after_it(
    server: Running, caplog: pytest.LogCaptureFixture
) -> None:
    agent = await server.join()
    path = f"/sessions/{agent.session_id}/records"
    events = [await follow(server, path) for _ in range(3)]
    for stream in events:
        await stream.next()
    await agent.say("contextual_update", text="last words")
    async with asyncio.timeout(5):
        await server.restart()

    for stream in events:
        name, record = await stream.next()
        assert (name.partition(":")[2], record["text"]) == ("1", "last words")
        with pytest.raises(EOFError):
            await stream.next()
    agent = await server.join(session_id=agent.session_id)
    await agent.say("contextual_update", text="first words")
    again = await follow(server, path, Last_Event_ID="1")
    await again.next()
    assert str((await again.next())[0]).endswith(":2")
    again.response.close()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_reader_of_events_that_hangs_up_is_forgotten(server: Running) -> None:
    agent = await server.join()
    events = await follow(server, f"/sessions/{agent.session_id}/records")
    await events.next()
    path = f"/sessions/{agent.session_id}"
    assert (await server.http("GET", path)).body["connections"]["observer"] == 1
    events.response.close()

    async with asyncio.timeout(5):
        while (await server.http("GET", path)).body["connections"]["observer"]:
            await asyncio.sleep(0.05)
