"""The client for programs without an event loop: each verb waits for its answer.

Nothing is said twice here. A verb is made of the asynchronous one, with its parameters, its
words and its errors, and what is known of the session is read from a copy. `thread` runs the
asynchronous client on a loop of its own, so that a loop that runs already, a notebook's, is in
nobody's way.
"""

from __future__ import annotations

import asyncio
import functools
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar

from companion_ws.client.companion import CompanionClient
from companion_ws.client.invitation import Invitation
from companion_ws.client.known import KnownSession
from companion_ws.client.outgoing import CompanionClosed
from companion_ws.client.thread import LoopStopped, LoopThread
from companion_ws.core.errors import CompanionError
from companion_ws.core.view import Message, View

P = ParamSpec("P")
T = TypeVar("T")

_THREAD: Final = "companion-client"
_END: Final[Message] = {}
SHOWN_WITHIN_S: Final = 5.0
"""A notebook waits no longer for a way in."""


def _made_like(
    init: Callable[Concatenate[CompanionClient, P], None],
) -> Callable[[Callable[..., None]], Callable[Concatenate[SyncCompanionClient, P], None]]:
    """Have a constructor take what the asynchronous client's takes."""
    return lambda made: functools.wraps(init)(made)


def _verb(
    verb: Callable[Concatenate[CompanionClient, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[SyncCompanionClient, P], T]:
    """Make a method that waits for what a coroutine returns."""

    @functools.wraps(verb)
    def said(self: SyncCompanionClient, /, *given: P.args, **named: P.kwargs) -> T:
        thread, companion = self._joined()
        return _run(thread, lambda: verb(companion, *given, **named))

    return said


def _quick(
    verb: Callable[Concatenate[CompanionClient, P], T],
) -> Callable[Concatenate[SyncCompanionClient, P], T]:
    """Make a method of one that waits for nothing."""

    @functools.wraps(verb)
    def said(self: SyncCompanionClient, /, *given: P.args, **named: P.kwargs) -> T:
        return self._look(lambda companion: verb(companion, *given, **named))

    return said


def _reader(
    reader: Callable[[CompanionClient], AsyncIterator[Message]],
) -> Callable[[SyncCompanionClient], Iterator[Message]]:
    """Make a method whose iterator waits for each message; it ends when the client is left."""

    @functools.wraps(reader)
    def read(self: SyncCompanionClient) -> Iterator[Message]:
        thread, companion = self._joined()
        return _each(thread, thread.between(lambda: reader(companion)))

    return read


def _each(thread: LoopThread, reading: AsyncIterator[Message]) -> Iterator[Message]:
    async def another() -> Message:
        return await anext(reading, _END)

    with suppress(LoopStopped):
        while (message := thread.run(another)) is not _END:
            yield message


async def _have_a_way_in(companion: CompanionClient) -> None:
    if not companion.screens and companion.invitation is None:
        async with asyncio.timeout(SHOWN_WITHIN_S):
            await companion.pair()


def _run(thread: LoopThread, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    try:
        return thread.run(work)
    except LoopStopped:
        raise CompanionClosed(1000, "the client left") from None


class SyncCompanionClient(KnownSession):
    """`CompanionClient` for programs without an event loop; its parameters and verbs are the same.

    Entering connects, and so does the first verb: a notebook has no block to be in. Leaving, or
    `close`, ends everything; so does the end of the program, and of the last name for the client.

    Any number of threads may use one client. Each verb returns once it is answered, and raises
    what the asynchronous one raises. Ctrl-C ends the waiting; what was said may be stored all the
    same. A token function, and what `wait_until` asks, run on the client's own thread: they may
    read the client but not wait for it.

    Raises (entering, or the first verb):
        CompanionClosed: the server refuses this client for good.
        ConnectionError: nothing at all answered within 5 s, or there was no session
            within `open_timeout_s`.
    """

    @_made_like(CompanionClient.__init__)
    def __init__(self, *given: Any, **named: Any) -> None:
        self._make: Callable[[], CompanionClient] = lambda: CompanionClient(*given, **named)
        self._companion = self._make()
        self._thread: LoopThread | None = None
        self._leave: weakref.finalize[[], SyncCompanionClient] | None = None
        self._is_left = False
        self._entering = threading.RLock()

    # Coming and going.

    def __enter__(self) -> Self:
        self._joined()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave the session; what was not acknowledged by now is given up.

        Who waits in other threads is told `CompanionClosed`.
        """
        with self._entering:
            self._is_left = True
        if self._leave is not None:
            self._leave()

    def _joined(self) -> tuple[LoopThread, CompanionClient]:
        """Return what runs the client, once it has joined."""
        if self._thread is not None and self._thread.is_here:
            raise RuntimeError("The client cannot be waited for on its own thread.")
        with self._entering:
            if self._is_left:
                raise CompanionClosed(1000, "the client left")
            if self._thread is None:
                self._thread = LoopThread(_THREAD)
                try:
                    self._enter(self._thread)
                except BaseException:
                    # One that failed is spent; the next verb tries again.
                    self._thread.stop()
                    self._thread, self._companion = None, self._make()
                    raise
            return self._thread, self._companion

    def _enter(self, thread: LoopThread) -> None:
        companion = self._companion

        async def enter() -> None:
            await companion.__aenter__()
            thread.last = companion.close

        thread.run(enter)
        # Of a client that nobody has a name for any more, and at the end of the program.
        self._leave = weakref.finalize(self, thread.stop)

    # What it knows.

    def _look(self, look: Callable[[CompanionClient], T]) -> T:
        """Return what `look` sees of the client, while nothing changes it."""
        thread, companion = self._thread, self._companion
        if thread is not None:
            with suppress(LoopStopped):
                return thread.between(lambda: look(companion))
        return look(companion)

    def _heard(self) -> View:
        return self._look(lambda companion: companion._heard().copy())

    @property
    def is_connected(self) -> bool:
        """Whether the connection stands at this moment."""
        return self._look(lambda companion: companion.is_connected)

    @property
    def invitation(self) -> Invitation | None:
        """What `pair` gave last, as long as it lets somebody in."""
        return self._look(lambda companion: companion.invitation)

    def _repr_html_(self) -> str:
        """In a notebook: the session as of now, and while nobody has a screen, a way in.

        It joins the session, and opens a pairing where none is open, so that there is one.
        """
        with suppress(CompanionClosed, CompanionError, ConnectionError, TimeoutError):
            thread, companion = self._joined()
            _run(thread, lambda: _have_a_way_in(companion))
        return self._look(lambda companion: companion._repr_html_())

    # What it can say, and hears.

    contextual_update = _verb(CompanionClient.contextual_update)
    set_state = _verb(CompanionClient.set_state)
    delete_state = _verb(CompanionClient.delete_state)
    get_state = _verb(CompanionClient.get_state)
    user_message = _verb(CompanionClient.user_message)
    call_tool = _verb(CompanionClient.call_tool)
    call = _verb(CompanionClient.call)
    let_go = _quick(CompanionClient.let_go)
    was_claimed = _quick(CompanionClient.was_claimed)
    answer_tool = _verb(CompanionClient.answer_tool)
    cancel_tool = _verb(CompanionClient.cancel_tool)
    send = _verb(CompanionClient.send)
    pair = _verb(CompanionClient.pair)
    http = _verb(CompanionClient.http)
    records = _reader(CompanionClient.records)
    messages = _reader(CompanionClient.messages)
    wait_for_screen = _verb(CompanionClient.wait_for_screen)
    wait_until = _verb(CompanionClient.wait_until)
