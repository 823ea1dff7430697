"""Runs server tools: nothing a tool raises reaches the event loop, which belongs to everybody.

A tool is its author's code. It may raise anything (`sys.exit()` raises too),
hang, or refuse to be cancelled; the agent gets one outcome in time all the same.
Source: docs/protocol.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType
from typing import TYPE_CHECKING, Any, Final

import structlog
from structlog.contextvars import bound_contextvars

from companion_ws.core.errors import Unavailable
from companion_ws.core.protocol import encode
from companion_ws.core.tool_calls import Call
from companion_ws.sessions.blocking import Interrupted, LoopWatch, running_tool
from companion_ws.sessions.tools import ServerTool, ToolCall, ToolError

if TYPE_CHECKING:
    from companion_ws.sessions.call_traces import CallTraces

MARGIN_MS: Final = 250
"""A tool has to be done this much before the agent gives up, so that the word still arrives."""
LAST_WORDS_S: Final = 2.0
"""How long tools that were cancelled may tidy up when the server stops, out of its ten seconds."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run came to; `log` and what was `raised` are for the developer, if anything."""

    result: str
    is_error: bool = False
    log: str = ""
    raised: BaseException | None = None


class ToolRunner:
    """All runs under way, those nobody waits for any more included.

    Each is a task of its own and in no group: a group would wait for a tool
    that does not stop when it is cancelled.
    """

    def __init__(
        self,
        *,
        names_places: bool = False,
        result_bytes: int = 0,
        traces: CallTraces | None = None,
    ) -> None:
        """With `names_places`, for development, an error tells the agent file and line.

        `result_bytes` is the longest result, as JSON text in a message; 0 means no limit.
        """
        self._names_places = names_places
        self._result_bytes = result_bytes
        self._traces = traces
        self._tasks: dict[asyncio.Task[Outcome], str] = {}
        """Each with its session."""
        self._cut_off: set[asyncio.Task[Outcome]] = set()
        self._watch = LoopWatch()

    async def run(self, server_tool: ServerTool, call: ToolCall, patience_s: float) -> Outcome:
        """Run a tool to its end, or to the end of our patience; whatever it raises is its failure.

        Then it is cancelled, and not waited for.

        Raises:
            Unavailable: the session is another server's by now, and so is what becomes of the call.
        """
        # Lines that the tool itself writes to the log say which call they are about.
        with bound_contextvars(session_id=call.session_id, tool_call_id=call.tool_call_id):
            running = asyncio.create_task(self._traced(server_tool, call), name="tool")
        self._tasks[running] = call.session_id
        running.add_done_callback(self._let_go)
        try:
            await asyncio.wait({running}, timeout=patience_s)
        finally:
            running.cancel()
            is_cut_off = running in self._cut_off
            self._cut_off.discard(running)
        if is_cut_off:
            raise Unavailable("The session is on another server.")
        if not running.done():
            return _failed("The tool did not answer in time.", f"{call.tool_name} took too long")
        if running.cancelled():
            return _failed("The tool failed.", f"{call.tool_name} cancelled itself")
        return running.result()

    def cut_off(self, session_id: str | None) -> None:
        """Cancel what runs in a session, or everything: its outcome counts for nothing."""
        for running, of_session in list(self._tasks.items()):
            if session_id in (None, of_session):
                self._cut_off.add(running)
                running.cancel()

    def _let_go(self, running: asyncio.Task[Outcome]) -> None:
        del self._tasks[running]

    async def end(self) -> None:
        """Cancel what runs and let it tidy up for LAST_WORDS_S; what goes on then is left behind."""
        self._watch.end()
        for running in self._tasks:
            running.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=LAST_WORDS_S)
        if self._tasks:
            log.warning("tools_left_behind", count=len(self._tasks))

    async def _traced(self, server_tool: ServerTool, call: ToolCall) -> Outcome:
        if self._traces is None:
            return await self._outcome(server_tool, call)
        with self._traces.run(call.session_id, call.tool_call_id) as note_failure:
            outcome = await self._outcome(server_tool, call)
            if outcome.is_error:
                note_failure()
            return outcome

    async def _outcome(self, server_tool: ServerTool, call: ToolCall) -> Outcome:
        try:
            arguments = server_tool.arguments(call.parameters)
        except ToolError as error:
            place = f" ({_defined(server_tool)})" if self._names_places else ""
            return _failed(f"{error}{place}", f"{call.tool_name}: {error}")
        running_tool.set(call.tool_name)
        try:
            value = await self._called(server_tool, call, arguments)
            return self._told(call, encode(value).decode())
        except ToolError as error:
            return _failed(str(error), f"{call.tool_name}: {error}")
        except Interrupted:
            return _failed("The server is stopping.", f"{call.tool_name} blocked all sessions at a stop")
        except BaseException as error:
            # Its outermost edge is here: a SystemExit that leaves a task ends the loop of everybody.
            message = "The tool failed."
            if self._names_places:
                message = f"The tool failed: {_fault(error)} ({_place(server_tool, error)})."
            return _failed(message, f"{call.tool_name} failed: {error!r}", error)

    def _told(self, call: ToolCall, result: str) -> Outcome:
        size = len(encode(result)) if self._result_bytes else 0
        if size <= self._result_bytes:
            return Outcome(result)
        # Longer than an outbox takes: it would cut off everybody in the session.
        return _failed(
            "The tool's result is too long.",
            f"{call.tool_name} returned {size} bytes, more than {self._result_bytes}",
        )

    async def _called(
        self, server_tool: ServerTool, call: ToolCall, arguments: dict[str, Any]
    ) -> Any:
        positional = (call,) if server_tool.takes_call else ()
        function = server_tool.function
        if not server_tool.is_async:
            return await _in_thread(lambda: function(*positional, **arguments))
        with self._watch.watching(server_tool.name, inspect.unwrap(function).__code__):
            return await function(*positional, **arguments)


