"""Issued tokens, what is refused of them across restarts, sign-in links and erasure."""

from __future__ import annotations

import asyncio

import pytest
from access_fixture import SESSION, Access

from companion_ws.access import credentials
from companion_ws.access.pairing import Paired
from companion_ws.access.tokens import Claims, Kind, Tokens
from companion_ws.core.errors import NotFound, TokenExpired, Unauthenticated, Unavailable
from companion_ws.database import Statement


def is_accepted(tokens: Tokens, token: str) -> bool:
    try:
        tokens.verify(token)
    except (Unauthenticated, TokenExpired):
        return False
    return True


async def test_issued_tokens_are_listed_without_their_text(access: Access) -> None:
    token, claims = access.tokens.issue("service", "shop", 3600)
    await access.credentials.record(claims)
    [listed] = await access.credentials.tokens()
    assert listed == {
        "id": claims.id,
        "kind": "service",
        "user": "shop",
        "session_id": None,
        "role": None,
        "issued_at": claims.issued_at_ms,
        "expires_at": claims.expires_at_ms,
    }
    signature = token.rpartition(".")[2]
    for file in access.path.iterdir():
        if file.is_file():
            assert signature.encode() not in file.read_bytes()


async def test_a_revoked_token_stays_dead_after_a_restart(access: Access) -> None:
    token, claims = access.tokens.issue("user", "alice", 3600)
    other, _ = access.tokens.issue("user", "alice", 3600)
    await access.credentials.record(claims)
    await access.credentials.revoke_token(claims.id)
    assert not is_accepted(access.tokens, token)
    again = await access.restarted()
    assert not is_accepted(again.tokens, token)
    assert is_accepted(again.tokens, other)
    assert await again.credentials.tokens() == []
    await again.close()


async def test_revoking_an_unknown_token_says_there_is_none(access: Access) -> None:
    with pytest.raises(NotFound):
        await access.credentials.revoke_token("0" * 24)


async def test_signing_out_everywhere_survives_a_restart_and_names_nobody(access: Access) -> None:
    token, claims = access.tokens.issue("user", "carol-of-the-shop", 3600)
    await access.credentials.record(claims)
    await access.credentials.revoke_user("carol-of-the-shop")
    assert not is_accepted(access.tokens, token)
    again = await access.restarted()
    assert not is_accepted(again.tokens, token)
    rows = await again.database.read("SELECT ref FROM revocations")
    assert "carol" not in str(rows)
    access.clock.pass_s(1)
    fresh, _ = again.tokens.issue("user", "carol-of-the-shop", 3600)
    assert is_accepted(again.tokens, fresh)
    await again.close()


async def test_a_revocation_is_purged_only_after_everything_it_refuses_expired(
    access: Access,
) -> None:
    token, claims = access.tokens.issue("user", "alice", 3600)
    await access.credentials.record(claims)
    await access.credentials.revoke_token(claims.id)
    access.clock.pass_s(3600 + 60)
    await access.credentials.purge()
    assert await access.count("revocations") == 1
    with pytest.raises(Unauthenticated):
        access.tokens.verify(token)
    access.clock.pass_s(61)
    await access.credentials.purge()
    assert await access.count("revocations") == 0
    with pytest.raises(TokenExpired):
        access.tokens.verify(token)


async def test_a_sign_in_link_works_once(access: Access) -> None:
    ticket = await access.credentials.open_sign_in("local", "admin")
    assert await access.credentials.sign_in(ticket) == ("local", "admin")
    with pytest.raises(NotFound) as used:
        await access.credentials.sign_in(ticket)
    with pytest.raises(NotFound) as wrong:
        await access.credentials.sign_in("x" * 22)
    expiring = await access.credentials.open_sign_in()
    access.clock.pass_s(600)
    with pytest.raises(NotFound) as expired:
        await access.credentials.sign_in(expiring)
    assert used.value.message == wrong.value.message == expired.value.message


async def test_sixteen_who_race_for_one_sign_in_link_find_one_winner(access: Access) -> None:
    for _ in range(20):
        ticket = await access.credentials.open_sign_in()
        racers = (access.credentials.sign_in(ticket) for _ in range(16))
        results = await asyncio.gather(*racers, return_exceptions=True)
        assert sum(not isinstance(result, NotFound) for result in results) == 1


