"""Pairing: a phone gets in by link or code, once, and the owner can undo it."""

from __future__ import annotations

import asyncio
import re
import uuid

import pytest
from access_fixture import SESSION, Access

from companion_ws.access.derived import session_part
from companion_ws.access.pairing import Opened, Paired, Pairing, Waiting
from companion_ws.core.errors import (
    BadRequest,
    NotFound,
    PairingExpired,
    PairingRefused,
    SessionNotFound,
    TooManyRequests,
    Unauthenticated,
)
from companion_ws.database import NotUnique, Statement


def fragment(opened: Opened) -> str:
    return opened.url.partition("#")[2]


def ticket(opened: Opened) -> str:
    return fragment(opened).partition(".")[0]


async def paired(pairing: Pairing, opened: Opened, device: str = "Pixel 7") -> Paired:
    entered = await pairing.redeem(ticket=ticket(opened), device=device)
    assert isinstance(entered, Paired)
    return entered


async def test_a_link_carries_a_ticket_and_the_session_and_lives_a_minute(access: Access) -> None:
    opened = await access.pairing().open(SESSION)
    found = re.fullmatch(r"https://pub\.example/p#([\w-]{22})\.([\w-]{22})", opened.url)
    assert found is not None
    assert found[2] == session_part(SESSION)
    assert opened.url_expires_at_ms == access.clock() + 60_000
    assert re.fullmatch(r"\d{9}", opened.code)
    assert opened.code_expires_at_ms == access.clock() + 300_000
    assert opened.code_url == "https://pub.example/c"


@pytest.mark.parametrize("form", ["{ticket}", "{ticket}.{session}", "#{ticket}.{session}", " {ticket} ",
                                  "https://pub.example/p#{ticket}.{session}"])  # fmt: skip
async def test_a_ticket_lets_in_with_or_without_its_session_part(access: Access, form: str) -> None:
    pairing = access.pairing()
    opened = await pairing.open(SESSION)
    text = form.format(ticket=ticket(opened), session=session_part(SESSION))
    entered = await pairing.redeem(ticket=text, device="Pixel 7")
    assert isinstance(entered, Paired)
    claims = access.tokens.verify(access.tokens.sign(entered.claims))
    assert (claims.kind, claims.user, claims.session_id, claims.role) == (
        "session",
        "alice",
        SESSION,
        "ui",
    )
    assert claims.expires_at_ms == access.clock() + 3_600_000
    assert claims.until_ms == access.clock() + 12 * 3_600_000
    [device] = await access.devices.of_user("alice")
    assert device == {
        "device_id": claims.device_id,
        "session_id": SESSION,
        "device": "Pixel 7",
        "created_at": access.clock(),
        "last_active_at": access.clock(),
    }


@pytest.mark.parametrize("form", ["{0}{1}{2}", "{0} {1} {2}", "{0}-{1}-{2}", " {0}–{1}\u00a0{2} "])
async def test_a_code_lets_in_however_it_is_grouped(access: Access, form: str) -> None:
    pairing = access.pairing()
    code = (await pairing.open(SESSION)).code
    text = form.format(code[:3], code[3:6], code[6:])
    assert isinstance(await pairing.redeem(code=text, source="10.0.0.1"), Paired)


async def test_used_wrong_and_expired_read_the_same(access: Access) -> None:
    pairing = access.pairing()
    opened = await pairing.open(SESSION)
    sentences = set()

    async def refused(**how: str) -> None:
        with pytest.raises(NotFound) as refusal:
            await pairing.redeem(**how)
        sentences.add(refusal.value.message)

    await paired(pairing, opened)
    await refused(ticket=ticket(opened))
    await refused(ticket="A" * 22)
    await refused(ticket="")
    await refused(ticket="\ud800")
    await refused(ticket=SESSION)
    await refused(ticket=session_part(SESSION))
    await refused(code=opened.code, source="10.0.0.2")
    await refused(code="000000000", source="10.0.0.2")
    await refused(code="12345", source="10.0.0.2")
    await refused(code="١٢٣٤٥٦٧٨٩", source="10.0.0.2")
    late = await pairing.open(SESSION)
    access.clock.pass_s(60)
    await refused(ticket=ticket(late))
    access.clock.pass_s(240)
    await refused(code=late.code, source="10.0.0.3")
    assert len(sentences) == 1


