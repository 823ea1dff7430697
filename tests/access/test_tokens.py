"""Tokens: what they say, how long, and that nothing else is accepted."""

from __future__ import annotations

import asyncio
import string

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from companion_ws.access.keys import MAX_KEYS, Keys
from companion_ws.access.tokens import MAX_LENGTH, Claims, Kind, Revocations, Tokens
from companion_ws.core.errors import TokenExpired, Unauthenticated

KINDS: tuple[Kind, ...] = ("user", "service", "admin", "session")
FOREVER = 2**53
ALPHABET = string.ascii_letters + string.digits + "._-"


class Clock:
    def __init__(self, at_ms: int = 1_650_000_000_000) -> None:
        self.at_ms = at_ms

    def __call__(self) -> int:
        return self.at_ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys() -> Keys:
    return Keys([b"k" * 32])


@pytest.fixture
def tokens(keys: Keys, clock: Clock) -> Tokens:
    return Tokens(keys, now_ms=clock)


def is_accepted(tokens: Tokens, token: str) -> bool:
    try:
        tokens.verify(token)
    except (Unauthenticated, TokenExpired):
        return False
    return True


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_says_what_it_was_issued_for(tokens: Tokens, kind: Kind) -> None:
    token, claims = tokens.issue(
        kind, "älice 😀", 3600, session_id="s", role="ui", device_id="d", until_ms=1_650_000_001_000
    )
    assert tokens.verify(token) == claims
    assert claims.kind == kind
    assert claims.expires_at_ms == 1_650_000_001_000
    assert set(token) <= set(ALPHABET)
    assert len(token) < 400


def test_no_kind_stands_in_for_another(tokens: Tokens) -> None:
    for kind in KINDS:
        token, _ = tokens.issue(kind, "alice", 3600)
        for letter in "usad".replace(token[2], ""):
            assert not is_accepted(tokens, f"cw{letter}{token[3:]}")


def test_every_change_of_one_character_is_refused_or_says_the_same(tokens: Tokens) -> None:
    token, claims = tokens.issue("user", "alice", 3600)
    for place, letter in enumerate(token):
        for other in ALPHABET + "=+/ \n%\udc80é":
            if other == letter:
                continue
            changed = token[:place] + other + token[place + 1 :]
            if is_accepted(tokens, changed):
                assert tokens.verify(changed).id == claims.id
                assert place == len(token) - 1


@pytest.mark.parametrize("end", ["=", "==", " ", "\n", ".", "a", "\x00"])
def test_nothing_may_be_appended(tokens: Tokens, end: str) -> None:
    token, _ = tokens.issue("user", "alice", 3600)
    assert not is_accepted(tokens, token + end)


@settings(max_examples=300, deadline=None)
@given(st.text() | st.text(ALPHABET, max_size=300).map(lambda text: f"cwu_{text}"))
def test_no_invented_text_is_a_token(text: str) -> None:
    assert not is_accepted(Tokens(Keys([b"k" * 32])), text)


FIXED = Tokens(Keys([b"k" * 32]), now_ms=Clock())
ISSUED = [
    FIXED.issue(kind, user, 3600, session_id="s" * length or None)[0]
    for kind in KINDS
    for user in ("a", "älice", "x" * 200)
    for length in (0, 36, 200)
]


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, set[str]]:
    """A token cut, spliced with another or scribbled in, and the ids it may still say."""
    one, other = draw(st.sampled_from(ISSUED)), draw(st.sampled_from(ISSUED))
    start, end = sorted((draw(st.integers(0, len(one))), draw(st.integers(0, len(one)))))
    filling = draw(st.just(other[start:end]) | st.text(ALPHABET, max_size=8) | st.text(max_size=8))
    return one[:start] + filling + one[end:], {FIXED.verify(token).id for token in (one, other)}


def check_damaged(case: tuple[str, set[str]]) -> None:
    text, ids = case
    try:
        claims = FIXED.verify(text)
    except Unauthenticated:
        return
    assert claims.id in ids


@settings(max_examples=500, deadline=None)
@given(damaged())
def test_a_damaged_token_says_nothing_or_the_same(case: tuple[str, set[str]]) -> None:
    check_damaged(case)


@pytest.mark.slow
@pytest.mark.timeout(900)
@settings(max_examples=50_000, deadline=None)
@given(damaged())
def test_fifty_thousand_damaged_tokens_say_nothing_or_the_same(
    case: tuple[str, set[str]],
) -> None:
    check_damaged(case)


def test_a_very_long_text_is_refused_at_once(tokens: Tokens) -> None:
    assert not is_accepted(tokens, "cwu_" + "a" * MAX_LENGTH)


