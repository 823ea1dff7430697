"""Whatever text comes as an address, a duration or a signature: read or refused, never a failure."""

from __future__ import annotations

import ipaddress
import math
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from companion_ws.addresses import Addresses, host_name, is_loopback, origin_of
from companion_ws.config import MAX_DURATION_S, Config, duration_s, public_url_of
from companion_ws.logs import scrub, shown_path
from companion_ws.voice.elevenlabs.telephony import signature_holds, signature_of
from companion_ws.web.guard.headers import content_security_policy

PIECES = st.sampled_from(
    ["http://", "https://", "//", "localhost", "127.0.0.1", "127.1", "[::1]", "::1", "[", "]", "%",
     "%.evil", "%25", "@", ":", ":80", ":99999", ":-1", ":٣", ".", "..", "a.b", "evil.example", "null",
     "/", "\\", "?", "#", " ", "\t", "\r\n", "\x00", "ü", "xn--", "٣", "\ud800", "0x7f000001", "2130706433"]
)  # fmt: skip
TEXTS = st.one_of(st.text(max_size=40), st.lists(PIECES, max_size=6).map("".join))
LOOPBACK = {"localhost", "::1"}


def addresses(**settings: Any) -> Addresses:
    return Addresses(
        Config(**settings),
        route_address=lambda: None,
        machine_addresses=list,
        machine_names=lambda: ["desk", "desk.local"],
    )


HOME = addresses()
ABROAD = addresses(
    public_url="https://shop.example", allow_origin=("https://pages.example",), host="0.0.0.0"
)


@given(TEXTS)
def test_a_host_is_read_in_one_form_or_not_at_all(text: str) -> None:
    name = host_name(text)
    if name is None:
        return
    assert name
    assert name.isascii()
    assert name == name.lower()
    assert not set(name) & set(" /\\@?#,;'\"<>\r\n\t\x00")
    assert len(name) <= len(text)


@given(TEXTS)
@example("127.0.0.1%.evil")
@example("[::1%evil]")
@example("localhost.evil.example")
def test_bound_to_loopback_only_names_of_loopback_are_answered(text: str) -> None:
    if HOME.answers_host(text):
        name = host_name(text)
        assert name is not None
        assert name in LOOPBACK or ipaddress.ip_address(name).is_loopback


@given(TEXTS)
def test_an_origin_is_read_in_one_form_or_not_at_all(text: str) -> None:
    origin = origin_of(text)
    if origin is None:
        return
    assert origin_of(origin) == origin
    split = urlsplit(origin)
    assert split.scheme in ("http", "https")
    assert split.hostname
    assert (split.path, split.query, split.fragment, split.username) == ("", "", "", None)


@given(TEXTS, st.sampled_from(["http", "https"]), TEXTS)
def test_only_our_own_origins_and_those_allowed_may_talk(
    origin: str, scheme: str, host: str
) -> None:
    own = {
        "https://shop.example", "https://pages.example", origin_of(f"{scheme}://{host}")
    }  # fmt: skip
    assert ABROAD.answers_origin(origin, scheme, host) == (
        origin_of(origin) is not None and origin_of(origin) in own
    )
    assert not ABROAD.allows_cors("null")
    if ABROAD.allows_cors(origin):
        assert origin_of(origin) == "https://pages.example"


@given(TEXTS)
def test_a_peer_is_trusted_only_by_its_address(text: str) -> None:
    found = addresses(trust_proxy=("10.0.0.0/8",))
    if found.trusts(text):
        address = ipaddress.ip_address(text)
        mapped = getattr(address, "ipv4_mapped", None) or address
        assert mapped in ipaddress.ip_network("10.0.0.0/8")
    assert isinstance(is_loopback(text), bool)


@given(st.one_of(TEXTS, st.text("0123456789.smhd ", max_size=12), st.floats(), st.integers()))
def test_a_duration_is_some_seconds_or_a_value_error(text: Any) -> None:
    try:
        seconds = duration_s(text)
    except ValueError:
        return
    assert 0 <= seconds <= MAX_DURATION_S
    assert math.isfinite(seconds)


@given(TEXTS)
def test_a_public_url_is_one_or_a_value_error(text: str) -> None:
    try:
        url = public_url_of(text)
    except ValueError:
        return
    assert origin_of(url) is not None
    assert not url.endswith("/")
    found = addresses(public_url=text)
    assert found.public_url == url
    assert isinstance(found.needs_admin_port, bool)


@pytest.mark.parametrize("name", ["allow_origin", "allow_host", "trust_proxy"])
@given(TEXTS)
def test_settings_of_addresses_are_taken_or_a_value_error(name: str, text: str) -> None:
    try:
        found = addresses(**{name: (text,)})
    except ValueError:
        return
    found.answers_host("localhost")
    found.answers_origin("http://localhost", "http", "localhost")
    assert all("\n" not in origin and ";" not in origin for origin in found.embedders)


@given(TEXTS)
def test_no_host_adds_a_rule_to_the_content_security_policy(host: str) -> None:
    usual = content_security_policy("localhost", None)
    policy = content_security_policy(host, None)
    assert policy.count(";") == usual.count(";")
    assert not set(policy) & set("\r\n\x00")


@given(TEXTS, st.floats(-1e15, 1e15), st.binary(max_size=30))
def test_a_signature_is_read_or_does_not_hold(header: str, now_s: float, body: bytes) -> None:
    assert signature_holds("secret", header, body, now_s) is False
    found = signature_of(f"t={int(abs(now_s)) % 10**12},v0={'a' * 64},{header}", now_s)
    assert found is None or len(found[1]) <= header.count(",") + 2


@given(TEXTS)
def test_whatever_is_logged_can_be_scrubbed(text: str) -> None:
    assert isinstance(scrub(text), str)
    assert "secret-key" not in shown_path(f"{text}/sessions/1/state/{text}secret-key")
