"""A conversation joined to a companion session, whatever platform it runs on.

Rules of this file:

1. The platform's threads and loops are theirs, the companion's loop is ours; what
   comes from theirs crosses with `call_soon_threadsafe`.
2. What the screens say waits until the conversation is there. Nothing is dropped
   but an update that a newer one with the same `context_id` replaces.
3. A letter stays until the platform has taken it; it is never told twice.

Source: docs/agents.md.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from companion_ws.client import CompanionClient, CompanionClosed
from companion_ws.core.commands import RELAYED
from companion_ws.core.errors import CompanionError, SlowConsumer, Unavailable
from companion_ws.core.phrases import phrase
from companion_ws.core.tool_calls import RELEASES, choice_of, status_of
from companion_ws.voice.calls import SessionCalls
from companion_ws.voice.mailbox import Letter, Mailbox
from companion_ws.voice.wording import (
    cut,
    screen_text,
    state_gone_text,
    state_text,
    summary_text,
    tap_text,
    update_text,
)

SETTLE_S: Final = 0.15
"""An update waits this long for a newer one of its `context_id`: bursts confuse the model."""
RETRY_S: Final = 0.5
"""Between two tries at a conversation that cannot be told anything just now."""

_NO_NEWS: Final = RELEASES | {"shown", "cancelled", "interrupted"}
"""Results that are nobody's answer: the question is open still, or was none."""
_ENVELOPE_BYTES: Final = 1_024
"""What a message has beside what was said."""

log = logging.getLogger(__name__)


class Undelivered(Exception):
    """The conversation cannot be told anything just now; it will be tried again."""


Tell = Callable[[Letter], Awaitable[None]]
"""Tells the agent one letter. Raises `Undelivered`."""


