"""A phone for tests: pairs like one, answers like the person who holds it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

import aiohttp

from companion_ws.client import CompanionClient, CompanionClosed
from companion_ws.core.companion_tools import CHOOSE, CONFIRM, FORM, option_name
from companion_ws.core.text import label
from companion_ws.core.tool_calls import status_of

from .inbox import WAIT_S

Record = dict[str, Any]


class Phone:
    """A paired screen with a person.

    Each answer waits for its question: the oldest open one of the right kind.
    """

    def __init__(self, client: CompanionClient, timeout_s: float = WAIT_S) -> None:
        self.client = client
        self._timeout_s = timeout_s
        self._answered: set[str] = set()
        self._log: list[Record] = []
        self._news = asyncio.Condition()
        self._reading: asyncio.Task[None] | None = None

    @classmethod
    async def pair(
        cls,
        url: str,
        code: str,
        *,
        device: str = "Test phone",
        tools: Iterable[str] = (),
        timeout_s: float = WAIT_S,
    ) -> Phone:
        """Type a pairing code (or follow a link's ticket), once; return the phone, to be entered."""
        by = "code" if code.replace(" ", "").isdigit() else "ticket"
        async with aiohttp.ClientSession() as http:
            async with http.post(f"{url}/pair", json={by: code, "device": label(device)}) as answer:
                body = await answer.json()
                if answer.status != 201:
                    raise ConnectionRefusedError(f"HTTP {answer.status}: {body}")
        client = CompanionClient(
            url,
            token=body["token"],
            session_id=body["session_id"],
            role="ui",
            device=device,
            tools=tools,
            after=0,
        )
        return cls(client, timeout_s)

    async def __aenter__(self) -> Self:
        await self.client.__aenter__()
        self._reading = asyncio.create_task(self._read(), name="phone")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._reading is not None:
            self._reading.cancel()
        await self.client.__aexit__(kind, error, traceback)

    # What the person sees.

    async def sees(self, text: str) -> Record:
        """Wait for the contextual update with this text; return its record."""

        def shown() -> Record | None:
            updates = (record for record in self._log if record["type"] == "contextual_update")
            return next((record for record in updates if record["text"] == text), None)

        return await self._wait_for(shown)

    async def question(self, tool_name: str | None = None) -> Record:
        """Wait for the oldest open question (of this tool); return its `client_tool_call`."""

        def asked() -> Record | None:
            questions = self._open_questions()
            return next((q for q in questions if tool_name in (None, q["tool_name"])), None)

        return await self._wait_for(asked)

    # What the person does.

    async def choose(self, *ids: str) -> Record:
        """Tap an option of the open choice, several where several may be chosen."""
        asked = await self.question(CHOOSE.name)
        parameters = asked["parameters"]
        options = dict(filter(None, map(option_name, parameters["options"])))
        missing = [id for id in ids if id not in options]
        if missing or not ids:
            raise LookupError(f"{missing or 'nothing'} is not among {list(options)}")
        if parameters.get("multiple"):
            labels = [options[id] for id in ids]
            result = {"status": "chosen", "ids": list(ids), "labels": labels}
        else:
            result = {"status": "chosen", "id": ids[0], "label": options[ids[0]]}
        return await self._answer(asked, result)

    async def submit(self, **values: Any) -> Record:
        """Fill in and submit the open form."""
        asked = await self.question(FORM.name)
        return await self._answer(asked, {"status": "submitted", "values": values})

    async def confirm(self) -> Record:
        """Confirm what the open question asks."""
        return await self._answer(await self.question(CONFIRM.name), {"status": "confirmed"})

    async def decline(self) -> Record:
        """Decline what the open question asks."""
        return await self._answer(await self.question(CONFIRM.name), {"status": "declined"})

    async def answer(self, tool_name: str, result: Any) -> Record:
        """Answer the open question of a tool of your own."""
        return await self._answer(await self.question(tool_name), result)

    async def tap(self, key: str, value: Any, text: str) -> Record:
        """Choose on a card: the state key is set and a sentence goes to the agent."""
        await self.client.set_state(key, value)
        return await self.client.user_message(text)

    async def say(self, text: str) -> Record:
        """Type a message to the agent."""
        return await self.client.user_message(text)

    async def shows(self, text: str) -> None:
        """Let the agent know what this screen shows."""
        await self.client.send({"type": "screen", "text": text})

    # Inside.

    async def _answer(self, asked: Record, result: Any) -> Record:
        self._answered.add(asked["tool_call_id"])
        return await self.client.answer_tool(asked["tool_call_id"], result)

    def _open_questions(self) -> Iterable[Record]:
        """Yield what is open, oldest first, as far as this client has heard."""
        closed, asked = set(self._answered), {}
        for record in self._log:
            kind = record["type"]
            if kind == "client_tool_call" and record["handled_by"] == "screens":
                asked[record["client_tool_call"]["tool_call_id"]] = record["client_tool_call"]
            elif kind == "client_tool_cancel" or (kind == "user_message" and "result" in record):
                closed.add(record.get("tool_call_id") or record["in_reply_to"])
            elif kind == "client_tool_result" and not _leaves_open(record):
                closed.add(record["tool_call_id"])
        return [call for id, call in asked.items() if id not in closed]

    async def _read(self) -> None:
        try:
            async for record in self.client.records():
                async with self._news:
                    self._log.append(record)
                    self._news.notify_all()
        except CompanionClosed:
            return

    async def _wait_for(self, found: Callable[[], Record | None]) -> Record:
        async with asyncio.timeout(self._timeout_s), self._news:
            while (record := found()) is None:
                await self._news.wait()
            return record


def _leaves_open(record: Record) -> bool:
    return record["answered_by"] == "server" and status_of(record["result"]) in (
        "no_screen",
        "no_answer",
    )


def parsed(record: Record) -> Any:
    """Return the result of a `client_tool_result` record, read as JSON."""
    return json.loads(record["result"])
