"""Bodies and queries of requests, read into the types that validate them."""

from __future__ import annotations

import json
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import web
from msgspec import Struct

from companion_ws.core.errors import BadRequest, InvalidMessage
from companion_ws.core.protocol import parse, present
from companion_ws.core.text import label

T = TypeVar("T", bound=Struct)

ABSENT: Final = frozenset({"", "null", "undefined"})
"""What a program that has nothing to say writes into a query; the last two are JavaScript's."""


async def read_json(request: web.Request) -> Any:
    """Return the JSON body; an absent or empty one is `{}`.

    Raises:
        InvalidMessage: it is not valid JSON, or breaks the protocol's rules for it.
    """
    text = await request.read()
    return parse(text) if text.strip() else {}


async def read_object(request: web.Request) -> dict[str, Any]:
    """Return the JSON body, which is an object.

    Raises:
        InvalidMessage: as `read_json`.
        BadRequest: it is JSON of another kind.
    """
    body = await read_json(request)
    if not isinstance(body, dict):
        raise BadRequest("The body is a JSON object.")
    return body


async def read_named(request: web.Request, field: str) -> Any:
    """Return the JSON body of a request in which `field` is a name.

    Half a character, which a page that cuts text by its length sends, is refused
    anywhere else; a name drops it as it drops all that has no place in it.

    Raises:
        InvalidMessage: as `read_json`.
    """
    try:
        return await read_json(request)
    except InvalidMessage as refusal:
        try:
            body = json.loads((await request.read()).decode())
        except (ValueError, RecursionError):
            raise refusal from None
        if not isinstance(body, dict) or not isinstance(body.get(field), str):
            raise
        return parse(json.dumps({**body, field: label(body[field])}))


def body_of(value: Any, kind: type[T]) -> T:
    """Return a parsed body as `kind`; null is an empty one, as for each field of it.

    Raises:
        BadRequest: a field is missing or of the wrong type.
    """
    try:
        return msgspec.convert(present({} if value is None else value, kind), kind)
    except msgspec.ValidationError as error:
        raise BadRequest(f"The body is wrong: {error}.") from None


def query_of(query: Any, kind: type[T]) -> T:
    """Return query parameters as `kind`; twice is once too often.

    Empty ones count as absent, and what programs write for nothing.

    Raises:
        BadRequest: one is malformed.
    """
    given = {name: text for name, text in query.items() if text not in ABSENT}
    if len(query) > len(set(query)):
        raise BadRequest("A parameter is there more than once.")
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise BadRequest(f"A parameter is wrong: {error}.") from None
