"""One session with its cast: it lives while something happens, and is read to its end afterwards."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from members import Member, Stage, members
from witness import State, newest

CALM_S: Final = 60.0
"""How long everything may take to be answered once the weather is fair."""


class Play:
    """The members of a stage; `texts` returns the log as it is stored."""

    def __init__(
        self, stage: Stage, rng: random.Random, texts: Callable[[], Awaitable[list[str]]]
    ) -> None:
        self.stage = stage
        self._rng = rng
        self._texts = texts
        self.cast = members(stage, rng)
        self.lives: list[asyncio.Task[None]] = []

    async def begin(self) -> None:
        """Let all live, until there is something to lose."""
        self.lives = [asyncio.create_task(member.live()) for member in self.cast]
        async with asyncio.timeout(CALM_S):
            while not newest(self.stage.history):
                await asyncio.sleep(0.05)

    async def end(self) -> None:
        for life in self.lives:
            life.cancel()
        await asyncio.gather(*self.lives, return_exceptions=True)

    async def calm(self) -> State:
        """Let everything be answered and read to its end; return the state that is shown."""
        stage, rng = self.stage, self._rng
        async with asyncio.timeout(CALM_S):
            try:
                await asyncio.gather(*(insist(member) for member in self.cast))
            except asyncio.CancelledError:
                print("never answered:", [sent for each in self.cast for sent in each.open])
                raise
            watcher = Member(stage, "who came last", "observer", "socket", rng)
            last = await self._all_calls_over()
            fresh = [
                Member(stage, f"who came last by {door}", "observer", door, rng)
                for door in ("socket", "stream")
            ]
            for each in fresh:
                each.position = 0
            await asyncio.gather(*(each.stay_until(last) for each in [*self.cast, *fresh]))
            await watcher.read_pages(rng.choice((1000, 50, 7)))
        state: State = stage.history.visits[-1].joined["state"]  # type: ignore[index]
        return {key: (entry["value"], entry["revision"]) for key, entry in state.items()}

    async def _all_calls_over(self) -> int:
        """Wait until each call has its result; return the last seq there is."""
        while True:
            records = [json.loads(text) for text in await self._texts()]
            waiting = {
                record["client_tool_call"]["tool_call_id"]
                for record in records
                if record["type"] == "client_tool_call"
                and record["client_tool_call"]["expects_response"]
            }
            waiting -= {r["tool_call_id"] for r in records if r["type"] == "client_tool_result"}
            if not waiting:
                return len(records)
            await asyncio.sleep(0.1)

    def counted(self, texts: list[str]) -> Counter[str]:
        """Return what happened, by kind."""
        sent, visits = self.stage.history.sent.values(), self.stage.history.visits
        attempts = [attempt for each in sent for attempt in each.attempts]
        codes = Counter(a.answer["code"] for a in attempts if a.is_error and a.answer)
        records = [json.loads(text) for text in texts]
        return Counter(
            {
                **{f"error {code}": count for code, count in codes.items()},
                "commands": len(sent),
                "attempts": len(attempts),
                "attempts never answered": sum(a.answer is None for a in attempts),
                "repeats answered": sum(
                    bool(a.answer and a.answer.get("duplicate")) for a in attempts
                ),
                "records": len(records),
                "visits": sum(visit.joined is not None for visit in visits),
                "resumes": sum(bool(visit.joined and visit.after) for visit in visits),
                "results": sum(r["type"] == "client_tool_result" for r in records),
                "records told": sum(len(visit.told) for visit in visits),
                "states looked at": len(self.stage.history.looks),
                "late answers": sum(
                    r["type"] == "user_message" and "in_reply_to" in r for r in records
                ),
            }
        )


async def insist(member: Member) -> None:
    """Send again, under the same ids, until everything is answered."""
    while member.open:
        for sent in member.open:
            await member.post(sent)
        await asyncio.sleep(0.1)


async def rest(plays: list[Play], longest_s: float) -> None:
    """Let them live on for so long; nobody's life ends by itself, so this raises what went wrong."""
    lives = [life for play in plays for life in play.lives]
    done, _ = await asyncio.wait(lives, timeout=longest_s, return_when=asyncio.FIRST_COMPLETED)
    for life in done:
        life.result()
