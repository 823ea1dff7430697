"""OpenAPI and AsyncAPI documents, made from the route table and the types that validate."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
from aiohttp import web

from companion_ws import __version__
from companion_ws.core.commands import COMMANDS, RECORDS, SAID, TOLD
from companion_ws.core.errors import ERRORS, NotFound
from companion_ws.files import folder
from companion_ws.web.api.shapes import Problem
from companion_ws.web.docs.article import API
from companion_ws.web.docs.page import api_page
from companion_ws.web.docs.publish import publish
from companion_ws.web.docs.site import HOME, IMAGES, SEARCH, Filed, Site
from companion_ws.web.docs.told import OWN_FIELDS
from companion_ws.web.guard.prepared import Prepared, prepare, respond
from companion_ws.web.guard.route import PUBLIC, Route

_REF: Final = "#/components/schemas/{name}"
_SENDER: Final = {
    "type": "object",
    "required": ["role", "user", "connection_id"],
    "properties": {
        "role": {"enum": ["agent", "ui", "server"]},
        "user": {"type": "string"},
        "connection_id": {"type": ["string", "null"]},
    },
}
_REGEX: Final = re.compile(r"\{(\w+)(:[^}]*)?\}")


class Shells(Protocol):
    """What the pages have in common, and the files they are made of."""

    def shell(self, name: str, up: str = "", header: str = "header") -> str: ...

    def asset(self, path: str) -> bytes: ...


class Documents:
    """Serves /openapi.json, /asyncapi.json, and /docs with every page below it, each made once.

    Around each of the docs is what the pages have in common.
    """

    def __init__(self, routes: Iterable[Route], public_url: str, pages: Shells) -> None:
        routes = [*routes, *self.routes()]
        self._pages = pages
        self.site = Site(
            folder("static") / "dist/docs",
            lambda: api_page(routes, public_url, RECORDS, TOLD),
            lambda up: pages.shell("docs", up),
        )
        self._openapi = _Once(lambda: _json(openapi(routes, public_url)))
        self._asyncapi = _Once(lambda: _json(asyncapi(public_url)))
        made = {name: _Once(partial(self._page, name)) for name in self.site.names}
        self._api = made.pop(API)
        self._below = {
            "": made[HOME],
            **made,
            SEARCH: _Once(lambda: prepare(self.site.search().encode(), "application/json")),
            **{
                IMAGES + path.name: _Once(partial(_picture, path))
                for path in _pictures().glob("*.png")
            },
        }

    def routes(self) -> list[Route]:
        return [
            Route("GET", "/openapi.json", PUBLIC, self.openapi, summary="This document",
                  answer=dict[str, Any]),
            Route("GET", "/asyncapi.json", PUBLIC, self.asyncapi,
                  summary="The WebSocket's document", answer=dict[str, Any]),
            Route("GET", "/docs", PUBLIC, self.docs, summary="Readable API pages",
                  media="text/html"),
            Route("GET", "/docs/{page:.*}", PUBLIC, self.below,
                  summary="A page of the docs; without a name, their contents", media="*/*"),
        ]  # fmt: skip

    async def openapi(self, request: web.Request) -> web.StreamResponse:
        return respond(request, await self._openapi.get(), "no-store")

    async def asyncapi(self, request: web.Request) -> web.StreamResponse:
        return respond(request, await self._asyncapi.get(), "no-store")

    async def docs(self, request: web.Request) -> web.StreamResponse:
        return respond(request, await self._api.get(), "no-cache")

    async def below(self, request: web.Request) -> web.StreamResponse:
        if request.match_info["page"] == API:
            raise web.HTTPPermanentRedirect("../docs")
        made = self._below.get(request.match_info["page"])
        if made is None:
            raise NotFound("There is no such page in the docs.")
        return respond(request, await made.get(), "no-cache")

    async def publish(self, to: Path) -> int:
        """Write the docs as a static site below `to`; return how many pages it has."""
        shells = self._pages
        site = replace(
            self.site,
            around=lambda up: shells.shell("docs", up, "published"),
            addresses=Filed(),
        )
        documents = {
            "openapi.json": (await self._openapi.get()).body,
            "asyncapi.json": (await self._asyncapi.get()).body,
        }
        return await asyncio.to_thread(publish, site, shells.asset, documents, _pictures(), to)

    def _page(self, name: str) -> Prepared:
        return prepare(self.site.page(name).encode(), "text/html")


def _pictures() -> Path:
    return folder("docs/images")


def _picture(path: Path) -> Prepared:
    return prepare(path.read_bytes(), "image/png")


class _Once:
    """Makes something in a thread for the first who asks; all who ask wait for that one."""

    def __init__(self, make: Callable[[], Prepared]) -> None:
        self._make = make
        self._made: Prepared | None = None
        self._making: asyncio.Future[Prepared] | None = None

    async def get(self) -> Prepared:
        if self._made is None:
            if self._making is None:
                self._making = asyncio.ensure_future(asyncio.to_thread(self._make))
            # A caller that hangs up takes it from nobody else.
            self._made = await asyncio.shield(self._making)
        return self._made


def _json(document: dict[str, Any]) -> Prepared:
    return prepare(msgspec.json.encode(document), "application/json")


def openapi(routes: Iterable[Route], public_url: str) -> dict[str, Any]:
    """Return an OpenAPI 3.1 document of the routes."""
    routes = [route for route in routes if _is_described(route)]
    types = [kind for route in routes for kind in (route.body, route.answer) if _is_struct(kind)]
    types += [kind for route in routes for kind in _inner(route.answer)]
    _, schemas = msgspec.json.schema_components([*types, Problem], ref_template=_REF)
    for name in {route.body.__name__ for route in routes if _is_struct(route.body)}:
        _let_be_null(schemas[name])
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = _REGEX.sub(r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "companion-ws",
            "version": __version__,
            "description": "Sessions shared by voice agents and the screens of people. "
            "Times are milliseconds since 1970 (UTC).",
        },
        "servers": [{"url": public_url}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _is_described(route: Route) -> bool:
    """Leave out files, pages of the docs, and the WebSocket, which AsyncAPI describes."""
    return not re.search(r"\{(path|page):", route.path) and route.path != "/ws"


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _inner(kind: Any) -> list[Any]:
    return [part for part in getattr(kind, "__args__", ()) if _is_struct(part)]


def _schema(kind: Any) -> dict[str, Any]:
    (schema,), _ = msgspec.json.schema_components([kind], ref_template=_REF)
    return schema


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": route.summary or f"{route.method} {route.path}",
        "operationId": _operation_id(route),
        "parameters": [*_path_parameters(route), *_query_parameters(route)],
        "responses": {str(route.status): _answer(route), "default": _problem(route)},
    }
    if route.who:
        operation["security"] = [{"token": []}]
        operation["description"] = f"For tokens of kind {', '.join(sorted(route.who))}."
    if route.body is not None:
        schema = _schema(route.body)
        if _is_struct(route.body) and not any(
            field.required for field in msgspec.structs.fields(route.body)
        ):
            schema = _or_null(schema)
        operation["requestBody"] = {
            "required": False,
            "content": {"application/json": {"schema": schema}},
        }
    return operation


def _let_be_null(schema: dict[str, Any]) -> None:
    """Say of an object's fields that may be left out that null is the same."""
    for name, part in schema.get("properties", {}).items():
        if name not in schema.get("required", ()):
            schema["properties"][name] = _or_null(part)


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    if not schema or {"type": "null"} in schema.get("anyOf", ()):
        return schema
    return {"anyOf": [schema, {"type": "null"}]}


