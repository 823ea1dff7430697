"""The readable API page: all of it is there, and what it shows is true of the running server."""

from __future__ import annotations

import asyncio
import hmac
import json
import re
import shlex
import string
import time
from collections.abc import AsyncIterator
from dataclasses import fields
from html.parser import HTMLParser
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from jsonschema import Draft202012Validator

from companion_ws import Config, create_app
from companion_ws.app import ROUTES
from companion_ws.cli import main
from companion_ws.core import protocol
from companion_ws.core.commands import COMMANDS, RECORDS, TOLD
from companion_ws.core.errors import ERRORS
from companion_ws.testing.inbox import Inbox
from companion_ws.testing.server import CompanionServer
from companion_ws.web.docs.documents import asyncapi
from companion_ws.web.docs.entries import anchor_of, path_of
from companion_ws.web.docs.markup import pretty
from companion_ws.web.docs.page import api_page
from companion_ws.web.docs.samples import (
    CALLS,
    JOIN,
    KINDS,
    SAID,
    SECRETS,
    SENT,
    said_example,
    sent_example,
)
from companion_ws.web.guard.joining import Join
from companion_ws.web.guard.route import PUBLIC, Route

SECRET = "a secret of the tools"
SIGNING = "a secret of the webhook"
REFUSED = {
    "POST /pair": "code that nobody has",
    "POST /sign-in": "ticket that nobody has",
    "POST /sessions/{session_id}/pairings/{pairing_id}": "no device waits",
    "PUT /sessions/{session_id}/state/{key}": "the key is there by then",
    "DELETE /sessions/{session_id}/tokens/{token_id}": "no token of it is out",
    "DELETE /sessions/{session_id}/devices/{device_id}": "no device is paired",
    "GET /elevenlabs/signed-url": "no agent is configured",
    "GET /brand/logo": "no logo is set",
    "GET /media/{media_id}": "no picture was fetched",
}
"""Command lines that a fresh server understands and refuses, and why."""


