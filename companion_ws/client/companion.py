"""What a program uses of a session: say, ask, and hear, whatever the connection does meanwhile."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from contextlib import suppress
from dataclasses import fields
from ssl import SSLContext
from types import TracebackType
from typing import Any, Final, Literal, Self

import aiohttp

from companion_ws.client.incoming import Incoming
from companion_ws.client.invitation import Invitation
from companion_ws.client.known import KnownSession
from companion_ws.client.link import Link, Token
from companion_ws.client.notebook import session_html
from companion_ws.client.outgoing import (
    ANSWER_WITHIN_S,
    CompanionClosed,
    Outgoing,
    error_of,
    json_text,
)
from companion_ws.client.spans import span_of_call
from companion_ws.core.errors import InvalidMessage, TokenExpired, Unavailable
from companion_ws.core.text import label
from companion_ws.core.view import Message, View

Role = Literal["agent", "ui", "observer"]

SILENCE_S: Final = 5.0
"""Where nothing answers at all, entering says so after this."""

log = logging.getLogger(__name__)


class ToolFailed(Exception):
    """A tool answered with an error; `result` is its parsed result."""

    def __init__(self, tool_name: str, result: Any) -> None:
        super().__init__(f"{tool_name}: {result}")
        self.tool_name = tool_name
        self.result = result


class CompanionClient(KnownSession):
    """One member of a session, as agent, screen or observer.

    `url` is the server's (`http://localhost:8000`); `token` a token, or a function
    that fetches one and is asked again when it has expired. Without `session_id` a
    session is made. `after` asks for the records after that one first. `tools`
    are the tool names a screen answers (none: any); `device` is what others see. `ssl`
    says whose certificate is believed, where no authority of this system signed it: an
    `ssl.SSLContext`, or the `aiohttp.Fingerprint` of that one certificate.

    A command that has no answer after `answer_within_s` fails (`Unavailable`), also
    while the server is away; a tool call has its own time on top.

    Entering connects and waits for the session; afterwards the client reconnects by
    itself until it is left or the server says not to. Everything lives on the event loop
    that entered it; a program without one uses `SyncCompanionClient`.

    Raises (entering):
        CompanionClosed: the server refuses this client for good.
        ConnectionError: nothing at all answered within 5 s, or there was no session
            within `open_timeout_s`.
    """

    def __init__(
        self,
        url: str,
        *,
        token: Token,
        session_id: str | None = None,
        role: Role | None = "agent",
        device: str | None = None,
        tools: Iterable[str] = (),
        after: int | None = None,
        open_timeout_s: float = 20.0,
        answer_within_s: float = ANSWER_WITHIN_S,
        ssl: SSLContext | aiohttp.Fingerprint | None = None,
    ) -> None:
        self._url = re.sub(r"^ws(s?)://", r"http\1://", url.rstrip("/"))
        self._token = token
        self._joining = {
            "session_id": session_id,
            "role": role,
            "device": label(device) if device is not None else None,
            "tools": ",".join(tools) or None,
            "ordered": 1,
        }
        self._open_timeout_s = open_timeout_s
        self._ssl = ssl
        self._incoming = Incoming(after, self._log_after)
        self._outgoing = Outgoing(answer_within_s)
        self._invitation: Invitation | None = None
        self._is_left = False
        self._company: set[asyncio.Task[None]] = set()

    # Coming and going.

    async def __aenter__(self) -> Self:
        self.loop = asyncio.get_running_loop()
        self._http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=self._ssl or True))
        self._link = Link(
            self._url, self._token, self._joining, self._http, self._incoming, self._outgoing
        )
        self._task = self.loop.create_task(self._live(), name="companion-client")
        try:
            await self._wait_for_the_session()
        except TimeoutError:
            await self.close()
            raise ConnectionError(f"No session at {self._url}: {self._link.trouble}.") from None
        except BaseException:
            await self.close()
            raise
        return self

    async def _wait_for_the_session(self) -> None:
        async with asyncio.timeout(self._open_timeout_s):
            joining = asyncio.ensure_future(self._incoming.wait_for(lambda: bool(self.joined)))
            try:
                await asyncio.wait([joining], timeout=SILENCE_S)
                if not joining.done() and not self._link.has_met_anybody:
                    # Nobody waits long to hear that nothing answers at all.
                    raise TimeoutError
                await joining
            finally:
                joining.cancel()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Leave the session; what was not acknowledged by now is given up.

        What accompanies the client ends first.
        """
        self._is_left = True
        company = list(self._company)
        for task in [*company, self._task]:
            task.cancel()
        await asyncio.gather(*company, return_exceptions=True)
        with suppress(asyncio.CancelledError):
            await self._task
        await self._http.close()

    def accompany(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` on the client's loop until it ends by itself or the client is left."""
        task = self.loop.create_task(work)
        self._company.add(task)
        task.add_done_callback(self._company.discard)
        return task

    async def _live(self) -> None:
        closed = CompanionClosed(1000, "the client left")
        try:
            closed = await self._link.stay()
        except Exception as error:
            log.exception("The client failed")
            closed = CompanionClosed(None, f"the client failed: {error!r}")
        finally:
            self._incoming.end(closed, is_left=self._is_left)
            self._outgoing.end(closed)

    # What it knows.

    @property
    def is_connected(self) -> bool:
        """Whether the connection stands at this moment."""
        return self._incoming.is_connected

    @property
    def invitation(self) -> Invitation | None:
        """What `pair` gave last, as long as it lets somebody in."""
        newest = self._invitation
        return newest if newest is not None and newest.is_good else None

    def _heard(self) -> View:
        return self._incoming.view

    def _repr_html_(self) -> str:
        """In a notebook: the session as of now, and the way in that `pair` gave last."""
        return session_html(self, self.invitation, is_connected=self.is_connected)

    # What it can say.

    async def contextual_update(
        self,
        text: str,
        data: Any = None,
        *,
        ui: Mapping[str, Any] | None = None,
        context_id: str | None = None,
        labels: Mapping[str, str] | None = None,
        locked: bool | None = None,
    ) -> Message:
        """Tell everyone in the session; return the record once it is stored.

        An update with a `context_id` replaces the card of the one before it; `locked` closes its
        choice, and without `data` and `ui` leaves the card. `labels` names keys of `data` in the
        person's language.
        """
        return await self._ask(
            "contextual_update",
            text=text,
            data=data,
            ui=ui,
            context_id=context_id,
            labels=labels,
            locked=locked,
        )

    async def set_state(self, key: str, value: Any, if_revision: int | None = None) -> Message:
        """Set a key; return its `state_updated` record.

        Raises:
            RevisionConflict: `if_revision` (0: only if absent) does not hold;
                `details` are the current `value` and `revision`.
        """
        command: Message = {"type": "state_update", "key": key, "value": value}
        return _answer(await self.send(_with(command, if_revision=if_revision)))

    async def delete_state(self, key: str, if_revision: int | None = None) -> Message:
        """Remove a key; return its `state_deleted` record.

        Raises:
            RevisionConflict: as `set_state`.
        """
        return await self._ask("state_delete", key=key, if_revision=if_revision)

    async def get_state(self, key: str | None = None) -> Any:
        """Ask the server: the value of `key` (None where absent), or all values by key."""
        answer = await self._ask("state_get", key=key)
        values = {name: entry["value"] for name, entry in answer["state"].items()}
        return values if key is None else values.get(key)

    async def user_message(
        self, text: str, in_reply_to: str | None = None, result: Any = None
    ) -> Message:
        """Say something as the person; return the record.

        With `result` a screen changes its answer to the question `in_reply_to`: the new one, as
        `answer_tool` takes it, is told to the agent; the recorded result stays.
        """
        changed = result if result is None or isinstance(result, str) else json_text(result)
        return await self._ask("user_message", text=text, in_reply_to=in_reply_to, result=changed)

    async def call_tool(
        self, tool_name: str, /, *, timeout_ms: int | None = None, **parameters: Any
    ) -> Any:
        """Call a server tool or ask the screens; return the parsed result.

        There is one within `timeout_ms` (server default 18,000) of the call being stored, also
        when no screen is there: `{"status": "no_screen", "say": "…", …}`.

        Raises:
            ToolFailed: the result says `is_error`.
        """
        record = await self.call(tool_name, parameters, timeout_ms=timeout_ms)
        result = _parsed(record["result"])
        if record["is_error"]:
            raise ToolFailed(tool_name, result)
        return result

    async def call(
        self,
        tool_name: str,
        parameters: Mapping[str, Any],
        *,
        tool_call_id: str | None = None,
        timeout_ms: int | None = None,
        traceparent: str | None = None,
    ) -> Message:
        """Call a tool; return the `client_tool_result` record.

        The same `tool_call_id` is one call, however often it is made. `traceparent` names the
        trace that it belongs to; in a program that uses OpenTelemetry it is a span of its own in
        the current one.
        """
        call_id = tool_call_id or uuid.uuid4().hex
        call = {"tool_name": tool_name, "tool_call_id": call_id, "parameters": parameters}
        with span_of_call(self.session_id, tool_name, call_id, traceparent) as traced:
            record = await self._outgoing.call(
                call_id, _with(call, timeout_ms=timeout_ms), traced.traceparent
            )
            traced.ended(record)
        return record

    def let_go(self, tool_call_id: str) -> None:
        """Say that whoever made this call goes on without its result; `call` still waits."""
        self._outgoing.let_go(tool_call_id)

    def was_claimed(self, tool_call_id: str) -> bool:
        """Whether a call's result went to somebody who waited for it by `call` or `call_tool`."""
        return self._outgoing.was_claimed(tool_call_id)

    async def answer_tool(self, tool_call_id: str, result: Any, is_error: bool = False) -> Message:
        """Answer a call, as a screen does; what is not a string is sent as its JSON text.

        Returns the `client_tool_result` record, or `user_message` where the agent had been
        released before.

        Raises:
            ToolClosed: somebody was first.
        """
        text = result if isinstance(result, str) else json_text(result)
        return await self._ask(
            "client_tool_result",
            tool_call_id=tool_call_id,
            result=text,
            is_error=is_error,
            traceparent=self._incoming.view.calls.get(tool_call_id, {}).get("traceparent"),
        )

    async def cancel_tool(self, tool_call_id: str) -> Message:
        """Withdraw a call of this agent's."""
        return await self._ask("client_tool_cancel", tool_call_id=tool_call_id)

    async def send(self, command: Mapping[str, Any]) -> Message | None:
        """Send any command; return what the server answers, None for what it only passes on.

        A record comes once it is stored. An answer that says `duplicate` counts like the first.

        Raises:
            CompanionError: what the server answered, by its code.
            CompanionClosed: the session cannot be reached any more.
        """
        return await self._outgoing.say(command)

    async def pair(self, ttl_s: int | None = None) -> Invitation:
        """Open a pairing for this session: a link and a code for a phone.

        A link that is to be sent, with `ttl_s`, comes without a code: `code` is "" then.

        Raises:
            CompanionError: the server refused, by its code.
        """
        body = {} if ttl_s is None else {"ttl_s": ttl_s}
        answer = await self.http("POST", f"/sessions/{self.session_id}/pairings", body)
        named = {field.name: answer[field.name] for field in fields(Invitation)}
        code = {"code": named["code"] or "", "code_expires_at": named["code_expires_at"] or 0}
        self._invitation = Invitation(**named | code)
        return self._invitation

    async def http(self, method: str, path: str, body: Any = None) -> Any:
        """Use a route of the server with this client's token; return the JSON it answers.

        Raises:
            CompanionError: the problem it answered, by its code.
            Unavailable: the server could not be reached.
        """
        try:
            return await self._http_once(method, path, body)
        except TokenExpired:
            if not await self._link.fetch_token():
                raise
            return await self._http_once(method, path, body)

    async def _http_once(self, method: str, path: str, body: Any) -> Any:
        headers = {"Authorization": f"Bearer {self._link.token}"}
        try:
            async with self._http.request(
                method, self._url + path, json=body, headers=headers
            ) as response:
                answer = await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise Unavailable(f"{method} {path}: {error}") from error
        if response.status >= 400:
            problem = answer if isinstance(answer, dict) else {}
            raise error_of(problem.get("code"), problem.get("detail") or response.reason or "", {})
        return answer

    # What it hears.

    def records(self) -> AsyncIterator[Message]:
        """Yield every record from the first join on, in order, each once.

        Own records are among them. A client that was away for so long that the
        server's log was trimmed goes on from the snapshot (`joined["recovery"]` says so).

        Raises:
            SlowConsumer: this reader fell behind what the server still has.
            CompanionClosed: the server ended it; all records before were yielded.
        """
        return self._incoming.records()

    def messages(self) -> AsyncIterator[Message]:
        """Yield every message from now on as it arrives, records and others, repeats included.

        Raises:
            SlowConsumer: this reader fell ten thousand messages behind.
            CompanionClosed: the server ended it.
        """
        return self._incoming.messages()

    async def wait_for_screen(self, timeout: float | None = None) -> Message:
        """Wait until a screen is connected; return its presence entry.

        Raises:
            TimeoutError: none came within `timeout` seconds.
        """
        await self.wait_until(lambda companion: bool(companion.screens), timeout)
        return self.screens[0]

    async def wait_until(
        self, holds: Callable[[CompanionClient], bool], timeout: float | None = None
    ) -> None:
        """Wait until `holds(self)`, asked after everything that arrives.

        Raises:
            TimeoutError: it did not within `timeout` seconds.
            CompanionClosed: it is over, and it does not hold.
        """
        async with asyncio.timeout(timeout):
            await self._incoming.wait_for(lambda: holds(self))

    async def _ask(self, kind: str, **given: Any) -> Message:
        return _answer(await self.send(_with({"type": kind}, **given)))

    async def _log_after(self, after: int, limit: int) -> list[Message]:
        path = f"/sessions/{self.session_id}/records?after={after}&limit={limit}"
        records: list[Message] = (await self.http("GET", path))["records"]
        return records


def _with(command: Message, **optional: Any) -> Message:
    return {**command, **{name: value for name, value in optional.items() if value is not None}}


def _answer(answer: Message | None) -> Message:
    if answer is None:
        raise InvalidMessage("This command has no answer.")
    return answer


def _parsed(result: str) -> Any:
    try:
        return json.loads(result)
    except ValueError:
        return result