def _operation_id(route: Route) -> str:
    words = re.sub(r"[^A-Za-z0-9]+", "_", _REGEX.sub(r"\1", route.path)).strip("_")
    return f"{route.method.lower()}_{words or 'root'}"


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    return [
        {"name": match[1], "in": "path", "required": True, "schema": {"type": "string"}}
        for match in _REGEX.finditer(route.path)
    ]


def _query_parameters(route: Route) -> list[dict[str, Any]]:
    if route.query is None:
        return []
    _, schemas = msgspec.json.schema_components([route.query], ref_template=_REF)
    properties = schemas[route.query.__name__]["properties"]
    return [
        {"name": name, "in": "query", "required": False, "schema": _or_null(schema)}
        for name, schema in properties.items()
    ]


def _answer(route: Route) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": "Done"}
    if route.status != 204:
        schema = _schema(route.answer) if route.answer is not None else {}
        answer["content"] = {route.media: {"schema": schema}}
    return answer


def _problem(route: Route) -> dict[str, Any]:
    schemas = {"application/problem+json": _schema(Problem)}
    return {
        "description": "Refused: " + ", ".join(sorted(ERRORS)),
        "content": {media: {"schema": schemas.get(media, {})} for media in route.refusals},
    }


def asyncapi(public_url: str) -> dict[str, Any]:
    """Return an AsyncAPI 3.0 document of the WebSocket."""
    scheme, _, host = public_url.partition("://")
    sent = {f"send_{name}": _command_message(name) for name in COMMANDS}
    told = {f"told_{name}": _told_message(name, True) for name in RECORDS}
    told |= {f"told_{name}": _told_message(name, False) for name in TOLD}
    messages = {**sent, **told}
    _, schemas = msgspec.json.schema_components(
        [*COMMANDS.values(), *OWN_FIELDS.values()], ref_template=_REF
    )
    for kind in COMMANDS.values():
        _let_be_null(schemas[kind.__name__])
    _let_be_null(schemas["ToolCall"])
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "companion-ws", "version": __version__},
        "servers": {
            "here": {"host": host, "protocol": "wss" if scheme == "https" else "ws"},
        },
        "channels": {
            "session": {
                "address": "/ws",
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
            }
        },
        "operations": {
            "command": _side("receive", sent, "Messages that clients send"),
            "tell": _side("send", told, "Messages that the server sends"),
        },
        "components": {"messages": messages, "schemas": schemas},
    }