async def test_either_a_ticket_or_a_code_is_needed(access: Access) -> None:
    with pytest.raises(BadRequest):
        await access.pairing().redeem()
    with pytest.raises(BadRequest):
        await access.pairing().redeem(ticket="a", code="b")


async def race(pairing: Pairing, access: Access, rounds: int) -> None:
    for number in range(rounds):
        opened = await pairing.open(SESSION)
        how = {"ticket": ticket(opened)} if number % 2 else {"code": opened.code}
        results = await asyncio.gather(
            *(pairing.redeem(source=f"10.0.0.{number % 3}", **how) for _ in range(16)),
            return_exceptions=True,
        )
        winners = [result for result in results if isinstance(result, Paired)]
        losers = [result for result in results if isinstance(result, NotFound | TooManyRequests)]
        assert len(winners) == 1
        assert len(losers) == 15
        access.clock.pass_s(3600)


async def test_sixteen_who_race_for_one_way_in_find_one_winner(access: Access) -> None:
    await race(access.pairing(), access, 50)


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_a_thousand_races_have_a_thousand_winners(access: Access) -> None:
    for _ in range(20):
        await race(access.pairing(), access, 50)


async def test_a_redraw_never_changes_a_live_code(access: Access) -> None:
    pairing = access.pairing()
    first = await pairing.open(SESSION)
    access.clock.pass_s(299)
    second = await pairing.open(SESSION)
    assert second.code == first.code
    assert second.code_expires_at_ms == first.code_expires_at_ms
    assert second.url != first.url
    access.clock.pass_s(1)
    assert (await pairing.open(SESSION)).code != first.code


async def test_pages_that_redraw_at_once_show_one_code(access: Access) -> None:
    pairing = access.pairing()
    opened = await asyncio.gather(*(pairing.open(SESSION) for _ in range(10)))
    assert len({one.code for one in opened}) == 1
    assert len({one.url for one in opened}) == 10


async def test_a_used_code_makes_room_for_another(access: Access) -> None:
    pairing = access.pairing()
    first = await pairing.open(SESSION)
    await pairing.redeem(code=first.code, source="10.0.0.1")
    assert (await pairing.open(SESSION)).code != first.code


async def test_a_ticket_drawn_before_the_redraw_is_good_until_its_end(access: Access) -> None:
    pairing = access.pairing()
    first = await pairing.open(SESSION)
    access.clock.pass_s(50)
    await pairing.open(SESSION)
    await paired(pairing, first)


async def dead(pairing: Pairing, **how: str) -> bool:
    with pytest.raises(NotFound):
        await pairing.redeem(source="10.9.9.9", **how)
    return True


@pytest.mark.parametrize("first", ["link", "redrawn link", "code"])
async def test_the_first_use_of_a_pairing_ends_all_that_was_drawn_for_it(
    access: Access, first: str
) -> None:
    pairing = access.pairing()
    drawn = await pairing.open(SESSION)
    sent = await pairing.open(SESSION, 900)
    access.clock.pass_s(30)
    redrawn = await pairing.open(SESSION)
    ways = {"link": {"ticket": ticket(drawn)}, "redrawn link": {"ticket": ticket(redrawn)},
            "code": {"code": drawn.code}}  # fmt: skip

    assert isinstance(await pairing.redeem(source="10.0.0.1", **ways.pop(first)), Paired)

    for how in ways.values():
        assert await dead(pairing, **how)
    fresh = await pairing.open(SESSION)
    assert fresh.code != drawn.code
    await paired(pairing, sent)
    assert isinstance(await pairing.redeem(code=fresh.code, source="10.0.0.1"), Paired)


