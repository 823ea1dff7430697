"""JSON routes of sessions: made, found, named, ended; state, messages, records, trail."""

from __future__ import annotations

import base64
import binascii
from collections.abc import AsyncIterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import msgspec
from aiohttp import web
from msgspec import UNSET

from companion_ws.access.devices import Devices
from companion_ws.access.limits import Rates
from companion_ws.access.pairing import Pairing
from companion_ws.access.tokens import Claims
from companion_ws.core import commands, protocol
from companion_ws.core.errors import (
    BadRequest,
    CompanionError,
    Forbidden,
    NotFound,
    PreconditionFailed,
    RevisionConflict,
    SessionEnded,
)
from companion_ws.core.session import Sender
from companion_ws.logs import audit
from companion_ws.sessions import trail
from companion_ws.sessions.presence import Seen
from companion_ws.sessions.sessions import Sessions
from companion_ws.sessions.summaries import Summary
from companion_ws.sessions.troubles import Counts
from companion_ws.traces import in_trace
from companion_ws.web.api.conditions import Condition
from companion_ws.web.api.shapes import (
    AllSessionsQuery,
    EndQuery,
    Message,
    MessageQuery,
    RoleQuery,
    Session,
    SessionList,
    SessionQuery,
    SessionRequest,
    SessionUpdate,
    StateEntry,
    Trail,
)
from companion_ws.web.guard import permissions, pieces
from companion_ws.web.guard.answers import Memory
from companion_ws.web.guard.idempotency import Idempotency, Store
from companion_ws.web.guard.middleware import CLAIMS
from companion_ws.web.guard.parsing import body_of, query_of, read_json, read_named, read_object
from companion_ws.web.guard.replies import json_reply
from companion_ws.web.guard.route import ADMIN, MEMBER, OWNER, USER, Route

MAX_PAGE: Final = 1000
MAX_REMEMBERED_BYTES: Final = 1024
"""The largest answer other than a record that is kept for a repeat."""
MOST_LOOKS: Final = 20
"""How often a change is tried whose condition others keep meeting by changes of their own."""
_BY_ENTRANCE: Final = tuple(name for name, kind in commands.COMMANDS.items() if kind.by_entrance)
MAX_WAIT_S: Final = 130.0
"""A little over the longest deadline of a tool call."""


@dataclass(frozen=True, slots=True)
class _Around:
    """What is shown of sessions beside what stands in their rows."""

    troubles: dict[str, Counts]
    seen: dict[str, Seen]
    shows_nodes: bool