def _side(action: str, messages: dict[str, Any], summary: str) -> dict[str, Any]:
    return {
        "action": action,
        "summary": summary,
        "channel": {"$ref": "#/channels/session"},
        "messages": [{"$ref": f"#/channels/session/messages/{name}"} for name in messages],
    }


def _command_message(name: str) -> dict[str, Any]:
    kind = COMMANDS[name]
    return {
        "name": name,
        "summary": (kind.__doc__ or name).splitlines()[0],
        "payload": {
            "allOf": [
                {"$ref": _REF.format(name=kind.__name__)},
                {
                    "type": "object",
                    "required": ["type"],
                    "properties": {
                        "type": {"const": name},
                        "requestId": {"type": "string", "minLength": 1, "maxLength": 128},
                    },
                },
            ]
        },
    }


def _told_message(name: str, is_record: bool) -> dict[str, Any]:
    """Return a message of the server: what is around each, and its own fields."""
    around: dict[str, Any] = {
        "type": {"const": name},
        "session_id": {"type": ["string", "null"]},
        "timestamp": {"type": "integer"},
    }
    required = ["type", "session_id", "timestamp"]
    if is_record:
        around |= {
            "seq": {"type": "integer", "minimum": 1},
            "requestId": {"type": "string"},
            "sender": _SENDER,
            "duplicate": {"const": True},
        }
        required += ["seq", "requestId", "sender"]
    elif name not in OWN_FIELDS:
        around |= {"requestId": {"type": "string"}, "sender": _SENDER}
        required += ["sender"]
    own = OWN_FIELDS[name] if name in OWN_FIELDS else COMMANDS[name]
    return {
        "name": name,
        "summary": SAID[name],
        "payload": {
            "allOf": [
                {"type": "object", "required": required, "properties": around},
                {"$ref": _REF.format(name=own.__name__)},
            ]
        },
    }
