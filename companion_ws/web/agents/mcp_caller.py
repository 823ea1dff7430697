"""One MCP request at work: the five tools and the tasks, for the caller whose token came with it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from aiohttp import web

from companion_ws.access.limits import Rates
from companion_ws.access.tokens import Claims
from companion_ws.core.companion_tools import SHOW
from companion_ws.core.errors import CompanionError, SessionEnded, SessionNotFound
from companion_ws.core.phrases import phrase
from companion_ws.core.protocol import encode, parse
from companion_ws.core.session import Sender
from companion_ws.core.tool_calls import status_of
from companion_ws.sessions.sessions import Sessions
from companion_ws.traces import asked_in
from companion_ws.voice.json_text import NotUnderstood, mended
from companion_ws.voice.mcp import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    META_REQUEST,
    META_SESSION,
    NO_SESSION,
    OUT_OF_TIME,
    AnotherRound,
    Call,
    Link,
    RpcError,
    TaskTold,
    tool_result,
    url_required,
)
from companion_ws.voice.mcp_tools import question
from companion_ws.voice.parameters import patience_ms, understood
from companion_ws.voice.polling import Answer, PollingAgent
from companion_ws.voice.task_store import Task
from companion_ws.voice.tasks import Look, Tasks
from companion_ws.voice.wording import refused_result
from companion_ws.web.agents import long_poll
from companion_ws.web.guard import permissions
from companion_ws.web.guard.middleware import CLAIMS

ASK_TIMEOUT_MS: Final = 25_000
"""Below the 30 s ElevenLabs gives an MCP tool."""
MOST_ROUNDS: Final = 8
"""Of one request; the official clients give up after ten."""
LOOK_S: Final = 1.0
"""How often it is seen whether somebody has come; an answer is seen at once."""


@dataclass(frozen=True, slots=True)
class McpParts:
    """What MCP works with."""

    sessions: Sessions
    polling: PollingAgent
    tasks: Tasks
    rates: Rates


class McpCaller:
    """Answers one request; what it may do is what its token may."""

    def __init__(self, parts: McpParts, request: web.Request) -> None:
        self._sessions = parts.sessions
        self._polling = parts.polling
        self._tasks = parts.tasks
        self._rates = parts.rates
        self._request = request
        self._claims: Claims = request[CLAIMS]
        self._sender = Sender("agent", self._claims.user, token=self._claims.ref)
        self._session_id: str | None = None

    # Tools.

    async def call(self, call: Call) -> dict[str, Any] | TaskTold | AnotherRound:
        """Call a tool. Raises `RpcError`; what the session refuses is a result the model sees."""
        # Over stdio there are no headers: the trace comes in `_meta`.
        with asked_in(call.client.meta.get("traceparent")):
            return await self._called(call)

    async def _called(self, call: Call) -> dict[str, Any] | TaskTold | AnotherRound:
        session_id = self._session_id = await self._session_named(call.client.meta)
        try:
            self._rates.check(self._claims.id, session_id)
            if call.name == "ask":
                return await self._ask(session_id, call)
            if call.name == "wait_for_companion":
                value, events = await long_poll.wait(
                    self._polling, self._request, session_id, call.arguments
                )
                return await self._result(session_id, value, events)
            if call.name == "show":
                return await self._show(session_id, call.arguments)
            value = await self._state(session_id, call)
            return await self._result(session_id, value, await self._polling.news(session_id))
        except NotUnderstood as why:
            if call.must_be_task:
                raise RpcError(INVALID_PARAMS, str(why)) from why
            refused = json.loads(refused_result(await self._language(session_id), str(why)))
            told = {"result": refused, "companion": {"events": [], "screens": []}}
            return tool_result(told)
        except SessionNotFound as error:
            raise RpcError(NO_SESSION, error.message, error.http_status) from error
        except CompanionError as error:
            if call.must_be_task:
                raise RpcError(INTERNAL_ERROR, error.message) from error
            # Details may hold stored JSON text, which only our own encoder can write.
            said = encode({"code": error.code, "message": error.message, **error.details})
            return tool_result({"error": parse(said)}, is_error=True)

    async def words(self) -> str:
        """Return what the request waits for, in words; "" before it waits."""
        if self._session_id is None:
            return ""
        with contextlib.suppress(CompanionError):
            if await self._polling.screens(self._session_id):
                return "On the user's screen; waiting for the user."
        return "Waiting for somebody to open the screen."

    async def _ask(
        self, session_id: str, call: Call
    ) -> dict[str, Any] | TaskTold | AnotherRound:
        tool_name, parameters = question(call.arguments)
        if call.wants_task:
            task = await self._tasks.begin(
                session_id, self._sender, tool_name, parameters, call.task_ttl_ms
            )
            look = await self._look(task)
            return _told(task, look.words if look is not None else "")
        if call.client.is_modern and call.client.opens_links:
            return await self._round(session_id, call, tool_name, parameters)
        timeout_ms = patience_ms(tool_name, ASK_TIMEOUT_MS)
        put = await self._polling.put(
            session_id, self._sender, tool_name, parameters, timeout_ms=timeout_ms
        )
        answer = await self._polling.await_answer(
            session_id, put, timeout_ms / 1000, self._is_gone
        )
        value = _value(answer.result)
        is_lonely = status_of(answer.result) == "no_screen"
        if call.client.opens_links and is_lonely and not put.is_again:
            raise url_required(Link(value["pairing_url"], value["say"], answer.tool_call_id))
        return await self._answered(session_id, answer)

    async def _show(self, session_id: str, arguments: dict[str, Any]) -> dict[str, Any]:
        parameters = understood(SHOW.name, arguments)
        timeout_ms = patience_ms(SHOW.name, ASK_TIMEOUT_MS)
        answer = await self._polling.ask(
            session_id, self._sender, SHOW.name, parameters, timeout_ms=timeout_ms
        )
        return await self._answered(session_id, answer)

    async def _state(self, session_id: str, call: Call) -> Any:
        given = call.arguments
        if call.name == "get_state":
            key = given.get("key")
            if not isinstance(key, str | None):
                raise RpcError(INVALID_PARAMS, "`key` is text.", call.client.bad_status)
            return await self._sessions.get_session_state(session_id, key)
        if "key" not in given or "value" not in given:
            raise RpcError(
                INVALID_PARAMS, "`set_state` needs `key` and `value`.", call.client.bad_status
            )
        wanted = ("key", "value", "if_revision")
        command = {name: mended(given[name]) for name in wanted if name in given}
        request_id = call.client.meta.get(META_REQUEST)
        if isinstance(request_id, str) and request_id:
            command["requestId"] = request_id
        record = await self._sessions.submit(
            session_id, {**command, "type": "state_update"}, self._sender
        )
        return {"revision": record["revision"]}

    async def _answered(self, session_id: str, answer: Answer) -> dict[str, Any]:
        if self._is_gone():
            return {}  # What is told now would be lost.
        events = await self._polling.news(session_id, exclude=answer.tool_call_id)
        return await self._result(session_id, _value(answer.result), events, answer.is_error)

    async def _result(
        self,
        session_id: str,
        value: Any,
        events: list[dict[str, Any]],
        is_error: bool = False,
    ) -> dict[str, Any]:
        return _told_with(value, is_error, events, await self._polling.screens(session_id))

    # A request in several rounds: its state is the handle of a task.

    async def _round(
        self, session_id: str, call: Call, tool_name: str, parameters: dict[str, Any]
    ) -> dict[str, Any] | AnotherRound:
        if call.state is None:
            task = await self._tasks.begin(session_id, self._sender, tool_name, parameters)
            number = 1
        else:
            task, number = await self._resumed(session_id, call.state, [tool_name, parameters])
        if task.result is not None:
            return dict(json.loads(task.result))
        is_asked_in, is_refused = _reply_in(call.responses)
        if is_asked_in:
            await self._tasks.note_shown_in(task)
            task = replace(task, is_shown_in=True)
        ends_s = _now_s() + ASK_TIMEOUT_MS / 1000
        while True:
            look = await self._tasks.look(task, self._sender)
            if look.answer is not None:
                return dict(json.loads(await self._completed(task, look.answer)))
            is_late = _now_s() >= ends_s
            if is_refused or (is_late and number >= MOST_ROUNDS):
                return await self._given_up(task, look)
            if look.way_in is not None and not task.is_shown_in:
                link = Link(look.way_in.code_url, look.words, task.tool_call_id)
                return AnotherRound(f"{task.handle}.{number}", link)
            if is_late or self._is_gone():
                return AnotherRound(f"{task.handle}.{number}")
            await self._moment(session_id)

    async def _resumed(
        self, session_id: str, state: str, asked: list[Any]
    ) -> tuple[Task, int]:
        """Return the task of a further round, and which round it is."""
        handle, _, number = state.rpartition(".")
        task = await self._tasks.find(handle, self._claims.user)
        is_of_this = task is not None and task.session_id == session_id
        if task is None or not is_of_this or json.loads(task.asked) != asked:
            raise RpcError(INVALID_PARAMS, "`requestState` is not of this request, or over.", 400)
        return task, int(number) + 1 if number.isdecimal() and len(number) < 3 else MOST_ROUNDS

    async def _given_up(self, task: Task, look: Look) -> dict[str, Any]:
        """The agent goes on; the question stays open, and a late answer is news."""
        await self._tasks.forget(task)
        return await self._answered(task.session_id, await self._release(task, look))

    async def _release(self, task: Task, look: Look) -> Answer:
        """Return what an agent is told that goes on without an answer."""
        if look.way_in is not None:
            value = {
                "status": "no_screen",
                "say": look.words,
                "pairing_code": look.way_in.code,
                "pairing_url": look.way_in.code_url,
            }
        else:
            language = await self._language(task.session_id)
            value = {"status": "no_answer", "say": phrase(language, "no_answer")}
        return Answer(task.tool_call_id, json.dumps(value), False)

    # Tasks.

    async def task(self, task_id: str) -> TaskTold:
        """Return how a task stands. Raises `RpcError`, the same for unknown, foreign and over."""
        return await self._stand_of(await self._owned(task_id))

    async def task_ended(self, task_id: str) -> TaskTold:
        """Wait until a task is over."""
        ends_s = _now_s() + long_poll.WAIT_MAX_S
        while True:
            task = await self._owned(task_id)
            told = await self._stand_of(task)
            if told.status != "working":
                return told
            if _now_s() >= ends_s or self._is_gone():
                raise RpcError(OUT_OF_TIME, "The user has not answered yet; ask again.")
            with contextlib.suppress(CompanionError):
                await self._moment(task.session_id)

    async def shown_in(self, task_id: str, response: Any) -> None:
        """The client has shown its user the way to the screen, or was not let."""
        task = await self._owned(task_id)
        is_asked_in, is_refused = _reply_in({"screen": response})
        if not is_asked_in or task.status != "working":
            return
        await self._tasks.note_shown_in(task)
        look = await self._look(task)
        if is_refused and look is not None and look.answer is None:
            await self._completed(task, await self._release(task, look))

    async def cancel(self, task_id: str) -> TaskTold:
        """Withdraw the question of a task."""
        task = await self._tasks.cancel(await self._owned(task_id), self._sender)
        return _told(task, "Cancelled.")

    async def _stand_of(self, task: Task) -> TaskTold:
        if task.status != "working":
            return _told(task, "Answered." if task.status == "completed" else "Cancelled.")
        look = await self._look(task)
        if look is None:
            error = RpcError(NO_SESSION, "The session is over.")
            return replace(_told(task, error.message), status="failed", error=error)
        if look.answer is not None:
            await self._completed(task, look.answer)
            return await self._stand_of(await self._owned(task.handle))
        told = _told(task, look.words)
        if look.way_in is None or task.is_shown_in:
            return told
        return replace(told, link=Link(look.way_in.code_url, look.words, task.tool_call_id))

    async def _look(self, task: Task) -> Look | None:
        """Look at a working task; None where its session is over."""
        try:
            return await self._tasks.look(task, self._sender)
        except (SessionNotFound, SessionEnded):
            return None
        except CompanionError as error:
            raise RpcError(INTERNAL_ERROR, error.message, error.http_status) from error

    async def _completed(self, task: Task, answer: Answer) -> str:
        """Return what a task's call came to, as it is stored for every look at it."""
        return await self._tasks.complete(task, answer)

    async def _owned(self, task_id: str) -> Task:
        task = await self._tasks.find(task_id, self._claims.user)
        named = self._request.headers.get("X-Companion-Session")
        is_own = task is not None and (not named or named == task.session_id)
        if self._claims.kind == "session" and task is not None:
            is_agents = self._claims.role == "agent"
            is_own = is_own and is_agents and self._claims.session_id == task.session_id
        if task is None or not is_own:
            raise RpcError(INVALID_PARAMS, "There is no such task, or its time is over.")
        try:
            self._rates.check(self._claims.id, task.session_id)
        except CompanionError as error:
            raise RpcError(INTERNAL_ERROR, error.message, error.http_status) from error
        return task

    # What all of it needs.

    async def _session_named(self, meta: Mapping[str, Any]) -> str:
        """Return the session a call is about. Raises `RpcError`, the same for unknown and foreign."""
        named = self._request.headers.get("X-Companion-Session") or meta.get(META_SESSION)
        if self._claims.kind != "session" and (not isinstance(named, str) or not named):
            raise RpcError(
                INVALID_PARAMS,
                f"Name the session: header X-Companion-Session or _meta[{META_SESSION!r}].",
            )
        try:
            return await permissions.agents_session(self._sessions, self._claims, named)
        except CompanionError as error:
            raise RpcError(NO_SESSION, error.message, error.http_status) from error

    async def _moment(self, session_id: str) -> None:
        """Wait until something is recorded, or somebody may have come."""
        if not await self._sessions.waiting.beyond(session_id, None, LOOK_S):
            await asyncio.sleep(0)

    async def _language(self, session_id: str) -> str | None:
        summary = await self._sessions.summary(session_id)
        return summary.language if summary is not None else None

    def _is_gone(self) -> bool:
        return long_poll.is_gone(self._request)