async def fill(access: Access, session_id: str, user: str) -> None:
    _, claims = access.tokens.issue("session", user, 3600, session_id=session_id, role="ui")
    now, later = access.clock(), access.clock() + 60_000
    await access.credentials.open_sign_in(user)
    await access.database.transact(
        [
            access.credentials.issued(claims),
            Statement(
                "INSERT INTO pairings (pairing_id, session_id, user, ticket_hash, expires_at_ms)"
                " VALUES (?, ?, ?, ?, ?)",
                (f"p-{user}", session_id, user, f"t-{user}".encode(), later),
            ),
            Statement(
                "INSERT INTO codes (session_id, user, pairing_id, nonce, code_hash, expires_at_ms)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (session_id, user, f"p-{user}", "n", f"c-{user}".encode(), later),
            ),
            Statement(
                "INSERT INTO devices (device_id, session_id, user, label, created_at_ms, last_active_at_ms, token_until_ms)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (f"d-{user}", session_id, user, "Phone", now, now, later),
            ),
            Statement(
                "INSERT INTO claims (pairing_id, claim_hash, session_id, user, label, verification, expires_at_ms)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (f"p-{user}", f"k-{user}".encode(), session_id, user, "Phone", "47", later),
            ),
            Statement(
                "INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?)",
                (f"a-{user}".encode(), b"r", user, session_id, "{}", later),
            ),
        ]
    )


TABLES = ("tokens", "pairings", "codes", "devices", "claims", "answers", "sign_ins")


async def test_a_deleted_session_leaves_nothing_behind(access: Access) -> None:
    await fill(access, SESSION, "alice")
    await fill(access, "other", "bob")
    await access.database.transact(access.credentials.forget_session(SESSION))
    counts = {table: await access.count(table) for table in TABLES}
    assert counts == {**dict.fromkeys(TABLES, 1), "sign_ins": 2}


@pytest.mark.sqlite
async def test_an_erased_user_leaves_nothing_but_a_hash_that_keeps_old_tokens_dead(
    access: Access,
) -> None:
    await fill(access, SESSION, "alice")
    await fill(access, "other", "bob")
    token, _ = access.tokens.issue("user", "alice", 3600)
    await access.database.transact(await access.credentials.refuse_and_erase("alice"))
    assert {await access.count(table) for table in TABLES} == {1}
    await access.database.purge()
    stored = (access.path / "companion.db").read_bytes()
    assert b"d-alice" not in stored
    assert b"d-bob" in stored
    again = await access.restarted()
    assert not is_accepted(again.tokens, token)
    await again.close()


async def test_a_person_can_take_what_is_stored_about_their_access(access: Access) -> None:
    await fill(access, SESSION, "alice")
    await fill(access, "other", "bob")
    export = await access.credentials.export_user("alice")
    [device] = export["devices"]
    assert (device["device_id"], device["session_id"]) == ("d-alice", SESSION)
    assert set(device) == {"device_id", "session_id", "device", "created_at", "last_active_at"}
    assert [token["session_id"] for token in export["tokens"]] == [SESSION]


async def test_tokens_are_listed_of_a_user_or_of_a_session_and_all_of_them_however_many(
    access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "LISTED_AT_ONCE", 3)
    ids: dict[str, list[str]] = {"alice": [], "bob": []}
    for number in range(8):
        user = "bob" if number % 4 == 0 else "alice"
        _, claims = access.tokens.issue(
            "session", user, 3600, session_id=f"of {user}", role="ui"
        )
        await access.credentials.record(claims)
        ids[user].insert(0, claims.id)
        access.clock.pass_s(number % 2)  # Some are issued in the same moment.

    async def listed(**of: str) -> list[str]:
        return [token["id"] for token in await access.credentials.tokens(**of)]

    assert sorted(await listed()) == sorted(ids["alice"] + ids["bob"])
    for user in ids:
        assert sorted(await listed(user=user)) == sorted(ids[user])
        assert sorted(await listed(session_id=f"of {user}")) == sorted(ids[user])
    assert await listed(user="alice", session_id="of bob") == []
    issued = [token["issued_at"] for token in await access.credentials.tokens()]
    assert issued == sorted(issued, reverse=True)