class SessionRoutes:
    """What a session's owner, its members and the operator ask over HTTP."""

    def __init__(
        self,
        sessions: Sessions,
        devices: Devices,
        pairing: Pairing,
        idempotency: Idempotency,
        rates: Rates,
    ) -> None:
        self._sessions = sessions
        self._devices = devices
        self._pairing = pairing
        self._idempotency = idempotency
        self._rates = rates

    def routes(self) -> list[Route]:
        one = "/sessions/{session_id}"
        return [
            Route("POST", "/sessions", OWNER, self.create, summary="Open a session",
                  body=SessionRequest, answer=Session, status=201),
            Route("GET", "/sessions", ADMIN, self.list_all, admin=True,
                  summary="List every session", query=AllSessionsQuery, answer=SessionList),
            Route("GET", "/me/sessions", USER, self.list_own, summary="List your own sessions",
                  query=SessionQuery, answer=SessionList),
            Route("GET", one, OWNER, self.show, summary="Show a session", answer=Session),
            Route("PATCH", one, OWNER, self.rename, summary="Name a session or its language",
                  body=SessionUpdate, answer=Session),
            Route("DELETE", one, OWNER, self.end, summary="End a session", query=EndQuery,
                  status=204),
            Route("GET", f"{one}/state", MEMBER, self.state, summary="Read the state",
                  answer=dict[str, StateEntry]),
            Route("GET", f"{one}/state/{{key:.+}}", MEMBER, self.get_key, summary="Read a key",
                  answer=dict[str, StateEntry]),
            Route("PUT", f"{one}/state/{{key:.+}}", MEMBER, self.put_key, summary="Set a key",
                  body=Any, query=RoleQuery, answer=dict[str, StateEntry]),
            Route("DELETE", f"{one}/state/{{key:.+}}", MEMBER, self.delete_key,
                  summary="Delete a key", query=RoleQuery, status=204),
            Route("POST", f"{one}/messages", MEMBER, self.message,
                  summary="Send a command; answered with its record", body=Message,
                  query=MessageQuery, answer=dict[str, Any]),
            Route("GET", f"{one}/trail", OWNER, self.trail,
                  summary="List joins, departures, drops and refusals", answer=Trail),
        ]

    # Sessions.

    async def create(self, request: web.Request) -> web.Response:
        claims, wanted = request[CLAIMS], body_of(await read_named(request, "title"), SessionRequest)
        user, service = claims.user, None
        if claims.kind == "service":
            if wanted.user is None:
                raise BadRequest('A service names the session\'s owner: {"user": "…"}.')
            user, service = wanted.user, claims.user

        async def make(store: Store) -> Memory:
            summary = await self._sessions.create(
                user, service=service, title=wanted.title or "", language=wanted.language
            )
            return {"session_id": summary.session_id}

        async def render(made: Memory) -> web.Response:
            summary = await self._sessions.summary(made["session_id"])
            if summary is None:
                raise SessionEnded("The session this made is over.")
            return json_reply(await self._shown(summary, claims), status=201)

        return await self._idempotency.once(request, make, render)

    async def list_all(self, request: web.Request) -> web.StreamResponse:
        query = query_of(request.query, AllSessionsQuery)
        audit.info("sessions_listed", by=request[CLAIMS].user, user=query.user or None)
        return await self._listed(request, query, query.user or None)

    async def list_own(self, request: web.Request) -> web.StreamResponse:
        return await self._listed(request, query_of(request.query, SessionQuery), request[CLAIMS].user)

    async def _listed(
        self, request: web.Request, query: SessionQuery, user: str | None
    ) -> web.StreamResponse:
        limit = min(query.limit, MAX_PAGE)
        found = await self._sessions.listed(
            user=user,
            conversation_id=query.conversation_id or None,
            find=query.find or None,
            trouble=None if query.trouble is UNSET else query.trouble,
            before=_cursor(query.cursor),
            limit=limit + 1,
        )
        page = found[:limit]
        after = _cursor_text(page[-1]) if len(found) > limit else None
        around = await self._around(page, request[CLAIMS])
        each = self._each_brief if query.brief == "1" else self._each_shown
        shown = each(page, around)
        return await pieces.send(request, _shown_list(shown, after))

    async def _each_shown(
        self, page: list[Summary], around: _Around
    ) -> AsyncIterator[dict[str, Any]]:
        for summary in page:
            states = await self._sessions.store.states([summary.session_id])
            yield self._with_state(summary, around, states[summary.session_id])

    async def _each_brief(
        self, page: list[Summary], around: _Around
    ) -> AsyncIterator[dict[str, Any]]:
        async for summary in pieces.each(page):
            yield self._with_state(summary, around, {})

    async def _around(self, page: list[Summary], claims: Claims) -> _Around:
        session_ids = [each.session_id for each in page]
        return _Around(
            await self._sessions.troubles.of_sessions(session_ids),
            await self._sessions.presence.of(session_ids),
            # Where there is but one server, nobody asks which.
            shows_nodes=claims.kind == "admin" and bool(self._sessions.places.me.url),
        )

    async def show(self, request: web.Request) -> web.Response:
        return json_reply(await self._shown(await self._managed(request), request[CLAIMS]))

    async def rename(self, request: web.Request) -> web.Response:
        summary, update = await self._managed(request), body_of(await read_named(request, "title"), SessionUpdate)
        permissions.check_alive(summary)
        language = summary.language if update.language is UNSET else update.language
        await self._sessions.rename(summary.session_id, update.title, language)
        return json_reply(await self._shown(await self._managed(request), request[CLAIMS]))

    async def end(self, request: web.Request) -> web.Response:
        summary = await self._managed(request)
        erase = query_of(request.query, EndQuery).erase == "1"
        if not erase:
            permissions.check_alive(summary)
        by = "owner" if permissions.is_owner(request[CLAIMS], summary) else "admin"
        if summary.ended_at_ms is None:
            await self._sessions.end(summary.session_id, f"ended by {by}", erase=erase)
        if erase:
            await self._sessions.erase(summary.session_id)
        return web.Response(status=204)

    async def _shown(self, summary: Summary, claims: Claims) -> dict[str, Any]:
        states = await self._sessions.store.states([summary.session_id])
        around = await self._around([summary], claims)
        return self._with_state(summary, around, states[summary.session_id])

    def _with_state(
        self, summary: Summary, around: _Around, state: dict[str, tuple[bytes, int]]
    ) -> dict[str, Any]:
        seen = around.seen[summary.session_id]
        return {
            "session_id": summary.session_id,
            "user": summary.user,
            "title": summary.title,
            "language": summary.language,
            "created_at": summary.created_at_ms,
            "last_active_at": summary.last_active_at_ms,
            "expires_at": summary.expires_at_ms,
            "ended_at": summary.ended_at_ms,
            "seq": summary.seq,
            "conversation_id": summary.conversation_id,
            "connections": seen.connections,
            "troubles": around.troubles[summary.session_id],
            "state": raw_state(state),
            **({"node": seen.node} if around.shows_nodes else {}),
        }

    # State.

    async def state(self, request: web.Request) -> web.Response:
        summary = await self._member(request)
        states = await self._sessions.store.states([summary.session_id])
        return json_reply(raw_state(states[summary.session_id]))

    async def get_key(self, request: web.Request) -> web.Response:
        entry = await self._entry(request, request.match_info["key"])
        if entry is None:
            raise NotFound("There is no such key.")
        etag = f'"{entry[1]}"'
        condition = Condition.of(request.headers)
        if condition is not None and not condition.holds(entry[1]):
            if not condition.matches(entry[1]):
                raise PreconditionFailed(
                    f"The key has revision {entry[1]}.",
                    key=request.match_info["key"], value=msgspec.Raw(entry[0]), revision=entry[1],
                )  # fmt: skip
            return web.Response(status=304, headers={"ETag": etag})
        return json_reply(raw_state({request.match_info["key"]: entry}), headers={"ETag": etag})

    async def put_key(self, request: web.Request) -> web.Response:
        self._check_rate(request)
        value, key = await read_json(request), request.match_info["key"]
        record = await self._change(request, {"type": "state_update", "key": key, "value": value})
        shown = {key: {"value": record["value"], "revision": record["revision"]}}
        return json_reply(shown, headers={"ETag": f'"{record["revision"]}"'})

    async def delete_key(self, request: web.Request) -> web.Response:
        self._check_rate(request)
        key = request.match_info["key"]
        condition = Condition.of(request.headers)
        is_allowed = condition is None or condition.holds(0)
        if is_allowed and await self._entry(request, key) is None:
            raise NotFound("There is no such key.")
        await self._change(request, {"type": "state_delete", "key": key})
        return web.Response(status=204)

    async def _entry(self, request: web.Request, key: str) -> tuple[bytes, int] | None:
        summary = await self._member(request)
        states = await self._sessions.store.states([summary.session_id])
        return states[summary.session_id].get(key)

    async def _change(self, request: web.Request, message: dict[str, Any]) -> dict[str, Any]:
        """Change a key if what the headers ask for holds in the step in which it is changed."""
        condition = Condition.of(request.headers)
        if condition is None:
            return await self._submit(request, message)
        entry = await self._entry(request, message["key"])
        value, revision = (None, 0) if entry is None else (msgspec.Raw(entry[0]), entry[1])
        for _ in range(MOST_LOOKS):
            if not condition.holds(revision):
                break
            try:
                return await self._submit(request, {**message, "if_revision": revision})
            except RevisionConflict as conflict:
                # Somebody was faster: what is there now may fit all the same.
                value, revision = conflict.details["value"], conflict.details["revision"]
        raise PreconditionFailed(
            f"The key has revision {revision}.", key=message["key"], value=value, revision=revision
        )

    # Messages.

    async def message(self, request: web.Request) -> web.Response:
        self._check_rate(request)
        message = await read_object(request)
        wait_s = min(query_of(request.query, MessageQuery).wait, MAX_WAIT_S)
        if message.get("type") in _BY_ENTRANCE:
            return json_reply(await self._asked(request, message))
        if message.get("type") == commands.StateGet.type:
            return json_reply(await self._submit(request, message))
        key = request.headers.get("Idempotency-Key")
        if key and message.get("requestId") is None:
            # Stored with the record itself, so that a crash in between makes no second one.
            message["requestId"] = (
                key if len(key) <= protocol.MAX_REQUEST_ID else sha256(key.encode()).hexdigest()
            )

        session_id = request.match_info["session_id"]
        made: list[dict[str, Any]] = []

        async def make(store: Store) -> Memory:
            made.append(await self._submit(request, in_trace(message)))
            return _remembered(made[0])

        async def render(memory: Memory) -> web.Response:
            record = made[0] if made else await self._again(session_id, memory)
            return await self._answered(session_id, record, wait_s)

        return await self._idempotency.once(request, make, render)

    async def _again(self, session_id: str, memory: Memory) -> dict[str, Any]:
        """Return the answer to a message that was sent before."""
        if "seq" not in memory:
            return memory
        record = await self._sessions.record(session_id, memory["seq"])
        return memory | {"duplicate": True} if record is None else record

    async def _answered(
        self, session_id: str, record: dict[str, Any], wait_s: float
    ) -> web.Response:
        """Return the record, or the result of the call it is if one waits for that."""
        call = record.get("client_tool_call")
        if not wait_s or not isinstance(call, dict) or not call.get("expects_response", True):
            return json_reply(record)
        result = await self._sessions.waiting.result(session_id, call["tool_call_id"], wait_s)
        if result is None:
            return json_reply(record, status=202)
        again = {"duplicate": True} if record.get("duplicate") else {}
        return json_reply(result | again)

    async def _submit(self, request: web.Request, message: dict[str, Any]) -> dict[str, Any]:
        summary = await self._member(request)
        permissions.check_alive(summary)
        claims = request[CLAIMS]
        sender = Sender(
            _role(request, claims), claims.user, None, claims.device_id, claims.ref
        )
        try:
            return await self._sessions.submit(summary.session_id, message, sender)
        except CompanionError as error:
            error.details.setdefault("requestId", protocol.request_id_of(message))
            raise

    async def _asked(self, request: web.Request, message: dict[str, Any]) -> dict[str, Any]:
        """Do what leaves no record, and is never made twice by being asked twice."""
        summary = await self._member(request)
        permissions.check_alive(summary)
        claims: Claims = request[CLAIMS]
        _role(request, claims)
        command, request_id = protocol.decode(message)
        if isinstance(command, commands.TokenRenew):
            permissions.check_renewable(claims)
            token, renewed = await self._devices.renew(claims)
            expires_at_ms = self._sessions.clock.shown_ms(renewed.expires_at_ms)
            answer = {"type": "token_renewed", "token": token, "expires_at": expires_at_ms}
        elif isinstance(command, commands.PairingAnswer):
            if not permissions.may_manage(claims, summary):
                raise Forbidden("Only the session's owner answers a pairing.")
            await self._pairing.answer(summary.session_id, command.pairing_id, command.allow)
            answer = {"type": command.type, "pairing_id": command.pairing_id,
                      "allow": command.allow}  # fmt: skip
        else:
            answer = {"type": "pong"}
        named = {} if request_id is None else {"requestId": request_id}
        return {
            **answer,
            **named,
            "session_id": summary.session_id,
            "timestamp": self._sessions.now_ms(),
        }

    # Trail.

    async def trail(self, request: web.Request) -> web.Response:
        summary = await self._managed(request)
        return json_reply({"trail": await trail.read(self._sessions.store, summary.session_id)})

    # Permissions.

    def _check_rate(self, request: web.Request) -> None:
        claims: Claims = request[CLAIMS]
        self._rates.check(claims.device_id or claims.id, request.match_info["session_id"])

    async def _managed(self, request: web.Request) -> Summary:
        return await permissions.managed(self._sessions, request)

    async def _member(self, request: web.Request) -> Summary:
        return await permissions.member(self._sessions, request)


