"""Server tools: functions of the agent's author that run here.

A tool is a plain or async function marked `@tool`. Its first parameter is the
`ToolCall`; the others come from the call's `parameters`, checked against their
annotations, and what is not asked for is left out. What it returns becomes the
result. Source: docs/protocol.md and docs/clients.md.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
import traceback
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, TypeVar, overload

import msgspec

F = TypeVar("F", bound=Callable[..., Any])


class ToolError(Exception):
    """What a tool raises to tell the agent, in its own words, why it failed."""


class Speaks(Protocol):
    """How a tool speaks to its session."""

    async def __call__(self, message: dict[str, Any], request_id: str) -> dict[str, Any]: ...


@dataclass(slots=True)
class ToolCall:
    """The call a tool answers, and its way to speak to the session meanwhile.

    What it emits carries a requestId made from the call and a number, so that
    an idempotent tool that runs again after a restart emits nothing twice.
    """

    session_id: str
    tool_call_id: str
    tool_name: str
    parameters: dict[str, Any]
    user: str
    _speak: Speaks
    _spoken: int = 0

    async def contextual_update(
        self,
        text: str,
        data: Any = None,
        *,
        ui: dict[str, Any] | None = None,
        context_id: str | None = None,
        labels: dict[str, str] | None = None,
        locked: bool | None = None,
    ) -> dict[str, Any]:
        """Show something on the screens; return its record, once stored.

        `labels` names keys of `data` for people; `locked` closes the choice of `context_id`.
        """
        given = {"data": data, "ui": ui, "context_id": context_id, "labels": labels, "locked": locked}
        said = {name: value for name, value in given.items() if value is not None}
        return await self._say({"type": "contextual_update", "text": text, **said})

    async def update_state(self, key: str, value: Any) -> dict[str, Any]:
        """Set a state key; return its record, once stored."""
        return await self._say({"type": "state_update", "key": key, "value": value})

    async def _say(self, message: dict[str, Any]) -> dict[str, Any]:
        self._spoken += 1
        # Whatever msgspec can write (dataclasses, structs, dates) may be said.
        builtins = msgspec.to_builtins(message)
        return await self._speak(builtins, f"{self.tool_call_id}/{self._spoken}"[-128:])


@dataclass(frozen=True, slots=True)
class ServerTool:
    """A function that answers calls of its name."""

    name: str
    function: Callable[..., Any]
    parameters: dict[str, inspect.Parameter]
    annotations: dict[str, Any]
    takes_call: bool
    is_async: bool
    is_idempotent: bool

    def arguments(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments the function asks for, converted.

        Raises:
            ToolError: one is missing or of the wrong type.
        """
        arguments = {}
        for name, parameter in self.parameters.items():
            # A model writes null for what it leaves out; the tool's own default counts then.
            may_be_absent = parameter.default is not parameter.empty
            if name not in given or (given[name] is None and may_be_absent):
                if not may_be_absent:
                    raise ToolError(f"The parameter {name} is missing.")
                continue
            kind = self.annotations.get(name, Any)
            try:
                arguments[name] = msgspec.convert(given[name], kind, strict=False)
            except msgspec.ValidationError as error:
                raise ToolError(f"The parameter {name} is wrong: {error}.") from None
        return arguments


@overload
def tool(function: F) -> F: ...
@overload
def tool(*, idempotent: bool = False) -> Callable[[F], F]: ...
def tool(function: F | None = None, *, idempotent: bool = False) -> F | Callable[[F], F]:
    """Mark a function as a server tool of its own name.

    `idempotent=True` lets a run that a restart cut off start again.
    """

    def mark(function: F) -> F:
        function.__companion_tool__ = {"idempotent": idempotent}  # type: ignore[attr-defined]
        return function

    return mark if function is None else mark(function)


class ToolsBroken(ValueError):
    """A tools module that cannot be used; the text names file and line."""


def load_tools(named: str | None) -> dict[str, ServerTool]:
    """Import a module, by its name or its path, and return its tools by name; none without one.

    Raises:
        ImportError: there is no such module or file.
        ToolsBroken: it cannot be read, or fails while it is imported.
        ValueError: it has no tool.
    """
    if named is None:
        return {}
    module = _imported(named)
    tools = {
        value.__name__: _checked(value)
        for value in vars(module).values()
        if callable(value) and hasattr(value, "__companion_tool__")
    }
    if not tools:
        raise ValueError(f"{named} has no function marked @tool")
    return tools


def path_of(named: str) -> Path | None:
    """Return the file that `--tools` names by its path, None where it names a module."""
    is_path = named.endswith(".py") or os.sep in named or named.startswith(".")
    return Path(named).resolve() if is_path else None


def _imported(named: str) -> ModuleType:
    path = path_of(named)
    if path is not None:
        if not path.is_file():
            raise ImportError(f"there is no file {path}")
        # Its neighbours can be imported by it, as by a script.
        sys.path.insert(0, str(path.parent))
    name = named if path is None else path.stem
    try:
        if path is None:
            return importlib.import_module(name)
        return _executed(name, path)
    except SyntaxError as error:
        where = error.filename or named
        raise ToolsBroken(f"{where}, line {error.lineno}: {error.msg}") from error
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and _is_of(error.name, name):
            raise
        where = _place_of(error)
        raise ToolsBroken(f"{where}: {type(error).__name__}: {error}") from error


def _executed(name: str, path: Path) -> ModuleType:
    """Run a file as the module of this name, whatever else has that name."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _is_of(missing: str | None, name: str) -> bool:
    """Whether the module that is missing is the one that was named, or a package of it."""
    return missing is not None and (missing == name or name.startswith(f"{missing}."))


def _place_of(error: BaseException) -> str:
    """Return file and line of an error: the innermost of the module's own folder."""
    frames = traceback.extract_tb(error.__traceback__)
    frozen = [at for at, frame in enumerate(frames) if frame.filename.startswith("<frozen")]
    begins = frozen[0] if frozen else 0
    run = [frame for frame in frames[begins:] if not frame.filename.startswith("<frozen")]
    folder = os.path.dirname(run[0].filename) if run else ""
    own = [frame for frame in run if frame.filename.startswith(folder)] or list(frames)
    return f"{own[-1].filename}, line {own[-1].lineno}"


def server_tool(function: Callable[..., Any]) -> ServerTool:
    """Return a function that is marked `@tool`, as one of the tools that run here.

    Raises:
        ToolsBroken: it cannot be used; the text names file and line.
    """
    return _checked(function)


def _checked(function: Callable[..., Any]) -> ServerTool:
    try:
        return _described(function)
    except (NameError, TypeError, ValueError, AttributeError) as error:
        where = inspect.unwrap(function)
        code = getattr(where, "__code__", None)
        place = f"{code.co_filename}, line {code.co_firstlineno}" if code else repr(function)
        raise ToolsBroken(f"{place}: the tool {function.__name__}: {error}") from error


def _described(function: Callable[..., Any]) -> ServerTool:
    signature = inspect.signature(function)
    annotations = typing.get_type_hints(function, include_extras=True)
    parameters = dict(signature.parameters)
    first = next(iter(parameters), None)
    takes_call = first is not None and (first == "call" or annotations.get(first) is ToolCall)
    if takes_call and first is not None:
        del parameters[first]
    named = {
        name: parameter
        for name, parameter in parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    return ServerTool(
        name=function.__name__,
        function=function,
        parameters=named,
        annotations=annotations,
        takes_call=takes_call,
        is_async=inspect.iscoroutinefunction(function),
        is_idempotent=bool(getattr(function, "__companion_tool__")["idempotent"]),  # noqa: B009
    )