class Read(HTMLParser):
    """What a browser finds on the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.codes: set[str] = set()
        self.blocks: dict[str, str] = {}
        self.abouts: list[str] = []
        self.words = ""
        self._open: list[tuple[str, dict[str, str | None]]] = []
        self._text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if given.get("id"):
            self.ids.append(str(given["id"]))
        if tag == "a":
            self.links.append(str(given["href"]))
        if tag in ("code", "pre") or given.get("class") == "about":
            self._open.append((tag, given))
            self._text = ""

    def handle_data(self, data: str) -> None:
        self._text += data
        if not any(tag == "pre" for tag, _ in self._open):
            self.words += data

    def handle_endtag(self, tag: str) -> None:
        if self._open and self._open[-1][0] == tag:
            _, given = self._open.pop()
            if tag == "pre":
                self.blocks[str(given["aria-label"])] = self._text
            elif tag == "code":
                self.codes.add(self._text)
            else:
                self.abouts.append(self._text)


@pytest.fixture
async def server() -> AsyncIterator[CompanionServer]:
    settings = {"elevenlabs_tool_secret": SECRET, "elevenlabs_webhook_secret": SIGNING,
                "vapi_secret": SECRET, "retell_api_key": SIGNING}  # fmt: skip
    async with CompanionServer(pairing="confirm", **settings) as server:
        yield server


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as http:
        yield http


async def read(server: CompanionServer, http: aiohttp.ClientSession) -> Read:
    async with http.get(f"{server.url}/docs") as answer:
        assert answer.status == 200
        return Read(await answer.text())


def routes_of(server: CompanionServer) -> list[Route]:
    assert server.app is not None
    routes: list[Route] = server.app[ROUTES]
    return routes


async def test_every_route_command_message_and_error_has_an_entry_of_its_own(
    server: CompanionServer, http: aiohttp.ClientSession
) -> None:
    page = await read(server, http)

    wanted = {anchor_of(route) for route in routes_of(server)}
    wanted |= {f"send-{name}" for name in COMMANDS}
    wanted |= {f"record-{name}" for name in RECORDS} | {f"told-{name}" for name in TOLD}
    wanted |= {f"error-{code}" for code in ERRORS}
    wanted |= {f"close-{e.close_code}" for e in ERRORS.values() if e.close_code}
    wanted |= {"get-docs", "get-openapi-json", "get-static-path"}
    assert sorted(wanted - set(page.ids)) == []
    assert sorted(page.ids) == sorted(set(page.ids))
    assert {path_of(route) for route in routes_of(server)} - {"/ws"} <= page.codes


async def test_every_link_on_the_page_leads_somewhere(
    server: CompanionServer, http: aiohttp.ClientSession
) -> None:
    page = await read(server, http)

    for link in set(page.links):
        if link.startswith("#"):
            assert link[1:] in page.ids
        else:
            async with http.get(f"{server.url}/{link}") as answer:
                assert answer.status == 200


async def test_every_entry_says_in_a_line_what_it_is_and_code_is_no_backtick(
    server: CompanionServer, http: aiohttp.ClientSession
) -> None:
    page = await read(server, http)

    assert len(page.abouts) > 90
    assert all(page.abouts)
    assert "`" not in page.words
    assert "if_revision" in page.codes


def test_what_is_written_in_a_route_is_text_on_the_page() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response()

    route = Route("GET", "/<i>", PUBLIC, answer, summary="<b>`<u>`</b> & 'more'")
    page = api_page([route], "http://$(x).example/'\"", {}, {}).body

    assert not re.search(r"<[ibu]>", page)
    assert "<code>&lt;u&gt;</code>" in page
    assert "URL='http://$(x).example/'\"'\"'\"'" in next(iter(Read(page).blocks.values()))


async def test_every_example_of_a_command_decodes(
    server: CompanionServer, http: aiohttp.ClientSession
) -> None:
    page = await read(server, http)

    for name, kind in COMMANDS.items():
        command, request_id = protocol.decode(protocol.parse(page.blocks[f"Example of {name}"]))
        assert isinstance(command, kind)
        assert request_id == "r-1"
    assert set(SENT) == set(COMMANDS)
    assert protocol.decode(protocol.parse(page.blocks["A line to type"]))
    assert "\n" not in page.blocks["A line to type"]


async def test_every_example_of_what_the_server_says_is_as_its_document_says(
    server: CompanionServer, http: aiohttp.ClientSession
) -> None:
    page, components = await read(server, http), asyncapi(server.url)["components"]

    for name in (*RECORDS, *TOLD):
        kind = "record" if name in RECORDS else "told"
        example = protocol.parse(page.blocks[f"Example of {kind} {name}"])
        payload = components["messages"][f"told_{name}"]["payload"]
        Draft202012Validator({**payload, "components": components}).validate(example)
    assert set(SAID) <= {*RECORDS, *TOLD}


async def test_every_example_is_sent_and_answered_as_the_page_says(
    server: CompanionServer, http: aiohttp.ClientSession
) -> None:
    """A real agent and a real screen; what each hears has the fields of the page's examples."""
    own = {"Authorization": f"Bearer {server.token()}"}
    async with http.post(f"{server.url}/sessions", headers=own) as answer:
        one = f"{server.url}/sessions/{(await answer.json())['session_id']}"
    async with http.post(f"{one}/tokens", headers=own, json={"role": "ui"}) as answer:
        screens = {"Authorization": f"Bearer {(await answer.json())['token']}"}
    agent = await Peer.join(http, f"{server.url}/ws?session_id={one[-36:]}", own)
    screen = await Peer.join(http, f"{server.url}/ws", screens)

    async with http.post(f"{one}/pairings", headers=own) as answer:
        code = (await answer.json())["code"]
    async with http.post(f"{server.url}/pair", json={"code": code, "device": "Pixel 7"}):
        await agent.hears("pairing_request")
    for name, kind in COMMANDS.items():
        sender = agent if "agent" in kind.roles and name != "token_renew" else screen
        await sender.socket.send_json({**sent_example(name), "requestId": name})
        if name in ("client_tool_cancel", "pairing_answer"):
            await sender.hears("error", name)  # the call has its answer; nobody waits
        elif name in TOLD:
            await (screen if sender is agent else agent).hears(name, name)
        else:
            await sender.hears(kind.outcome(), name)
    async with http.delete(one, headers=own):
        await agent.hears("session_ended")

    heard = {message["type"]: message for message in [*agent.heard, *screen.heard]}
    assert {*RECORDS, *TOLD} - set(heard) == {
        "client_tool_cancel", "media", "session_expiring", "token_expiring",
    }  # fmt: skip
    for name, message in heard.items():
        example = said_example(name, is_record=name in RECORDS)
        assert set(message) == set(example), name
        if "sender" in example:
            assert set(message["sender"]) == set(example["sender"]), name


