"""A secret that stands where others can read: nobody finds it without the key."""

from __future__ import annotations

import pytest

from companion_ws.access.sealing import PRIME, Box, seal, unseal


def test_what_is_sealed_is_found_by_its_key_alone_and_only_as_it_was() -> None:
    one, two, third = Box(), Box(), Box()
    key = one.key_with(two.public)
    assert key == two.key_with(one.public) != third.key_with(one.public)
    sealed = seal(key, b"secret" * 20)
    assert unseal(key, sealed) == b"secret" * 20
    assert b"secret" not in sealed
    assert seal(key, b"secret" * 20) != sealed
    assert unseal(third.key_with(one.public), sealed) is None
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        assert unseal(key, bytes(changed)) is None
    for text in (b"", sealed[:10], sealed[:-1]):
        assert unseal(key, text) is None
    for public in (b"", bytes(384), (1).to_bytes(384, "big"), b"\xff" * 384):
        with pytest.raises(ValueError, match="public value"):
            one.key_with(public)


def test_the_group_is_the_one_that_rfc_3526_describes() -> None:
    unity = 1 << 3006

    def arctan_of_one_over(x: int) -> int:
        total, term, n, sign = 0, unity // x, 1, 1
        while term:
            total, term, n, sign = total + sign * (term // n), term // (x * x), n + 2, -sign
        return total

    pi = 4 * (4 * arctan_of_one_over(5) - arctan_of_one_over(239))
    assert 2**3072 - 2**3008 - 1 + 2**64 * ((pi >> 64) + 1690314) == PRIME