def test_a_token_of_another_key_is_refused(tokens: Tokens, clock: Clock) -> None:
    token, _ = Tokens(Keys([b"x" * 32]), now_ms=clock).issue("user", "alice", 3600)
    assert not is_accepted(tokens, token)


def test_all_refusals_but_expiry_read_the_same(tokens: Tokens, keys: Keys, clock: Clock) -> None:
    revocations = Revocations(keys)
    careful = Tokens(keys, revocations, now_ms=clock)
    token, claims = careful.issue("user", "alice", 3600)
    revocations.add("token", claims.id, clock(), FOREVER)
    sentences = set()
    for refused in (token, token[:-4] + "AAAA", "", "nonsense", "cwu_a.b"):
        with pytest.raises(Unauthenticated) as refusal:
            careful.verify(refused)
        sentences.add(refusal.value.message)
    assert len(sentences) == 1


@pytest.mark.parametrize(("ttl_s", "leeway_ms"), [(3600, 60_000), (60, 6000), (1, 100)])
def test_a_token_expires_after_its_leeway(
    tokens: Tokens, clock: Clock, ttl_s: float, leeway_ms: int
) -> None:
    token, claims = tokens.issue("user", "alice", ttl_s)
    clock.at_ms = claims.expires_at_ms + leeway_ms
    assert is_accepted(tokens, token)
    clock.at_ms += 1
    with pytest.raises(TokenExpired):
        tokens.verify(token)


@pytest.mark.parametrize("step_ms", [-86_400_000, -3_600_000, -1000, -1, 1, 1000, 30_000])
def test_a_clock_that_steps_refuses_no_valid_token(
    tokens: Tokens, clock: Clock, step_ms: int
) -> None:
    token, _ = tokens.issue("user", "alice", 3600)
    clock.at_ms += step_ms
    assert is_accepted(tokens, token)


def test_a_revoked_expired_token_is_unauthenticated_and_not_merely_expired(
    keys: Keys, clock: Clock
) -> None:
    revocations = Revocations(keys)
    tokens = Tokens(keys, revocations, now_ms=clock)
    token, claims = tokens.issue("user", "alice", 1)
    clock.at_ms += 10_000
    revocations.add("token", claims.id, clock(), FOREVER)
    with pytest.raises(Unauthenticated):
        tokens.verify(token)


def test_revoking_works_by_token_by_device_and_by_user(keys: Keys, clock: Clock) -> None:
    revocations = Revocations(keys)
    tokens = Tokens(keys, revocations, now_ms=clock)
    one, claims = tokens.issue("user", "alice", 3600)
    other, _ = tokens.issue("user", "alice", 3600)
    phone, _ = tokens.issue("session", "alice", 3600, device_id="d1")
    tablet, _ = tokens.issue("session", "alice", 3600, device_id="d2")
    bob, _ = tokens.issue("user", "bob", 3600)

    revocations.add("token", claims.id, clock(), FOREVER)
    revocations.add("device", "d1", clock(), FOREVER)
    assert [is_accepted(tokens, t) for t in (one, other, phone, tablet, bob)] == [
        False, True, False, True, True,
    ]  # fmt: skip
    revocations.add("user", revocations.user_ref("alice"), clock(), FOREVER)
    assert [is_accepted(tokens, t) for t in (other, tablet, bob)] == [False, False, True]


def test_who_signed_out_everywhere_can_sign_in_again_at_once(keys: Keys, clock: Clock) -> None:
    revocations = Revocations(keys)
    tokens = Tokens(keys, revocations, now_ms=clock)
    revocations.add("user", revocations.user_ref("alice"), clock(), FOREVER)
    clock.at_ms -= 5000
    token, _ = tokens.issue("user", "alice", 3600)
    assert is_accepted(tokens, token)


def test_signing_out_everywhere_outlives_a_key_rotation(tmp_path_factory: pytest.TempPathFactory,
                                                        clock: Clock) -> None:  # fmt: skip
    keys = Keys.load(tmp_path_factory.mktemp("data"))
    revocations = Revocations(keys)
    tokens = Tokens(keys, revocations, now_ms=clock)
    old, _ = tokens.issue("user", "alice", 3600)
    revocations.add("user", revocations.user_ref("alice"), clock(), FOREVER)
    keys.rotate()
    assert not is_accepted(tokens, old)


def test_after_a_rotation_old_tokens_live_on_and_new_ones_use_the_new_key(
    tmp_path_factory: pytest.TempPathFactory, clock: Clock
) -> None:
    keys = Keys.load(tmp_path_factory.mktemp("data"))
    tokens = Tokens(keys, now_ms=clock)
    old, _ = tokens.issue("user", "alice", 3600)
    before = Tokens(Keys(keys.all), now_ms=clock)
    keys.rotate()
    new, _ = tokens.issue("user", "alice", 3600)
    assert is_accepted(tokens, old)
    assert is_accepted(tokens, new)
    assert not is_accepted(before, new)
    keys.rotate(compromise=True)
    assert not is_accepted(tokens, old)
    assert not is_accepted(tokens, new)


