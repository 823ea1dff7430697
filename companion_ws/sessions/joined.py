"""What `session_joined` carries of a session, at most a mebibyte whatever the session holds.

With the limits as they are everything fits. Where somebody has raised them, the newest
of each list is carried, and `left_out` counts what is not; the state can be asked for by
`state_get`, records by `GET /sessions/{id}/records`. Source: docs/operations.md.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import Raw

from companion_ws.core.protocol import encode, marked
from companion_ws.core.session import QUESTION_MS, Session

MAX_JOIN_BYTES: Final = 1024 * 1024
MAX_PRESENCE_BYTES: Final = 128 * 1024
ENTRY_BYTES: Final = 48
"""What is around a state value at most: `{"value":,"revision":},:` and 16 digits."""
LEFT_OUT_BYTES: Final = 128
"""Room for `left_out` itself."""


def joined_text(
    session: Session,
    at_ms: int,
    ahead_ms: int,
    presence: list[dict[str, Any]],
    fields: dict[str, Any],
) -> bytes:
    """Return the text of `session_joined`: `fields`, and what the session holds at `at_ms`.

    The time people are shown is `ahead_ms` later than the session's own.
    """
    cards = [
        marked(body, locked=True) if seq in session.locked_cards else body
        for seq, (_, body) in session.cards.items()
    ]
    room = MAX_JOIN_BYTES - len(encode(fields)) - LEFT_OUT_BYTES - _size(cards)
    here = _newest([encode(entry) for entry in presence], min(room, MAX_PRESENCE_BYTES))
    room -= _size(here)
    entries = [
        (len(encode(key)) + len(entry.value) + ENTRY_BYTES, key, entry)
        for key, entry in session.state.items()
    ]
    all_calls = [
        marked(
            call.body,
            released=session.is_released(call),
            open_until=call.asked_at_ms + QUESTION_MS + ahead_ms,
        )
        for call in session.open_calls(at_ms)
    ]
    calls = _newest(all_calls, max(room - sum(size for size, _, _ in entries), room // 2))
    room -= _size(calls)
    state = {}
    for size, key, entry in reversed(entries):
        room -= size
        if room < 0:
            break
        state[key] = {"value": Raw(entry.value), "revision": entry.revision}
    counts = {
        "state": len(entries) - len(state),
        "open_calls": len(all_calls) - len(calls),
        "presence": len(presence) - len(here),
    }
    left_out = {name: count for name, count in counts.items() if count}
    return encode(
        {
            **fields,
            "state": dict(reversed(state.items())),
            "presence": list(map(Raw, here)),
            "open_calls": list(map(Raw, calls)),
            "cards": list(map(Raw, cards)),
            **({"left_out": left_out} if left_out else {}),
        }
    )


def recovery_of(session: Session, after: int | None, *, is_same_log: bool) -> str:
    """Return how somebody who has everything up to `after` is brought up to date.

    Source: docs/protocol.md, "recovery".
    """
    if after is None:
        return "none"
    if after == 0:
        return "replay"
    is_there = session.first_seq <= after + 1 and after <= session.seq
    return "replay" if is_same_log and is_there else "snapshot"


def _newest(bodies: list[bytes], room: int) -> list[bytes]:
    """Return as many of the last ones as there is room for, in their order."""
    first = len(bodies)
    while first > 0 and room >= len(bodies[first - 1]) + 1:
        first -= 1
        room -= len(bodies[first]) + 1
    return bodies[first:]


def _size(bodies: list[bytes]) -> int:
    return sum(map(len, bodies)) + len(bodies)