async def test_a_picture_that_outlives_its_code_is_the_seat_of_the_next_code(
    access: Access,
) -> None:
    pairing = access.pairing()
    await pairing.open(SESSION)
    access.clock.pass_s(299)
    old = await pairing.open(SESSION)
    access.clock.pass_s(2)
    new = await pairing.open(SESSION)
    assert new.code != old.code

    await pairing.redeem(code=new.code, source="10.0.0.1")

    assert await dead(pairing, ticket=ticket(old))


async def test_ways_of_one_pairing_that_race_let_one_device_in(access: Access) -> None:
    pairing = access.pairing()
    for _ in range(20):
        drawn = [await pairing.open(SESSION) for _ in range(3)]
        ways = [*({"ticket": ticket(one)} for one in drawn), {"code": drawn[0].code}]
        results = await asyncio.gather(
            *(pairing.redeem(source="10.0.0.1", **how) for how in ways), return_exceptions=True
        )
        assert sum(isinstance(result, Paired) for result in results) == 1
        access.clock.pass_s(3600)


async def test_a_link_that_is_sent_has_no_code(access: Access) -> None:
    opened = await access.pairing().open(SESSION, 900)
    assert (opened.code, opened.code_expires_at_ms) == ("", 0)
    assert await access.count("codes") == 0


async def test_a_link_that_is_sent_may_live_fifteen_minutes(access: Access) -> None:
    pairing = access.pairing()
    opened = await pairing.open(SESSION, 900)
    access.clock.pass_s(899)
    await paired(pairing, opened)
    assert (await pairing.open(SESSION, 1)).url_expires_at_ms == access.clock() + 1000
    for ttl_s in (0, 0.5, -1, 901, float("nan")):
        with pytest.raises(BadRequest):
            await pairing.open(SESSION, ttl_s)


async def test_a_session_has_a_thousand_unused_links_and_no_more(access: Access) -> None:
    pairing = access.pairing()
    for _ in range(10):
        await asyncio.gather(*(pairing.open(SESSION) for _ in range(100)))
    with pytest.raises(TooManyRequests) as refusal:
        await pairing.open(SESSION)
    assert refusal.value.details["retry_after_ms"] == 60_000
    access.clock.pass_s(60)
    await pairing.open(SESSION)


async def test_two_sessions_never_have_the_same_code(access: Access) -> None:
    await access.add_session(str(uuid.UUID(int=1)), "bob")
    nonces = iter(["same", "same", "other"])
    pairing = access.pairing(new_secret=lambda: next(nonces))
    first = await pairing.open(SESSION)
    second = await pairing.open(str(uuid.UUID(int=1)))
    assert first.code != second.code
    stuck = access.pairing(new_secret=lambda: "same")
    await access.add_session(str(uuid.UUID(int=2)), "carol")
    with pytest.raises(NotUnique):
        await stuck.open(str(uuid.UUID(int=2)))


async def test_an_unknown_or_ended_session_opens_no_door(access: Access) -> None:
    pairing = access.pairing()
    with pytest.raises(SessionNotFound):
        await pairing.open(str(uuid.uuid4()))
    opened = await pairing.open(SESSION)
    await access.database.transact(
        [Statement("UPDATE sessions SET ended_at_ms = 1 WHERE session_id = ?", (SESSION,))]
    )
    with pytest.raises(SessionNotFound):
        await pairing.open(SESSION)
    for how in ({"ticket": ticket(opened)}, {"code": opened.code}):
        with pytest.raises(NotFound):
            await pairing.redeem(source="10.0.0.1", **how)


async def test_a_restart_and_a_key_rotation_leave_link_and_code_good(access: Access) -> None:
    opened = await access.pairing().open(SESSION)
    again = await access.restarted()
    again.keys.rotate()
    pairing = again.pairing()
    assert await pairing.url(SESSION, opened.pairing_id) == opened.url
    redrawn = await pairing.open(SESSION)
    assert redrawn.code == opened.code
    await pairing.redeem(code=opened.code, source="10.0.0.1")
    await again.close()


async def test_the_qr_route_finds_a_live_ticket_and_no_other(access: Access) -> None:
    pairing = access.pairing()
    opened = await pairing.open(SESSION)
    assert await pairing.url(SESSION, opened.pairing_id) == opened.url
    await access.add_session("other", "bob")
    with pytest.raises(NotFound):
        await pairing.url("other", opened.pairing_id)
    await paired(pairing, opened)
    with pytest.raises(NotFound):
        await pairing.url(SESSION, opened.pairing_id)


