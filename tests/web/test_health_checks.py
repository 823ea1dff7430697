"""Who only asks whether the server is well: load balancers, containers, old checks."""

from __future__ import annotations

import asyncio

import pytest
from running import Running

from companion_ws import Config
from companion_ws.addresses import Addresses


async def raw(server: Running, request: str) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.config.port)
    writer.write(request.replace("\n", "\r\n").encode())
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()
    return answer.decode()


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
@pytest.mark.parametrize(
    "head",
    [
        "HTTP/1.0\n\n",
        "HTTP/1.0\nHost: 10.9.8.7:8000\n\n",
        "HTTP/1.1\nHost: backend_3.internal\nConnection: close\n\n",
        "HTTP/1.1\nHost: \nConnection: close\n\n",
    ],
)
async def test_health_is_told_to_anybody_who_asks(server: Running, path: str, head: str) -> None:
    answer = await raw(server, f"GET {path} {head}")
    assert " 200 OK" in answer.splitlines()[0]
    assert '"status"' in answer


@pytest.mark.parametrize("path", ["/", "/sessions", "/openapi.json", "/healthz/", "/nothing"])
async def test_nothing_else_answers_without_our_name(server: Running, path: str) -> None:
    for head in ("HTTP/1.0\n\n", "HTTP/1.1\nHost: evil.example\nConnection: close\n\n"):
        assert " 421 " in (await raw(server, f"GET {path} {head}")).splitlines()[0]


async def test_a_page_of_elsewhere_learns_nothing_of_health(server: Running) -> None:
    answer = await raw(server, "GET /healthz HTTP/1.0\nOrigin: https://evil.example\n\n")
    assert " 403 " in answer.splitlines()[0]


async def test_health_names_another_instance_after_each_start(server: Running) -> None:
    first = (await server.http("GET", "/healthz")).headers["Companion-Instance"]
    assert (await server.http("GET", "/healthz")).headers["Companion-Instance"] == first
    await server.restart()
    assert (await server.http("GET", "/healthz")).headers["Companion-Instance"] != first


@pytest.mark.parametrize(
    ("given", "carried"),
    [
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("https://BÜCHER.example:8443/laden/", "https://xn--bcher-kva.example:8443/laden"),
        ("https://例え.テスト", "https://xn--r8jz45g.xn--zckzah"),
        ("https://straße.example", "https://xn--strae-oqa.example"),
    ],
)
def test_a_public_url_of_any_script_is_carried_in_punycode(given: str, carried: str) -> None:
    config = Config(public_url=given, allow_origin=(given.rpartition("/laden")[0] or given,))
    assert config.public_url == carried
    addresses = Addresses(config, machine_names=list, machine_addresses=list)
    assert addresses.answers_host(carried.partition("://")[2].partition("/")[0])
    assert addresses.allows_cors(config.allow_origin[0])


@pytest.mark.parametrize("wrong", ["https://bü cher.example", "https://\u202eab.example", "ü"])
def test_what_is_no_name_in_any_script_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="is not a valid public URL"):
        Config(public_url=wrong)