def test_the_same_claims_sign_to_the_same_token(tokens: Tokens) -> None:
    token, claims = tokens.issue("session", "alice", 60, session_id="s", role="agent")
    assert tokens.sign(claims) == token
    assert isinstance(claims, Claims)


# Tokens in use.


async def shown(tokens: Tokens, token: str) -> list[Exception]:
    """Show a token, in another task; return what it ends with, once it has."""
    ended: list[Exception] = []

    async def visit() -> None:
        tokens.show(token).on_end = ended.append

    await asyncio.create_task(visit())
    return ended


async def test_what_is_revoked_ends_in_use_and_nothing_else_does(keys: Keys, clock: Clock) -> None:
    revocations = Revocations(keys)
    tokens = Tokens(keys, revocations, now_ms=clock)
    alice, claims = tokens.issue("user", "alice", 36_000)
    bob, _ = tokens.issue("user", "bob", 36_000)
    of_alice, of_bob = await shown(tokens, alice), await shown(tokens, bob)

    revocations.add("token", claims.id, 0, FOREVER)
    assert [type(reason) for reason in of_alice] == [Unauthenticated]
    with pytest.raises(Unauthenticated) as refused:
        tokens.verify(alice)
    assert str(of_alice[0]) == str(refused.value), "nobody learns why"
    revocations.add("user", revocations.user_ref("bob"), clock(), FOREVER)
    assert (len(of_alice), len(of_bob)) == (1, 1)
    with pytest.raises(Unauthenticated):
        tokens.show(bob)


async def test_a_rotation_ends_in_use_what_the_dropped_key_signed(
    tmp_path_factory: pytest.TempPathFactory, clock: Clock
) -> None:
    keys = Keys.load(tmp_path_factory.mktemp("keys"))
    tokens = Tokens(keys, now_ms=clock)
    ended: list[list[Exception]] = []
    for _ in range(MAX_KEYS):
        ended.append(await shown(tokens, tokens.issue("user", "alice", 36_000)[0]))
        keys.rotate()
        clock.at_ms += 1000
    assert [len(each) for each in ended] == [1, 0, 0], "the fourth key dropped the first"
    ended.append(await shown(tokens, tokens.issue("user", "alice", 36_000)[0]))

    keys.rotate(compromise=True)
    assert [len(each) for each in ended] == [1, 1, 1, 1]
    assert {type(reason) for each in ended for reason in each} == {Unauthenticated}
    assert {str(reason) for each in ended for reason in each} == {str(ended[0][0])}


def test_what_is_refused_longer_stays_refused_longer(keys: Keys, clock: Clock) -> None:
    revocations = Revocations(keys)
    tokens = Tokens(keys, revocations, now_ms=clock)
    token, claims = tokens.issue("user", "alice", 36_000)
    refs = [("token", claims.id), ("user", revocations.user_ref("alice"))]
    for kind, ref in refs:
        revocations.add(kind, ref, clock(), clock() + 5000)
        revocations.add(kind, ref, 0, clock() + 1000)
    revocations.forget_before(clock() + 2000)
    assert revocations.cutoff_ms("alice") == clock()
    assert not is_accepted(tokens, token)
    revocations.forget_before(clock() + 6000)
    assert is_accepted(tokens, token)


def test_a_renewal_of_one_that_says_nothing_lives_as_long_as_asked_and_no_longer_than_it(
    tokens: Tokens, clock: Clock
) -> None:
    begun = clock()
    _, claims = tokens.issue("session", "alice", 3600, session_id="s", role="ui")
    plain = msgspec.structs.replace(claims, ttl_ms=None, until_ms=None)
    clock.at_ms += 60_000
    _, renewed = tokens.renew(plain, 600)
    assert (renewed.issued_at_ms, renewed.expires_at_ms) == (clock(), clock() + 600_000)
    _, renewed = tokens.renew(plain, 36_000)
    assert renewed.expires_at_ms == begun + 3_600_000


@pytest.mark.parametrize("who", ["alice", "shop"])
def test_a_renewal_after_signing_out_and_in_is_good_though_the_clock_was_set_back(
    keys: Keys, clock: Clock, who: str
) -> None:
    revocations = Revocations(keys)
    tokens = Tokens(keys, revocations, now_ms=clock)
    revocations.add("user", revocations.user_ref(who), clock(), FOREVER)
    clock.at_ms += 1000
    _, claims = tokens.issue("session", "alice", 3600, session_id="s", role="ui", by="shop")
    clock.at_ms -= 5000
    assert is_accepted(tokens, tokens.renew(claims, 3600)[0])
