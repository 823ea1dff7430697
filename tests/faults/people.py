"""People who talk all the time with the clients we ship, in Python and in JavaScript (Node).

Each sends one numbered update after the other, and waits for its acknowledgement before the next; it
reads every record of its session. What they were told is compared with the log in the end, and how
long each had to wait says when it was back.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

from companion_ws import CompanionClient
from tests.node_program import NodeProgram

PAUSE_S: Final = 0.1
"""Between an acknowledgement and the next update."""
INTERRUPTED_S: Final = 0.5
"""Who waits less than this has noticed nothing that a busy machine does not do by itself."""


class Heard(NamedTuple):
    """One acknowledgement; times are those of the day, which both languages have."""

    number: int
    seq: int
    sent_s: float
    at_s: float


class Person(ABC):
    """Somebody in a session; `name` begins each of their texts."""

    def __init__(self, name: str, url: str, token: str, role: str) -> None:
        self.name, self.url, self.token, self.role = name, url, token, role
        self.session_id: str | None = None

    @abstractmethod
    async def begin(self) -> None:
        """Join and begin to talk; `session_id` is known then."""

    @abstractmethod
    async def end(self) -> None:
        """Say no more, once the last acknowledgement is there, and leave."""

    @abstractmethod
    async def heard(self) -> list[Heard]:
        """Return all acknowledgements so far."""

    @abstractmethod
    async def read(self) -> list[int]:
        """Return the seqs of all records that came, as they came."""

    async def until_back(self, after_s: float) -> None:
        """Wait until something is acknowledged that was sent after then."""
        while not any(each.sent_s > after_s for each in (await self.heard())[-1:]):
            await asyncio.sleep(0.05)

    async def waited_s(self, began_s: float) -> float:
        """Return how long the longest silence after `began_s` was, from then or its beginning on."""
        times = [each.at_s for each in await self.heard()]
        before = max((at_s for at_s in times if at_s <= began_s), default=began_s)
        marks = [max(before, began_s), *(at_s for at_s in times if at_s > began_s)]
        return max((b - a for a, b in pairwise(marks)), default=0.0)

    async def faults(self, stored: Sequence[str]) -> list[str]:
        """Return what is wrong between what this person was told and the log."""
        records = [json.loads(text) for text in stored]
        return [*self._told_wrongly(records, await self.heard()), *self._read_wrongly(await self.read())]

    def _told_wrongly(self, records: list[dict[str, Any]], heard: list[Heard]) -> Iterator[str]:
        own = [r["text"] for r in records if r.get("text", "").startswith(f"{self.name} ")]
        if own != [f"{self.name} {number}" for number in range(1, len(own) + 1)]:
            yield f"{self.name}: texts are doubled, lost or out of order: {own}"
        for each in heard:
            if each.seq > len(records) or records[each.seq - 1].get("text") != f"{self.name} {each.number}":
                yield f"{self.name} {each.number} was acknowledged as {each.seq}, and is not there"

    def _read_wrongly(self, seqs: list[int]) -> Iterator[str]:
        if any(later != seq + 1 for seq, later in pairwise(seqs)):
            yield f"{self.name} read records that are doubled, missing or out of order: {seqs}"


class PythonPerson(Person):
    """One with `CompanionClient`."""

    async def begin(self) -> None:
        self._heard: list[Heard] = []
        self._seqs: list[int] = []
        self._client = CompanionClient(
            self.url, token=self.token, session_id=self.session_id, role=self.role,  # type: ignore[arg-type]
            device=self.name, open_timeout_s=60, answer_within_s=120,
        )  # fmt: skip
        await self._client.__aenter__()
        self.session_id = self._client.session_id
        self._is_going = True
        self._talking = asyncio.create_task(self._talk())
        self._reading = asyncio.create_task(self._listen())

    async def _talk(self) -> None:
        number = 0
        while self._is_going:
            number += 1
            sent_s = time.time()
            record = await self._client.contextual_update(f"{self.name} {number}")
            self._heard.append(Heard(number, record["seq"], sent_s, time.time()))
            await asyncio.sleep(PAUSE_S)

    async def _listen(self) -> None:
        async for record in self._client.records():
            self._seqs.append(record["seq"])

    async def end(self) -> None:
        self._is_going = False
        try:
            await self._talking
        finally:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading
            await self._client.close()

    async def heard(self) -> list[Heard]:
        if self._talking.done() and self._is_going:
            self._talking.result()
        return self._heard

    async def read(self) -> list[int]:
        return self._seqs


class JavaScriptPerson(Person):
    """One with the npm package's client, in a Node program that others may share."""

    def __init__(self, program: NodeProgram, name: str, url: str, token: str, role: str) -> None:
        super().__init__(name, url, token, role)
        self._program = program

    async def _run(self, code: str, **given: Any) -> Any:
        async with asyncio.timeout(120):
            return await self._program.start(code, name=self.name, **given)

    async def begin(self) -> None:
        self.session_id = await self._run(
            """
            const { CompanionClient } = await load("client.js")
            const companion = new CompanionClient(given.url, {
              token: given.token, sessionId: given.sessionId, role: given.role, device: given.name,
            })
            await companion.ready
            const me = (kept[given.name] = { companion, heard: [], seqs: [], isGoing: true, fault: null })
            const talk = async () => {
              for (let number = 1; me.isGoing; number += 1) {
                const sent = Date.now()
                const { seq } = await companion.contextualUpdate(`${given.name} ${number}`)
                me.heard.push([number, seq, sent / 1000, Date.now() / 1000])
                await new Promise((resolve) => setTimeout(resolve, given.pauseMs))
              }
            }
            const listen = async () => {
              for await (const record of companion.records()) me.seqs.push(record.seq)
            }
            me.talking = talk().catch((error) => (me.fault = String(error)))
            listen().catch((error) => (me.fault ??= String(error)))
            return companion.sessionId
            """,
            url=self.url, token=self.token, sessionId=self.session_id, role=self.role,
            pauseMs=PAUSE_S * 1000,
        )  # fmt: skip

    async def end(self) -> None:
        await self._run(
            """
            const me = kept[given.name]
            me.isGoing = false
            await me.talking
            me.companion.close()
            if (me.fault !== null) throw new Error(me.fault)
            """
        )

    async def heard(self) -> list[Heard]:
        told = await self._run(
            """
            const me = kept[given.name]
            if (me.fault !== null) throw new Error(me.fault)
            return me.heard
            """
        )
        return [Heard(*each) for each in told]

    async def read(self) -> list[int]:
        seqs: list[int] = await self._run("return kept[given.name].seqs")
        return seqs
