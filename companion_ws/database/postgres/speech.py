"""Statements as PostgreSQL and psycopg want them, from the texts that SQLite takes.

The texts are written so that both engines take them, but for what `translated` sees to: how
parameters are marked (`?` and `:name`); that `user` is a word of PostgreSQL's own; that LIKE does
not let case count in SQLite; that PostgreSQL wants to know of what type a parameter is that may
be NULL (all that are asked for it are texts); and texts that stand side by side (`spoken`). Texts that a session holds may have NUL in them, which PostgreSQL's cannot:
`escaped` and `unescaped` are how they are kept.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from companion_ws.database.units import Spoken

_PARTS: Final = re.compile(
    r"'(?:[^']|'')*'"  # a literal
    r"|(?<![:\w]):(?P<name>[a-z_]\w*)(?P<may_be_null> IS NULL\b)?"
    r"|(?P<place>\?)"
    r"|(?P<percent>%)"
    r"|(?P<user>\buser\b)"
    r"|(?P<like>\bLIKE\b)"
)


@lru_cache(maxsize=1024)
def translated(sql: str) -> str:
    """Return a statement as psycopg takes it.

    >>> translated("SELECT user FROM t WHERE a = ? AND b LIKE :c ESCAPE '!'")
    'SELECT "user" FROM t WHERE a = %s AND b ILIKE %(c)s ESCAPE \'!\''
    >>> translated("SELECT '?' WHERE a % 2 = 0 AND b::int > :user")
    "SELECT '?' WHERE a %% 2 = 0 AND b::int > %(user)s"
    """
    return _PARTS.sub(_translated, sql.postgres if isinstance(sql, Spoken) else sql)


def _translated(part: re.Match[str]) -> str:
    if part["may_be_null"]:
        return f"CAST(%({part['name']})s AS text) IS NULL"
    if part["name"]:
        return f"%({part['name']})s"
    if part["place"]:
        return "%s"
    if part["user"]:
        return '"user"'
    return "ILIKE" if part["like"] else part[0].replace("%", "%%")


def escaped(text: str) -> str:
    """Return a text without NUL that `unescaped` makes the same again.

    >>> escaped("a\x00b\x01") == "a\x01-b\x01+", unescaped("a\x01-b\x01+") == "a\x00b\x01"
    (True, True)
    """
    if "\x00" not in text and "\x01" not in text:
        return text
    return text.replace("\x01", "\x01+").replace("\x00", "\x01-")


def unescaped(text: str) -> str:
    """Return the text that `escaped` was given."""
    if "\x01" not in text:
        return text
    return text.replace("\x01-", "\x00").replace("\x01+", "\x01")