def patience_s(call: Call, at_ms: int) -> float:
    """Return how long a tool may take from now on."""
    deadline_ms = call.deadline_ms if call.deadline_ms is not None else at_ms + 120_000
    return max(0.05, (deadline_ms - MARGIN_MS - at_ms) / 1000)


def _failed(message: str, log: str, raised: BaseException | None = None) -> Outcome:
    result = encode({"status": "error", "message": message}).decode()
    return Outcome(result, is_error=True, log=log, raised=raised)


def _fault(error: BaseException) -> str:
    return "".join(traceback.format_exception_only(error)).strip().replace("\n", " ")


def _place(server_tool: ServerTool, error: BaseException) -> str:
    """Return where the author's file went wrong: its innermost line, else the tool's first."""
    file = _code(server_tool).co_filename
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename == file:
            return f"{file}, line {frame.lineno}"
    return _defined(server_tool)


def _defined(server_tool: ServerTool) -> str:
    code = _code(server_tool)
    return f"{code.co_filename}, line {code.co_firstlineno}"


def _code(server_tool: ServerTool) -> CodeType:
    code: CodeType = inspect.unwrap(server_tool.function).__code__
    return code


async def _in_thread(work: Callable[[], Any]) -> Any:
    """Run blocking work in a thread of its own.

    A daemon, and no pool: a tool that never ends must neither use up
    threads others need nor keep the server from stopping.
    """
    loop = asyncio.get_running_loop()
    # What was raised is carried as a value: a future refuses some exceptions.
    future: asyncio.Future[tuple[Any, BaseException | None]] = loop.create_future()

    def settle(value: Any, error: BaseException | None) -> None:
        if not future.done():
            future.set_result((value, error))

    def run() -> None:
        value, error = None, None
        try:
            value = work()
        except BaseException as raised:  # carried over to who waits
            error = raised
        # The loop is closed where the server stopped meanwhile; then nobody waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, value, error)

    context = contextvars.copy_context()
    threading.Thread(target=context.run, args=(run,), name="companion-tool", daemon=True).start()
    value, error = await future
    if error is not None:
        raise error
    return value
