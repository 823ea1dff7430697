"""A credential in use: whatever is under way with it ends in the step in which it does.

A check does not survive an await, and checks after each of them would be forgotten in
one place or another. So nobody checks: who is shown a credential holds it, and what holds
it is cancelled, or closed, the moment it is revoked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from companion_ws.access.claims import Claims
from companion_ws.core.errors import CompanionError

LetGo = Callable[["Credential"], None]


class Credential:
    """A token that was shown, from then on until it is let go of, as a context manager.

    `claims` is what it says, and `text` the token itself: a signature may stop being good,
    too. `on_end`, where somebody has set it, is called with the reason as soon as
    the token is good for nothing any more, once.
    """

    __slots__ = (
        "_expiry", "_let_go", "_task", "claims", "on_end", "text",
    )

    def __init__(self, text: str, claims: Claims, let_go: LetGo) -> None:
        self.text = text
        self.claims = claims
        self.on_end: Callable[[CompanionError], None] | None = None
        self._let_go = let_go
        self._task = asyncio.current_task()
        self._expiry: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.let_go()

    def let_go(self) -> None:
        """Nothing more is done with it; a second time is nothing."""
        self.on_end = None
        self._forget_expiry()
        self._let_go(self)

    def renewed(self, text: str, claims: Claims) -> None:
        """Go on with the token that stands for this one from now on."""
        self.text, self.claims = text, claims
        self._forget_expiry()

    def end_in(self, seconds: float, reason: CompanionError) -> None:
        """Let it end by itself: it may expire while something is under way."""
        self._expiry = asyncio.get_running_loop().call_later(seconds, self.end, reason)

    def _forget_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None

    def end(self, reason: CompanionError) -> None:
        """It was revoked. Who does that with the token itself still hears the answer."""
        on_end = self.on_end
        self.let_go()
        if on_end is not None and self._task is not _current_task():
            on_end(reason)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Cancel the block when the credential ends, so that no further line of it runs.

        What the block has handed to the writer or put into a session's line stands.

        Raises:
            CompanionError: what the credential ended with, instead of the cancellation.
        """
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("A credential is held by a task.")
        reasons: list[CompanionError] = []
        others = task.cancelling()

        def cancel(reason: CompanionError) -> None:
            reasons.append(reason)
            task.cancel()

        self.on_end = cancel
        try:
            yield
        except asyncio.CancelledError:
            # As asyncio.timeout does: somebody else may have cancelled this task as well.
            if reasons and task.uncancel() <= others:
                raise reasons[0] from None
            raise
        finally:
            self.on_end = None


def _current_task() -> asyncio.Task[object] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None  # No loop runs: keys and revocations can be used without one.
