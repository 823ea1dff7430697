"""Members of a session who send at random, through every door, and keep all that they hear.

A member reads over a WebSocket or an event stream and resumes after the last record it had.
It sends over its socket or over HTTP, repeats what nobody answered under the same id, now and
then under a new one, and now and then what was answered long ago. What it sends and hears goes
into a `witness.History`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
from witness import Attempt, History, Look, Message, Sent, Visit, state_of

SILENCE_S: Final = 1.5
"""A member that hears nothing for so long connects again."""
PATIENCE_S: Final = 3.0
"""How long an answer over HTTP is waited for, where a history says nothing else."""
BROKEN: Final = (OSError, aiohttp.ClientError, TimeoutError, ValueError)
"""What a road does to a request or a connection; a cut off body is no JSON."""
KEYS: Final = "abcd"


@dataclass(slots=True)
class Stage:
    """What all members of a history share."""

    http: aiohttp.ClientSession
    urls: Sequence[str]
    """Of the roads they take, one or another each time."""
    headers: dict[str, str]
    session_id: str
    rng: random.Random
    patience_s: float = PATIENCE_S
    history: History = field(default_factory=History)
    calls: list[str] = field(default_factory=list)
    """The ids of the calls somebody has sent."""
    number: int = 0

    def now_s(self) -> float:
        return asyncio.get_running_loop().time()

    @property
    def url(self) -> str:
        return self.rng.choice(self.urls)

    @property
    def path(self) -> str:
        return f"{self.url}/sessions/{self.session_id}"


class Member:
    """One agent or screen, or somebody who only watches."""

    def __init__(self, stage: Stage, name: str, role: str, door: str, rng: random.Random) -> None:
        self.stage, self.name, self.role, self.door, self.rng = stage, name, role, door, rng
        self.position: int | None = None
        self.epoch = ""
        self.own: list[Sent] = []
        self.revisions: dict[str, int] = {}
        self.asked: list[str] = []
        """Calls this member has heard of."""

    @property
    def open(self) -> list[Sent]:
        """What nobody has answered yet."""
        return [sent for sent in self.own if not sent.is_settled]

    # A life: visits, one after the other.

    async def live(self) -> None:
        """Come and go until cancelled."""
        while True:
            with contextlib.suppress(*BROKEN):
                await self._visit()
            await asyncio.sleep(self.rng.uniform(0, 0.1))

    async def _visit(self) -> None:
        async with self._joined() as line:
            reading = asyncio.create_task(line.read())
            sending = asyncio.create_task(self._send_on(line))
            try:
                await asyncio.wait({reading, sending}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (reading, sending):
                    task.cancel()
                await asyncio.gather(reading, sending, return_exceptions=True)
            for task in (reading, sending):
                fault = None if task.cancelled() else task.exception()
                if fault is not None and not isinstance(fault, BROKEN):
                    raise fault

    async def stay_until(self, seq: int) -> None:
        """Read on from where this member is to that record; it is the last visit."""
        async with asyncio.timeout(60):
            while True:
                with contextlib.suppress(*BROKEN):
                    async with self._joined() as line:
                        while (self.position or 0) < seq:
                            if not await line.next():
                                break
                        else:
                            line.visit.is_last = True
                            return
                await asyncio.sleep(0.1)

    @asynccontextmanager
    async def _joined(self) -> AsyncIterator[_Line]:
        visit = Visit(self.name, self.door, self.position)
        self.stage.history.visits.append(visit)
        line: _Line = _Stream(self, visit) if self.door == "stream" else _Socket(self, visit)
        try:
            await line.open()
            yield line
        finally:
            await line.close()

    # What it sends.

    async def _send_on(self, line: _Line) -> None:
        while self.role != "observer":
            await asyncio.sleep(self.rng.uniform(0, 0.1))
            dice = self.rng.random()
            if dice < 0.03:
                return
            if dice < 0.08:
                await self.look(line)
                continue
            burst = [self._something() for _ in range(self.rng.choice((1, 1, 1, 4, 10)))]
            if line.can_send and self.rng.random() < 0.8:
                for sent in burst:
                    await line.send(sent)
            else:
                await asyncio.gather(*(self.post(sent) for sent in burst))
        await asyncio.sleep(self.rng.uniform(0.2, 3))

    def _something(self) -> Sent:
        """Return what to send: something new, or once more what was sent before."""
        rng, unanswered = self.rng, self.open
        if unanswered and (len(unanswered) > 8 or rng.random() < 0.25):
            sent = rng.choice(unanswered)
            return self._new(sent.message) if rng.random() < 0.2 else sent
        if self.own and rng.random() < 0.1:
            return rng.choice(self.own)
        return self._new(self._anything())

    def _new(self, message: Message) -> Sent:
        # Counted within the role: an agent and a screen use the same ids for other things.
        number = sum(1 for role, _ in self.stage.history.sent if role == self.role) + 1
        sent = Sent(self.role, f"r{number}", message)
        self.stage.history.sent[self.role, sent.request_id] = sent
        self.own.append(sent)
        return sent

    def _anything(self) -> Message:
        rng = self.rng
        self.stage.number += 1
        number, key = self.stage.number, rng.choice(KEYS)
        # Mostly the revision it has seen, so that several who have seen it race for it.
        seen = self.revisions.get(key, 0) if rng.random() < 0.85 else rng.randrange(50)
        choices: list[Message] = [
            {"type": "contextual_update", "text": f"text {number}", "data": {"n": [number, None]}},
            {"type": "state_update", "key": key, "value": {"number": number}},
            {"type": "state_update", "key": key, "value": number, "if_revision": seen},
            {"type": "state_update", "key": key, "value": number, "if_revision": seen},
            {"type": "state_delete", "key": key},
            {"type": "state_delete", "key": key, "if_revision": seen},
            {"type": "user_message", "text": f"said {number}"},
            self._call() if self.role == "agent" else self._answer(),
            self._cancel() if self.role == "agent" else self._answer(),
            self._call() if self.role == "agent" else self._answer(),
        ]
        return rng.choice(choices)

    def _call(self) -> Message:
        rng, stage = self.rng, self.stage
        call_id = f"call {stage.number}"
        parameters = {"title": f"Which of {stage.number}?"}
        if stage.calls and rng.random() < 0.15:
            call_id = rng.choice(stage.calls)  # taken, by another question
        else:
            stage.calls.append(call_id)
        call = {"tool_name": "ask", "tool_call_id": call_id, "parameters": parameters,
                "timeout_ms": rng.choice((1000, 1000, 2000)),
                "expects_response": rng.random() < 0.85}  # fmt: skip
        return {"type": "client_tool_call", "client_tool_call": call}

    def _answer(self) -> Message:
        result = json.dumps({"id": f"answer {self.stage.number}"})
        return {"type": "client_tool_result", "tool_call_id": self._some_call(), "result": result}

    def _cancel(self) -> Message:
        return {"type": "client_tool_cancel", "tool_call_id": self._some_call()}

    def _some_call(self) -> str:
        # Mostly one of the newest, for which others race.
        known = self.asked[-3:] if self.rng.random() < 0.8 else self.stage.calls
        return self.rng.choice(known or self.stage.calls or ["call 0"])

    async def post(self, sent: Sent) -> None:
        """Send it over HTTP and wait for the answer."""
        attempt = Attempt(self.stage.now_s(), "http")
        sent.attempts.append(attempt)
        params = {"role": self.role}
        if sent.message["type"] == "client_tool_call" and self.rng.random() < 0.3:
            params["wait"] = "1"
        body = {**sent.message, "requestId": sent.request_id}
        with contextlib.suppress(*BROKEN):
            status, answer = await self._ask("POST", "/messages", json=body, params=params)
            if status >= 400:
                answer = {**answer, "type": "error"}
            attempt.hear(self.stage.now_s(), answer)

    async def look(self, line: _Line | None = None) -> None:
        """Ask for the state."""
        if line is not None and line.can_send and self.rng.random() < 0.5:
            await line.ask()
            return
        asked_s = self.stage.now_s()
        with contextlib.suppress(*BROKEN):
            status, shown = await self._ask("GET", "/state")
            if status == 200:
                told_s = self.stage.now_s()
                self.stage.history.looks.append(Look(asked_s, told_s, state_of(shown)))

    async def read_pages(self, limit: int) -> None:
        """Read the whole log as JSON pages; kept as a visit that stayed to the end."""
        visit = Visit(self.name, "pages", 0)
        after: int | None = 0
        while after is not None:
            status, page = await self._ask(
                "GET", "/records", params={"after": str(after), "limit": str(limit)}
            )
            assert status == 200, page
            at_s = self.stage.now_s()
            visit.told += [
                (at_s, json.dumps(each, ensure_ascii=False, separators=(",", ":")))
                for each in page["records"]
            ]
            after = page["next"]
        status, state = await self._ask("GET", "/state")
        assert status == 200, state
        # A page shows no join: what else that would show is asked for.
        calls = [json.loads(text) for _, text in visit.told]
        visit.joined = {"seq": len(calls), "recovery": "replay", "state": state,
                        "open_calls": None}  # fmt: skip
        visit.joined_s, visit.is_last = self.stage.now_s(), True
        self.stage.history.visits.append(visit)

    async def _ask(self, method: str, path: str, **more: Any) -> tuple[int, Any]:
        timeout = aiohttp.ClientTimeout(total=self.stage.patience_s)
        stage = self.stage
        async with stage.http.request(
            method, stage.path + path, headers=stage.headers, timeout=timeout, **more
        ) as answer:
            return answer.status, json.loads(await answer.text())

    # What it hears.

    def heard(self, visit: Visit, text: str) -> Message:
        """Take a message that came; return it."""
        message: Message = json.loads(text)
        at_s = self.stage.now_s()
        if message["type"] == "session_joined":
            visit.joined_s, visit.joined = at_s, message
            self.epoch = message["epoch"]
            self.revisions = {key: each["revision"] for key, each in message["state"].items()}
            if visit.after is None:
                self.position = message["seq"]
        elif message.get("duplicate"):
            visit.repeats.append((at_s, message))
        elif "seq" in message:
            visit.told.append((at_s, text))
            self.position = message["seq"]
            if message["type"] == "state_updated":
                self.revisions[message["key"]] = message["revision"]
            elif message["type"] == "state_deleted":
                self.revisions.pop(message["key"], None)
            elif message["type"] == "client_tool_call":
                self.asked.append(message["client_tool_call"]["tool_call_id"])
        return message


class _Line(ABC):
    """One connection on which a member hears; nothing is sent on a stream."""

    can_send = False

    def __init__(self, member: Member, visit: Visit) -> None:
        self.member, self.visit, self.stage = member, visit, member.stage

    @abstractmethod
    async def open(self) -> None:
        """Begin to hear."""

    @abstractmethod
    async def close(self) -> None:
        """Hear no more."""

    @abstractmethod
    async def next(self) -> bool:
        """Hear the next message; False at the end."""

    async def read(self) -> None:
        while await self.next():
            continue


class _Socket(_Line):
    """A WebSocket."""

    can_send = True

    def __init__(self, member: Member, visit: Visit) -> None:
        super().__init__(member, visit)
        self._waiting: defaultdict[str, list[tuple[Sent, Attempt]]] = defaultdict(list)
        self._looks: dict[str, float] = {}
        self._ws: aiohttp.ClientWebSocketResponse | None = None

    async def open(self) -> None:
        params = {"session_id": self.stage.session_id, "role": self.member.role, "strict": "1"}
        if self.visit.after is not None:
            params |= {"after": str(self.visit.after), "epoch": self.member.epoch}
        async with asyncio.timeout(self.stage.patience_s):
            self._ws = await self.stage.http.ws_connect(
                f"{self.stage.url}/ws", params=params, headers=self.stage.headers, max_msg_size=0,
                timeout=aiohttp.ClientWSTimeout(ws_close=0.5),
            )  # fmt: skip
            if not await self.next():
                raise ConnectionResetError("closed before it joined")

    async def close(self) -> None:
        if self._ws is None:
            return
        if self.member.rng.random() < 0.7:
            connection = self._ws._response.connection
            if connection is not None and connection.transport is not None:
                connection.transport.abort()
        with contextlib.suppress(*BROKEN):
            await self._ws.close()

    async def send(self, sent: Sent) -> None:
        assert self._ws is not None
        attempt = Attempt(self.stage.now_s(), "socket")
        sent.attempts.append(attempt)
        self._waiting[sent.request_id].append((sent, attempt))
        await self._ws.send_str(json.dumps({**sent.message, "requestId": sent.request_id}))

    async def ask(self) -> None:
        assert self._ws is not None
        request_id = f"look {len(self._looks)}"
        self._looks[request_id] = self.stage.now_s()
        await self._ws.send_str(json.dumps({"type": "state_get", "requestId": request_id}))

    async def next(self) -> bool:
        assert self._ws is not None
        async with asyncio.timeout(SILENCE_S):
            frame = await self._ws.receive()
        if frame.type is not aiohttp.WSMsgType.TEXT:
            return False
        message = self.member.heard(self.visit, frame.data)
        self._settle(message)
        return True

    def _settle(self, message: Message) -> None:
        """Give an answer to the oldest attempt on this connection that it is for."""
        request_id = message.get("requestId", "")
        if message["type"] == "state_snapshot":
            look = Look(self._looks[request_id], self.stage.now_s(), state_of(message["state"]))
            self.stage.history.looks.append(look)
            return
        if message["type"] == "error" and request_id in self._looks:
            return
        joined = self.visit.joined
        is_own = joined is not None and (
            message.get("sender", {}).get("connection_id") == joined["connection_id"]
        )
        if not (is_own or message.get("duplicate") or message["type"] == "error"):
            return
        if message.get("sender", {}).get("role", self.member.role) != self.member.role:
            return  # The result of a call that was repeated: its id is one of who answered it.
        if not self._waiting[request_id] and message["type"] == "client_tool_call":
            # A call sent under another id is answered with the record of the first.
            request_id = self._id_of_call(message["client_tool_call"])
        if self._waiting[request_id]:
            _, attempt = self._waiting[request_id].pop(0)
            attempt.hear(self.stage.now_s(), message)

    def _id_of_call(self, call: Message) -> str:
        for request_id, waiting in self._waiting.items():
            asked = waiting[0][0].message.get("client_tool_call") if waiting else None
            if asked is not None and asked["tool_call_id"] == call["tool_call_id"]:
                return request_id
        return ""


class _Stream(_Line):
    """Server-sent events."""

    _answer: aiohttp.ClientResponse | None = None

    async def open(self) -> None:
        headers = {**self.stage.headers, "Accept": "text/event-stream"}
        params = {"role": self.member.role}
        if self.visit.after is not None:
            if self.member.rng.random() < 0.5:
                headers["Last-Event-ID"] = f"{self.member.epoch}:{self.visit.after}"
            else:
                params |= {"after": str(self.visit.after), "epoch": self.member.epoch}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self.stage.patience_s)
        async with asyncio.timeout(self.stage.patience_s):
            self._answer = await self.stage.http.get(
                f"{self.stage.path}/records", params=params, headers=headers, timeout=timeout
            )
            if self._answer.status != 200 or not await self.next():
                raise ConnectionResetError("closed before it joined")

    async def close(self) -> None:
        if self._answer is not None:
            self._answer.close()

    async def next(self) -> bool:
        assert self._answer is not None
        event: dict[str, str] = {}
        async with asyncio.timeout(SILENCE_S):
            while True:
                line = await self._answer.content.readline()
                if not line.endswith(b"\n"):
                    return False  # cut off in a line: what there is of it does not count
                text = line.decode().rstrip("\r\n")
                if not text and "data" in event:
                    break
                name, _, value = text.partition(": ")
                if name:
                    event[name] = value
        message = self.member.heard(self.visit, event["data"])
        if "seq" in message and message["type"] != "session_joined":
            assert event["id"] == f"{self.member.epoch}:{message['seq']}", event
        return True



def members(stage: Stage, rng: random.Random) -> list[Member]:
    """Return two agents, two screens and two who watch; each reads by another door."""
    cast = [
        ("an agent", "agent", "socket"), ("another agent", "agent", "stream"),
        ("a screen", "ui", "socket"), ("another screen", "ui", "stream"),
        ("a watcher", "observer", "socket"), ("another watcher", "observer", "stream"),
    ]  # fmt: skip
    return [Member(stage, *who, random.Random(rng.random())) for who in cast]
