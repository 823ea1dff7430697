"""What a device or a session is called, by whichever door the name came."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from running import Running

from companion_ws.client import CompanionClient

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
FLAG = "\U0001f3f4\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"
WRITTEN = f"\ufeffAnn\u2019s\u00a0{FAMILY}\x00\x1b[2J\x9b \u202e\u2066{FLAG}\u2028\u200e\u05d0\ud83d\n"
READ = f"Ann\u2019s {FAMILY}[2J {FLAG}\u200e\u05d0"
LONG = FAMILY * 60


async def paired(server: Running, session_id: str, device: str) -> str:
    made = await server.http("POST", f"/sessions/{session_id}/pairings")
    # As JSON.stringify writes it: half an emoji is an escape.
    body = json.dumps({"code": made.body["code"], "device": device}).encode()
    answer = await server.http("POST", "/pair", data=body, token=None)
    assert answer.status == 201, answer
    devices = (await server.http("GET", "/me/devices")).body["devices"]
    (name,) = [d["device"] for d in devices if d["device_id"] == answer.body["device_id"]]
    return str(name)


async def titled(server: Running, title: str) -> str:
    answer = await server.http("POST", "/sessions", data=json.dumps({"title": title}).encode())
    assert answer.status == 201, answer
    return str(answer.body["title"])


async def renamed(server: Running, session_id: str, title: str) -> str:
    body = json.dumps({"title": title}).encode()
    answer = await server.http("PATCH", f"/sessions/{session_id}", data=body)
    assert answer.status == 200, answer
    assert (await server.http("GET", f"/sessions/{session_id}")).body["title"] == (
        answer.body["title"]
    )
    return str(answer.body["title"])


async def joined(server: Running, session_id: str, device: str) -> str:
    query = [("device", device.encode("utf-8", "ignore").decode())]
    socket = await server.join(session_id=session_id, role="ui", query=query)
    (own,) = [
        p for p in socket.joined["presence"] if p["connection_id"] == socket.connection_id
    ]
    await socket.leave()
    return str(own["device"])


async def by_client(server: Running, session_id: str, device: str) -> str:
    async with CompanionClient(
        server.url, token=server.token(), session_id=session_id, role="ui", device=device
    ) as companion:
        (own,) = [p for p in companion.joined["presence"] if p["device"]]
        return str(own["device"])


async def embedded(server: Running, title: str) -> str:
    made = await server.sessions.create("alice", title=title)
    return made.title


async def every_door(server: Running, name: str) -> dict[str, str]:
    session_id = await server.new_session()
    return {
        "POST /pair": await paired(server, session_id, name),
        "POST /sessions": await titled(server, name),
        "PATCH /sessions/{id}": await renamed(server, session_id, name),
        "/ws?device=": await joined(server, session_id, name),
        "CompanionClient": await by_client(server, session_id, name),
        "sessions.create": await embedded(server, name),
    }


async def test_a_name_is_the_same_by_every_door(server: Running) -> None:
    assert set((await every_door(server, WRITTEN)).values()) == {READ}


async def test_a_name_that_is_too_long_is_cut_between_emoji_by_every_door(
    server: Running,
) -> None:
    for door, name in (await every_door(server, LONG)).items():
        assert len(name) in (100, 200), door
        assert set(name.split(FAMILY)) == {""}, door


async def test_a_name_of_nothing_visible_is_no_name(server: Running) -> None:
    # The client's own name for its device is looked for among those that have one.
    session_id = await server.new_session()
    assert await paired(server, session_id, "\u202e\ufeff \x07") == ""
    assert await titled(server, "\u202e\ufeff \x07") == ""
    assert await joined(server, session_id, "\u202e\ufeff \x07") == ""


async def test_halves_of_characters_are_refused_where_they_are_no_name(server: Running) -> None:
    body = json.dumps({"title": "a\ud83d", "user": "bob\ud83d"}).encode()
    answer = await server.http("POST", "/sessions", data=body, token=server.token("b", "service"))
    assert (answer.status, answer.code) == (400, "invalid_message")
    for wrong in (b'{"title": "a\\ud83d", "n": NaN}', b'["\\ud83d"]', b'{"title": 3, "x": "\\ud83d"}',
                  b'{"title":"\\ud83d","x":' + b"[" * 3000, '{"title":"é"}'.encode("utf-16")):
        assert (await server.http("POST", "/sessions", data=wrong)).status == 400


@pytest.fixture
async def session_id(server: Running) -> str:
    return await server.new_session()


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(name=st.text(st.characters(), max_size=300))
async def test_no_name_is_refused(server: Running, session_id: str, name: str) -> None:
    title: Any = await renamed(server, session_id, name)
    assert len(title) <= 200
    path = f"/sessions/{session_id}/records?limit=1"
    assert (await server.http("GET", path)).status == 200
    await joined(server, session_id, name)