async def test_a_session_has_a_device_while_one_may_still_come(access: Access) -> None:
    assert not await access.credentials.has_device(SESSION)
    opened = await access.pairing().open(SESSION, by=access.tokens.issue("user", "alice", 60)[1])
    phone = await access.pairing().redeem(code=opened.code, source="10.0.0.1", device="My phone")
    assert isinstance(phone, Paired)
    device_id = str(phone.claims.device_id)
    assert await access.credentials.has_device(SESSION)
    assert not await access.credentials.has_device("other")
    assert await access.devices.label(device_id) == "My phone"
    assert await access.devices.label("unknown") == ""

    at_ms = access.clock()
    access.clock.at_ms = phone.claims.expires_at_ms
    assert not await access.credentials.has_device(SESSION), "its token is over"
    access.clock.at_ms = at_ms
    await access.credentials.revoke_device(SESSION, device_id)
    assert not await access.credentials.has_device(SESSION)


async def test_what_has_expired_is_purged(access: Access) -> None:
    await fill(access, SESSION, "alice")
    access.clock.pass_s(86_400)
    await access.credentials.purge()
    assert {await access.count(table) for table in TABLES} == {0}


# What a token made.


@pytest.mark.parametrize("how", ["id", "user", "by its session"])
async def test_what_a_token_made_dies_with_it(access: Access, how: str) -> None:
    _, shop = access.tokens.issue("service", "shop", 3600)
    child, made = access.tokens.issue(
        "session", "alice", 60, session_id=SESSION, role="agent", parent=shop.id, by="shop",
        until_ms=access.clock() + 12 * 3_600_000,
    )  # fmt: skip
    await access.credentials.record(shop)
    await access.credentials.record(made)
    opened = await access.pairing().open(SESSION, by=shop)
    waiting = await access.pairing().open(SESSION, 900, by=shop)
    phone = await access.pairing().redeem(code=opened.code, source="10.0.0.1")
    assert isinstance(phone, Paired)
    phone_token = access.tokens.sign(phone.claims)
    renewed, _ = access.tokens.renew(made, 60)

    match how:
        case "id":
            access.clock.pass_s(3600 + 3600)  # Its parent's own end is no end of the child.
            fresh, _ = await access.devices.renew(made)
            assert is_accepted(access.tokens, fresh)
            await access.credentials.purge()
            await access.credentials.revoke_token(shop.id)
        case "user":
            await access.credentials.revoke_user("shop")
        case "by its session":
            await access.credentials.revoke_token(made.id, session_id=SESSION)

    again = await access.restarted()
    assert not is_accepted(again.tokens, child)
    assert not is_accepted(again.tokens, renewed)
    assert is_accepted(again.tokens, phone_token) is (how == "by its session")
    if how != "by its session":
        with pytest.raises(NotFound):
            await again.pairing().redeem(ticket=waiting.url.partition("#")[2])
        assert await again.devices.of_user("alice") == []
    await again.close()


@pytest.mark.parametrize("keep", [False, True])
async def test_what_was_made_by_what_a_token_made_dies_with_it_too(
    access: Access, keep: bool
) -> None:
    _, shop = access.tokens.issue("service", "shop", 3600)
    child, made = access.tokens.issue(
        "session", "alice", 3600, session_id=SESSION, role="agent", parent=shop.id, by="shop"
    )
    grandchild, made_of_it = access.tokens.issue(
        "session", "alice", 7200, session_id=SESSION, role="ui", parent=made.id, by="shop"
    )
    for claims in (shop, made, made_of_it):
        await access.credentials.record(claims)
    await access.credentials.revoke_token(shop.id, keep_sessions=keep)
    assert is_accepted(access.tokens, grandchild) is keep

    again = await access.restarted()
    assert is_accepted(again.tokens, child) is keep
    assert is_accepted(again.tokens, grandchild) is keep
    left = [token["id"] for token in await again.credentials.tokens()]
    assert sorted(left) == (sorted([made.id, made_of_it.id]) if keep else [])
    # As long as it would have lived, and no longer.
    again.clock.at_ms = made_of_it.expires_at_ms
    await again.credentials.purge()
    assert is_accepted(again.tokens, grandchild) is keep
    again.clock.pass_s(3 * 86_400)
    await again.credentials.purge()
    assert await again.count("revocations") == 0
    await again.close()


