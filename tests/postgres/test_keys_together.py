"""A signing key is replaced on one server: all sign with the new one, and no database gives it away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from together import LEASE, Server, Servers

from companion_ws.access.keys import Keys
from companion_ws.access.sealing import unseal
from companion_ws.core.errors import Unauthenticated, Unavailable
from companion_ws.data_folder import StartRefused


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not is_so():
            await asyncio.sleep(0.01)


async def rotated(server: Server) -> int:
    """Rotate the key at a server; the one before may be about to sign."""
    async with asyncio.timeout(20):
        while True:
            try:
                return await server.ring.rotate()
            except Unavailable:
                await asyncio.sleep(0.01)


def stored(servers: Servers) -> bytes:
    """Return everything that the database says of keys and news, as text."""
    rows = [
        *servers.query("SELECT body FROM news"),
        *servers.query("SELECT encode(sealed_key, 'escape') FROM key_steps"),
        *servers.query("SELECT encode(public, 'escape') FROM key_boxes"),
    ]
    return repr(rows).encode()


async def test_a_key_rotated_on_one_server_signs_on_all_and_a_server_that_was_away_follows(
    servers: Servers,
) -> None:
    servers.data("away")  # it has the first key, and is not running
    async with servers.server("1") as one, servers.server("2") as two:
        first = one.keys.all[-1]
        old, _ = await two.issued()
        assert await rotated(one) == 2
        between, _ = await two.issued()
        await until(lambda: one.keys.all[-1] != first and two.keys.all == one.keys.all)
        new, _ = await one.issued()
        for server in (one, two):
            assert [server.refusal(token) for token in (old, between, new)] == [None] * 3
            assert Keys.load(servers.data(server.seat.me.name)).all == one.keys.all
        await rotated(two)
        await until(lambda: len(one.keys.all) == len(two.keys.all) == 3 and one.keys.all == two.keys.all)

        async with servers.server("away") as third:
            assert third.refusal(new) is None
            await until(lambda: third.keys.all == one.keys.all)
        newest = one.keys.all[1:]
        assert not any(key in stored(servers) for key in newest)

        # The third drops the first key, and so does every server.
        await rotated(one)
        await until(lambda: first not in one.keys.all and one.keys.all == two.keys.all)
        assert [server.refusal(old) for server in (one, two)] == [Unauthenticated] * 2
        assert len(servers.query("SELECT 1 FROM key_steps WHERE sealed_key <> ''")) == 2


async def test_a_compromised_key_is_good_for_nothing_on_any_server_and_opens_no_new_one(
    servers: Servers,
) -> None:
    servers.data("away")
    async with servers.server("1") as one, servers.server("2") as two:
        await until(lambda: len(servers.query("SELECT 1 FROM key_boxes")) == 2)
        compromised = one.keys.derive("next key")
        old, _ = await two.issued()
        used, ended = two.tokens.show(old), []
        used.on_end = ended.append
        async with asyncio.TaskGroup() as group:
            group.create_task(one.ring.rotate(compromise=True))
        assert [server.refusal(old) for server in (one, two)] == [Unauthenticated] * 2
        assert len(ended) == 1
        [key] = one.keys.all
        assert two.keys.all == (key,)
        for server in (one, two):
            token, _ = await server.issued()
            assert [each.refusal(token) for each in (one, two)] == [None] * 2
        assert key not in stored(servers)
        for (sealed,) in servers.query("SELECT sealed_key FROM key_steps WHERE sealed_key <> ''"):
            assert unseal(compromised, bytes(sealed)) is None  # type: ignore[arg-type]

        # Who was away has the old key alone: in words, also where nobody else is there.
        with pytest.raises(StartRefused, match=r"Copy secret\.key"):
            await servers.silent("away").news.start()
        # The next rotation is an ordinary one.
        await rotated(two)
        await until(lambda: len(one.keys.all) == 2 and one.keys.all == two.keys.all)
    with pytest.raises(StartRefused, match="DELETE FROM key_steps"):
        await servers.silent("away").news.start()


async def test_a_server_that_stood_still_while_a_compromised_key_was_replaced_has_the_new_one_when_it_wakes(
    servers: Servers,
) -> None:
    async with servers.server("1") as one:
        async with servers.server("2") as two:
            await until(lambda: len(servers.query("SELECT 1 FROM key_boxes")) == 2)
            old, _ = await two.issued()
        servers.query(LEASE, "2", 0.0)  # it stands still, and its lease has run out
        await one.ring.rotate(compromise=True)
        assert two.keys.all != one.keys.all
        waking = asyncio.create_task(two.news.run())
        await until(lambda: two.keys.all == one.keys.all)
        waking.cancel()
        assert two.refusal(old) is Unauthenticated
        assert two.refusal((await one.issued())[0]) is None


async def test_a_server_that_cannot_open_the_new_key_believes_none_until_it_has_it(
    servers: Servers,
) -> None:
    async with servers.server("1") as one, servers.server("2") as two:
        await until(lambda: len(servers.query("SELECT 1 FROM key_boxes")) == 2)
        servers.query("DELETE FROM key_boxes WHERE node = '2'")
        old, _ = await two.issued()
        await one.ring.rotate(compromise=True)
        assert two.ring.is_behind
        assert two.refusal(old) is not None
        new, _ = await one.issued()
        assert two.refusal(new) is not None
