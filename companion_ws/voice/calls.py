"""Tool calls of an agent elsewhere, answered by the session before that agent gives up."""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from concurrent.futures import Future
from typing import Any, Final

from companion_ws.client import CompanionClient, CompanionClosed
from companion_ws.core.errors import CompanionError, InvalidMessage, ToolCallReused
from companion_ws.core.phrases import phrase
from companion_ws.core.tool_calls import call_id_of
from companion_ws.voice.parameters import NotUnderstood, arguments_in, patience_ms, understood
from companion_ws.voice.wording import refused_result

ANSWER_WITHIN_S: Final = 19.0
"""The session answers after 18 s at the latest; the most impatient platform gives up after 20 s."""
_MARGIN_S: Final = 1.0
_MIN_TIMEOUT_MS: Final = 1_000

log = logging.getLogger(__name__)


class ToolError(Exception):
    """A tool answered with an error; the text is its result, as the agent gets it."""


class SessionCalls:
    """Calls tools of a session from any loop or thread, each with an answer in time.

    What comes later is nobody's here; whoever is attached to the session tells it the agent.
    """

    def __init__(
        self, companion: CompanionClient, answer_within_s: float = ANSWER_WITHIN_S
    ) -> None:
        self.conversation = uuid.uuid4().hex
        """Whose call ids these are: the platform's conversation id, once it is known."""
        self._open: set[str] = set()
        self._companion = companion
        self._within_s = answer_within_s
        self._timeout_ms = max(_MIN_TIMEOUT_MS, int((answer_within_s - _MARGIN_S) * 1000))

    async def text(self, tool_name: str, arguments: Any, platform_call_id: Any = None) -> str:
        """Call a tool and return what its model reads: the result, or why there is none."""
        try:
            return await self.answer(tool_name, arguments, platform_call_id)
        except ToolError as error:
            return str(error)

    async def answer(self, tool_name: str, arguments: Any, platform_call_id: Any = None) -> str:
        """Call a tool and return its result, which is a string, in time.

        `arguments` are an object or its JSON text, as models write it. The same
        `platform_call_id` is one call within its conversation. An answer that comes after
        whoever asked was cancelled is somebody else's to tell.

        Raises:
            ToolError: the result is an error.
        """
        try:
            given = understood(tool_name, arguments_in(arguments))
        except NotUnderstood as why:
            return self._refused(str(why))
        try:
            return await self._result(tool_name, given, self._id_of(platform_call_id))
        except ToolCallReused:
            # Some models number the calls of every turn alike: it is another question.
            return await self._result(tool_name, given, self._id_of(None))

    def begin(self) -> None:
        """Another conversation begins; its id is not known yet."""
        self.release()
        self.conversation = uuid.uuid4().hex

    def release(self) -> None:
        """The conversation is over: what is still asked will be answered to the next one."""
        for call_id in tuple(self._open):
            self._companion.let_go(call_id)

    async def _result(self, tool_name: str, given: dict[str, Any], call_id: str) -> str:
        call = self._companion.call(
            tool_name,
            given,
            tool_call_id=call_id,
            timeout_ms=patience_ms(tool_name, self._timeout_ms),
        )
        try:
            asked = asyncio.run_coroutine_threadsafe(call, self._companion.loop)
        except RuntimeError:  # that loop is closed: the program is on its way out
            call.close()
            return self._unreachable()
        self._open.add(call_id)
        try:
            async with asyncio.timeout(self._within_s):
                record = await asyncio.shield(asyncio.wrap_future(asked))
        except TimeoutError:
            self._companion.let_go(call_id)
            asked.add_done_callback(_note_end)
            return self._unreachable()
        except asyncio.CancelledError:
            # The model was interrupted and goes on; the question stays on the screen.
            self._companion.let_go(call_id)
            asked.add_done_callback(_note_end)
            raise
        except CompanionClosed as closed:
            raise ToolError(f"The companion session is over ({closed.reason}).") from closed
        except ToolCallReused:
            raise
        except CompanionError as error:
            if isinstance(error, InvalidMessage) and not tool_name.startswith("companion_"):
                raise ToolError(error.message) from error  # a fault of whoever defined the tool
            return self._refused(error.message)
        finally:
            self._open.discard(call_id)
        if record["is_error"]:
            raise ToolError(record["result"])
        return str(record["result"])

    def _id_of(self, platform_call_id: Any) -> str:
        call_id = str(platform_call_id) if platform_call_id else uuid.uuid4().hex
        return call_id_of(self.conversation, call_id)

    def _unreachable(self) -> str:
        """No error: those are hidden from the model, and this it should speak about."""
        log.warning(
            "A tool call was given up after %s s: the session did not answer", self._within_s
        )
        say = phrase(self._language, "unreachable")
        return json.dumps({"status": "unreachable", "say": say}, ensure_ascii=False)

    def _refused(self, reason: str) -> str:
        """No error either: the model reads the reason, and can do better."""
        return refused_result(self._language, reason)

    @property
    def _language(self) -> str | None:
        return self._companion.joined.get("language")


def _note_end(asked: Future[dict[str, Any]]) -> None:
    """A call that nobody waits for any more may fail as it likes."""
    if not asked.cancelled() and asked.exception() is not None:
        log.warning("A tool call was never answered: %s", asked.exception())