async def test_neither_ticket_nor_code_lies_in_the_data_folder(access: Access) -> None:
    pairing = access.pairing()
    opened = await pairing.open(SESSION)
    entered = await paired(pairing, opened)
    other = await pairing.open(SESSION)
    token = access.tokens.sign(entered.claims)
    for file in access.path.iterdir():
        content = file.read_bytes()
        for secret in (ticket(opened), ticket(other), opened.code, token.rpartition(".")[2]):
            assert secret.encode() not in content


async def test_wrong_codes_are_limited_per_source_and_links_go_on(access: Access) -> None:
    pairing = access.pairing()
    opened = await pairing.open(SESSION)
    for _ in range(5):
        with pytest.raises(NotFound):
            await pairing.redeem(code="999 999 999", source="10.0.0.1")
    with pytest.raises(TooManyRequests) as refusal:
        await pairing.redeem(code=opened.code, source="10.0.0.1")
    assert refusal.value.details["retry_after_ms"] > 0
    assert isinstance(await pairing.redeem(code=opened.code, source="10.0.0.2"), Paired)
    link = await pairing.open(SESSION)
    assert isinstance(await pairing.redeem(ticket=ticket(link), source="10.0.0.1"), Paired)


async def test_a_hundred_wrong_codes_overall_pause_codes_and_not_links(access: Access) -> None:
    pairing = access.pairing()
    opened = await pairing.open(SESSION)
    for number in range(100):
        with pytest.raises(NotFound):
            await pairing.redeem(code="999999999", source=f"10.0.0.{number}")
    with pytest.raises(TooManyRequests):
        await pairing.redeem(code=opened.code, source="10.1.1.1")
    assert isinstance(await pairing.redeem(ticket=ticket(opened), source="10.0.0.1"), Paired)


async def test_a_device_s_name_is_cut_and_cleaned(access: Access) -> None:
    pairing = access.pairing()
    await paired(pairing, await pairing.open(SESSION), "Pix\x00el\u202e 7\n" + "x" * 200)
    [device] = await access.devices.of_user("alice")
    assert device["device"] == "Pixel 7" + "x" * 93


# Who may still come.


async def test_somebody_may_come_while_a_way_in_is_open(access: Access) -> None:
    pairing = access.pairing()
    assert not await pairing.can_anyone_join(SESSION, [])
    opened = await pairing.open(SESSION)
    assert await pairing.can_anyone_join(SESSION, [])
    assert not await pairing.can_anyone_join("other", [])
    access.clock.pass_s(299)
    assert await pairing.can_anyone_join(SESSION, [])
    access.clock.pass_s(1)
    assert not await pairing.can_anyone_join(SESSION, [])
    assert opened.code


async def test_somebody_may_come_while_a_paired_device_is_away(access: Access) -> None:
    pairing = access.pairing()
    opened = await pairing.open(SESSION, 900)
    device_id = (await paired(pairing, opened)).claims.device_id
    assert device_id is not None
    access.clock.pass_s(900)
    assert await pairing.can_anyone_join(SESSION, [])
    assert not await pairing.can_anyone_join(SESSION, [device_id])
    await access.credentials.revoke_device(SESSION, device_id)
    assert not await pairing.can_anyone_join(SESSION, [])


async def test_a_device_whose_token_is_dead_comes_no_more(access: Access) -> None:
    pairing = access.pairing()
    await paired(pairing, await pairing.open(SESSION))
    access.clock.pass_s(3600)
    assert not await pairing.can_anyone_join(SESSION, [])
    assert await access.devices.of_user("alice") == []


# Devices.