class Peer:
    """A socket and what it heard."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.heard = Inbox()

    @classmethod
    async def join(cls, http: aiohttp.ClientSession, url: str, own: dict[str, str]) -> Peer:
        peer = cls(await http.ws_connect(url, headers=own))
        await peer.hears("session_joined")
        return peer

    async def hears(self, name: str, request_id: str | None = None) -> None:
        while True:
            message = await self.socket.receive_json(timeout=10)
            await self.heard.put(message)
            if message["type"] == name and request_id in (None, message.get("requestId")):
                return


async def test_every_command_line_of_the_page_is_understood(
    server: CompanionServer, http: aiohttp.ClientSession
) -> None:
    """Each is sent to a real server as a shell would read it; what deletes goes last."""
    page, known = await read(server, http), await variables(server, http)
    own = {"Authorization": f"Bearer {known['TOKEN']}"}
    address = f"{server.url}/ws?session_id={known['SESSION']}&role=ui"
    screen = await http.ws_connect(address, headers=own)
    person = asyncio.create_task(says_yes(screen))
    lines = [
        (label.partition(" for ")[2], code)
        for label, code in page.blocks.items()
        if label.startswith("Command")
    ]
    routes = {f"{route.method} {path_of(route)}" for route in routes_of(server)} - {"GET /ws"}
    assert routes <= {name for name, _ in lines}

    for name, code in sorted(lines, key=deletes_last):
        words = shlex.split(string.Template(code).substitute(known))
        method = words[words.index("-X") + 1] if "-X" in words else "GET"
        headers = dict(words[at + 1].split(": ", 1) for at, w in enumerate(words) if w == "-H")
        data = words[words.index("-d") + 1] if "-d" in words else None
        url = next(word for word in words if word.startswith("http"))
        path = re.sub(r"\\\{\w+\\\}", ".+", re.escape(name.split()[1]))
        assert re.fullmatch(re.escape(server.url) + path + r"(\?.*)?", url)
        assert method == name.split()[0]
        async with http.request(method, url, headers=headers, data=data) as answer:
            if answer.status >= 400:
                assert name in REFUSED, (name, answer.status, await answer.text())
                assert (await answer.json())["code"] in ERRORS
    await person


async def says_yes(screen: aiohttp.ClientWebSocketResponse) -> None:
    """A person who confirms whatever is asked, until the session ends."""
    async for frame in screen:
        message = json.loads(frame.data)
        if message["type"] == "client_tool_call":
            call_id = message["client_tool_call"]["tool_call_id"]
            result = {"tool_call_id": call_id, "result": '{"status": "confirmed"}'}
            await screen.send_json({"type": "client_tool_result", **result})


def deletes_last(line: tuple[str, str]) -> tuple[bool, int]:
    """What is within something goes before it, and a person with everything at the end."""
    method, path = line[0].split()
    return method == "DELETE", path == "/me" or -path.count("/")


async def variables(server: CompanionServer, http: aiohttp.ClientSession) -> dict[str, str]:
    """What somebody who follows the page has in their shell."""
    own = {"Authorization": f"Bearer {server.token('bob')}"}
    async with http.post(f"{server.url}/sessions", headers=own) as answer:
        session_id = (await answer.json())["session_id"]
    one = f"{server.url}/sessions/{session_id}"
    async with http.put(f"{one}/state/selected", headers=own, json="air") as answer:
        assert answer.status == 200
    async with http.post(f"{one}/pairings", headers=own) as answer:
        pairing_id = (await answer.json())["pairing_id"]
    root, wish = server.token("root", "admin"), {"user": "carol", "role": "service"}
    admin = {"Authorization": f"Bearer {root}"}
    async with http.post(f"{server.url}/tokens", headers=admin, json=wish) as answer:
        token_id = (await answer.json())["id"]
    at, body = str(int(time.time())), pretty(CALLS["POST /elevenlabs/post-call"][0].body, "  ")
    signed = hmac.new(SIGNING.encode(), f"{at}.{body}".encode(), "sha256").hexdigest()
    at_ms, retell = f"{at}000", pretty(CALLS["POST /retell"][0].body, "  ")
    by_retell = hmac.new(SIGNING.encode(), f"{retell}{at_ms}".encode(), "sha256").hexdigest()
    return {
        "TIME_MS": at_ms,
        "SIGNED_BY_RETELL": by_retell,
        "URL": server.url,
        "TOKEN": server.token("bob"),
        "ADMIN_TOKEN": root,
        "SESSION": session_id,
        "PAIRING_ID": pairing_id,
        "DEVICE_ID": "d-1",
        "MEDIA_ID": "m-1",
        "TOKEN_ID": token_id,
        "SECRET": SECRET,
        "TIME": at,
        "SIGNATURE": signed,
    }


async def test_the_commands_of_the_start_have_the_verbs_and_options_they_name(
    server: CompanionServer, http: aiohttp.ClientSession
) -> None:
    page = await read(server, http)

    steps = "\n".join(page.blocks[f"Step {number}"] for number in (1, 2, 3))
    assert f"URL={server.url}\n" in steps
    lines = re.findall(r"companion-ws ([^\n)]+)", steps)
    assert [line.split()[0] for line in lines] == ["token", "connect"]
    for line in lines:
        words, command = shlex.split(line), main
        while words and words[0] in getattr(command, "commands", {}):
            command = command.commands[words.pop(0)]  # type: ignore[attr-defined]
        options = {option for each in command.params for option in each.opts}
        assert {word for word in words if word.startswith("--")} <= options


async def test_what_no_type_knows_names_what_exists(tmp_path: Path) -> None:
    app = await create_app(Config(data=tmp_path / "data"))

    names = {f"{route.method} {path_of(route)}" for route in app[ROUTES]}
    assert {*CALLS, *SECRETS} <= names
    assert set(KINDS) == {
        kind for route in app[ROUTES] for kind in route.who | route.anywhere
    }
    assert set(JOIN) == {"token", *(parameter.name for parameter in fields(Join))}
    assert {kind.outcome() for kind in COMMANDS.values() if kind.fate != "unanswered"} <= {
        *RECORDS,
        *TOLD,
    }
