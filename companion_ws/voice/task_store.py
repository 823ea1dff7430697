"""The SQL of tasks: durable handles on questions, each for whoever asked."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Literal

from companion_ws.database import Database, Statement
from companion_ws.voice.store import heard

MAX_TASKS: Final = 200
MAX_TASKS_BYTES: Final = 4 * 1024 * 1024
"""Of one session, questions and results together; the oldest make room."""

Status = Literal["working", "completed", "cancelled"]

_COLUMNS: Final = """session_id, user, tool_call_id, asked, created_at_ms, updated_at_ms, until_ms,
    status, is_shown_in, result"""

_MAKE_ROOM: Final = """
    DELETE FROM tasks WHERE session_id = ? AND (until_ms <= ? OR handle_hash IN (
        SELECT handle_hash FROM (
            SELECT handle_hash, row_number() OVER newest AS place,
                   sum(length(asked) + coalesce(length(result), 0)) OVER newest AS bytes
            FROM tasks WHERE session_id = ?
            WINDOW newest AS (ORDER BY created_at_ms DESC, handle_hash)
        ) AS ranked WHERE place >= ? OR bytes > ?))"""


@dataclass(frozen=True, slots=True)
class Task:
    """One task; times are of the clock that runs. `asked` and `result` are JSON text."""

    handle: str
    session_id: str
    user: str
    tool_call_id: str
    asked: str
    created_at_ms: int
    updated_at_ms: int
    until_ms: int
    status: Status = "working"
    is_shown_in: bool = False
    """Whether its caller has answered the invitation to the screen, which is not repeated then."""
    result: str | None = None


class TaskStore:
    """The table `tasks`; its rows go with their session, or when their time is over."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, task: Task) -> None:
        """Store a new task; those of its session whose time is over make room for it."""
        await self._database.transact(
            [
                Statement(
                    _MAKE_ROOM,
                    (
                        task.session_id, task.created_at_ms, task.session_id, MAX_TASKS,
                        MAX_TASKS_BYTES,
                    ),
                ),
                Statement(
                    "INSERT INTO tasks (handle_hash, session_id, user, tool_call_id, asked,"
                    " created_at_ms, updated_at_ms, until_ms, status)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        _hash(task.handle), task.session_id, task.user, task.tool_call_id, task.asked,
                        task.created_at_ms, task.updated_at_ms, task.until_ms, task.status,
                    ),
                    expect=1,
                ),
            ]
        )  # fmt: skip

    async def find(self, handle: str, user: str, at_ms: int) -> Task | None:
        """Return the task of a handle for the user who asked, while its time is not over."""
        rows = await self._database.read(
            f"SELECT {_COLUMNS} FROM tasks WHERE handle_hash = ? AND user = ? AND until_ms > ?",  # noqa: S608
            (_hash(handle), user, at_ms),
        )
        if not rows:
            return None
        [(session_id, asker, call, asked, made_ms, changed_ms, until_ms, status, shown, result)] = rows
        return Task(
            handle, session_id, asker, call, asked, made_ms, changed_ms, until_ms, status, bool(shown),
            result,
        )  # fmt: skip

    async def ask_again(self, task: Task, tool_call_id: str) -> None:
        """Store that another call asks the task's question from now on."""
        await self._database.transact(
            [
                Statement(
                    "UPDATE tasks SET tool_call_id = ? WHERE handle_hash = ?",
                    (tool_call_id, _hash(task.handle)),
                ),
                heard(task.session_id, task.tool_call_id),
            ]
        )

    async def note_shown_in(self, task: Task) -> None:
        """Store that the caller has answered the invitation to the screen."""
        await self._database.transact(
            [
                Statement(
                    "UPDATE tasks SET is_shown_in = 1 WHERE handle_hash = ?", (_hash(task.handle),)
                )
            ]
        )

    async def others(self, task: Task, at_ms: int) -> int:
        """Return how many other tasks still wait for the same call."""
        rows = await self._database.read(
            "SELECT count(*) FROM tasks WHERE session_id = ? AND tool_call_id = ?"
            " AND status = 'working' AND handle_hash <> ? AND until_ms > ?",
            (task.session_id, task.tool_call_id, _hash(task.handle), at_ms),
        )
        return int(rows[0][0])

    async def cancel(self, task: Task, at_ms: int) -> None:
        """Store that nobody wants the answer any more.

        Raises:
            Conflict: it is not working.
        """
        await self._database.transact(self._ended(task, "cancelled", None, at_ms))

    def completed(self, task: Task, result: str, at_ms: int) -> list[Statement]:
        """Return what stores the result of a task that is working, and that it was heard."""
        return self._ended(task, "completed", result, at_ms)

    async def forget(self, task: Task) -> None:
        """Delete a task whose caller has been given an answer otherwise."""
        await self._database.transact(
            [
                Statement("DELETE FROM tasks WHERE handle_hash = ?", (_hash(task.handle),)),
                heard(task.session_id, task.tool_call_id),
            ]
        )

    def _ended(
        self, task: Task, status: Status, result: str | None, at_ms: int
    ) -> list[Statement]:
        return [
            Statement(
                "UPDATE tasks SET status = ?, result = ?, updated_at_ms = ?"
                " WHERE handle_hash = ? AND status = 'working'",
                (status, result, at_ms, _hash(task.handle)),
                expect=1,
            ),
            heard(task.session_id, task.tool_call_id),
        ]


def _hash(handle: str) -> bytes:
    return sha256(handle.encode("utf-8", "surrogatepass")).digest()
