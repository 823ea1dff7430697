"""The caller behind a proxy: what one header says, and how far that can be believed.

One header counts, the one the proxy writes (`--forwarded-header`); a caller can
send the other, and proxies pass on what they do not know.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

Header = Literal["x-forwarded-for", "forwarded", "none"]

MAX_HOPS: Final = 32
"""More proxies in a row than anybody has; what stands left of them is not read."""
_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PAIR: Final = re.compile(rf'({_WORD})=(?:({_WORD})|"((?:[^"\\]|\\.)*)")', re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Hop:
    """Whom one proxy saw; empty where it did not say, or said no address."""

    address: str
    scheme: str


def caller(
    peer: str, scheme: str, hops: Sequence[Hop], trusts: Callable[[str], bool]
) -> Hop:
    """Return address and scheme of who asks: the peer's, or what trusted proxies say.

    Read from the right: each proxy appends whom it saw, and what stands left of the
    first stranger is a stranger's claim. Where a proxy names nobody, it is all that is known.
    """
    asking = Hop(peer, scheme)
    for hop in reversed(hops):
        if not trusts(asking.address):
            break
        asking = Hop(hop.address or asking.address, hop.scheme or asking.scheme)
        if not hop.address:
            break
    return asking


def hops_of(header: Header, said: Mapping[str, Sequence[str]]) -> list[Hop]:
    """Return what the header that counts says, nearest proxy last; [] where it is malformed.

    `said` has the values of each header by its name in small letters.

    >>> hops_of("x-forwarded-for", {"x-forwarded-for": ["10.0.0.1, [::1]:80"]})
    [Hop(address='10.0.0.1', scheme=''), Hop(address='::1', scheme='')]
    >>> hops_of("forwarded", {"forwarded": ['for="[::1]:80";proto=https']})
    [Hop(address='::1', scheme='https')]
    """
    if header == "forwarded":
        return _elements(",".join(said.get("forwarded", ())))
    if header == "none":
        return []
    chain = ",".join(said.get("x-forwarded-for", ())).split(",")
    proto = scheme_of(",".join(said.get("x-forwarded-proto", ())).rpartition(",")[2])
    return [Hop(address_of(part), proto) for part in chain[-MAX_HOPS:]]


def address_of(text: str) -> str:
    """Return the bare address of `1.2.3.4:567`, `[::1]:567` or `::1`; empty for all else.

    >>> [address_of(x) for x in ("1.2.3.4:567", "[::1]:567", "::1", "unknown", "_hidden")]
    ['1.2.3.4', '::1', '::1', '', '']
    """
    bare = text.strip()
    if bare.startswith("["):
        bare = bare[1:].partition("]")[0]
    elif bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        return str(ipaddress.ip_address(bare.partition("%")[0]))
    except ValueError:
        return ""


def scheme_of(text: str) -> str:
    """Return `http` or `https`, empty for all else."""
    scheme = text.strip().lower()
    return scheme if scheme in ("http", "https") else ""


def _elements(text: str) -> list[Hop]:
    """Read RFC 7239, strictly: a caller's open quote must not swallow what the proxy adds."""
    hops: list[Hop] = []
    pairs: dict[str, str] = {}
    at, end = _blank(text, 0), len(text)
    while at < end:
        if text[at] in ",;":
            if text[at] == ",":
                hops.append(_hop(pairs))
                pairs = {}
            at = _blank(text, at + 1)
            continue
        pair = _PAIR.match(text, at)
        if pair is None:
            return []
        name, token, quoted = pair.groups()
        if name.lower() in pairs:
            return []
        pairs[name.lower()] = token if quoted is None else _ESCAPED.sub(r"\1", quoted)
        at = _blank(text, pair.end())
        if at < end and text[at] not in ",;":
            return []
    return [*hops, _hop(pairs)][-MAX_HOPS:] if text.strip() else []


def _hop(pairs: Mapping[str, str]) -> Hop:
    return Hop(address_of(pairs.get("for", "")), scheme_of(pairs.get("proto", "")))


def _blank(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t":
        at += 1
    return at
