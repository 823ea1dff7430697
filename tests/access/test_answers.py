"""What is remembered for requests with an `Idempotency-Key` has an end."""

from __future__ import annotations

from pathlib import Path

from postgres_server import place

from companion_ws.access.keys import Keys
from companion_ws.database import Database
from companion_ws.files import folder
from companion_ws.web.guard import answers
from companion_ws.web.guard.answers import Answers


async def test_the_oldest_answer_of_a_session_or_a_user_makes_room(tmp_path: Path) -> None:
    database = Database(place(tmp_path / "companion.db"), folder("migrations"))
    await database.open()
    at_ms = [0]
    try:
        kept = Answers(database, Keys.load(tmp_path, None), now_ms=lambda: at_ms[0])
        for session_id, most in (("s", answers.MOST_PER_SESSION), (None, answers.MOST_PER_USER)):
            for first in range(0, most + 3, 1000):
                statements = []
                for number in range(first, min(first + 1000, most + 3)):
                    at_ms[0] += 1
                    name = f"{session_id}{number}"
                    stored, trim = kept.storing(name, b"", {"n": number}, "alice", session_id)
                    statements.append(stored)
                await kept.store([*statements, trim])
            assert await kept.find(f"{session_id}2", b"") is None
            assert await kept.find(f"{session_id}3", b"") == {"n": 3}
            assert await kept.find(f"{session_id}{most + 2}", b"") == {"n": most + 2}
        counts = await database.read("SELECT count(*) FROM answers GROUP BY session_id")
        assert sorted(counts) == [(answers.MOST_PER_SESSION,), (answers.MOST_PER_USER,)]
    finally:
        await database.close()
