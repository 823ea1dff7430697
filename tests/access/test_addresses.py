"""Which URL a phone is given, and which hosts and origins are answered."""

from __future__ import annotations

from typing import Any

import pytest

from companion_ws.addresses import (
    Addresses,
    default_route_address,
    host_name,
    is_loopback,
    own_addresses,
)
from companion_ws.config import Config


def addresses(route: str | None = "192.168.1.20", **settings: Any) -> Addresses:
    return Addresses(
        Config(**settings),
        route_address=lambda: route,
        machine_addresses=lambda: ["192.168.1.20", "10.8.0.3"],
        machine_names=lambda: ["kitchen", "kitchen.local"],
    )


def test_bound_to_loopback_links_say_so() -> None:
    found = addresses()
    assert found.public_url == "http://127.0.0.1:8000"
    assert not found.is_reachable_by_phone
    assert found.alternative_urls == []


def test_on_the_lan_links_carry_the_default_route_s_address_and_list_the_others() -> None:
    found = addresses(lan=True, port=0)
    found.port = 9123
    assert found.public_url == "http://192.168.1.20:9123"
    assert found.alternative_urls == ["http://10.8.0.3:9123"]
    assert found.local_url == "http://127.0.0.1:9123"
    assert found.is_reachable_by_phone


def test_other_servers_are_told_where_this_one_listens_whatever_phones_are_told() -> None:
    public = {"public_url": "https://shop.example", "port": 8123}
    assert addresses(**public).node_url == "http://127.0.0.1:8123"
    assert addresses(host="10.8.0.3", **public).node_url == "http://10.8.0.3:8123"
    assert addresses(host="0.0.0.0", **public).node_url == "http://192.168.1.20:8123"
    assert addresses(None, host="::", **public).node_url == "http://127.0.0.1:8123"


def test_without_a_route_links_fall_back_to_this_machine() -> None:
    assert addresses(None, lan=True).public_url == "http://127.0.0.1:8000"


def test_a_public_url_wins_over_everything_and_is_believed() -> None:
    found = addresses(lan=True, public_url="https://shop.example/companion/")
    found.tunnel_url = "https://random.tunnel.example"
    assert found.public_url == "https://shop.example/companion"


def test_a_tunnel_wins_over_the_lan() -> None:
    found = addresses(lan=True, tunnel="t {url}")
    found.tunnel_url = "https://random.tunnel.example/"
    assert found.public_url == "https://random.tunnel.example"


def test_tls_and_usual_ports_shape_the_url() -> None:
    found = addresses(host="192.168.1.20", port=443, tls_cert="c.pem")
    assert found.public_url == "https://192.168.1.20"
    assert addresses(host="::1").public_url == "http://[::1]:8000"


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8000", "localhost.:8000", "127.0.0.1:8000", "127.9.9.9", "[::1]:8000"],
)
def test_loopback_names_are_always_answered(host: str) -> None:
    assert addresses().answers_host(host)
    assert addresses(lan=True).answers_host(host)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", " ", "a b", "x@localhost",
     "localhost/x", "localhost:port", "[::1", "local\thost", "lócalhost", "localhost:8000:1"],
)  # fmt: skip
def test_names_that_are_not_ours_are_not_answered(host: str) -> None:
    assert not addresses().answers_host(host)
    assert not addresses(lan=True).answers_host(host)


def test_addresses_and_the_machine_s_name_count_beyond_loopback_only() -> None:
    for host in (
        "192.168.1.20:8000",
        "10.1.1.1",
        "[2001:db8::1]:8000",
        "kitchen",
        "Kitchen.local:80",
    ):
        assert not addresses().answers_host(host)
        assert addresses(lan=True).answers_host(host)


def test_named_hosts_are_answered() -> None:
    assert addresses(allow_host=("Shop.Example",)).answers_host("shop.example:8000")
    assert addresses(public_url="https://pub.example:8443").answers_host("pub.example")
    tunnelled = addresses(tunnel="t {url}")
    assert not tunnelled.answers_host("random.tunnel.example")
    tunnelled.tunnel_url = "https://random.tunnel.example"
    assert tunnelled.answers_host("random.tunnel.example")


def test_a_page_of_our_own_may_talk_to_us() -> None:
    found = addresses()
    assert found.answers_origin("http://localhost:8000", "http", "localhost:8000")
    assert found.answers_origin("HTTP://LOCALHOST:8000", "http", "localhost:8000")
    assert found.answers_origin("http://localhost", "http", "localhost:80")


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "",
        "http://localhost:8001",
        "https://localhost:8000",
        "http://localhost",
        "http://localhost:80001",
        "http://localhost:8000.evil.example",
        "http://evil.example/http://localhost:8000",
        "http://localhost:8000@evil.example",
        "http://xlocalhost:8000",
        "file://",
        "http://127.0.0.1:8000",
        "http://shop.example.evil.example",
        "http://evilshop.example",
    ],
)
def test_other_pages_and_look_alikes_may_not(origin: str) -> None:
    found = addresses(allow_origin=("http://shop.example",))
    assert not found.answers_origin(origin, "http", "localhost:8000")


def test_allowed_origins_may_talk_and_are_the_only_ones_with_cors() -> None:
    found = addresses(allow_origin=("https://shop.example/", "http://b.example:8080"))
    for origin in ("https://shop.example", "http://b.example:8080"):
        assert found.answers_origin(origin, "http", "localhost:8000")
        assert found.allows_cors(origin)
    assert not found.allows_cors("http://localhost:8000")
    assert found.embedders == ["http://b.example:8080", "https://shop.example"]


def test_the_public_url_s_page_may_talk_to_us_through_a_proxy_that_renames_us() -> None:
    found = addresses(public_url="https://pub.example/under")
    assert found.answers_origin("https://pub.example", "http", "127.0.0.1:8000")


@pytest.mark.parametrize(
    ("settings", "needed"),
    [
        ({}, False),
        ({"lan": True}, False),
        ({"public_url": "http://127.0.0.1:8000"}, False),
        ({"public_url": "http://192.168.1.20:8000"}, False),
        ({"public_url": "http://kitchen.local:8000"}, False),
        ({"public_url": "https://shop.example"}, True),
        ({"tunnel": "t {url}"}, True),
        ({"trust_proxy": ("10.0.0.1",)}, True),
    ],
)
def test_admin_routes_leave_the_main_port_when_callers_may_only_look_local(
    settings: dict[str, Any], needed: bool
) -> None:
    assert addresses(**settings).needs_admin_port is needed


def test_only_configured_proxies_are_trusted() -> None:
    found = addresses(trust_proxy=("10.0.0.0/24", "::1"))
    assert [found.trusts(x) for x in ("10.0.0.9", "::ffff:10.0.0.9", "::1")] == [True] * 3
    assert [found.trusts(x) for x in ("10.0.1.9", "", "127.0.0.1", "x")] == [False] * 4


def test_looking_for_the_route_needs_no_network() -> None:
    address = default_route_address()
    assert address is None or host_name(address) == address


def test_the_default_route_s_address_is_among_the_machine_s_own() -> None:
    own = own_addresses()
    assert default_route_address() in [*own, None]
    assert not any(is_loopback(address) for address in own)


@pytest.mark.parametrize("host", ["127.0.0.1%.evil", "127.0.0.1%25.evil", "localhost%.evil",
                                  "[::1%.evil]", "127.0.0.1%.evil:80"])  # fmt: skip
def test_a_name_with_a_zone_in_it_is_nobody_of_ours(host: str) -> None:
    for config in (Config(), Config(lan=True)):
        assert not Addresses(config).answers_host(host)