async def test_a_revoked_device_is_gone_and_stays_gone(access: Access) -> None:
    pairing = access.pairing()
    claims = (await paired(pairing, await pairing.open(SESSION))).claims
    token = access.tokens.sign(claims)
    assert claims.device_id is not None
    await access.add_session("other", "bob")
    with pytest.raises(NotFound):
        await access.credentials.revoke_device("other", claims.device_id)
    await access.credentials.revoke_device(SESSION, claims.device_id)
    assert await access.devices.of_user("alice") == []
    with pytest.raises(NotFound):
        await access.credentials.revoke_device(SESSION, claims.device_id)
    with pytest.raises(Unauthenticated):
        await access.devices.renew(claims)
    again = await access.restarted()
    with pytest.raises(Unauthenticated):
        again.tokens.verify(token)
    await again.close()


async def test_a_device_s_token_slides_and_ends_after_twelve_hours(access: Access) -> None:
    pairing = access.pairing()
    claims = (await paired(pairing, await pairing.open(SESSION))).claims
    first = claims
    for _ in range(13):
        access.clock.pass_s(3300)
        token, claims = await access.devices.renew(claims)
        assert access.tokens.verify(token) == claims
        assert (claims.id, claims.device_id) == (first.id, first.device_id)
    assert claims.expires_at_ms == first.issued_at_ms + 12 * 3_600_000
    assert len(await access.devices.of_user("alice")) == 1


async def test_signing_out_everywhere_closes_every_door(access: Access) -> None:
    pairing = access.pairing()
    opened = await pairing.open(SESSION, 900)
    token = access.tokens.sign((await paired(pairing, opened)).claims)
    other = await pairing.open(SESSION)
    await access.credentials.revoke_user("alice")
    with pytest.raises(Unauthenticated):
        access.tokens.verify(token)
    with pytest.raises(NotFound):
        await pairing.redeem(ticket=ticket(other))
    with pytest.raises(NotFound):
        await pairing.redeem(code=other.code, source="10.0.0.1")
    assert not await pairing.can_anyone_join(SESSION, [])


async def test_a_device_is_seen(access: Access) -> None:
    pairing = access.pairing()
    claims = (await paired(pairing, await pairing.open(SESSION))).claims
    access.clock.pass_s(60)
    await access.devices.touch(claims.device_id or "")
    [device] = await access.devices.of_user("alice")
    assert device["last_active_at"] == device["created_at"] + 60_000


# With confirmation.


async def waiting(pairing: Pairing) -> Waiting:
    opened = await pairing.open(SESSION)
    entered = await pairing.redeem(ticket=ticket(opened), device="Pixel 7")
    assert isinstance(entered, Waiting)
    assert entered.pairing_id == opened.pairing_id
    return entered


async def test_with_confirmation_a_phone_waits_for_the_owner_s_yes(access: Access) -> None:
    pairing = access.pairing("confirm")
    request = await waiting(pairing)
    assert re.fullmatch(r"\d\d", request.verification)
    assert await pairing.requests(SESSION) == [
        {
            "pairing_id": request.pairing_id,
            "device": "Pixel 7",
            "verification": request.verification,
            "expires_at": request.expires_at_ms,
        }
    ]
    assert await pairing.claim(request.claim) == request
    assert await access.devices.of_user("alice") == []
    await pairing.answer(SESSION, request.pairing_id, True)
    await pairing.answer(SESSION, request.pairing_id, True)
    with pytest.raises(NotFound):
        await pairing.answer(SESSION, request.pairing_id, False)
    entered = await pairing.claim(request.claim)
    assert isinstance(entered, Paired)
    assert len(await access.devices.of_user("alice")) == 1
    with pytest.raises(PairingExpired):
        await pairing.claim(request.claim)


async def test_a_no_is_told_to_the_phone(access: Access) -> None:
    pairing = access.pairing("confirm")
    request = await waiting(pairing)
    await pairing.answer(SESSION, request.pairing_id, False)
    for _ in range(2):
        with pytest.raises(PairingRefused):
            await pairing.claim(request.claim)
    assert await pairing.requests(SESSION) == []


async def test_a_request_nobody_answers_is_over_after_two_minutes(access: Access) -> None:
    pairing = access.pairing("confirm")
    request = await waiting(pairing)
    access.clock.pass_s(120)
    with pytest.raises(PairingExpired) as late:
        await pairing.claim(request.claim)
    with pytest.raises(PairingExpired) as invented:
        await pairing.claim("A" * 22)
    assert late.value.message == invented.value.message
    with pytest.raises(NotFound):
        await pairing.answer(SESSION, request.pairing_id, True)


