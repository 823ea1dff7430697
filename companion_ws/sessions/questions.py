"""Calls on their way to an answer: by a server tool, by a screen, or by saying why not.

An agent that calls a tool stands in the middle of a conversation: silence is the worst answer.
So each call gets exactly one result, in time, even if nobody looks at a screen, a tool hangs or
the server restarts. Which one it gets depends on who is here, and that changes while it waits:

    recorded ─┬─ a server tool ──────────────► its result, or what went wrong
              ├─ a screen answers it ────────► its result (the first answer wins)
              ├─ screens, none answers it ───► "shown"
              └─ no screen ─┬─ somebody can still join ─► wait, until the deadline
                            └─ nobody can ──────────────► "no_screen" and a pairing code

Nothing here decides a race. A result is a command like any other (`AnswerCall`), and the session
refuses the second one. So `look` may run at any time and any number of times, and it does where
something may have changed: a screen joined, a screen left, a way in closed, a start.

A screen that reloads is gone for a moment. `look_later` gives it that moment, and meanwhile
nobody looks, lest another screen's arrival take its question away.

Deadlines are rows of the `due` table, not timers, so that a restart does not lose one. After a
restart a server tool runs again only if its author said that it may.

Source: docs/protocol.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec
import structlog

from companion_ws.core.commands import AnswerCall
from companion_ws.core.companion_tools import is_card, is_companion_ui
from companion_ws.core.errors import (
    CompanionError,
    SessionEnded,
    SessionNotFound,
    ToolClosed,
)
from companion_ws.core.phrases import phrase, spoken_code
from companion_ws.core.protocol import encode
from companion_ws.core.session import Sender, TokenRef
from companion_ws.core.tool_calls import Call, unanswerable
from companion_ws.nodes.place import Elsewhere
from companion_ws.sessions.live import LiveSession
from companion_ws.sessions.runs import ToolRunner, patience_s
from companion_ws.sessions.tools import ServerTool, ToolCall

RELOAD_S: Final = 0.6
"""After a screen left: time for it to come back (a reload), and still an answer within a second."""
RETURN_S: Final = 5.0
"""After a start: time for screens to reconnect. A client that has tried in vain for a while
waits up to some seconds before it tries again; the default deadline is over three times this."""
LOOK_AGAIN_S: Final = 0.5
"""How often it is seen whether somebody who may come still may: ways in close by themselves."""

log = structlog.get_logger(__name__)


class OpenPairing(Protocol):
    """What a pairing that was opened tells the agent."""

    @property
    def code(self) -> str: ...
    @property
    def code_url(self) -> str: ...


class PairingAccess(Protocol):
    """What sessions must know of pairing."""

    async def can_anyone_join(self, session_id: str, connected: Collection[str]) -> bool: ...

    async def open(self, session_id: str, *, by: TokenRef | None) -> OpenPairing: ...


@dataclass(frozen=True, slots=True)
class WaysIn:
    """How somebody comes to a screen; `is_link_out` says whether a caller has been sent a link."""

    pairing: PairingAccess
    is_link_out: Callable[[str], Awaitable[bool]]


Submit = Callable[[str, AnswerCall], Awaitable[None]]
Speak = Callable[[str, dict[str, Any], Sender, str], Awaitable[dict[str, Any]]]
Open = Callable[[str], Awaitable[LiveSession | None]]


class Questions:
    """Sees each call through to exactly one result."""

    def __init__(
        self,
        tools: dict[str, ServerTool],
        ways_in: WaysIn,
        open_live: Open,
        submit: Submit,
        speak: Speak,
        runner: ToolRunner,
    ) -> None:
        self._tools = tools
        self._pairing = ways_in.pairing
        self._is_link_out = ways_in.is_link_out
        self._open = open_live
        self._submit = submit
        self._speak = speak
        self._runner = runner
        self._asked_with: dict[tuple[str, str], TokenRef] = {}
        """The token each waiting call came with, by session and call; a restart forgets it."""
        self._expectant: set[str] = set()
        """Sessions in which a call waits for somebody who is not here yet."""
        self._returns: dict[str, float] = {}
        """Sessions a screen may be on its way back to, and until when that is waited for."""

    def is_server_tool(self, tool_name: str) -> bool:
        return tool_name in self._tools

    async def asked(
        self,
        live: LiveSession,
        tool_call_id: str,
        parameters: dict[str, Any],
        token: TokenRef | None = None,
    ) -> None:
        """A call was recorded: run it, or see who can answer it."""
        call = live.session.calls.get(tool_call_id)
        if call is None:
            return
        if call.status == "waiting" and token is not None:
            self._asked_with[live.session_id, tool_call_id] = token
        if call.handled_by == "server":
            await self._run(live, call, parameters)
        elif call.status == "waiting":
            await self._look_at(live, call)

    def answered(self, session_id: str, tool_call_id: str) -> None:
        """A call has its result."""
        self._asked_with.pop((session_id, tool_call_id), None)

    async def look_later(self, session_id: str, return_s: float) -> None:
        """Look once a screen that went has had `return_s` to reconnect.

        Nobody looks before that: who comes meanwhile must not take its question away.
        """
        loop = asyncio.get_running_loop()
        until_s = max(loop.time() + return_s, self._returns.get(session_id, 0.0))
        self._returns[session_id] = until_s
        await asyncio.sleep(until_s - loop.time())
        if self._returns.get(session_id) == until_s:
            del self._returns[session_id]
        await self.look(session_id)

    async def look(self, session_id: str) -> None:
        """See what becomes of the calls that wait for screens, as things stand now."""
        live = await self._open(session_id)
        if session_id in self._returns:
            return
        self._expectant.discard(session_id)
        if live is None or live.session.ended is not None:
            return
        for call in list(live.session.calls.values()):
            if call.handled_by == "screens" and call.status == "waiting":
                await self._look_at(live, call)

    async def watch(self) -> None:
        """Look again and again where somebody may join; once nobody can, the agent hears of it."""
        while True:
            await asyncio.sleep(LOOK_AGAIN_S)
            for session_id in list(self._expectant):
                try:
                    await self.look(session_id)
                except Elsewhere:
                    self._expectant.discard(session_id)  # Another server looks.
                except CompanionError as error:
                    log.warning("look_refused", session_id=session_id, code=error.code)

    async def _look_at(self, live: LiveSession, call: Call) -> None:
        screens = live.screens()
        answering = [screen for screen in screens if screen.answers(call.tool_name)]
        if answering:
            if all(is_companion_ui(screen.tools) for screen in answering):
                await self._check(live, call)
        elif screens:
            await self._show(live, call)
        elif await self._pairing.can_anyone_join(live.session_id, _devices(live)):
            self._expectant.add(live.session_id)
        else:
            await self._release(live, call)

    async def _check(self, live: LiveSession, call: Call) -> None:
        """Tell the agent's author of a question that the CompanionUI has nothing to tap for."""
        question = live.session.question_of(call)
        message = unanswerable(question) if question.body else None
        if message is not None:
            result = encode({"status": "error", "message": message}).decode()
            await self._answer(live.session_id, call, result, is_error=True)

    async def _show(self, live: LiveSession, call: Call) -> None:
        # The CompanionUI shows what no screen answers as a card.
        await self._answer(live.session_id, call, '{"status":"shown"}')

    async def deadline(self, session_id: str, tool_call_id: str) -> None:
        """The agent cannot wait any longer: tell it how things stand, as something to say."""
        live = await self._open(session_id)
        if live is None or live.session.ended is not None:
            return
        call = live.session.calls.get(tool_call_id)
        if call is None or call.status != "waiting":
            # What is due is forgotten now, so its answer has to be stored.
            await live.turn()
            return
        if call.handled_by == "server":
            message = "The tool did not answer in time."
            result = encode({"status": "error", "message": message}).decode()
            await self._answer(session_id, call, result, is_error=True)
        elif any(screen.answers(call.tool_name) for screen in live.screens()):
            key = "no_answer_to_card" if is_card(call.tool_name) else "no_answer"
            say = phrase(live.session.language, key)
            result = encode({"status": "no_answer", "say": say}).decode()
            await self._answer(session_id, call, result)
        elif live.screens():
            await self._show(live, call)
        elif not await self._release(live, call):
            await self.deadline(session_id, tool_call_id)

    def go_on(self, live: LiveSession) -> list[Coroutine[Any, Any, None]]:
        """Return what is to be done about calls that waited on a server that has ended.

        Runs that were cut off are said to be, or run again; screens get time to reconnect.
        """
        waiting = [call for call in live.session.unclosed.values() if call.status == "waiting"]
        work = [self._resume(live, call) for call in waiting if call.handled_by == "server"]
        if any(call.handled_by == "screens" for call in waiting):
            work.append(self.look_later(live.session_id, RETURN_S))
        return work

    async def _resume(self, live: LiveSession, call: Call) -> None:
        server_tool = self._tools.get(call.tool_name)
        if server_tool is not None and server_tool.is_idempotent:
            record = msgspec.json.decode(call.body)
            await self._run(live, call, record["client_tool_call"]["parameters"])
        else:
            result = '{"status":"interrupted"}'
            await self._answer(live.session_id, call, result, is_error=True)

    def forget(self, session_id: str | None = None) -> None:
        """Let go of a session that is another server's now, or of all; its runs have no outcome."""
        self._runner.cut_off(session_id)
        for key in list(self._asked_with):
            if session_id in (None, key[0]):
                del self._asked_with[key]
        for known in (self._expectant.copy() if session_id is None else {session_id}):
            self._expectant.discard(known)

    async def end(self) -> None:
        """Let go of the tools that still run; for a stop."""
        await self._runner.end()

    async def _release(self, live: LiveSession, call: Call) -> bool:
        """Tell the agent that nobody looks at a screen, and how somebody could.

        False where somebody came while the pairing was opened.
        """
        token = self._asked_with.get((live.session_id, call.tool_call_id))
        opened = await self._pairing.open(live.session_id, by=token)
        again = await self._open(live.session_id)
        if again is not None and again.screens():
            return False
        if again is None:
            return True
        key = "no_screen_for_card" if is_card(call.tool_name) else "no_screen"
        say = phrase(
            again.session.language,
            "link_sent" if await self._is_link_out(live.session_id) else key,
            address=opened.code_url.split("://", 1)[-1],
            code=spoken_code(opened.code),
        )
        result = encode(
            {
                "status": "no_screen",
                "say": say,
                "pairing_code": opened.code,
                "pairing_url": opened.code_url,
            }
        ).decode()
        await self._answer(live.session_id, call, result)
        return True

    async def _run(self, live: LiveSession, call: Call, parameters: dict[str, Any]) -> None:
        session_id, server_tool = live.session_id, self._tools.get(call.tool_name)
        if server_tool is None:
            return

        async def speak(message: dict[str, Any], request_id: str) -> dict[str, Any]:
            sender = Sender("server", live.session.user)
            return await self._speak(session_id, message, sender, request_id)

        tool_call = ToolCall(
            session_id, call.tool_call_id, call.tool_name, parameters, live.session.user, speak
        )
        patience = patience_s(call, live.clock.running_ms())
        outcome = await self._runner.run(server_tool, tool_call, patience)
        if outcome.log:
            log.warning(
                "tool_failed",
                session_id=session_id,
                tool_call_id=call.tool_call_id,
                reason=outcome.log,
                **({"exc_info": outcome.raised} if outcome.raised is not None else {}),
            )
        if call.deadline_ms is not None:
            await self._answer(session_id, call, outcome.result, is_error=outcome.is_error)

    async def _answer(
        self, session_id: str, call: Call, result: str, *, is_error: bool = False
    ) -> None:
        try:
            await self._submit(
                session_id,
                AnswerCall(tool_call_id=call.tool_call_id, result=result, is_error=is_error),
            )
        except (ToolClosed, SessionEnded, SessionNotFound) as error:
            # Somebody else was first, or the session is over: one result is enough.
            log.debug("answer_came_second", session_id=session_id, code=error.code)


def _devices(live: LiveSession) -> list[str]:
    return [member.device_id for member in live.members.values() if member.device_id is not None]