class Attachment:
    """One conversation joined to one session. Made by an adapter's `attach`, on the companion's loop.

    It lasts until `close` or until the companion is left.
    """

    def __init__(
        self,
        companion: CompanionClient,
        tell: Tell,
        *,
        calls: SessionCalls | None = None,
        previous: Attachment | None = None,
    ) -> None:
        self.conversation_id: str | None = None
        """The platform's id, once the conversation has begun and if it has one."""
        self._companion = companion
        self._tell = tell
        self._calls = calls
        self._mailbox = Mailbox(previous.close() if previous is not None else ())
        self._mail_came = asyncio.Event()
        self._is_here = asyncio.Event()
        self._heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._since = companion.seq
        self._is_closed = False
        self._work = companion.accompany(self._join())

    @property
    def pending(self) -> list[Letter]:
        """What the agent has not been told yet, oldest first."""
        return list(self._mailbox)

    def turn(self, text: str) -> None:
        """Say something to the agent as the user, at once or when it is there."""
        self._put(Letter("turn", text))

    def close(self) -> list[Letter]:
        """Take the two apart; return what was not delivered."""
        self._is_closed = True
        self._work.cancel()
        self._release()
        return self.pending

    # From the conversation, on whatever thread it has.

    def begin(self, conversation_id: str | None = None, language: str | None = None) -> None:
        """The conversation is there and can be told things."""
        if conversation_id and self._calls is not None:
            # At once, on whatever thread: the first call may follow at its heels.
            self._calls.conversation = conversation_id
        self._cross(self._take_begin, conversation_id, language)

    def hear(self, message: Mapping[str, Any]) -> None:
        """Take what was said, in the form it has in the session."""
        self._cross(self._heard.put_nowait, dict(message))

    def heard_user(self, text: str) -> None:
        """Take what the user said."""
        self._hear_words("user_transcript", "user_transcript", text)

    def heard_agent(self, text: str) -> None:
        """Take what the agent said."""
        self._hear_words("agent_response", "agent_response", text)

    def end(self) -> None:
        """The conversation is over; what is not told yet waits for the next one."""
        self._release()
        self._cross(self._take_end)

    def _hear_words(self, kind: str, name: str, text: str) -> None:
        if text.strip():
            self.hear({"type": kind, RELAYED[kind]: {name: text}})

    def _release(self) -> None:
        """Nobody waits for what this conversation asked; its answers are the next one's turns."""
        if self._calls is not None:
            self._calls.release()

    def _cross(self, call: Any, *arguments: Any) -> None:
        try:
            self._companion.loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:
            log.debug("The companion's loop is closed; %s is not told", call.__name__)

    # On the companion's loop.

    def _take_begin(self, conversation_id: str | None, language: str | None) -> None:
        self.conversation_id = conversation_id
        self._sum_up()
        self._heard.put_nowait({"language": language})
        self._is_here.set()

    def _sum_up(self) -> None:
        """A conversation that joins a session with a past is told of it first."""
        companion = self._companion
        text = summary_text(companion.state, companion.joined.get("cards", []))
        if text:
            self._mailbox.put_first(Letter("update", text, "session"))
            self._mail_came.set()

    def _take_end(self) -> None:
        self._is_here.clear()
        if len(self._mailbox):
            log.warning(
                "The conversation ended before the agent was told %d things; "
                "attach the next one with previous=…",
                len(self._mailbox),
            )

    async def _join(self) -> None:
        try:
            async with asyncio.TaskGroup() as work:
                work.create_task(self._relay())
                work.create_task(self._read_records())
                work.create_task(self._read_passed())
                work.create_task(self._deliver())
        except asyncio.CancelledError:
            if not self._is_closed:
                log.info(
                    "The companion was left; of what happened in the session "
                    "the agent was not told %d things", len(self._mailbox),
                )  # fmt: skip
            raise

    async def _relay(self) -> None:
        while True:
            told = await self._heard.get()
            try:
                if "type" in told:
                    await self._insist(self._shortened(told))
                else:
                    await self._speak(told["language"])
            except CompanionClosed:
                return
            except CompanionError as error:
                what = told.get("type", "the language")
                log.warning("The session did not take %s: %s", what, error.message)

    async def _insist(self, told: dict[str, Any]) -> None:
        """Send it, however long the server is away: the same `requestId` makes one of it."""
        command = {"requestId": uuid.uuid4().hex, **told}
        while True:
            with suppress(Unavailable):
                await self._companion.send(command)
                return

    def _shortened(self, told: dict[str, Any]) -> dict[str, Any]:
        """Cut what is too long for a message at its end: most of a speech is better than none."""
        limit_bytes = (self._companion.joined.get("limits") or {}).get("message_bytes")
        if not limit_bytes:
            return told
        nest = RELAYED[told["type"]]
        return {**told, nest: cut(told[nest], limit_bytes - _ENVELOPE_BYTES)}

    async def _speak(self, language: str | None) -> None:
        """Sentences that the server makes are spoken in the language of the conversation."""
        if language and language != self._companion.joined.get("language"):
            path = f"/sessions/{self._companion.session_id}"
            await self._companion.http("PATCH", path, {"language": language})

    async def _read_records(self) -> None:
        while True:
            try:
                async for record in self._companion.records():
                    if record["seq"] > self._since:
                        self._since = record["seq"]
                        self._put(self._late(record) or letter_of(record))
                return
            except SlowConsumer:
                log.error("Too much happened at once; the agent was not told all of it")
                self._since = self._companion.seq
            except CompanionClosed as closed:
                log.info("The companion session is over: %s", closed)
                return

    def _late(self, record: Mapping[str, Any]) -> Letter | None:
        """Return the answer to a question whose asker went on, or is gone, as the user's turn."""
        if record["type"] != "client_tool_result":
            return None
        companion, call_id = self._companion, record["tool_call_id"]
        if companion.was_claimed(call_id) or status_of(record["result"]) in _NO_NEWS:
            return None
        call = companion.call_record(call_id)
        if call is not None:
            asker = call["sender"]["connection_id"]
            if asker != companion.joined["connection_id"] and asker in companion.connected:
                return None  # another agent's, who waits for it
        title = _parameters_of(call).get("title")
        question = title if isinstance(title, str) and title else record["tool_name"]
        language = companion.joined.get("language")
        answer = choice_of(record["result"])
        return Letter("turn", phrase(language, "late", question=question, answer=answer))

    async def _read_passed(self) -> None:
        while True:
            try:
                async for message in self._companion.messages():
                    self._put(letter_of_passed(message))
                return
            except SlowConsumer:
                continue  # only the newest of these matters
            except CompanionClosed:
                return

    def _put(self, letter: Letter | None) -> None:
        if letter is not None:
            self._mailbox.put(letter)
            self._mail_came.set()

    async def _deliver(self) -> None:
        while True:
            letter = await self._next_letter()
            try:
                await self._tell(letter)
            except Undelivered as trouble:
                log.info("The agent cannot be told just now: %s", trouble)
                await asyncio.sleep(RETRY_S)
            else:
                self._mailbox.delivered(letter)

    async def _next_letter(self) -> Letter:
        while True:
            await self._is_here.wait()
            letter = self._mailbox.first()
            if letter is not None and letter.context_id is not None:
                await asyncio.sleep(SETTLE_S)
                letter = self._mailbox.first()
            if letter is not None and self._is_here.is_set():
                return letter
            self._mail_came.clear()
            if self._mailbox.first() is None:
                await self._mail_came.wait()


def _parameters_of(call: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if call is None:
        return {}
    parameters = call.get("client_tool_call", call).get("parameters")
    return parameters if isinstance(parameters, dict) else {}


def letter_of(record: Mapping[str, Any]) -> Letter | None:
    """Return what an agent is told of a record, or None.

    What agents said themselves is no news to them; a `user_message` is, whoever wrote it.
    """
    kind = record["type"]
    if kind == "user_message":
        return Letter("turn", record["text"])
    if record["sender"]["role"] != "ui":
        return None
    match kind:
        case "ui_action":
            return Letter("turn", tap_text(record))
        case "contextual_update":
            return Letter("update", update_text(record), record.get("context_id"))
        case "state_updated":
            key = record["key"]
            return Letter("update", state_text(key, record["value"]), f"state:{key}")
        case "state_deleted":
            return Letter("update", state_gone_text(record["key"]), f"state:{record['key']}")
    return None


def letter_of_passed(message: Mapping[str, Any]) -> Letter | None:
    """Return what an agent is told of a message that is no record, or None."""
    if message["type"] == "user_activity":
        return Letter("activity")
    if message["type"] != "screen":
        return None
    screen = message.get("connection_id") or message.get("sender", {}).get("connection_id")
    return Letter("update", screen_text(message["text"]), f"screen:{screen}")
