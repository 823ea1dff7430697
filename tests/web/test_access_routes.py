"""Routes about who may: pairing, signing in, tokens, devices, a person's own data."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import structlog

from companion_ws.access.keys import Keys
from companion_ws.access.tokens import Tokens
from companion_ws.testing.server import CompanionServer
from tests.camera import scanned

Reply = tuple[int, Any, dict[str, str]]


class Caller:
    """Somebody with a token, or without one, who asks over HTTP and joins over WebSocket."""

    def __init__(self, http: aiohttp.ClientSession, url: str, token: str | None) -> None:
        self.http = http
        self.url = url
        self.token = token

    async def ask(
        self, method: str, path: str, body: Any = None, *, key: str | None = None
    ) -> Reply:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        if key is not None:
            headers["Idempotency-Key"] = key
        data = None if body is None else json.dumps(body).encode()
        async with self.http.request(
            method, self.url + path, data=data, headers=headers
        ) as response:
            content = await response.read()
            is_json = "json" in response.headers.get("Content-Type", "")
            return (
                response.status,
                json.loads(content) if is_json else content,
                dict(response.headers),
            )

    async def made(self, path: str, body: Any = None, *, key: str | None = None) -> Any:
        status, answer, _ = await self.ask("POST", path, body, key=key)
        assert status == 201, answer
        return answer

    async def join(self, query: str = "") -> aiohttp.ClientWebSocketResponse:
        ws = await self.http.ws_connect(f"{self.url}/ws?token={self.token}{query}")
        joined = await ws.receive_json()
        assert joined["type"] == "session_joined"
        return ws


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def settings() -> dict[str, Any]:
    return {}


@pytest.fixture
async def site(settings: dict[str, Any]) -> AsyncIterator[CompanionServer]:
    async with CompanionServer(**settings) as running:
        yield running


def caller(
    site: CompanionServer, http: aiohttp.ClientSession, user: str = "alice", kind: Any = "user"
) -> Caller:
    return Caller(http, site.url, site.token(user, kind))


@pytest.fixture
def alice(site: CompanionServer, http: aiohttp.ClientSession) -> Caller:
    return caller(site, http)


@pytest.fixture
def bob(site: CompanionServer, http: aiohttp.ClientSession) -> Caller:
    return caller(site, http, "bob")


@pytest.fixture
def admin(site: CompanionServer, http: aiohttp.ClientSession) -> Caller:
    return caller(site, http, "local", "admin")


@pytest.fixture
def phone(site: CompanionServer, http: aiohttp.ClientSession) -> Caller:
    return Caller(http, site.url, None)


@pytest.fixture
async def session_id(alice: Caller) -> str:
    return str((await alice.made("/sessions"))["session_id"])


async def until(ws: aiohttp.ClientWebSocketResponse, kind: str, **fields: Any) -> dict[str, Any]:
    """Return the next message of this type and fields."""
    async with asyncio.timeout(5):
        while True:
            message: dict[str, Any] = await ws.receive_json()
            if message["type"] == kind and fields.items() <= message.items():
                return message


async def close_code(ws: aiohttp.ClientWebSocketResponse) -> int:
    async with asyncio.timeout(5):
        while True:
            message = await ws.receive()
            if message.type is aiohttp.WSMsgType.CLOSE:
                return int(message.data)
            assert message.type is aiohttp.WSMsgType.TEXT


def ticket(opened: dict[str, Any]) -> str:
    return str(opened["url"].partition("#")[2])


# Pairing.


async def test_a_phone_pairs_by_link_once_and_joins_as_a_screen(
    alice: Caller, phone: Caller, session_id: str
) -> None:
    watching = await alice.join(f"&session_id={session_id}&role=observer")
    opened = await alice.made(f"/sessions/{session_id}/pairings")
    assert opened["code_url"] == f"{alice.url}/c"
    assert opened["url"].startswith(f"{alice.url}/p#")
    paired = await phone.made("/pair", {"ticket": ticket(opened), "device": "Pixel 7"})
    assert paired["session_id"] == session_id
    assert (await phone.ask("POST", "/pair", {"ticket": ticket(opened)}))[0] == 404

    screen = await Caller(phone.http, phone.url, paired["token"]).join()
    presence = await until(watching, "presence", event="joined")
    assert (presence["role"], presence["device_id"]) == ("ui", paired["device_id"])
    assert (await alice.ask("GET", "/me/devices"))[1]["devices"][0]["device"] == "Pixel 7"

    path = f"/sessions/{session_id}/devices/{paired['device_id']}"
    assert (await alice.ask("DELETE", path))[0] == 204
    assert await close_code(screen) == 4501
    assert (await alice.ask("GET", "/me/devices"))[1]["devices"] == []
    assert (await alice.ask("DELETE", path))[0] == 404
    again = await phone.http.ws_connect(f"{phone.url}/ws?token={paired['token']}")
    assert await close_code(again) == 4501


async def test_a_phone_pairs_by_code(alice: Caller, phone: Caller, session_id: str) -> None:
    code = (await alice.made(f"/sessions/{session_id}/pairings"))["code"]
    spoken = f"{code[:3]} {code[3:6]}-{code[6:]}"
    assert (await phone.made("/pair", {"code": spoken}))["session_id"] == session_id


async def test_used_wrong_and_expired_answers_are_the_same_bytes(
    alice: Caller, phone: Caller, session_id: str
) -> None:
    opened = await alice.made(f"/sessions/{session_id}/pairings")
    await phone.made("/pair", {"ticket": ticket(opened)})
    answers = [
        await phone.ask("POST", "/pair", body)
        for body in (
            {"ticket": ticket(opened)},
            {"ticket": "A" * 22},
            {"ticket": session_id},
            {"code": opened["code"]},
            {"code": "000000000"},
            {"code": "nonsense"},
        )
    ]
    assert {status for status, _, _ in answers} == {404}
    assert len({json.dumps(problem) for _, problem, _ in answers}) == 1


@pytest.mark.parametrize(
    "body", [{}, {"ticket": 5}, {"code": None}, {"ticket": "a", "code": "b"}, []]
)
async def test_a_request_to_pair_that_says_nothing_is_400(phone: Caller, body: Any) -> None:
    assert (await phone.ask("POST", "/pair", body))[0] == 400


@pytest.mark.parametrize("first", ["link", "code"])
async def test_a_pairing_lets_in_one_device_by_link_or_by_code(
    alice: Caller, phone: Caller, session_id: str, first: str
) -> None:
    opened = await alice.made(f"/sessions/{session_id}/pairings")
    ways = {"link": {"ticket": ticket(opened)}, "code": {"code": opened["code"]}}

    await phone.made("/pair", ways.pop(first))

    [other] = ways.values()
    assert (await phone.ask("POST", "/pair", other))[0] == 404
    assert len((await alice.ask("GET", "/me/devices"))[1]["devices"]) == 1


async def test_a_link_that_is_sent_shows_no_code_and_leaves_the_drawn_one_alone(
    alice: Caller, phone: Caller, session_id: str
) -> None:
    path = f"/sessions/{session_id}/pairings"
    drawn = await alice.made(path)
    sent = await alice.made(path, {"ttl_s": 900})
    assert (sent["code"], sent["code_expires_at"]) == (None, None)

    await phone.made("/pair", {"ticket": ticket(sent)})
    await phone.made("/pair", {"code": drawn["code"]})


async def test_reading_the_page_of_a_link_uses_nothing_up(
    alice: Caller, phone: Caller, session_id: str
) -> None:
    opened = await alice.made(f"/sessions/{session_id}/pairings")
    for method in ("GET", "HEAD"):
        assert (await phone.ask(method, "/p"))[0] == 200
    assert (await phone.ask("GET", f"/pair?ticket={ticket(opened)}"))[0] == 405
    await phone.made("/pair", {"ticket": ticket(opened)})


async def test_guessing_codes_is_stopped_and_links_go_on(
    alice: Caller, phone: Caller, session_id: str
) -> None:
    opened = await alice.made(f"/sessions/{session_id}/pairings")
    for _ in range(5):
        assert (await phone.ask("POST", "/pair", {"code": "123456780"}))[0] == 404
    status, problem, headers = await phone.ask("POST", "/pair", {"code": opened["code"]})
    assert status == 429
    assert problem["code"] == "too_many_requests"
    assert 800 < int(headers["Retry-After"]) <= 900
    await phone.made("/pair", {"ticket": ticket(opened)})


async def test_the_qr_code_says_the_link(alice: Caller, session_id: str) -> None:
    opened = await alice.made(f"/sessions/{session_id}/pairings")
    base = f"/sessions/{session_id}"
    for query, text in (
        (f"pairing={opened['pairing_id']}", opened["url"]),
        ("content=session", f"{alice.url}/ui?session_id={session_id}"),
    ):
        status, png, headers = await alice.ask("GET", f"{base}/qr.png?{query}")
        assert (status, headers["Content-Type"]) == (200, "image/png")
        assert scanned(png) == [text]
        status, svg, headers = await alice.ask("GET", f"{base}/qr.svg?{query}")
        assert headers["Content-Type"].startswith("image/svg+xml")
        assert b'role="img"' in svg
    again = await alice.made(f"{base}/pairings")
    assert again["code"] == opened["code"]
    assert (await alice.ask("GET", f"{base}/qr.png"))[0] == 400
    assert (await alice.ask("GET", f"{base}/qr.png?pairing=nonsense"))[0] == 404


@pytest.mark.parametrize("ttl_s", [0, 901, -5, "60", True, [1]])
async def test_a_link_lives_between_a_second_and_a_quarter_of_an_hour(
    alice: Caller, session_id: str, ttl_s: Any
) -> None:
    path = f"/sessions/{session_id}/pairings"
    assert (await alice.ask("POST", path, {"ttl_s": ttl_s}))[0] == 400
    assert (await alice.ask("POST", path, {"ttl_s": 900}))[0] == 201


async def test_foreign_and_unknown_sessions_are_the_same_404(
    alice: Caller, bob: Caller, session_id: str
) -> None:
    for method, end in (
        ("POST", "/pairings"),
        ("GET", "/pairings"),
        ("POST", "/pairings/x"),
        ("POST", "/tokens"),
        ("GET", "/qr.svg?content=session"),
        ("GET", "/qr.png?pairing=x"),
        ("DELETE", "/devices/x"),
    ):
        body = {"allow": True} if end == "/pairings/x" else None
        foreign = await bob.ask(method, f"/sessions/{session_id}{end}", body)
        unknown = await bob.ask(method, f"/sessions/{uuid.uuid4()}{end}", body)
        assert foreign[0] == unknown[0] == 404
        assert foreign[1] == unknown[1]


async def test_an_admin_s_steps_in_another_s_session_are_written_down(
    alice: Caller, admin: Caller, session_id: str
) -> None:
    with structlog.testing.capture_logs() as events:
        await admin.made(f"/sessions/{session_id}/pairings")
        await alice.made(f"/sessions/{session_id}/pairings")
        await admin.ask("PATCH", f"/sessions/{session_id}", {"title": "Parcel"})
        await admin.join(f"&session_id={session_id}&role=observer")
        await alice.join(f"&session_id={session_id}&role=observer")
    acted = [event for event in events if event["event"] == "admin_acted"]
    assert {(event["by"], event["session_id"]) for event in acted} == {("local", session_id)}
    assert [(event["method"], event["path"]) for event in acted] == [
        ("POST", f"/sessions/{session_id}/pairings"),
        ("PATCH", f"/sessions/{session_id}"),
        ("GET", "/ws"),
    ]


@pytest.mark.parametrize("settings", [{"keep_ended": "1h"}])
async def test_an_ended_session_lets_nobody_in_any_more(
    alice: Caller, phone: Caller, session_id: str
) -> None:
    opened = await alice.made(f"/sessions/{session_id}/pairings")
    assert (await alice.ask("DELETE", f"/sessions/{session_id}"))[0] == 204
    for end in ("/pairings", "/tokens"):
        status, problem, _ = await alice.ask("POST", f"/sessions/{session_id}{end}")
        assert (status, problem["code"]) == (410, "session_ended")
    for how in ({"ticket": ticket(opened)}, {"code": opened["code"]}):
        assert (await phone.ask("POST", "/pair", how))[0] == 404


# With confirmation.


@pytest.mark.parametrize("settings", [{"pairing": "confirm"}])
@pytest.mark.parametrize("allow", [True, False])
@pytest.mark.parametrize("over", ["socket", "http"])
async def test_with_confirmation_the_owner_decides(
    alice: Caller, bob: Caller, phone: Caller, session_id: str, allow: bool, over: str
) -> None:
    watching = await alice.join(f"&session_id={session_id}&role=observer")
    opened = await alice.made(f"/sessions/{session_id}/pairings")
    status, waiting, _ = await phone.ask(
        "POST", "/pair", {"ticket": ticket(opened), "device": "Pixel 7"}
    )
    assert status == 202
    assert (await until(watching, "pairing_used"))["pairing_id"] == opened["pairing_id"]
    request = await until(watching, "pairing_request")
    assert request["device"] == "Pixel 7"
    assert request["verification"] == waiting["verification"]
    assert len(waiting["verification"]) == 2
    assert request["expires_at"] == waiting["expires_at"]

    reloaded = await alice.ask("GET", f"/sessions/{session_id}/pairings")
    names = ("pairing_id", "device", "verification", "expires_at")
    assert reloaded[1] == {"requests": [{name: request[name] for name in names}]}

    claim = {"claim": waiting["claim"]}
    status, again, _ = await phone.ask("POST", "/pair", claim)
    assert (status, again) == (202, waiting)
    path = f"/sessions/{session_id}/pairings/{request['pairing_id']}"
    assert (await bob.ask("POST", path, {"allow": True}))[0] == 404
    if over == "http":
        assert (await alice.ask("POST", path, {"allow": allow}))[0] == 204
    else:
        answer = {"type": "pairing_answer", "pairing_id": request["pairing_id"], "allow": allow}
        await watching.send_json(answer)
    async with asyncio.timeout(5):
        while (status := (await phone.ask("POST", "/pair", claim))[0]) == 202:
            continue
    assert status == (201 if allow else 403)
    assert (await phone.ask("POST", "/pair", claim))[0] == (410 if allow else 403)
    assert (await alice.ask("POST", path, {"allow": not allow}))[0] == 404


@pytest.mark.parametrize("settings", [{"pairing": "confirm"}])
async def test_a_phone_that_never_heard_the_yes_asks_again_with_the_same_key(
    alice: Caller, phone: Caller, session_id: str
) -> None:
    opened = await alice.made(f"/sessions/{session_id}/pairings")
    first, second = "k" * 22, "l" * 22
    asked = {"ticket": ticket(opened)}
    waiting = [await phone.ask("POST", "/pair", asked, key=first) for _ in range(2)]
    assert [status for status, _, _ in waiting] == [202, 202]
    assert waiting[0][1] == waiting[1][1]
    claim = {"claim": waiting[0][1]["claim"]}
    assert (await phone.ask("POST", "/pair", claim, key=second))[0] == 202
    path = f"/sessions/{session_id}/pairings/{opened['pairing_id']}"
    assert (await alice.ask("POST", path, {"allow": True}))[0] == 204
    paired = [await phone.made("/pair", claim, key=second) for _ in range(2)]
    assert paired[0] == paired[1]
    assert len((await alice.ask("GET", "/me/devices"))[1]["devices"]) == 1
    assert (await phone.ask("POST", "/pair", claim))[0] == 410


@pytest.mark.parametrize("settings", [{"pairing": "confirm"}])
async def test_an_invented_claim_is_over(phone: Caller) -> None:
    status, problem, _ = await phone.ask("POST", "/pair", {"claim": "A" * 22})
    assert (status, problem["code"]) == (410, "pairing_expired")


# Signing in and tokens.


async def test_a_sign_in_link_signs_in_once(admin: Caller, phone: Caller) -> None:
    link = await admin.made("/sign-in-links")
    assert link["url"] == f"{admin.url}/#signin={link['ticket']}"
    signed_in = await phone.made("/sign-in", {"ticket": link["ticket"]})
    assert (signed_in["user"], signed_in["role"]) == ("local", "admin")
    other = Caller(phone.http, phone.url, signed_in["token"])
    assert (await other.ask("GET", "/tokens"))[0] == 200
    used = await phone.ask("POST", "/sign-in", {"ticket": link["ticket"]})
    wrong = await phone.ask("POST", "/sign-in", {"ticket": "A" * 22})
    assert used[0] == wrong[0] == 404
    assert used[1] == wrong[1]
    assert (await phone.ask("POST", "/sign-in", {}))[0] == 400


@pytest.mark.parametrize("role", ["user", "service", "admin"])
async def test_an_issued_token_works_is_listed_and_dies_when_revoked(
    admin: Caller, role: str
) -> None:
    issued = await admin.made("/tokens", {"user": "carol", "role": role, "ttl_s": 60})
    carol = Caller(admin.http, admin.url, issued["token"])
    allowed = await carol.ask("POST", "/sessions", {"user": "customer"})
    assert allowed[0] == 201
    [listed] = [
        token
        for token in (await admin.ask("GET", "/tokens"))[1]["tokens"]
        if token["id"] == issued["id"]
    ]
    assert (listed["user"], listed["kind"]) == ("carol", role)
    assert listed["expires_at"] == issued["expires_at"]
    assert "token" not in listed
    assert (await admin.ask("DELETE", f"/tokens/{issued['id']}"))[0] == 204
    assert (await carol.ask("POST", "/sessions", {"user": "customer"}))[0] == 401
    assert (await admin.ask("DELETE", f"/tokens/{issued['id']}"))[0] == 404


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"user": ""},
        {"user": 5},
        {"user": "a\nb"},
        {"user": "x" * 201},
        {"user": "a", "role": "session"},
        {"user": "a", "role": "root"},
        {"user": "a", "ttl_s": 0},
        {"user": "a", "ttl_s": 10**12},
        {"user": "a", "ttl_s": "1h"},
    ],
)
async def test_a_token_for_nobody_or_for_ever_is_400(admin: Caller, body: Any) -> None:
    assert (await admin.ask("POST", "/tokens", body))[0] == 400


async def test_a_token_lives_thirty_days_if_nobody_says_otherwise(admin: Caller) -> None:
    issued = await admin.made("/tokens", {"user": "carol"})
    assert issued["role"] == "user"
    assert abs(issued["expires_at"] / 1000 - time.time() - 30 * 86_400) < 60


async def test_a_revoked_token_s_sockets_close_at_once(admin: Caller) -> None:
    issued = await admin.made("/tokens", {"user": "carol"})
    kept = await admin.made("/tokens", {"user": "carol"})
    closing = await Caller(admin.http, admin.url, issued["token"]).join()
    staying = await Caller(admin.http, admin.url, kept["token"]).join()
    await admin.ask("DELETE", f"/tokens/{issued['id']}")
    assert await close_code(closing) == 4501
    await staying.send_json({"type": "ping"})
    await until(staying, "pong")


async def test_who_joins_while_the_token_is_revoked_is_out_as_well(
    admin: Caller, session_id: str
) -> None:
    for _ in range(20):
        issued = await admin.made("/tokens", {"user": "carol"})
        url = f"{admin.url}/ws?token={issued['token']}"
        *sockets, (status, _, _) = await asyncio.gather(
            *(admin.http.ws_connect(url) for _ in range(5)),
            admin.ask("DELETE", f"/tokens/{issued['id']}"),
        )
        assert status == 204
        assert {await close_code(socket) for socket in sockets} == {4501}


async def test_signing_out_everywhere_closes_everything_of_that_user(
    site: CompanionServer, alice: Caller, bob: Caller, admin: Caller, phone: Caller, session_id: str
) -> None:
    opened = await alice.made(f"/sessions/{session_id}/pairings")
    paired = await phone.made("/pair", {"ticket": ticket(opened)})
    screen = await Caller(phone.http, phone.url, paired["token"]).join()
    agent = await alice.join(f"&session_id={session_id}")
    other = await bob.join()
    assert (await admin.ask("DELETE", "/tokens?user=alice"))[0] == 204
    assert await close_code(screen) == await close_code(agent) == 4501
    assert (await alice.ask("GET", "/me/sessions"))[0] == 401
    assert (await phone.ask("POST", "/pair", {"code": opened["code"]}))[0] == 404
    await other.send_json({"type": "ping"})
    await until(other, "pong")
    await site.stop()
    await site.start()
    assert (await alice.ask("GET", "/me/sessions"))[0] == 401
    fresh = Caller(alice.http, alice.url, site.token("alice"))
    assert (await fresh.ask("GET", "/me/sessions"))[0] == 200
    assert (await admin.ask("DELETE", "/tokens"))[0] == 400


async def test_a_session_s_token_is_good_for_that_session_and_role_alone(
    alice: Caller, session_id: str
) -> None:
    other_id = (await alice.made("/sessions"))["session_id"]
    issued = await alice.made(f"/sessions/{session_id}/tokens", {"role": "observer", "ttl_s": 60})
    assert issued["session_id"] == session_id
    page = Caller(alice.http, alice.url, issued["token"])
    assert (await page.ask("GET", f"/sessions/{session_id}/state"))[0] == 200
    assert (await page.ask("GET", f"/sessions/{other_id}/state"))[0] == 404
    assert (await page.ask("GET", "/me/sessions"))[0] == 403
    joined = await page.http.ws_connect(f"{page.url}/ws?token={page.token}")
    assert (await joined.receive_json())["role"] == "observer"
    for query in (f"&session_id={other_id}", "&role=agent"):
        refused = await page.http.ws_connect(f"{page.url}/ws?token={page.token}{query}")
        assert await close_code(refused) == 4503
    for body in ({"role": "admin"}, {"ttl_s": 0}, {"ttl_s": 43_201}):
        assert (await alice.ask("POST", f"/sessions/{session_id}/tokens", body))[0] == 400


async def test_a_service_lets_others_into_the_sessions_it_opened_alone(
    site: CompanionServer, http: aiohttp.ClientSession, session_id: str
) -> None:
    shop = caller(site, http, "shop", "service")
    rival = caller(site, http, "rival", "service")
    own_id = (await shop.made("/sessions", {"user": "customer-42"}))["session_id"]
    for end in ("/tokens", "/pairings"):
        assert (await shop.ask("POST", f"/sessions/{own_id}{end}"))[0] == 201
        assert (await rival.ask("POST", f"/sessions/{own_id}{end}"))[0] == 404
        assert (await shop.ask("POST", f"/sessions/{session_id}{end}"))[0] == 404


async def test_a_session_s_token_is_renewed_in_band_and_dies_with_its_id(
    alice: Caller, admin: Caller, session_id: str
) -> None:
    issued = await alice.made(f"/sessions/{session_id}/tokens", {"role": "ui"})
    socket = await Caller(alice.http, alice.url, issued["token"]).join()
    await socket.send_json({"type": "token_renew", "requestId": "r1"})
    renewed = await until(socket, "token_renewed", requestId="r1")
    assert renewed["expires_at"] >= issued["expires_at"]
    other = await Caller(alice.http, alice.url, renewed["token"]).join()
    assert (await admin.ask("DELETE", f"/tokens/{issued['id']}"))[0] == 204
    assert await close_code(socket) == await close_code(other) == 4501
    late = await alice.http.ws_connect(f"{alice.url}/ws?token={renewed['token']}")
    assert await close_code(late) == 4501


# What a session has out.


@pytest.mark.parametrize("who", ["owner", "service", "admin"])
async def test_whoever_manages_a_session_lists_and_revokes_what_it_has_out(
    site: CompanionServer, http: aiohttp.ClientSession, admin: Caller, bob: Caller, who: str
) -> None:
    shop = caller(site, http, "shop", "service")
    session_id = (await shop.made("/sessions", {"user": "alice"}))["session_id"]
    path = f"/sessions/{session_id}/tokens"
    asking = {"owner": caller(site, http), "service": shop, "admin": admin}[who]
    issued = await shop.made(path, {"role": "agent"})
    kept = await asking.made(path, {"role": "ui"})
    socket = await Caller(http, site.url, issued["token"]).join()

    listed = (await asking.ask("GET", path))[1]["tokens"]
    assert {token["id"]: token["role"] for token in listed} == {issued["id"]: "agent",
                                                               kept["id"]: "ui"}  # fmt: skip
    assert (await bob.ask("GET", path))[0] == 404
    assert (await bob.ask("DELETE", f"{path}/{issued['id']}"))[0] == 404
    assert (await Caller(http, site.url, kept["token"]).ask("GET", path))[0] == 403
    assert (await asking.ask("DELETE", f"{path}/{issued['id']}"))[0] == 204

    assert await close_code(socket) == 4501
    assert (await asking.ask("DELETE", f"{path}/{issued['id']}"))[0] == 404
    assert [token["id"] for token in (await asking.ask("GET", path))[1]["tokens"]] == [kept["id"]]
    other = (await bob.made("/sessions"))["session_id"]
    path = f"/sessions/{other}/tokens/{kept['id']}"
    assert (await bob.ask("DELETE", path))[0] == 404, "it is another session's"


@pytest.mark.parametrize("keep", [False, True])
async def test_session_tokens_die_with_the_service_token_that_made_them_unless_kept(
    site: CompanionServer, http: aiohttp.ClientSession, admin: Caller, phone: Caller, keep: bool
) -> None:
    issued = await admin.made("/tokens", {"user": "shop", "role": "service"})
    shop = Caller(http, site.url, issued["token"])
    session_id = (await shop.made("/sessions", {"user": "customer"}))["session_id"]
    page = await shop.made(f"/sessions/{session_id}/tokens", {"role": "agent"})
    opened = await shop.made(f"/sessions/{session_id}/pairings")
    paired = await phone.made("/pair", {"code": opened["code"]})
    sockets = [await Caller(http, site.url, one["token"]).join() for one in (page, paired)]

    query = "?keep_sessions=1" if keep else ""
    assert (await admin.ask("DELETE", f"/tokens/{issued['id']}{query}"))[0] == 204

    assert (await shop.ask("GET", f"/sessions/{session_id}"))[0] == 401
    for socket in sockets:
        if keep:
            await socket.send_json({"type": "ping"})
            await until(socket, "pong")
        else:
            assert await close_code(socket) == 4501


async def test_a_kiosk_s_token_lives_for_weeks_and_others_half_a_day(
    alice: Caller, session_id: str
) -> None:
    path = f"/sessions/{session_id}/tokens"
    day_s = 86_400
    kiosk = await alice.made(path, {"ttl_s": 7 * day_s, "max_life_s": 30 * day_s})
    assert abs(kiosk["expires_at"] / 1000 - time.time() - 7 * day_s) < 60
    for body in ({"max_life_s": 30 * day_s + 1}, {"ttl_s": 43_201}, {"max_life_s": 0},
                 {"ttl_s": 61, "max_life_s": 60}):  # fmt: skip
        assert (await alice.ask("POST", path, body))[0] == 400, body


@pytest.mark.parametrize("over", ["socket", "http"])
async def test_a_renewal_gives_a_token_its_own_life_again(
    alice: Caller, session_id: str, over: str
) -> None:
    issued = await alice.made(f"/sessions/{session_id}/tokens", {"role": "agent", "ttl_s": 60})
    await asyncio.sleep(0.05)
    page = Caller(alice.http, alice.url, issued["token"])
    if over == "socket":
        socket = await page.join()
        await socket.send_json({"type": "token_renew"})
        renewed = await until(socket, "token_renewed")
    else:
        _, renewed, _ = await page.ask(
            "POST", f"/sessions/{session_id}/messages", {"type": "token_renew"}
        )
    assert 0 < renewed["expires_at"] - issued["expires_at"] < 60_000


# Figures.


async def test_a_token_for_the_figures_opens_them_and_nothing_else(
    site: CompanionServer, http: aiohttp.ClientSession, admin: Caller, session_id: str
) -> None:
    issued = await admin.made("/tokens", {"user": "prometheus", "role": "metrics"})
    assert issued["role"] == "metrics"
    scraper = Caller(http, site.url, issued["token"])
    status, text, _ = await scraper.ask("GET", "/metrics")
    assert status == 200
    assert b"companion_connections" in text
    for method, path in (("GET", "/me/sessions"), ("POST", "/sessions"), ("GET", "/tokens"),
                         ("GET", f"/sessions/{session_id}/state"), ("POST", "/mcp")):  # fmt: skip
        assert (await scraper.ask(method, path))[0] == 403
    for query in ("", f"&session_id={session_id}", f"&session_id={session_id}&role=observer"):
        socket = await http.ws_connect(f"{site.url}/ws?token={scraper.token}{query}")
        assert await close_code(socket) == 4503


@pytest.mark.parametrize("settings", [{"public_url": "https://pub.example", "allow_host": ("127.0.0.1",)}])
async def test_the_figures_answer_their_token_from_anywhere_and_nobody_else(
    site: CompanionServer, http: aiohttp.ClientSession, session_id: str
) -> None:
    keys = Keys.load(site.config.data)
    for kind, status in (("metrics", 200), ("admin", 404), ("user", 404), (None, 404)):
        token = Tokens(keys).issue(kind, "x", 60)[0] if kind else None
        assert (await Caller(http, site.url, token).ask("GET", "/metrics"))[0] == status, kind
    dead = Tokens(keys).issue("metrics", "x", -100)[0]
    assert (await Caller(http, site.url, dead).ask("GET", "/metrics"))[0] == 404
    scraper = Caller(http, site.url, Tokens(keys).issue("metrics", "x", 60)[0])
    assert (await scraper.ask("GET", "/tokens"))[0] == 404


# Keys.


async def test_rotating_the_key_drops_nobody(
    site: CompanionServer, alice: Caller, admin: Caller
) -> None:
    socket = await alice.join()
    status, answer, _ = await admin.ask("POST", "/keys")
    assert (status, answer) == (200, {"keys": 2})
    await socket.send_json({"type": "ping"})
    await until(socket, "pong")
    assert (await alice.ask("GET", "/me/sessions"))[0] == 200
    fresh = Caller(alice.http, alice.url, site.token("alice"))
    assert (await fresh.ask("GET", "/me/sessions"))[0] == 200


async def test_after_a_compromise_everybody_is_out_at_once(
    site: CompanionServer, alice: Caller, admin: Caller, phone: Caller, session_id: str
) -> None:
    opened = await alice.made(f"/sessions/{session_id}/pairings")
    link = await admin.made("/sign-in-links")
    socket = await alice.join()
    assert (await admin.ask("POST", "/keys", {"compromise": True}))[0] == 200
    assert await close_code(socket) == 4501
    assert (await alice.ask("GET", "/me/sessions"))[0] == 401
    assert (await admin.ask("GET", "/tokens"))[0] == 401
    for how in ({"ticket": ticket(opened)}, {"code": opened["code"]}):
        assert (await phone.ask("POST", "/pair", how))[0] == 404
    assert (await phone.ask("POST", "/sign-in", {"ticket": link["ticket"]}))[0] == 404
    fresh = Caller(alice.http, alice.url, site.token("alice"))
    assert (await fresh.ask("GET", "/me/sessions"))[0] == 200


@pytest.mark.parametrize("settings", [{"secret_key": "e" * 40}])
async def test_a_key_of_the_environment_is_not_rotated_here(admin: Caller) -> None:
    status, problem, _ = await admin.ask("POST", "/keys")
    assert status == 403
    assert "COMPANION_SECRET_KEY" in problem["detail"]


# A person's own data.


async def test_a_person_takes_everything_and_leaves_nothing(
    site: CompanionServer, alice: Caller, bob: Caller, phone: Caller, session_id: str
) -> None:
    secret = "a-word-of-alice-7261"
    await alice.ask("PUT", f"/sessions/{session_id}/state/note", secret)
    opened = await alice.made(f"/sessions/{session_id}/pairings")
    paired = await phone.made("/pair", {"ticket": ticket(opened), "device": "Alices-Pixel"})
    screen = await Caller(phone.http, phone.url, paired["token"]).join()
    await bob.made("/sessions", {"title": "bobs-session"})

    _, export, _ = await alice.ask("GET", "/me/export")
    assert secret in json.dumps(export)
    assert export["devices"][0]["device"] == "Alices-Pixel"
    assert (await alice.ask("DELETE", "/me"))[0] == 204
    assert await close_code(screen) in (4501, 4510)
    assert (await alice.ask("GET", "/me/sessions"))[0] == 401
    assert (await bob.ask("GET", "/me/sessions"))[1]["sessions"][0]["title"] == "bobs-session"
    stored = b"".join(
        (site.config.data / f"companion.db{end}").read_bytes() for end in ("", "-wal")
    )
    for word in (secret, "Alices-Pixel", session_id, "alice"):
        assert word.encode() not in stored
    assert b"bobs-session" in stored


# Answers given twice.


async def test_the_same_key_makes_one_thing_and_answers_the_same_also_after_a_restart(
    site: CompanionServer, alice: Caller, admin: Caller, phone: Caller, session_id: str
) -> None:
    base = f"/sessions/{session_id}"
    opened = await alice.made(f"{base}/pairings", {}, key="one")
    link = await admin.made("/sign-in-links")
    asked = [
        (alice, f"{base}/pairings", {}, "one"),
        (alice, f"{base}/tokens", {"role": "ui"}, "one"),
        (admin, "/tokens", {"user": "carol"}, "one"),
        (phone, "/pair", {"ticket": ticket(opened)}, "k" * 22),
        (phone, "/sign-in", {"ticket": link["ticket"]}, "s" * 22),
        (alice, "/sessions", {"title": "t"}, "one"),
    ]
    first = [await who.made(path, body, key=key) for who, path, body, key in asked]
    assert first[0] == opened
    for restart in (False, True):
        if restart:
            await site.stop()
            await site.start()
        for (who, path, body, key), answer in zip(asked, first, strict=True):
            status, again, headers = await who.ask("POST", path, body, key=key)
            if path == "/sessions":
                assert (status, again["session_id"]) == (201, answer["session_id"])
            else:
                assert (status, again) == (201, answer)
                assert headers["Idempotency-Replayed"] == "true"
    assert len((await alice.ask("GET", "/me/devices"))[1]["devices"]) == 1
    stored = b"".join(
        (site.config.data / f"companion.db{end}").read_bytes() for end in ("", "-wal")
    )
    for secret in (first[1]["token"], first[3]["token"], ticket(opened).partition(".")[0],
                   opened["code"], link["ticket"], "k" * 22):  # fmt: skip
        assert secret.encode() not in stored


async def test_the_same_key_with_another_body_is_422(alice: Caller, session_id: str) -> None:
    path = f"/sessions/{session_id}/tokens"
    await alice.made(path, {"role": "ui"}, key="one")
    status, problem, _ = await alice.ask("POST", path, {"role": "agent"}, key="one")
    assert (status, problem["code"]) == (422, "idempotency_mismatch")


async def test_a_key_belongs_to_who_sends_it_and_where(
    alice: Caller, bob: Caller, session_id: str
) -> None:
    body = {"title": "t"}
    ours = await alice.made("/sessions", body, key="one")
    theirs = await bob.made("/sessions", body, key="one")
    assert ours["session_id"] != theirs["session_id"]
    await alice.made(f"/sessions/{session_id}/pairings", {"ttl_s": 60}, key="one")


async def test_repeats_that_race_make_one_thing(alice: Caller, session_id: str) -> None:
    path = f"/sessions/{session_id}/tokens"
    answers = await asyncio.gather(*(alice.made(path, {}, key="one") for _ in range(16)))
    assert len({answer["id"] for answer in answers}) == 1


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_a_key_without_end_or_beginning_is_refused(phone: Caller, key: str) -> None:
    assert (await phone.ask("POST", "/pair", {"code": "123456789"}, key=key))[0] == 400


@pytest.mark.parametrize("key", ["1", "k" * 22])
async def test_a_way_in_sent_again_with_its_key_is_the_same_seat(
    alice: Caller, phone: Caller, session_id: str, key: str
) -> None:
    opened = await alice.made(f"/sessions/{session_id}/pairings")
    body = {"ticket": ticket(opened), "device": "Pixel 7"}
    first = await phone.made("/pair", body, key=key)

    assert await phone.made("/pair", body, key=key) == first
    assert (await phone.ask("POST", "/pair", {**body, "device": "other"}, key=key))[0] == 422
    assert len((await alice.ask("GET", "/me/devices"))[1]["devices"]) == 1


async def test_a_link_that_names_another_session_opens_none(
    alice: Caller, phone: Caller, session_id: str
) -> None:
    opened = await alice.made(f"/sessions/{session_id}/pairings")
    secret, _, named = opened["url"].partition("#")[2].partition(".")

    assert (await phone.ask("POST", "/pair", {"ticket": f"{secret}.{'A' * 22}"}))[0] == 404
    await phone.made("/pair", {"ticket": f"{secret}.{named}"})


async def test_a_refusal_is_not_remembered(alice: Caller, phone: Caller, session_id: str) -> None:
    opened = await alice.made(f"/sessions/{session_id}/pairings")
    key = "k" * 22
    assert (await phone.ask("POST", "/pair", {"ticket": "A" * 22}, key=key))[0] == 404
    await phone.made("/pair", {"ticket": ticket(opened)}, key=key)


# Smaller holes.


async def test_knocks_of_a_revoked_phone_push_nobody_out_of_the_trail(
    alice: Caller, phone: Caller, session_id: str
) -> None:
    agent = await alice.join(f"&session_id={session_id}&device=Desk")
    opened = await alice.made(f"/sessions/{session_id}/pairings")
    paired = await phone.made("/pair", {"ticket": ticket(opened), "device": "Gone"})
    path = f"/sessions/{session_id}/devices/{paired['device_id']}"
    assert (await alice.ask("DELETE", path))[0] == 204
    for _ in range(11):
        sockets = await asyncio.gather(
            *(phone.http.ws_connect(f"{phone.url}/ws?token={paired['token']}") for _ in range(10))
        )
        assert {await close_code(socket) for socket in sockets} == {4501}

    trail = (await alice.ask("GET", f"/sessions/{session_id}/trail"))[1]["trail"]

    refused = [entry for entry in trail if entry["event"] == "refused"]
    assert len(refused) == 100
    assert [entry["device"] for entry in trail if entry["event"] == "joined"] == ["Desk"]
    await agent.close()


async def test_a_key_of_one_phone_answers_no_other(
    alice: Caller, phone: Caller, session_id: str
) -> None:
    path = f"/sessions/{session_id}/messages"
    said = {"type": "user_message", "text": "mine"}
    seqs = set()
    for _ in range(2):
        opened = await alice.made(f"/sessions/{session_id}/pairings")
        paired = await phone.made("/pair", {"code": opened["code"]})
        one = Caller(phone.http, phone.url, paired["token"])
        for _ in range(2):
            status, record, _ = await one.ask("POST", path, said, key="same")
            assert status == 200
            seqs.add(record["seq"])
    for role in ("ui", "agent"):
        body = {"role": role}
        issued = await alice.made(f"/sessions/{session_id}/tokens", body)
        one = Caller(phone.http, phone.url, issued["token"])
        status, record, _ = await one.ask("POST", path, said, key="same")
        assert status == 200
        seqs.add(record["seq"])
    assert len(seqs) == 4


async def test_an_admin_who_lists_all_sessions_is_written_down(admin: Caller) -> None:
    with structlog.testing.capture_logs() as events:
        assert (await admin.ask("GET", "/sessions?user=alice"))[0] == 200
    listed = [event for event in events if event["event"] == "sessions_listed"]
    assert [(event["by"], event["user"]) for event in listed] == [("local", "alice")]


async def test_an_admin_pairs_draws_and_revokes_in_a_session_of_others(
    alice: Caller, admin: Caller, phone: Caller, session_id: str
) -> None:
    opened = await admin.made(f"/sessions/{session_id}/pairings")
    path = f"/sessions/{session_id}"
    status, _, _ = await admin.ask("GET", f"{path}/qr.svg?pairing={opened['pairing_id']}")
    assert status == 200
    paired = await phone.made("/pair", {"code": opened["code"]})
    assert len((await alice.ask("GET", "/me/devices"))[1]["devices"]) == 1
    assert (await admin.ask("DELETE", f"{path}/devices/{paired['device_id']}"))[0] == 204


async def test_a_service_that_is_erased_is_named_in_no_session_of_its_customers(
    site: CompanionServer, http: aiohttp.ClientSession
) -> None:
    shop = caller(site, http, "shop-7261", "service")
    session_id = (await shop.made("/sessions", {"user": "customer"}))["session_id"]
    customer = caller(site, http, "customer")
    socket = await customer.join(f"&session_id={session_id}")

    assert (await caller(site, http, "shop-7261").ask("DELETE", "/me"))[0] == 204

    assert (await customer.ask("GET", f"/sessions/{session_id}"))[0] == 200
    await socket.send_json({"type": "ping"})
    await until(socket, "pong")
    fresh = caller(site, http, "shop-7261", "service")
    assert (await fresh.ask("GET", f"/sessions/{session_id}"))[0] == 404
    stored = b"".join(
        (site.config.data / f"companion.db{end}").read_bytes() for end in ("", "-wal")
    )
    assert b"shop-7261" not in stored


@pytest.mark.parametrize("settings", [{"keep_ended": "1h", "elevenlabs_api_key": "k",
                                       "elevenlabs_agent_id": "a"}])  # fmt: skip
async def test_after_the_end_only_owner_and_admin_read(
    site: CompanionServer, http: aiohttp.ClientSession, alice: Caller, admin: Caller,
    phone: Caller, session_id: str,
) -> None:  # fmt: skip
    await alice.ask("PUT", f"/sessions/{session_id}/state/k", 1)
    opened = await alice.made(f"/sessions/{session_id}/pairings")
    paired = await phone.made("/pair", {"code": opened["code"]})
    agent = await alice.made(f"/sessions/{session_id}/tokens", {"role": "agent"})
    assert (await alice.ask("DELETE", f"/sessions/{session_id}"))[0] == 204
    base = f"/sessions/{session_id}"
    for token in (paired["token"], agent["token"]):
        one = Caller(http, site.url, token)
        for path in (f"{base}/state", f"{base}/state/k", f"{base}/records",
                     "/elevenlabs/signed-url"):  # fmt: skip
            status, problem, _ = await one.ask("GET", path)
            assert (status, problem["code"]) == (410, "session_ended"), path
        socket = await http.ws_connect(f"{site.url}/ws?token={token}")
        assert await close_code(socket) == 4510
        tool = {"jsonrpc": "2.0", "id": 1, "method": "tools/call",
                "params": {"name": "get_state", "arguments": {}}}  # fmt: skip
        _, said, _ = await one.ask("POST", "/mcp", tool)
        assert "error" in said
    for who in (alice, admin):
        for path in (base, f"{base}/state", f"{base}/records", f"{base}/trail"):
            assert (await who.ask("GET", path))[0] == 200, path


@pytest.mark.parametrize("settings", [{"elevenlabs_tool_secret": "s3cret"}])
async def test_the_token_of_a_telephone_call_is_listed_and_can_be_revoked(
    site: CompanionServer, http: aiohttp.ClientSession, admin: Caller
) -> None:
    call = {"caller_id": "+13035550101", "called_number": "+13035550199", "call_sid": "CA1"}
    async with http.post(
        f"{site.url}/elevenlabs/init", json=call, headers={"X-Companion-Secret": "s3cret"}
    ) as answer:
        assert answer.status == 200
    [session] = (await admin.ask("GET", "/sessions"))[1]["sessions"]
    path = f"/sessions/{session['session_id']}/tokens"
    [listed] = (await admin.ask("GET", path))[1]["tokens"]
    assert listed["role"] == "agent"
    assert (await admin.ask("DELETE", f"{path}/{listed['id']}"))[0] == 204


async def test_a_look_at_a_foreign_session_loads_it_no_more_than_an_unknown_one(
    site: CompanionServer, http: aiohttp.ClientSession, bob: Caller, session_id: str
) -> None:
    await site.stop()
    await site.start()
    read: list[str] = []
    load = site.sessions.store.load

    async def loading(wanted: str) -> Any:
        read.append(wanted)
        return await load(wanted)

    site.sessions.store.load = loading  # type: ignore[method-assign]
    for strict in ("", "&strict=1"):
        url = f"{site.url}/ws?token={bob.token}&session_id={session_id}{strict}"
        socket = await http.ws_connect(url)
        await socket.receive()
        await socket.close()
    assert session_id not in read
