"""SQL of `pictures`: what cards name by address, fetched once and served while the session lives.

A picture's id is its key: 128 random bits, which only members of the session are told. It is
looked at again for every piece that is served. It is dead once the session has ended, and once
the last device that could know it has been revoked; the next screen to join gets new ids.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from msgspec.structs import replace

from companion_ws.core.pictures import Picture
from companion_ws.database import Database, Read, Statement, spoken

PIECE_BYTES: Final = 256 * 1024
"""What is read of a picture at once: whoever reads slowly holds no more of it."""

FORGET: Final = "DELETE FROM pictures WHERE session_id = ?"
TRIM: Final = spoken(
    "DELETE FROM pictures WHERE session_id = ? AND seq < ?"
    " AND seq NOT IN (SELECT value FROM json_each(?))",
    postgres="DELETE FROM pictures WHERE session_id = ? AND seq < ?"
    " AND seq NOT IN (SELECT json_array_elements_text(CAST(? AS json))::bigint)",
)
"""Pictures of records before the first one kept go, but for those of the cards."""
_DROP: Final = "DELETE FROM pictures WHERE session_id = ? AND url = ?"
_NAME_AGAIN: Final = "UPDATE pictures SET seq = ? WHERE session_id = ? AND url = ? AND seq < ?"
_PUT: Final = """
    INSERT INTO pictures (session_id, url, seq, media_id, lent_at_ms, media_type, width,
        height, problem, body)
    SELECT session_id, ?, ?, ?, ?, ?, ?, ?, ?, ? FROM sessions
    WHERE session_id = ? AND ended_at_ms IS NULL"""
_LEND: Final = "UPDATE pictures SET media_id = ?, lent_at_ms = ? WHERE session_id = ? AND url = ?"
_OF_SESSION: Final = """
    SELECT url, seq, media_id, media_type, width, height, coalesce(length(body), 0), problem
    FROM pictures WHERE session_id = ? ORDER BY seq, rowid"""
_IS_DEAD: Final = """EXISTS (
    SELECT 1 FROM (
        SELECT max(revoked_at_ms) AS at_ms FROM devices WHERE session_id = pictures.session_id
    ) AS last WHERE last.at_ms >= lent_at_ms AND NOT EXISTS (
        SELECT 1 FROM devices WHERE session_id = pictures.session_id
        AND revoked_at_ms IS NULL AND created_at_ms <= last.at_ms))"""
"""The last device that may know the id was revoked, and no other was there then."""
_PIECE: Final = f"""
    SELECT media_type, length(body), substr(body, CAST(? AS int), CAST(? AS int)) FROM pictures
    JOIN sessions ON sessions.session_id = pictures.session_id
    WHERE media_id = ? AND body IS NOT NULL AND ended_at_ms IS NULL AND NOT {_IS_DEAD}"""  # noqa: S608 - a constant
_DEAD: Final = f"SELECT url FROM pictures WHERE session_id = ? AND {_IS_DEAD}"  # noqa: S608 - a constant


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a picture: where in it `body` begins is known by who asked."""

    media_type: str
    total_bytes: int
    body: bytes


def of_session(read: Read, session_id: str) -> list[Picture]:
    """Return what is known of a session's pictures, without them."""
    return [
        Picture(
            url=url, seq=seq, media_id=media_id, media_type=media_type, width=width, height=height,
            size_bytes=size_bytes, problem=problem,
        )
        for url, seq, media_id, media_type, width, height, size_bytes, problem in read(
            _OF_SESSION, (session_id,)
        )
    ]  # fmt: skip


async def put(
    database: Database,
    session_id: str,
    picture: Picture,
    body: bytes | None,
    at_ms: int,
    dropped: Iterable[str],
) -> None:
    """Store a picture in the place of those that make room for it.

    Raises:
        Conflict: the session is over, or gone.
    """
    await database.transact(
        [
            *(Statement(_DROP, (session_id, url)) for url in (*dropped, picture.url)),
            Statement(
                _PUT,
                (picture.url, picture.seq, picture.media_id, at_ms, picture.media_type, picture.width,
                 picture.height, picture.problem, body, session_id),
                expect=1,
            ),
        ]
    )  # fmt: skip


async def name_again(database: Database, session_id: str, urls: Sequence[str], seq: int) -> None:
    """Let pictures stay as long as the record of `seq`, which names them again."""
    await database.transact(Statement(_NAME_AGAIN, (seq, session_id, url, seq)) for url in urls)


async def lend_again(
    database: Database, session_id: str, known: dict[str, Picture], ids: Iterable[str], at_ms: int
) -> list[Picture]:
    """Give pictures whose ids are dead new ones of `ids`, and return them."""
    dead = [url for (url,) in await database.read(_DEAD, (session_id,))]
    lent = [
        replace(known[url], media_id=media_id)
        for url, media_id in zip(dead, ids, strict=False)
        if url in known and known[url].media_id is not None
    ]
    await database.transact(
        Statement(_LEND, (picture.media_id, at_ms, session_id, picture.url)) for picture in lent
    )
    return lent


async def piece(database: Database, media_id: str, start: int) -> Piece | None:
    """Return a picture from byte `start` on, PIECE_BYTES at most; None where its id is dead."""
    rows = await database.read(_PIECE, (start + 1, PIECE_BYTES, media_id))
    return Piece(*rows[0]) if rows else None


async def exported(database: Database, session_id: str) -> AsyncIterator[tuple[Picture, bytes | None]]:
    """Return the pictures of a session with their bytes, one by one."""
    for picture in await database.read_with(lambda read: of_session(read, session_id)):
        rows: list[Any] = await database.read(
            "SELECT body FROM pictures WHERE session_id = ? AND url = ?", (session_id, picture.url)
        )
        yield picture, rows[0][0] if rows else None