async def _shown_list(shown: AsyncIterator[dict[str, Any]], after: str | None) -> pieces.Pieces:
    yield b'{"sessions":'
    async for piece in pieces.array(shown):
        yield piece
    yield b"," + protocol.encode({"next": after})[1:]


def _role(request: web.Request, claims: Claims) -> permissions.Role:
    asked = query_of(request.query, RoleQuery).role or None
    return permissions.role_of(claims, asked, "acts")


def raw_state(state: dict[str, tuple[bytes, int]]) -> dict[str, dict[str, Any]]:
    """Return stored state as `{key: {"value": …, "revision": int}}`, the values as stored."""
    return {
        key: {"value": msgspec.Raw(value), "revision": revision}
        for key, (value, revision) in state.items()
    }


def _remembered(answer: dict[str, Any]) -> Memory:
    """Return what an answer is given again from: of a record where it stands, never its text."""
    if "seq" in answer:
        names: tuple[str, ...] = ("type", "seq", "revision", "session_id", "timestamp", "requestId")
    elif len(protocol.encode(answer)) <= MAX_REMEMBERED_BYTES:
        return answer
    else:
        names = ("type", "session_id", "timestamp", "requestId")
    return {name: answer[name] for name in names if name in answer}


def _cursor_text(summary: Summary) -> str:
    raw = protocol.encode([summary.created_at_ms, summary.session_id])
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _cursor(text: str) -> tuple[int, str] | None:
    if not text:
        return None
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        return msgspec.json.decode(raw, type=tuple[int, str])
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        raise BadRequest("cursor is the `next` of an earlier answer.") from None
