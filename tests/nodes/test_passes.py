"""A pass holds for one request, for seconds, once; everything else is no pass at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count

import pytest
from multidict import CIMultiDict
from running import Running

from companion_ws.access.keys import Keys
from companion_ws.nodes.passes import HEADER, LIFE_MS, Caller, Passes

KEY, OTHER = b"k" * 32, b"o" * 32


class Two:
    """Two servers with one clock, and keys of their own."""

    def __init__(self, *keys: bytes) -> None:
        self.now_ms = 1_000_000
        number = count()
        self.sender = Passes(lambda: [KEY], lambda: self.now_ms, lambda: str(next(number)))
        self.receiver = Passes(lambda: keys or [KEY], lambda: self.now_ms, str)


def test_what_the_entrance_saw_arrives() -> None:
    two = Two(KEY, OTHER)  # The owner signs with a newer key already.
    seen = Caller("203.0.113.9", "https", "companion.example")
    read = two.receiver.read(two.sender.sign("one", "two", "GET", "/ws?a=1", caller=seen), "two", "GET", "/ws?a=1")
    assert read is not None
    assert (read.node, read.caller) == ("one", seen)


@pytest.mark.parametrize(
    "method, path", [("POST", "/ws?a=1"), ("GET", "/ws"), ("GET", "/ws?a=1&role=ui")]
)
def test_a_pass_for_another_request_is_none(method: str, path: str) -> None:
    two = Two()
    assert two.receiver.read(two.sender.sign("one", "two", "GET", "/ws?a=1"), "two", method, path) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-1] + ("A" if text[-1] != "A" else "B"),
        lambda text: "x" + text,
        lambda text: text.partition(".")[0],
        lambda text: "",
        lambda text: "A" * 5000,
        lambda text: text.upper(),
        lambda text: "ü" + text,
    ],
)
def test_a_pass_that_was_changed_is_none(change: Callable[[str], str]) -> None:
    two = Two()
    assert two.receiver.read(change(two.sender.sign("one", "two", "GET", "/ws")), "two", "GET", "/ws") is None


def test_a_pass_of_another_key_is_none() -> None:
    two = Two(OTHER)
    assert two.receiver.read(two.sender.sign("one", "two", "GET", "/ws"), "two", "GET", "/ws") is None


def test_a_pass_for_another_server_is_none() -> None:
    two = Two()
    text = two.sender.sign("one", "two", "GET", "/ws")
    assert two.receiver.read(text, "three", "GET", "/ws") is None
    assert two.receiver.read(text, "two", "GET", "/ws") is not None


def test_a_pass_works_once() -> None:
    two = Two()
    text = two.sender.sign("one", "two", "GET", "/ws")
    assert two.receiver.read(text, "two", "GET", "/ws") is not None
    assert two.receiver.read(text, "two", "GET", "/ws") is None
    two.now_ms += LIFE_MS  # As long as it would be good it is remembered.
    assert two.receiver.read(text, "two", "GET", "/ws") is None


@pytest.mark.parametrize("step_ms, is_good", [(LIFE_MS, True), (LIFE_MS + 1, False),
                                              (-LIFE_MS, True), (-LIFE_MS - 1, False)])
def test_a_pass_ages_in_seconds_by_clocks_that_nearly_agree(step_ms: int, is_good: bool) -> None:
    two = Two()
    text = two.sender.sign("one", "two", "GET", "/ws")
    two.now_ms += step_ms
    assert (two.receiver.read(text, "two", "GET", "/ws") is not None) is is_good


def test_a_pass_is_bound_to_the_body_it_was_made_for() -> None:
    two = Two()
    read = two.receiver.read(two.sender.sign("one", "two", "POST", "/v", body=b"one"), "two", "POST", "/v")
    assert read is not None
    assert read.is_of(b"one")
    assert not read.is_of(b"two")
    bare = two.receiver.read(two.sender.sign("one", "two", "POST", "/v"), "two", "POST", "/v")
    assert bare is not None
    assert not bare.is_of(b"")


def passes_of(server: Running) -> Passes:
    keys = Keys.load(server.config.data, server.config.secret_key)
    clock, number = server.sessions.clock, count()
    return Passes(lambda: keys.all, clock.now_ms, lambda: str(next(number)))


VERB = "/nodes/verbs/Presence.here"


async def test_without_a_good_pass_there_is_no_internal_route(server: Running) -> None:
    passes, body = passes_of(server), b'{"session_ids":[]}'
    here = server.sessions.places.me.name

    async def status(given: list[str], *, data: bytes = body) -> int:
        headers = CIMultiDict([(HEADER, text) for text in given])
        async with server.http_session.post(
            f"{server.url}{VERB}", data=data, headers=headers
        ) as answer:
            told = await answer.json(content_type=None)
            assert answer.status == 200 or told["code"] == "not_found"
            return answer.status

    good = passes.sign("two", here, "POST", VERB, body=body)
    assert await status([]) == 404
    assert await status(["forged"]) == 404
    assert await status([passes.sign("two", here, "POST", VERB, body=b"other")]) == 404
    assert await status([passes.sign("two", here, "POST", VERB)]) == 404
    assert await status([passes.sign("two", here, "POST", "/nodes/verbs/Other", body=body)]) == 404
    assert await status([passes.sign("two", here, "POST", VERB, body=body)] * 2) == 404
    assert await status([passes.sign("two", here, "POST", VERB, body=b"{}")], data=b"{}") == 404
    assert await status([good]) == 200
    assert await status([good]) == 404
    assert await status([passes.sign("two", "three", "POST", VERB, body=body)]) == 404
    documents = [await server.http("GET", f"/{name}.json") for name in ("openapi", "asyncapi")]
    assert "nodes" not in str([document.body for document in documents])


async def test_a_bad_pass_opens_no_other_route_either(server: Running) -> None:
    answer = await server.http("GET", "/me/sessions", headers={HEADER: "forged"})
    assert (answer.status, answer.code) == (404, "not_found")


async def test_a_pass_makes_nobody_a_peer_of_this_machine(server: Running) -> None:
    admin = server.token("admin", "admin")
    assert (await server.http("GET", "/sessions", token=admin)).status == 200
    passed = passes_of(server).sign(
        "two", server.sessions.places.me.name, "GET", "/sessions", caller=Caller("127.0.0.1", "http")
    )
    assert (await server.http("GET", "/sessions", token=admin, headers={HEADER: passed})).status == 404


async def test_a_connection_of_another_server_carries_one_request(server: Running) -> None:
    token = server.token()
    head = f"GET /me/sessions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
    here = server.sessions.places.me.name
    for given in ("forged", passes_of(server).sign("two", here, "GET", "/me/sessions")):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.config.port)
        writer.write(f"{head}{HEADER}: {given}\r\n\r\n{head}\r\n".encode())
        assert (await reader.read()).count(b"HTTP/1.1 ") == 1
        writer.close()
