"""What a proxy says of who asks: read totally, and never in a caller's favour."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from companion_ws.web.guard.forwarded import MAX_HOPS, address_of, caller, hops_of

HEADERS: Any = st.sampled_from(["x-forwarded-for", "forwarded", "none"])
PIECES = st.sampled_from(
    ["for=", "For=", "proto=https", "by=", '"', "\\", ",", ";", " ", "\t", "[2001:db8::1]", "[", "]",
     "10.0.0.7", "203.0.113.9:80", "_hidden", "unknown", "=", "\x00", "ü", "host=x"]
)  # fmt: skip
SAID = st.one_of(st.text(max_size=80), st.lists(PIECES, max_size=30).map("".join))
ADDRESSES = st.ip_addresses().map(str)


def trusts(address: str) -> bool:
    return address.startswith(("127.", "10."))


def said(text: str, header: str) -> dict[str, list[str]]:
    return {header: [text]}


def is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


@given(HEADERS, SAID, SAID, SAID)
def test_whatever_is_said_the_caller_is_an_address(
    header: Any, for_: str, forwarded: str, proto: str
) -> None:
    headers = {
        "x-forwarded-for": [for_, forwarded],
        "forwarded": [forwarded, for_],
        "x-forwarded-proto": [proto],
    }
    hops = hops_of(header, headers)
    assert len(hops) <= MAX_HOPS
    asking = caller("127.0.0.1", "http", hops, trusts)
    assert is_address(asking.address)
    assert asking.scheme in ("http", "https")


@given(SAID)
def test_an_address_is_read_or_it_is_none(text: str) -> None:
    address = address_of(text)
    assert address == "" or is_address(address)


@pytest.mark.parametrize("written", ["{}", " {} ", "[{}]:443"])
@given(address=ADDRESSES)
def test_an_address_is_read_however_proxies_write_it(written: str, address: str) -> None:
    assert address_of(written.format(address)) == address


@given(SAID, ADDRESSES.filter(lambda address: not trusts(address)))
def test_what_a_caller_sends_changes_nothing_where_the_proxy_appends(
    forged: str, real: str
) -> None:
    hops = hops_of("x-forwarded-for", said(f"{forged}, {real}", "x-forwarded-for"))
    assert caller("127.0.0.1", "http", hops, trusts).address == real


@given(SAID, ADDRESSES.filter(lambda address: not trusts(address)))
def test_what_a_caller_writes_in_forwarded_hides_it_behind_the_proxy_at_most(
    forged: str, real: str
) -> None:
    element = f'for="[{real}]:4711"' if ":" in real else f"for={real}"
    hops = hops_of("forwarded", said(f"{forged}, {element}", "forwarded"))
    assert caller("127.0.0.1", "http", hops, trusts).address in (real, "127.0.0.1")


@given(HEADERS, SAID)
def test_the_header_that_does_not_count_is_not_read(header: Any, forged: str) -> None:
    others = {"x-forwarded-for", "forwarded"} - {header}
    assert [hop for hop in hops_of(header, {name: [forged] for name in others}) if hop.address] == []