async def test_a_yes_in_the_last_second_still_lets_in(access: Access) -> None:
    pairing = access.pairing("confirm")
    request = await waiting(pairing)
    access.clock.pass_s(119)
    await pairing.answer(SESSION, request.pairing_id, True)
    access.clock.pass_s(30)
    assert isinstance(await pairing.claim(request.claim), Paired)


async def test_another_session_s_owner_answers_nothing(access: Access) -> None:
    pairing = access.pairing("confirm")
    request = await waiting(pairing)
    await access.add_session("other", "bob")
    with pytest.raises(NotFound):
        await pairing.answer("other", request.pairing_id, True)
    assert isinstance(await pairing.claim(request.claim), Waiting)


async def test_link_and_code_of_one_pairing_let_one_device_ask(access: Access) -> None:
    pairing = access.pairing("confirm")
    for _ in range(10):
        opened = await pairing.open(SESSION)
        entered = await asyncio.gather(
            pairing.redeem(ticket=ticket(opened), device="A"),
            pairing.redeem(code=opened.code, device="B", source="10.0.0.1"),
            return_exceptions=True,
        )
        assert sum(isinstance(one, Waiting) for one in entered) == 1
        assert sum(isinstance(one, NotFound) for one in entered) == 1
        access.clock.pass_s(3600)


async def test_sixteen_repeats_of_one_allowed_claim_make_one_device(access: Access) -> None:
    pairing = access.pairing("confirm")
    for _ in range(10):
        request = await waiting(pairing)
        await pairing.answer(SESSION, request.pairing_id, True)
        results = await asyncio.gather(
            *(pairing.claim(request.claim) for _ in range(16)), return_exceptions=True
        )
        assert sum(isinstance(result, Paired) for result in results) == 1
        assert sum(isinstance(result, PairingExpired) for result in results) == 15
    assert len(await access.devices.of_user("alice")) == 10


async def test_somebody_may_come_while_a_phone_waits(access: Access) -> None:
    pairing = access.pairing("confirm")
    opened = await pairing.open(SESSION)
    await pairing.redeem(ticket=ticket(opened))
    assert await pairing.can_anyone_join(SESSION, [])
    for request in await pairing.requests(SESSION):
        await pairing.answer(SESSION, request["pairing_id"], False)
    assert not await pairing.can_anyone_join(SESSION, [])


async def test_what_waits_beside_each_other_shows_different_digits_and_knows_its_maker(
    access: Access,
) -> None:
    pairing = access.pairing("confirm", randbelow=lambda count: count - 1)
    _, shop = access.tokens.issue("service", "shop", 3600)
    await access.credentials.record(shop)
    waits: list[Waiting] = []
    for number in range(3):
        other = await access.add_session(str(uuid.UUID(int=number, version=4)))
        elsewhere = await pairing.open(other, by=shop)
        assert isinstance(await pairing.redeem(ticket=ticket(elsewhere)), Waiting)
        opened = await pairing.open(SESSION, by=shop)
        given = await pairing.redeem(ticket=ticket(opened), device=f"Phone {number}")
        assert isinstance(given, Waiting)
        waits.append(given)
    assert [each.verification for each in waits] == ["99", "98", "97"]
    for each in waits:
        assert await pairing.claim_of(each.pairing_id) == each.claim
    assert len({each.claim for each in waits}) == 3

    first = waits[0]
    await pairing.answer(SESSION, first.pairing_id, True)
    paired = await pairing.claim(first.claim)
    assert isinstance(paired, Paired)
    assert (paired.claims.parent, paired.claims.by) == (shop.id, "shop")
    token = access.tokens.sign(paired.claims)
    access.tokens.verify(token)
    await access.credentials.revoke_token(shop.id)
    with pytest.raises(Unauthenticated):
        access.tokens.verify(token)
    with pytest.raises(PairingExpired):
        await pairing.claim(waits[1].claim)