async def test_what_a_token_made_may_be_kept_and_revoked_later(access: Access) -> None:
    token, user = access.tokens.issue("user", "alice", 3600)
    child, made = access.tokens.issue(
        "session", "alice", 3600, session_id=SESSION, role="ui", parent=user.id, by="alice"
    )
    for claims in (user, made):
        await access.credentials.record(claims)

    await access.credentials.revoke_token(user.id, keep_sessions=True)
    assert not is_accepted(access.tokens, token)
    assert is_accepted(access.tokens, child)
    await access.credentials.revoke_token(user.id)
    assert not is_accepted(access.tokens, child)
    with pytest.raises(NotFound):
        await access.credentials.revoke_token(user.id)


async def test_a_token_of_one_session_is_not_revoked_by_way_of_another(access: Access) -> None:
    _, made = access.tokens.issue("session", "alice", 3600, session_id=SESSION, role="ui")
    await access.credentials.record(made)
    with pytest.raises(NotFound):
        await access.credentials.revoke_token(made.id, session_id="other")


async def test_a_token_slides_by_its_own_life_up_to_its_end(access: Access) -> None:
    begun = access.clock()
    _, claims = access.tokens.issue(
        "session", "alice", 600, session_id=SESSION, role="agent", until_ms=begun + 43_200_000
    )
    access.clock.pass_s(500)
    _, claims = access.tokens.renew(claims, 3600)
    assert claims.expires_at_ms == access.clock() + 600_000
    access.clock.at_ms = begun + 43_200_000 - 60_000
    _, last = access.tokens.renew(claims, 3600)
    assert last.expires_at_ms == begun + 43_200_000
    access.clock.pass_s(-7200)  # Set back: what is renewed then is good all the same.
    await access.credentials.revoke_user("somebody else")
    assert is_accepted(access.tokens, access.tokens.renew(last, 3600)[0])


@pytest.mark.sqlite
async def test_erasing_a_service_leaves_its_name_in_no_session_of_others(access: Access) -> None:
    _, shop = access.tokens.issue("service", "shop-7261", 3600)
    await access.database.transact(
        [Statement("UPDATE sessions SET service = 'shop-7261' WHERE session_id = ?", (SESSION,))]
    )
    await access.pairing().open(SESSION, by=shop)
    await access.database.transact(await access.credentials.refuse_and_erase("shop-7261"))
    await access.database.purge()
    assert await access.count("sessions") == 1
    assert b"shop-7261" not in (access.path / "companion.db").read_bytes()


@pytest.mark.parametrize("how", ["user", "key"])
async def test_who_signs_in_while_signed_out_everywhere_stays_out(
    access: Access, how: str
) -> None:
    for steps in range(40):
        ticket = await access.credentials.open_sign_in("local", "admin")
        issued: list[Claims] = []

        def also(user: str, kind: Kind, issued: list[Claims] = issued) -> list[Statement]:
            issued.append(access.tokens.issue(kind, user, 3600)[1])
            return [access.credentials.issued(issued[0])]

        signing_in = asyncio.create_task(access.credentials.sign_in(ticket, also))
        for _ in range(steps):
            await asyncio.sleep(0)
        if how == "user":
            await access.credentials.revoke_user("local")
        else:
            access.keys.rotate(compromise=True)
            await access.credentials.close_every_door()
        try:
            await signing_in
            token = access.tokens.sign(issued[0])  # As late as the answer is made of it.
        except (NotFound, Unauthenticated):
            continue  # Nobody was given anything.
        assert not is_accepted(access.tokens, token), steps


async def test_removing_what_has_expired_goes_on_after_a_refusal_of_the_disk(
    access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("companion_ws.access.credentials.PURGE_S", 0.01)
    purging = asyncio.create_task(access.credentials.purge_forever())
    await access.close()  # Whoever writes now hears what a refusing disk says.
    with pytest.raises(Unavailable):
        await access.credentials.purge()
    await asyncio.sleep(0.1)
    assert not purging.done()
    purging.cancel()
