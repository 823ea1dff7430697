"""Server tools of a restaurant: what they return the agent gets, what they show the phone shows.

companion-ws serve --tools own_tools          (in this folder)
companion-ws elevenlabs agent-config --tools own_tools
"""

from __future__ import annotations

from dataclasses import dataclass, field

from companion_ws import ToolCall, tool


@dataclass
class Table:
    """A free table."""

    id: str
    place: str
    seats: int


@dataclass
class Restaurant:
    """Keeps its tables in memory; yours asks a database."""

    tables: list[Table] = field(
        default_factory=lambda: [
            Table("t1", "window", 2),
            Table("t2", "garden", 4),
            Table("t3", "garden", 6),
        ]
    )
    booked: dict[str, str] = field(default_factory=dict)


restaurant = Restaurant()


@tool(idempotent=True)
async def find_tables(call: ToolCall, guests: int, place: str = "") -> list[Table]:
    """Finds free tables for a number of guests, in the garden or at the window if they care."""
    free = [
        table
        for table in restaurant.tables
        if table.id not in restaurant.booked
        and table.seats >= guests
        and place in ("", table.place)
    ]
    await call.contextual_update("free_tables", {"tables": free, "select": "table"})
    return free


@tool
async def book_table(call: ToolCall, table_id: str, name: str) -> str:
    """Books a table; only after the guest has confirmed."""
    if restaurant.booked.setdefault(table_id, name) != name:
        return f"Table {table_id} has just been taken by somebody else."
    await call.update_state("booking", {"table": table_id, "name": name})
    return f"Table {table_id} is booked for {name}."
