"""Tool calls of an agent elsewhere, answered by the session before that agent gives up."""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any, Final

from companion_ws.client import CompanionClient, CompanionClosed
from companion_ws.core.errors import CompanionError, InvalidMessage
from companion_ws.core.phrases import phrase
from companion_ws.core.tool_calls import call_id_of
from companion_ws.voice.parameters import NotUnderstood, patience_ms, understood
from companion_ws.voice.wording import refused_result

ANSWER_WITHIN_S: Final = 19.0
"""The session answers after 18 s at the latest, ElevenLabs gives up after 20 s."""
_MARGIN_S: Final = 1.0
_MIN_TIMEOUT_MS: Final = 1_000

log = logging.getLogger(__name__)


class ToolError(Exception):
    """A tool answered with an error; the text is its result, as the agent gets it."""


class SessionCalls:
    """Calls tools of a session from any loop or thread, each with an answer in time.

    What comes later is nobody's here; whoever is attached to the session tells it the agent.
    """

    def __init__(self, companion: CompanionClient, answer_within_s: float) -> None:
        self.conversation = uuid.uuid4().hex
        """Whose call ids these are: ElevenLabs' conversation id, once it is known."""
        self._open: set[str] = set()
        self._companion = companion
        self._within_s = answer_within_s
        self._timeout_ms = max(_MIN_TIMEOUT_MS, int((answer_within_s - _MARGIN_S) * 1000))

    async def answer(self, tool_name: str, parameters: Mapping[str, Any]) -> str:
        """Call a tool and return its result, which is a string, in time.

        `parameters` carry ElevenLabs' `tool_call_id` among them: the same id is one call
        within its conversation.

        Raises:
            ToolError: the result is an error.
        """
        given = {key: value for key, value in parameters.items() if key != "tool_call_id"}
        try:
            given = understood(tool_name, given)
        except NotUnderstood as why:
            return self._refused(str(why))
        call_id = self._id_of(parameters.get("tool_call_id"))
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
        except CompanionClosed as closed:
            raise ToolError(f"The companion session is over ({closed.reason}).") from closed
        except CompanionError as error:
            if isinstance(error, InvalidMessage) and not tool_name.startswith("companion_"):
                raise ToolError(error.message) from error  # a fault of whoever defined the tool
            return self._refused(error.message)
        finally:
            self._open.discard(call_id)
        if record["is_error"]:
            raise ToolError(record["result"])
        return str(record["result"])

    def begin(self) -> None:
        """Another conversation begins; its id is not known yet."""
        self.release()
        self.conversation = uuid.uuid4().hex

    def release(self) -> None:
        """The conversation is over: what is still asked will be answered to the next one."""
        for call_id in tuple(self._open):
            self._companion.let_go(call_id)

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
