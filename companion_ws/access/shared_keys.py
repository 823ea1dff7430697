"""A signing key that is replaced on all servers of a database, and stands readable nowhere in it.

All servers sign with one key, and each has it in its own data folder or environment.

*Rotated*: the new key is sealed by the one before it, which every server has, and stored as a step
(`key_steps`). Whoever hears of it takes at once what the new key has signed, and signs with it
SIGN_AFTER_S later: by then every server with a lease has heard of it. A server that was not there
goes the steps at its start. Steps are kept while the key that opens them is still good for anything:
an old key and a copy of the database give no newer one.

*Compromised*: whoever has the old key must not learn the new one, so it cannot be sealed by that. Each
server has a `Box`, made at its start and never stored, whose public value stands in the database
(`key_boxes`). The new key is sealed for each box, by Diffie-Hellman with a box of this one occasion.
Whoever holds an old key and reads the database learns nothing; whoever can *write* it could
put a box of their own there, and is trusted with everything else in it, too. A server that was
not there gets the key by hand: it refuses to start, and says so. One that is there and finds nothing
for its box refuses every token until there is.

The last key is known by its mark (`before_mark` of the step without a key), so that no
server starts with older ones alone when nobody else is there.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode, b64encode
from collections.abc import Coroutine
from contextlib import suppress
from hashlib import sha256
from typing import Any, Final, Protocol

import structlog

from companion_ws.access.keys import MAX_KEYS, Keys, mark_of, new_key
from companion_ws.access.sealing import Box, seal, unseal
from companion_ws.core.errors import Unavailable
from companion_ws.data_folder import StartRefused
from companion_ws.database import Conflict, Database, Statement, one_at_a_time
from companion_ws.nodes.news import HEARD_S, News
from companion_ws.nodes.place import Places

ROTATED: Final = "key rotated"
REPLACED: Final = "key replaced"
SIGN_AFTER_S: Final = HEARD_S + 1.0
"""After a new key was told: every server with a lease knows it by then."""
STEPS_KEPT: Final = MAX_KEYS - 1
"""As many older keys are good for something."""
LOOK_S: Final = 0.5
LOOKS: Final = 5
"""For servers that came while a compromised key was replaced."""

_STEPS: Final = "SELECT before_mark, sealed_key FROM key_steps ORDER BY step"
_STEP: Final = """
    INSERT INTO key_steps (before_mark, sealed_key) SELECT :mark, :sealed
    WHERE NOT EXISTS (SELECT 1 FROM key_steps WHERE before_mark = :mark AND sealed_key <> :nothing)"""
_TRIM: Final = """
    DELETE FROM key_steps WHERE sealed_key <> :nothing AND step NOT IN (
        SELECT step FROM key_steps WHERE sealed_key <> :nothing ORDER BY step DESC LIMIT :kept)"""
_FORGET_LAST: Final = "DELETE FROM key_steps WHERE sealed_key = ?"
_LAST_MARK: Final = "SELECT before_mark FROM key_steps WHERE sealed_key = ?"
_LAST: Final = "INSERT INTO key_steps (before_mark, sealed_key) VALUES (?, ?)"
_NOTHING: Final = b""
_MARK: Final = "UPDATE nodes SET key_mark = ? WHERE node = ?"
_SHOW_BOX: Final = """
    INSERT INTO key_boxes (node, public) VALUES (?, ?)
    ON CONFLICT (node) DO UPDATE SET public = excluded.public"""
_DROP_BOXES: Final = "DELETE FROM key_boxes WHERE node NOT IN (SELECT node FROM nodes)"
_BOXES: Final = "SELECT public FROM key_boxes"
"""Also of servers that stand still: they have it when they wake."""

log = structlog.get_logger(__name__)


class KeyRing(Protocol):
    """How the signing key is replaced."""

    @property
    def is_behind(self) -> bool:
        """Whether the key was replaced, and the new one is not known here yet."""

    async def rotate(self, *, compromise: bool = False) -> int:
        """Sign with a new key; what older ones signed stays good, after a `compromise` nothing does.

        Returns how many keys are good for something.

        Raises:
            StartRefused: the key came from the environment and has to be changed there.
            Unavailable: not known to be stored, or another rotation is under way.
        """


class KeysHere:
    """The keys of a server alone."""

    is_behind: Final = False

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    async def rotate(self, *, compromise: bool = False) -> int:
        """Sign with a new key from now on, stored before this returns."""
        self._keys.rotate(compromise=compromise)
        return len(self._keys.all)


class SharedKeys:
    """The keys of servers that share a database."""

    def __init__(
        self,
        keys: Keys,
        database: Database,
        news: News,
        places: Places,
        sign_after_s: float = SIGN_AFTER_S,
    ) -> None:
        self._keys = keys
        self._database = database
        self._news = news
        self._places = places
        self._sign_after_s = sign_after_s
        self._box = Box()
        self._switching: set[asyncio.Task[None]] = set()
        self._replacing = ""
        """The mark of the key that replaces a compromised one, while this server tells it."""
        self.is_behind = False
        """Whether the key was replaced, and the new one is not known here yet."""
        news.on(ROTATED, self._hear_rotated)
        news.on(REPLACED, self._hear_replaced)
        news.on_missed(self.catch_up)
        news.on_named(self._show_box)

    async def catch_up(self) -> None:
        """Go the steps to the newest key.

        Raises:
            StartRefused: there is one that cannot be had this way.
        """
        last: str | None = None
        for before_mark, sealed in await self._database.read(_STEPS):
            if not bytes(sealed):
                last = before_mark
                continue
            key = self._opened(before_mark, bytes(sealed))
            if key is not None and mark_of(key) not in self._keys.marks:
                self._expect(key)
        if last is not None and last not in self._keys.marks:
            self.is_behind = True
            raise StartRefused(
                "The signing key was replaced on another server while this one was not there. Copy"
                " secret.key from that one. If nobody has it any more, DELETE FROM key_steps in"
                " the database lets this key count, and everybody signs in again."
            )
        self.is_behind = False

    async def rotate(self, *, compromise: bool = False) -> int:
        """Sign with a new key: soon, or where the old one is compromised, at once and with no other.

        Every server with a lease has it when this returns.

        Raises:
            StartRefused: the key came from the environment and has to be changed there.
            Unavailable: not known to be stored, or another rotation is under way.
        """
        self._keys.check_ours()
        if self._switching or self._replacing:
            raise Unavailable("The key is being rotated; try again in a few seconds.")
        key = new_key()
        if compromise:
            await self._replace(key)
            return len(self._keys.all)
        before = self._keys.marks[0]
        sealed = seal(self._keys.derive("next key"), key)
        step = {"mark": before, "sealed": sealed, "nothing": _NOTHING, "kept": STEPS_KEPT}
        try:
            await self._news.tell(
                ROTATED, before, b64encode(sealed).decode(),
                [
                    one_at_a_time("signing key"),
                    Statement(_STEP, step, expect=1),
                    Statement(_TRIM, {"nothing": _NOTHING, "kept": STEPS_KEPT}),
                    *_ending_with(key),
                ],
            )  # fmt: skip
        except Conflict:
            raise Unavailable("Another server rotates the key; try again.") from None
        self._expect(key)
        return min(len(self._keys.all), MAX_KEYS)

    # A new key that signs soon.

    async def _hear_rotated(self, ref: str, body: str) -> None:
        key = self._opened(ref, b64decode(body))
        if key is None:
            log.error("key_not_opened", way_out="copy secret.key from another server and start again")
        elif mark_of(key) not in self._keys.marks:
            self._expect(key)

    def _opened(self, before_mark: str, sealed: bytes) -> bytes | None:
        for mark, key in zip(self._keys.marks, self._keys.derive_all("next key"), strict=True):
            if mark == before_mark:
                return unseal(key, sealed)
        return None

    def _expect(self, key: bytes) -> None:
        if mark_of(key) in self._keys.marks:
            return
        self._keys.expect(key)
        self._start(self._switch(key))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="key-switching")
        self._switching.add(task)
        task.add_done_callback(self._switching.discard)

    async def _switch(self, key: bytes) -> None:
        """Sign with a key once every server takes it."""
        await asyncio.sleep(self._sign_after_s)
        self._keys.sign_with(key)
        log.info("key_signs", keys=len(self._keys.all))
        await self._note_mark()

    async def _note_mark(self) -> None:
        mark = Statement(_MARK, (self._keys.marks[0], self._places.me.name))
        await self._database.transact([mark])

    # A key that no holder of an older one may learn.

    async def _replace(self, key: bytes) -> None:
        mark = self._replacing = mark_of(key)
        over = [
            one_at_a_time("signing key"), Statement("DELETE FROM key_steps"), *_ending_with(key),
        ]  # fmt: skip
        told: set[bytes] = set()
        try:
            for _ in range(LOOKS):
                boxes = {bytes(public) for (public,) in await self._database.read(_BOXES)}
                if told and boxes <= told:
                    break
                # Whoever came meanwhile has heard of the key, but found nothing for its box.
                told |= boxes
                await self._news.tell(REPLACED, mark, _for(boxes, key), over)
        except BaseException:
            # The others may have it. Until that is known, this server believes no key.
            self.is_behind = True
            self._start(self._find_out(key))
            raise
        self._take_alone(key)
        await self._note_mark()

    async def _find_out(self, key: bytes) -> None:
        """See whether a key that could not be told to all is the last one."""
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                lasts = await self._database.read(_LAST_MARK, (_NOTHING,))
            except Unavailable:
                continue
            if (mark_of(key),) in lasts:
                self._take_alone(key)
                await self._note_mark()
            else:
                self._replacing = ""
                self.is_behind = False
            return

    def _take_alone(self, key: bytes) -> None:
        """Believe this key and no other from now on."""
        for task in self._switching:
            if task is not asyncio.current_task():
                task.cancel()
        self._keys.sign_with(key, is_alone=True)
        self._replacing = ""
        self.is_behind = False

    async def _hear_replaced(self, ref: str, body: str) -> None:
        if ref in (self._keys.marks[0], self._replacing):
            return
        told: dict[str, Any] = json.loads(body)
        sealed = told["boxes"].get(_name_of(self._box.public))
        key = None
        if sealed is not None:
            shared = self._box.key_with(b64decode(told["public"]))
            key = unseal(shared, b64decode(sealed))
        if key is None or mark_of(key) != ref:
            log.error("key_replaced", way_out="copy secret.key from another server and start again")
            self.is_behind = True
            return
        self._take_alone(key)
        await self._note_mark()
        # What was under way with the old one is stored by then, and can be forgotten.
        await self._database.transact(())

    async def _show_box(self, name: str) -> None:
        """This server is called otherwise from now on."""
        await self._database.transact(
            [Statement(_DROP_BOXES), Statement(_SHOW_BOX, (name, self._box.public))]
        )


def _ending_with(key: bytes) -> list[Statement]:
    """Return what stores which key is the last one."""
    return [Statement(_FORGET_LAST, (_NOTHING,)), Statement(_LAST, (mark_of(key), _NOTHING))]


def _for(boxes: set[bytes], key: bytes) -> str:
    """Return a key sealed for each of these boxes."""
    ours = Box()
    sealed = {}
    for public in boxes:
        with suppress(ValueError):  # It is none of a server's, and gets nothing.
            sealed[_name_of(public)] = seal(ours.key_with(public), key)
    return json.dumps(
        {
            "public": b64encode(ours.public).decode(),
            "boxes": {name: b64encode(each).decode() for name, each in sealed.items()},
        }
    )


def _name_of(public: bytes) -> str:
    return sha256(public).hexdigest()[:32]
