"""Where everything is stored: one writer, one reader, an engine behind them."""

from companion_ws.database.database import MAX_WAITING_BYTES, Database
from companion_ws.database.trouble import CannotOpen, NewerDatabase
from companion_ws.database.units import (
    Conflict,
    NotUnique,
    Params,
    Read,
    Settle,
    Spoken,
    Statement,
    Unit,
    one_at_a_time,
    outlive,
    spoken,
)

__all__ = [
    "MAX_WAITING_BYTES", "CannotOpen", "Conflict", "Database", "NewerDatabase", "NotUnique", "Params", "Read",
    "Settle", "Spoken", "Statement", "Unit", "one_at_a_time", "outlive", "spoken",
]
