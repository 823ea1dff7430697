"""What is done where a session lives, whichever server was asked to do it.

A method marked with `verb` is called like any other. It runs here; where it comes upon a session
that lives on another server (`Elsewhere`), that server is asked to run the same method with the
same arguments, by one signed POST, and what it returns or raises comes back as if it had
happened here. So a verb does nothing that cannot be done again before it looks for its session.

    here ──► Elsewhere ──► POST /nodes/verbs/NAME ──► there ──► result, refusal, or "not here"
      ▲                                                                          │
      └────────── look again, each LOOK_S, for HOLD_S at most ◄──────────────────┘

A server that was asked never asks a third one: it says that the session is not there, and who
asked looks again. An owner that died is found out so as well: once its lease has run out, the
verb simply runs here.

What becomes of a request whose connection is lost after it was sent, nobody knows. A verb that
changes something is refused with `unavailable` then, and the same `requestId` settles it; one
that changes nothing is asked again.

Arguments and results travel as JSON by their annotations. One parameter is special: `is_gone`,
by which a verb that waits for long hears whether anybody still wants its answer. It does not
travel; over there it tells whether this server still waits.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import typing
import weakref
from collections.abc import Awaitable, Callable, Collection, Coroutine
from contextvars import ContextVar
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar

import aiohttp
import msgspec
import structlog
from msgspec import Struct

from companion_ws.core import protocol
from companion_ws.core.errors import ERRORS, CompanionError, Unavailable
from companion_ws.nodes.passes import HEADER, Passes
from companion_ws.nodes.place import Elsewhere, Node, Places, Vigil
from companion_ws.traces import in_trace

PATH: Final = "/nodes/verbs/"
HOLD_S: Final = 6.0
"""How long an owner that cannot be reached is waited for: a little longer than a lease."""
LOOK_S: Final = 0.25
"""How often it is looked for meanwhile."""
HINT: Final = "each server must reach the others where --node-url says, and have the same key"
CONNECT_S: Final = 1.0
ALIVE_S: Final = 0.5
"""How often it is seen whether the other server still lives, and who asked is still there."""
PROBE_S: Final = 3.0
"""How often a server that something is awaited of is asked whether it answers, and how long it may take."""
UNHEARD: Final = 2
"""After so many that it did not answer in a row, nothing is awaited of it any more."""
TOLD_S: Final = 2.0
"""How long other servers have for what is asked of all of them."""
IDLE_S: Final = 5.0
"""How long a connection waits for the next request: the other server would close it after ten."""

_ELSEWHERE: Final = b'{"is_elsewhere":true}'
_P = ParamSpec("_P")
_R = TypeVar("_R")
_passed_on: ContextVar[weakref.ref[Any] | None] = ContextVar("_passed_on", default=None)
"""The task that does what another server asked for; what it begins beside that is our own."""

log = structlog.get_logger(__name__)


class Room(Protocol):
    """What has verbs."""

    @property
    def verbs(self) -> Verbs: ...


_Self = TypeVar("_Self", bound=Room)


class _Reply(Struct, omit_defaults=True):
    """What another server answers: a result, a refusal, or that the session is not there."""

    result: msgspec.Raw = msgspec.Raw(b"null")
    code: str = ""
    message: str = ""
    details: dict[str, Any] = {}
    is_elsewhere: bool = False


class _NotDone(Exception):
    """The other server did not do it: it could not be reached, or the session is not there."""


class _Lost(Exception):
    """The connection was lost after the request had been sent."""


class Verb:
    """One method that another server can be asked to run."""

    def __init__(self, method: Callable[..., Awaitable[Any]], changes: bool) -> None:
        self.name = method.__qualname__
        self.changes = changes
        self._method = method
        self._signature = inspect.signature(method)

    @functools.cached_property
    def _types(self) -> tuple[Any, Any]:
        """Return the type of all arguments together, and that of the result."""
        hints = typing.get_type_hints(self._method)
        names = [name for name in self._signature.parameters if name != "self"]
        sent = [(name, hints[name]) for name in names if not _is_call(hints[name])]
        return msgspec.defstruct("Arguments", sent), hints["return"]

    def pack(self, room: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes | None:
        """Return the arguments as text; None where one of them cannot travel."""
        bound = self._signature.bind(room, *args, **kwargs)
        bound.apply_defaults()
        wanted, _ = self._types
        given = {**bound.arguments}
        left_out = set(given) - {"self", "is_gone", *wanted.__struct_fields__}
        if any(given[name] is not None for name in left_out):
            return None
        return protocol.encode({name: given[name] for name in wanted.__struct_fields__})

    def unpack(self, body: bytes) -> dict[str, Any]:
        """Return the arguments in such text. Raises `msgspec.MsgspecError`."""
        wanted, _ = self._types
        found = msgspec.json.decode(body, type=wanted)
        return {name: getattr(found, name) for name in wanted.__struct_fields__}

    def result(self, reply: _Reply) -> Any:
        """Return what the other server returned."""
        return msgspec.json.decode(reply.result, type=self._types[1])

    @property
    def hears_who_goes(self) -> bool:
        """Whether it asks if anybody still wants its answer."""
        return "is_gone" in self._signature.parameters

    def gone(self, room: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[[], bool]:
        """Return what tells whether who called it has gone."""
        found = self._signature.bind(room, *args, **kwargs).arguments.get("is_gone")
        return found if found is not None else lambda: False


def verb(
    *, changes: bool = True
) -> Callable[
    [Callable[Concatenate[_Self, _P], Awaitable[_R]]],
    Callable[Concatenate[_Self, _P], Coroutine[Any, Any, _R]],
]:
    """Let a method run where the session it is about lives.

    `changes` says whether it must not be asked for twice, because something is otherwise after it.
    """

    def marked(
        method: Callable[Concatenate[_Self, _P], Awaitable[_R]],
    ) -> Callable[Concatenate[_Self, _P], Coroutine[Any, Any, _R]]:
        made = Verb(method, changes)

        @functools.wraps(method)
        async def here_or_there(self: _Self, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
            try:
                return await method(self, *args, **kwargs)
            except Elsewhere as where:
                if _is_passed_on():
                    raise
                body = made.pack(self, args, kwargs)
                if body is None:
                    raise
                node, gone = where.node, made.gone(self, args, kwargs)

            async def again() -> _R:
                return await method(self, *args, **kwargs)

            return typing.cast("_R", await self.verbs.ask(made, node, body, again, gone))

        here_or_there.verb = made  # type: ignore[attr-defined]
        return here_or_there

    return marked


class _Ear:
    """Whether one server answers; `unheard` counts what it did not answer in a row."""

    __slots__ = ("asked_s", "asking", "unheard")

    def __init__(self) -> None:
        self.asked_s = -PROBE_S
        self.asking: asyncio.Task[None] | None = None
        self.unheard = 0


class Verbs:
    """Asks other servers, and does what they ask."""

    def __init__(self, places: Places, passes: Passes, counted: Callable[[str], None]) -> None:
        """`counted` is told the name of each verb that is passed on."""
        self.places = places
        self._passes = passes
        self._counted = counted
        self._rooms: dict[str, tuple[Verb, Callable[..., Awaitable[Any]]]] = {}
        self._http: aiohttp.ClientSession | None = None
        self.is_stopping = False
        self._ears: dict[str, _Ear] = {}
        self.serve(self)

    @property
    def is_alone(self) -> bool:
        """Whether there can be no other server: one that has just begun is not known at once."""
        return not self.places.is_shared

    def serve(self, room: Any) -> None:
        """Do what a room has verbs for when another server asks for it."""
        for name, each in inspect.getmembers(type(room), inspect.isfunction):
            made = getattr(each, "verb", None)
            if isinstance(made, Verb):
                self._rooms[made.name] = made, getattr(room, name)

    @property
    def verbs(self) -> Verbs:
        """Return itself: it has verbs, too."""
        return self

    async def close(self) -> None:
        """Let go of the connections to other servers."""
        for ear in self._ears.values():
            if ear.asking is not None:
                ear.asking.cancel()
        if self._http is not None:
            await self._http.close()
            self._http = None

    # Asking.

    async def ask(
        self,
        made: Verb,
        node: Node,
        body: bytes,
        again: Callable[[], Awaitable[Any]],
        is_gone: Callable[[], bool],
    ) -> Any:
        """Ask a server to run a verb; look again, by `again`, where it is not the one.

        Raises:
            CompanionError: what the verb was refused for there.
            Unavailable: it could not be asked in time, or nobody knows what became of it.
        """
        loop = asyncio.get_running_loop()
        until_s = loop.time() + HOLD_S
        while True:
            try:
                reply = await self._post(made, node, body, is_gone)
                return made.result(_checked(reply))
            except _NotDone as why:
                log.debug("not_done_there", verb=made.name, node=node.url, reason=str(why))
            except _Lost:
                if made.changes:
                    raise Unavailable(
                        "Not known to be stored; send the same requestId again."
                    ) from None
            if loop.time() >= until_s:
                log.warning("owner_does_not_answer", verb=made.name, node=node.url, hint=HINT)
            if loop.time() >= until_s or self.is_stopping or is_gone():
                raise Unavailable("The server that has this session does not answer; try again.")
            await asyncio.sleep(LOOK_S)
            try:
                return await again()
            except Elsewhere as where:
                node = where.node

    async def ask_others(
        self, method: Callable[..., Awaitable[_R]], *args: Any
    ) -> list[tuple[Node, _R]]:
        """Run a verb on every other server; leave out those that do not answer in time."""
        others = self.places.others()
        if not others:
            return []
        made: Verb = method.verb  # type: ignore[attr-defined]
        body = made.pack(None, args, {})
        assert body is not None

        async def one(node: Node) -> tuple[Node, _R] | None:
            try:
                async with asyncio.timeout(TOLD_S):
                    reply = await self._post(made, node, body, lambda: False)
                    return node, made.result(_checked(reply))
            except (_NotDone, _Lost, TimeoutError, CompanionError) as why:
                log.warning("node_did_not_answer", verb=made.name, node=node.url, reason=str(why))
                return None

        found = await asyncio.gather(*map(one, others))
        return [each for each in found if each is not None]

    def is_deaf(self, node: Node) -> bool:
        """Whether a server does not answer, although it lives: the network between is cut.

        Whoever awaits something of it asks again and again; that is what makes it be looked at.
        """
        now_s = asyncio.get_running_loop().time()
        ear = self._ears.setdefault(node.name, _Ear())
        if ear.asking is None and now_s - ear.asked_s >= PROBE_S:
            if now_s - ear.asked_s >= 3 * PROBE_S:
                ear.unheard = 0  # That was another time.
            ear.asked_s = now_s
            ear.asking = asyncio.create_task(self._listen(node, ear))
        return ear.unheard >= UNHEARD

    async def _listen(self, node: Node, ear: _Ear) -> None:
        made: Verb = Verbs.hello.verb  # type: ignore[attr-defined]
        try:
            async with asyncio.timeout(PROBE_S):
                await self._sent(made, node, b"{}")
            ear.unheard = 0
        except (_NotDone, _Lost, TimeoutError):
            ear.unheard += 1
        finally:
            ear.asking = None
            known = {node.name, *(each.name for each in self.places.others())}
            self._ears = {name: each for name, each in self._ears.items() if name in known}

    @verb(changes=False)
    async def hello(self) -> bool:
        """Answer."""
        return True

    async def _post(
        self, made: Verb, node: Node, body: bytes, is_gone: Callable[[], bool]
    ) -> _Reply:
        """Send a request, and wait for its answer as long as somebody wants it.

        Raises:
            _NotDone: it never arrived.
            _Lost: it may have.
        """
        self._counted(made.name)
        loop = asyncio.get_running_loop()
        vigil = Vigil(node, loop.time())
        sending = asyncio.ensure_future(self._sent(made, node, body))
        try:
            while True:
                done, _ = await asyncio.wait({sending}, timeout=ALIVE_S)
                if done:
                    return sending.result()
                if is_gone():
                    raise Unavailable("Who asked has gone.")
                if vigil.is_dead(self.places.others(), loop.time()) or self.is_deaf(node):
                    raise _Lost
        finally:
            sending.cancel()

    async def _sent(self, made: Verb, node: Node, body: bytes) -> _Reply:
        path = PATH + made.name
        given = in_trace(
            {HEADER: self._passes.sign(self.places.me.name, node.name, "POST", path, body=body)}
        )
        try:
            async with self._client().post(node.url + path, data=body, headers=given) as answer:
                text = await answer.read()
                if answer.status != 200:
                    # It was refused at the door: clocks or keys differ.
                    log.warning("pass_refused", node=node.url, status=answer.status)
                    raise _NotDone(f"HTTP {answer.status}")
            return msgspec.json.decode(text, type=_Reply)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as why:
            raise _NotDone(str(why)) from None
        except (aiohttp.ClientError, OSError, msgspec.MsgspecError) as why:
            raise _Lost(str(why)) from None

    def _client(self) -> aiohttp.ClientSession:
        if self._http is None:
            self._http = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_S),
                timeout=aiohttp.ClientTimeout(total=None, connect=CONNECT_S, sock_connect=CONNECT_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return self._http

    # Being asked.

    @property
    def _is_owner(self) -> bool:
        """Whether this server can have a session at all."""
        return self.places.is_good and not self.is_stopping

    @property
    def names(self) -> Collection[str]:
        """Return what others may ask for."""
        return self._rooms.keys()

    async def run(self, name: str, body: bytes, is_gone: Callable[[], bool]) -> bytes:
        """Do what another server asks; return what it is answered.

        Raises:
            msgspec.MsgspecError: these are no arguments of it.
        """
        made, method = self._rooms[name]
        given = made.unpack(body)
        if not self._is_owner:
            return _ELSEWHERE
        if made.hears_who_goes:
            given["is_gone"] = is_gone
        task = asyncio.current_task()
        token = _passed_on.set(None if task is None else weakref.ref(task))
        try:
            result = await method(**given)
            if not (self._is_owner or made.changes):
                return _ELSEWHERE  # Nobody's time is up: another server goes on with it.
            return b'{"result":' + protocol.encode(result) + b"}"
        except Elsewhere:
            return _ELSEWHERE
        except CompanionError as error:
            if isinstance(error, Unavailable) and not (self._is_owner or made.changes):
                return _ELSEWHERE
            refusal = {"code": error.code, "message": error.message, "details": error.details}
            return protocol.encode(refusal)
        finally:
            _passed_on.reset(token)


def _is_passed_on() -> bool:
    """Whether what runs was asked for by another server."""
    task = _passed_on.get()
    return task is not None and task() is asyncio.current_task()


def _checked(reply: _Reply) -> _Reply:
    """Return a reply that has a result; raise what it says otherwise."""
    if reply.is_elsewhere:
        raise _NotDone("the session is not there")
    if reply.code:
        kind = ERRORS.get(reply.code, Unavailable)
        raise kind(reply.message, **reply.details)
    return reply


def _is_call(hint: Any) -> bool:
    """Whether a parameter is a function, or may be one: those do not travel."""
    return Callable in {typing.get_origin(each) for each in (hint, *typing.get_args(hint))}