def task_result(
    answer: Answer, events: list[dict[str, Any]], screens: list[str]
) -> Mapping[str, Any]:
    """Return what a task came to, as its caller is told."""
    return _told_with(_value(answer.result), answer.is_error, events, screens)


def _told_with(
    value: Any, is_error: bool, events: list[dict[str, Any]], screens: list[str]
) -> dict[str, Any]:
    return tool_result({"result": value, "companion": {"events": events, "screens": screens}}, is_error)


def _told(task: Task, words: str) -> TaskTold:
    result = None if task.result is None else json.loads(task.result)
    return TaskTold(
        id=task.handle,
        status=task.status,
        words=words,
        created_ms=task.created_at_ms,
        updated_ms=task.updated_at_ms,
        ttl_ms=task.until_ms - task.created_at_ms,
        result=result,
    )


def _reply_in(responses: Mapping[str, Any]) -> tuple[bool, bool]:
    """Return whether the client says that it has asked its user in, and whether they would not."""
    response = responses.get("screen")
    action = response.get("action") if isinstance(response, dict) else None
    return action in ("accept", "decline", "cancel"), action in ("decline", "cancel")


def _value(result: str) -> Any:
    try:
        return json.loads(result)
    except ValueError:
        return result


def _now_s() -> float:
    return asyncio.get_running_loop().time()
