"""The official Python client with the tasks extension, which it leaves to be added."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

import httpx2
from mcp.client.client import Client
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, Request, RequestParams, Result
from pydantic import ConfigDict

TASKS = "io.modelcontextprotocol/tasks"


class TaskParams(RequestParams):
    task_id: str
    input_responses: dict[str, Any] | None = None


class TaskRequest(Request[TaskParams, Any]):
    name_param = "taskId"


class TaskResult(Result):
    """What `tasks/get` and its like answer, fields of the task and all."""

    model_config = ConfigDict(extra="allow")

    def told(self) -> dict[str, Any]:
        return self.model_dump(by_alias=True, mode="json")


class CreateTaskResult(TaskResult):
    result_type: Literal["task"]
    task_id: str
    status: str


class Tasks(ClientExtension):
    """Looks at a task until it is over; `began` hears its handle, as a program that keeps it does."""

    identifier = TASKS

    def __init__(self, look_s: float = 0.05) -> None:
        self.began: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._look_s = look_s

    def claims(self) -> Sequence[ResultClaim[Any]]:
        return [ResultClaim(result_type="task", model=CreateTaskResult, resolve=self._resolve)]

    async def _resolve(self, task: CreateTaskResult, context: ClaimContext) -> CallToolResult:
        self.began.set_result(task.told())
        while True:
            told = await tasks(context.session, "get", task.task_id)
            if told["status"] != "working":
                assert told["status"] == "completed", told
                return CallToolResult.model_validate(told["result"])
            await asyncio.sleep(self._look_s)


async def tasks(session: Any, verb: str, task_id: str, **params: Any) -> dict[str, Any]:
    """Send `tasks/VERB`; return the result as it came."""
    request = TaskRequest(method=f"tasks/{verb}", params=TaskParams(task_id=task_id, **params))
    answer = await session.send_request(request, TaskResult)
    told: dict[str, Any] = answer.told()
    return told


@asynccontextmanager
async def client_at(
    url: str,
    token: str,
    session_id: str | None = None,
    mode: Any = "auto",
    **options: Any,
) -> AsyncIterator[Client]:
    """The official client at `POST /mcp`; options are those of `Client`."""
    headers = {"Authorization": f"Bearer {token}"}
    if session_id is not None:
        headers["X-Companion-Session"] = session_id
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        transport = streamable_http_client(f"{url}/mcp", http_client=http)
        async with Client(transport, mode=mode, **options) as client:
            yield client


async def until(ready: Callable[[], Awaitable[Any]], seconds: float = 20) -> Any:
    """Return what `ready` returns once it is something."""
    async with asyncio.timeout(seconds):
        while not (found := await ready()):
            await asyncio.sleep(0.02)
    return found
