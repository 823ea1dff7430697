"""OpenAI as far as agents need it, on this machine: chat completions, Responses, Realtime.

It is strict about what the real one refuses, and answers what a test's script says.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from aiohttp import WSMsgType, web

Ask = tuple[str, Any]
"""Name and arguments (an object, or text as the model writes it) of a tool it calls."""
Script = Callable[[str, str], str | Ask]
"""What the model answers to the role and text of what was said last."""


class Refused(Exception):
    """The real one would answer 400."""


class FakeOpenAI:
    """A running fake; `read` is what its model read last, one entry for each request."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.read: list[tuple[str, str]] = []
        self.contexts: list[list[tuple[str, str]]] = []
        self.refusals: list[str] = []
        self.sockets: list[web.WebSocketResponse] = []
        self.speak: asyncio.Event = asyncio.Event()
        self.speak.set()
        self._numbers = itertools.count(1)
        app = web.Application()
        app.router.add_post("/v1/responses", self._responses)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/realtime", self._realtime)
        self._runner = web.AppRunner(app, shutdown_timeout=1)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for socket in self.sockets:
            await socket.close()
        await self._runner.cleanup()
        if error is None:
            assert self.refusals == []

    @property
    def turns(self) -> list[str]:
        return [text for role, text in self.read if role == "user"]

    def _answer(self, context: list[tuple[str, str]]) -> tuple[int, str | tuple[str, str]]:
        self.contexts.append(context)
        self.read.append(context[-1])
        reply = self.script(*context[-1])
        if isinstance(reply, str):
            return next(self._numbers), reply
        name, arguments = reply
        text = arguments if isinstance(arguments, str) else json.dumps(arguments)
        return next(self._numbers), (name, text)

    def _refuse(self, why: str) -> web.Response:
        self.refusals.append(why)
        return web.json_response({"error": {"message": why, "type": "invalid_request"}}, status=400)

    # Responses.

    async def _responses(self, request: web.Request) -> web.Response:
        body = await request.json()
        try:
            for tool in body.get("tools", []):
                _check_tool(tool)
            context = _response_context(body["input"])
        except (Refused, KeyError) as why:
            return self._refuse(str(why))
        number, reply = self._answer(context)
        if isinstance(reply, str):
            content = [{"type": "output_text", "text": reply, "annotations": []}]
            item = {"type": "message", "role": "assistant", "content": content}
        else:
            name, arguments = reply
            item = {"type": "function_call", "call_id": f"call_{number}", "name": name, "arguments": arguments}
        item |= {"id": f"item_{number}", "status": "completed"}
        tokens = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2,
                  "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
                  "output_tokens_details": {"reasoning_tokens": 0}}  # fmt: skip
        return web.json_response(
            {"id": f"resp_{number}", "object": "response", "created_at": 1, "model": "fake",
             "status": "completed", "output": [item], "parallel_tool_calls": True,
             "tool_choice": "auto", "tools": [], "usage": tokens}
        )  # fmt: skip

    # Chat completions, streamed.

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        try:
            for tool in body.get("tools", []):
                if tool["type"] != "function":
                    raise Refused("tools are functions")
                _check_tool({"type": "function", **tool["function"]})
            context = _chat_context(body["messages"])
        except (Refused, KeyError) as why:
            return self._refuse(str(why))
        number, reply = self._answer(context)
        if isinstance(reply, str):
            delta: dict[str, Any] = {"role": "assistant", "content": reply}
        else:
            function = {"name": reply[0], "arguments": reply[1]}
            call = {"index": 0, "id": f"call_{number}", "type": "function", "function": function}
            delta = {"role": "assistant", "tool_calls": [call]}
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        reason = "stop" if isinstance(reply, str) else "tool_calls"
        for choice in ({"delta": delta, "finish_reason": None}, {"delta": {}, "finish_reason": reason}):
            chunk = {"id": f"chat_{number}", "object": "chat.completion.chunk", "created": 1,
                     "model": "fake", "choices": [{"index": 0, **choice}]}  # fmt: skip
            await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response

    # Realtime.

    async def _realtime(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        talk = _Realtime(self, socket)
        await talk.send("session.created", session={"type": "realtime", "model": "fake"})
        async with asyncio.TaskGroup() as tasks:
            async for frame in socket:
                if frame.type is WSMsgType.TEXT:
                    await talk.take(json.loads(frame.data), tasks)
        return socket


class _Realtime:
    """One Realtime conversation."""

    def __init__(self, fake: FakeOpenAI, socket: web.WebSocketResponse) -> None:
        self.fake = fake
        self.socket = socket
        self.items: list[dict[str, Any]] = []
        self.is_speaking = False

    async def send(self, kind: str, **fields: Any) -> None:
        event = {"type": kind, "event_id": f"event_{next(self.fake._numbers)}", **fields}
        await self.socket.send_str(json.dumps(event))

    async def take(self, event: dict[str, Any], tasks: asyncio.TaskGroup) -> None:
        match event["type"]:
            case "session.update":
                for tool in event["session"].get("tools", []):
                    _check_tool(tool)
                await self.send("session.updated", session={"type": "realtime", "model": "fake"})
            case "conversation.item.create":
                item = {"id": f"item_{next(self.fake._numbers)}", **event["item"]}
                if len(item["id"]) > 32:
                    await self._refuse("item ids have 32 characters")
                    return
                self.items.append(item)
                await self.send("conversation.item.added", item={"status": "completed", **item})
            case "conversation.item.delete":
                kept = [item for item in self.items if item["id"] != event["item_id"]]
                if len(kept) == len(self.items):
                    await self._refuse("there is no such item")
                self.items = kept
                await self.send("conversation.item.deleted", item_id=event["item_id"])
            case "response.create" if self.is_speaking:
                await self._refuse("conversation_already_has_active_response")
            case "response.create":
                self.is_speaking = True
                tasks.create_task(self._respond())

    async def hear(self, text: str) -> None:
        """The user speaks."""
        item_id = f"item_{next(self.fake._numbers)}"
        self.items.append({"id": item_id, "type": "message", "role": "user",
                           "content": [{"type": "input_audio", "transcript": text}]})  # fmt: skip

    async def _refuse(self, why: str) -> None:
        self.fake.refusals.append(why)
        await self.send("error", error={"type": "invalid_request_error", "message": why})

    async def _respond(self) -> None:
        number, reply = self.fake._answer(_realtime_context(self.items))
        response_id = f"resp_{number}"
        await self.send("response.created", response={"id": response_id, "status": "in_progress"})
        await self.fake.speak.wait()
        if isinstance(reply, str):
            content = [{"type": "output_text", "text": reply}]
            item: dict[str, Any] = {"type": "message", "role": "assistant", "content": content}
        else:
            item = {"type": "function_call", "call_id": f"call_{number}",
                    "name": reply[0], "arguments": reply[1]}  # fmt: skip
        item |= {"id": f"item_{number}", "status": "completed"}
        self.items.append(item)
        place = {"output_index": 0, "response_id": response_id}
        await self.send("response.output_item.done", item=item, **place)
        self.is_speaking = False
        await self.send("response.done", response={"id": response_id, "status": "completed"})


def _check_tool(tool: dict[str, Any]) -> None:
    surplus = {*tool} - {"type", "name", "description", "parameters", "strict"}
    if surplus or tool["type"] != "function" or tool["parameters"]["type"] != "object":
        raise Refused(f"this is no tool: {tool}")
    if tool.get("strict") and {*tool["parameters"]["properties"]} != {*tool["parameters"]["required"]}:
        raise Refused("strict tools require every parameter")


def _response_context(given: Any) -> list[tuple[str, str]]:
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    called = {item["call_id"] for item in items if item.get("type") == "function_call"}
    context = []
    for item in items:
        if item.get("type") == "function_call_output":
            if item["call_id"] not in called or not isinstance(item["output"], str):
                raise Refused(f"this answers no call: {item}")
            context.append(("tool", item["output"]))
        elif item.get("type") != "function_call":
            context.append((item["role"], _text_of(item["content"])))
    return context


def _chat_context(messages: list[dict[str, Any]]) -> list[tuple[str, str]]:
    context, open_calls = [], set()
    for message in messages:
        open_calls |= {call["id"] for call in message.get("tool_calls") or []}
        if message["role"] == "tool":
            if message["tool_call_id"] not in open_calls:
                raise Refused(f"this answers no call: {message}")
            open_calls.discard(message["tool_call_id"])
        if message.get("content"):
            context.append((message["role"], _text_of(message["content"])))
    if open_calls:
        raise Refused(f"no message answers the calls {open_calls}")
    return context


def _realtime_context(items: list[dict[str, Any]]) -> list[tuple[str, str]]:
    context = []
    for item in items:
        if item["type"] == "function_call_output":
            context.append(("tool", item["output"]))
        elif item["type"] == "message":
            context.append((item["role"], _text_of(item["content"])))
    return context


def _text_of(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or part.get("transcript") or "" for part in content)
