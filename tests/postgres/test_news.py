"""What one server of a database revokes: refused by all of them when the call has returned."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack

from together import LEASE, Servers

from companion_ws.core.errors import Unauthenticated, Unavailable
from companion_ws.nodes.place import Node


async def test_what_one_server_revokes_all_refuse_once_it_has_said_so(servers: Servers) -> None:
    async with AsyncExitStack() as stack:
        one, two, three = [
            await stack.enter_async_context(servers.server(name)) for name in ("1", "2", "3")
        ]
        token, token_id = await one.issued()
        kept, _ = await one.issued()
        assert two.refusal(token) is None
        await two.credentials.revoke_token(token_id)
        assert [each.refusal(token) for each in (one, two, three)] == [Unauthenticated] * 3
        assert one.refusal(kept) is None

        # Signed out everywhere: whatever anybody issued a moment ago, and nothing issued after.
        moments_ago = [(await each.issued("bob"))[0] for each in (one, two, three)]
        await three.credentials.revoke_user("bob")
        since = [(await each.issued("bob"))[0] for each in (one, two, three)]
        for each in (one, two, three):
            assert [each.refusal(old) for old in moments_ago] == [Unauthenticated] * 3
            assert [each.refusal(new) for new in since] == [None] * 3

        # A credential in use ends on the other server before the one that revoked it says so.
        token, token_id = await one.issued()
        credential, ended = two.tokens.show(token), []
        credential.on_end = ended.append
        async with asyncio.TaskGroup() as group:  # in another task, as a request would be
            group.create_task(one.credentials.revoke_token(token_id))
        assert [type(reason) for reason in ended] == [Unauthenticated]


async def test_whoever_signs_out_while_all_servers_issue_tokens_keeps_none_of_before_and_all_of_after(
    servers: Servers,
) -> None:
    async with AsyncExitStack() as stack:
        all_of_them = [
            await stack.enter_async_context(servers.server(name)) for name in ("1", "2", "3")
        ]
        rng, issued, is_over = random.Random(7), list[str](), False

        async def issue() -> None:
            while not is_over:
                issued.append((await rng.choice(all_of_them).issued("bob"))[0])

        issuing = [asyncio.create_task(issue()) for _ in range(3)]
        for _ in range(12):
            await asyncio.sleep(rng.uniform(0, 0.02))
            before = list(issued)
            await rng.choice(all_of_them).credentials.revoke_user("bob")
            after = [each.tokens.issue("user", "bob", 60.0)[0] for each in all_of_them]
            for each in all_of_them:
                assert {each.refusal(token) for token in before} <= {Unauthenticated}
                assert {each.refusal(token) for token in after} == {None}
        is_over = True
        await asyncio.gather(*issuing)
        assert len(issued) > 30


async def test_a_server_that_stands_still_delays_a_revocation_until_its_lease_has_run_out(
    servers: Servers,
) -> None:
    async with servers.server("1") as one:
        servers.query(LEASE, "still", 60.0)  # it has a lease, and hears nothing
        token, token_id = await one.issued()
        revoking = asyncio.create_task(one.credentials.revoke_token(token_id))
        await asyncio.sleep(0.5)
        assert one.refusal(token) is Unauthenticated
        assert not revoking.done(), "acknowledged while a server may still let the token in"
        servers.query("UPDATE nodes SET until = clock_timestamp() WHERE node = 'still'")
        async with asyncio.timeout(20):
            await revoking


async def test_a_server_back_under_another_name_lets_nobody_in_before_it_has_heard_the_news(
    servers: Servers,
) -> None:
    async with servers.server("1") as one, servers.server("2") as two:
        token, token_id = await one.issued()
        assert two.refusal(token) is None
        two.seat.is_good = False  # its lease ran out
        assert two.refusal(token) is Unavailable
        servers.query("UPDATE nodes SET until = clock_timestamp() WHERE node = '2'")
        await one.credentials.revoke_token(token_id)
        servers.query(LEASE, "3", 60.0)
        two.seat.me, two.seat.is_good = Node("3", ""), True
        refused = two.refusal(token)
        assert refused in (Unavailable, Unauthenticated)
        async with asyncio.timeout(20):
            while two.refusal(token) is Unavailable:
                await asyncio.sleep(0.01)
        assert two.refusal(token) is Unauthenticated


async def test_a_server_that_missed_news_which_is_gone_reads_everything_again(
    servers: Servers,
) -> None:
    async with servers.server("1") as one:
        token, token_id = await one.issued()
        other = servers.silent("2")
        await other.news.start()
        assert other.refusal(token) is None
        for _ in range(3):
            await one.credentials.revoke_token(token_id)
            _, token_id = await one.issued()
        servers.query("DELETE FROM news WHERE number < (SELECT number FROM news_count)")
        hearing = asyncio.create_task(other.news.run())
        async with asyncio.timeout(20):
            while other.refusal(token) is None:
                await asyncio.sleep(0.01)
        hearing.cancel()
        assert other.refusal(token) is Unauthenticated


async def test_news_goes_on_after_the_connection_that_hears_it_was_cut(servers: Servers) -> None:
    async with servers.server("1") as one, servers.server("2") as two:
        token, token_id = await one.issued()
        servers.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE query LIKE '%%news%%' AND pid <> pg_backend_pid() AND datname = current_database()"
        )
        async with asyncio.timeout(20):
            while True:
                try:
                    await one.credentials.revoke_token(token_id)
                except Unavailable:  # the writer's connection may have been among them
                    await asyncio.sleep(0.1)
                    continue
                break
        assert two.refusal(token) is Unauthenticated
