"""What counts as trouble in a session: what an operator at night looks for first.

`failed`: a tool returned an error, nobody answered in time, or a screen could not show something.
`no_screen`: a question found no screen. `slow`: a server tool ran, or a question needed to reach
its first screen, SLOW_MS or longer; how long a person thinks is never trouble.

The inspector derives the same from the same records (static/js/core/trace.js);
tests/wire/gists/list.json holds both to it.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

from companion_ws.core.tool_calls import status_of

Trouble = Literal["failed", "slow", "no_screen"]
TROUBLES: Final[tuple[Trouble, ...]] = get_args(Trouble)

SLOW_MS: Final = 3000
"""A pause on the telephone after which people ask whether anybody is there."""

UNANSWERED: Final = frozenset({"no_screen", "no_answer", "cancelled"})
"""Results of calls that neither a tool nor a person has answered."""


def of_result(
    result: str, *, is_error: bool, is_server_tool: bool, took_ms: int
) -> tuple[Trouble, ...]:
    """Return what was wrong with how a call ended.

    >>> of_result('{"status":"no_screen"}', is_error=False, is_server_tool=False, took_ms=5)
    ('no_screen',)
    >>> of_result("timed out", is_error=True, is_server_tool=True, took_ms=9000)
    ('failed', 'slow')
    """
    status = status_of(result)
    found: list[Trouble] = []
    if is_error or status == "no_answer":
        found.append("failed")
    if is_server_tool and took_ms >= SLOW_MS:
        found.append("slow")
    if status == "no_screen":
        found.append("no_screen")
    return tuple(found)


def of_rendering(
    problem: str | None, *, is_question: bool, is_first: bool, after_ms: int
) -> tuple[Trouble, ...]:
    """Return what was wrong with how a screen showed a record, `after_ms` after it was recorded."""
    found: list[Trouble] = []
    if problem is not None:
        found.append("failed")
    if is_question and is_first and after_ms >= SLOW_MS:
        found.append("slow")
    return tuple(found)
