"""What one server asks another to do: the result comes back, or the refusal, or nobody knows."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from entrance import Elsewheres
from running import WAIT_S, free_port

from companion_ws.access.keys import Keys
from companion_ws.access.tokens import Tokens
from companion_ws.addresses import Addresses
from companion_ws.clock import Clock
from companion_ws.config import Config
from companion_ws.core.errors import RevisionConflict, ToolClosed, Unauthenticated, Unavailable
from companion_ws.core.session import Sender, TokenRef
from companion_ws.nodes.passes import Passes
from companion_ws.nodes.place import Node, Vigil
from companion_ws.nodes.splice import Splices
from companion_ws.nodes.verbs import Verbs, verb
from companion_ws.traces import asked_in, in_trace
from companion_ws.web.api.stream_tickets import StreamTickets
from companion_ws.web.api.verbs import VerbRoute
from companion_ws.web.guard.middleware import Guard
from companion_ws.web.guard.passing import Passing
from companion_ws.web.runner import Runner

KEYS = [b"k" * 32]
_number = count()


@dataclass(frozen=True)
class Found:
    text: str
    sender: Sender | None = None


class Shop:
    """A room with verbs; `here` says whether its session lives on this server."""

    def __init__(self, verbs: Verbs, places: Elsewheres) -> None:
        self.verbs = verbs
        self.places = places
        self.done: list[Any] = []
        self.waiting, self.let_go = asyncio.Event(), asyncio.Event()
        verbs.serve(self)

    @verb()
    async def sell(self, session_id: str, sender: Sender, *, count: int = 1) -> Found:
        await self.places.open()
        self.done.append((session_id, sender, sender.token, count))
        return Found(f"{count} for {session_id}", sender)

    @verb()
    async def refuse(self, session_id: str, code: str) -> None:
        await self.places.open()
        if code == "conflict":
            raise RevisionConflict("It is another.", key="k", value={"a": [1]}, revision=7)
        raise ToolClosed("Too late.")

    @verb()
    async def wait(self, session_id: str, seconds: float, is_gone: Callable[[], bool]) -> str:
        await self.places.open()
        self.waiting.set()
        while not is_gone():
            await asyncio.sleep(0.01)
        self.done.append("gone")
        return "nobody hears this"

    @verb(changes=False)
    async def look(self, session_id: str) -> str:
        await self.places.open()
        self.done.append("looked")
        return "seen"

    @verb(changes=False)
    async def look_long(self, session_id: str) -> str:
        await self.places.open()
        self.waiting.set()
        await self.let_go.wait()
        self.done.append("late")
        return "seen"

    @verb()
    async def trace(self, session_id: str) -> dict[str, Any]:
        await self.places.open()
        return in_trace({})

    @verb()
    async def with_more(
        self, session_id: str, also: Callable[[], None] | None = None
    ) -> dict[str, int]:
        await self.places.open()
        return {"a": 1}


class Server:
    """Just enough of one to ask and be asked."""

    def __init__(self, folder: Path, name: str) -> None:
        self.places = Elsewheres(None, name)
        passes = Passes(lambda: KEYS, Clock().now_ms, lambda: f"verbs-{next(_number)}")
        self.asked: list[str] = []
        self.verbs = Verbs(self.places, passes, self.asked.append)
        self.shop = Shop(self.verbs, self.places)
        config = Config(data=folder)
        guard = Guard(
            config, Addresses(config), Tokens(Keys(KEYS)),
            passing=Passing(self.places, passes, Splices(list, self.verbs.is_deaf)),
        )  # fmt: skip
        self.runner = Runner(guard.application(VerbRoute(self.verbs).routes()), shutdown_timeout=0.1)
        self.node = Node("?", "")

    async def start(self, port: int = 0) -> None:
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", port).start()
        self.node = Node("there", f"http://127.0.0.1:{self.runner.addresses[0][1]}")


@asynccontextmanager
async def two(folder: Path, *, is_up: bool = True) -> AsyncIterator[tuple[Server, Server]]:
    """Two servers; the first one believes every session to be on the second."""
    here, there = Server(folder, "here"), Server(folder, "there")
    if is_up:
        await there.start()
    here.places.node = there.node if is_up else Node("there", f"http://127.0.0.1:{free_port()}")
    yield here, there
    for server in (here, there):
        await server.verbs.close()
        await server.runner.cleanup()


SENDER = Sender("agent", "alice", None, "device", TokenRef("t", "alice"))


async def test_a_verb_runs_where_the_session_is_with_the_same_arguments_and_result(tmp_path: Path) -> None:
    async with two(tmp_path) as (here, there):
        found = await here.shop.sell("s", SENDER, count=3)
        assert found == Found("3 for s", SENDER)
        assert found.sender is not None
        assert found.sender.key == SENDER.key
        assert there.shop.done == [("s", SENDER, TokenRef("t", "alice"), 3)]
        assert here.shop.done == []
        assert here.asked == ["Shop.sell"]
        assert await here.shop.with_more("s") == {"a": 1}


async def test_a_session_that_is_here_costs_nobody_a_request(tmp_path: Path) -> None:
    async with two(tmp_path) as (here, _):
        here.places.node = None
        await here.shop.sell("s", SENDER)
        assert (len(here.shop.done), here.asked) == (1, [])


async def test_refusals_arrive_as_they_were_raised(tmp_path: Path) -> None:
    async with two(tmp_path) as (here, _):
        with pytest.raises(RevisionConflict) as conflict:
            await here.shop.refuse("s", "conflict")
        assert conflict.value.message == "It is another."
        assert conflict.value.details == {"key": "k", "value": {"a": [1]}, "revision": 7}
        with pytest.raises(ToolClosed):
            await here.shop.refuse("s", "other")


async def test_a_trace_goes_on_there(tmp_path: Path) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with two(tmp_path) as (here, _):
        with asked_in(trace):
            assert await here.shop.trace("s") == {"traceparent": trace}
        assert await here.shop.trace("s") == {}


async def test_a_function_beside_the_arguments_stays_here_and_so_does_the_verb(tmp_path: Path) -> None:
    from companion_ws.nodes.place import Elsewhere

    async with two(tmp_path) as (here, _):
        with pytest.raises(Elsewhere):
            await here.shop.with_more("s", lambda: None)


async def test_who_was_asked_and_is_not_the_one_asks_nobody_and_is_asked_again(tmp_path: Path) -> None:
    async with two(tmp_path) as (here, there):
        there.places.node = Node("third", "http://127.0.0.1:1")
        selling = asyncio.create_task(here.shop.sell("s", SENDER))
        async with asyncio.timeout(WAIT_S):
            while len(here.asked) < 2:
                await asyncio.sleep(0.01)
        assert there.asked == []
        there.places.node = None
        assert (await selling).text == "1 for s"


@pytest.mark.parametrize("is_stopping", [True, False])
async def test_a_server_that_stops_or_has_no_lease_does_nothing_any_more(
    tmp_path: Path, is_stopping: bool
) -> None:
    async with two(tmp_path) as (here, there):
        there.verbs.is_stopping = is_stopping
        there.places.is_good = is_stopping
        selling = asyncio.create_task(here.shop.sell("s", SENDER))
        async with asyncio.timeout(WAIT_S):
            while len(here.asked) < 2:
                await asyncio.sleep(0.01)
        here.places.node = None
        assert (await selling).text == "1 for s"
        assert (len(here.shop.done), there.shop.done) == (1, [])


async def test_who_waits_at_a_server_that_stops_goes_on_waiting_elsewhere(tmp_path: Path) -> None:
    async with two(tmp_path) as (here, there):
        waiting = asyncio.create_task(here.shop.look_long("s"))
        await asyncio.wait_for(there.shop.waiting.wait(), WAIT_S)
        here.places.node, there.verbs.is_stopping = None, True
        there.shop.let_go.set()
        await asyncio.wait_for(here.shop.waiting.wait(), WAIT_S)
        here.shop.let_go.set()
        assert await waiting == "seen"
        assert (there.shop.done, here.shop.done) == (["late"], ["late"])


async def test_an_owner_nobody_can_reach_is_waited_for_until_the_session_is_here(tmp_path: Path) -> None:
    async with two(tmp_path, is_up=False) as (here, _):
        selling = asyncio.create_task(here.shop.sell("s", SENDER))
        async with asyncio.timeout(WAIT_S):
            while here.places.looks < 3:
                await asyncio.sleep(0.01)
        here.places.node = None
        assert (await selling).text == "1 for s"
        assert len(here.shop.done) == 1


async def test_after_that_it_is_refused_as_unavailable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("companion_ws.nodes.verbs.HOLD_S", 0.3)
    async with two(tmp_path, is_up=False) as (here, _):
        with pytest.raises(Unavailable):
            await here.shop.sell("s", SENDER)


@pytest.mark.parametrize("is_dead", [True, False])
async def test_a_connection_lost_after_the_request_leaves_open_what_became_of_a_change(
    tmp_path: Path, is_dead: bool
) -> None:
    taken = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        taken.set()
        if not is_dead:  # Its connection stands, as that of a machine without power does.
            await reader.read()
        writer.close()

    async with two(tmp_path) as (here, _):
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as lost:
            here.places.node = Node("there", f"http://127.0.0.1:{lost.sockets[0].getsockname()[1]}")
            selling = asyncio.create_task(here.shop.sell("s", SENDER))
            looking = asyncio.create_task(here.shop.look("s"))
            await asyncio.wait_for(taken.wait(), WAIT_S)
            here.places.node = None if not is_dead else here.places.node
            with pytest.raises(Unavailable, match="same requestId"):
                await selling
            assert here.shop.done == []
            here.places.node = None
            assert await looking == "seen"
            assert here.shop.done == ["looked"]


async def test_where_the_network_between_is_cut_nobody_waits_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("companion_ws.nodes.verbs.PROBE_S", 0.2)

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with two(tmp_path) as (here, there):
        waiting = asyncio.create_task(here.shop.look_long("s"))
        await asyncio.wait_for(there.shop.waiting.wait(), WAIT_S)
        await asyncio.sleep(0.8)
        assert not waiting.done(), "who takes long and can be reached is waited for"
        async with await asyncio.start_server(swallow, "127.0.0.1", 0) as deaf:
            there.shop.let_go.set()
            await waiting
            here.places.node = Node("deaf", f"http://127.0.0.1:{deaf.sockets[0].getsockname()[1]}")
            with pytest.raises(Unavailable):
                await here.shop.sell("s", SENDER)
            looking = asyncio.create_task(here.shop.look("s"))
            await asyncio.sleep(0.1)
            here.places.is_gone = True
            async with asyncio.timeout(WAIT_S):
                assert await looking == "seen"


async def test_who_waits_there_hears_that_the_caller_here_has_gone(tmp_path: Path) -> None:
    async with two(tmp_path) as (here, there):
        has_gone = False
        waiting = asyncio.create_task(here.shop.wait("s", 100.0, lambda: has_gone))
        await asyncio.wait_for(there.shop.waiting.wait(), WAIT_S)
        has_gone = True
        with pytest.raises(Unavailable):
            await waiting
        async with asyncio.timeout(WAIT_S):
            while there.shop.done != ["gone"]:
                await asyncio.sleep(0.01)


async def test_all_others_are_asked_and_who_does_not_answer_is_left_out(tmp_path: Path) -> None:
    async with two(tmp_path) as (here, _):
        assert [
            (node.name, text) for node, text in await here.verbs.ask_others(Shop.look, "s")
        ] == [("there", "seen")]
        with socket.socket() as deaf:
            deaf.bind(("127.0.0.1", 0))
            here.places.node = Node("deaf", f"http://127.0.0.1:{deaf.getsockname()[1]}")
            assert await here.verbs.ask_others(Shop.look, "s") == []
        here.places.node = None
        assert await here.verbs.ask_others(Shop.look, "s") == []


async def test_every_verb_there_is_can_travel(server: Any) -> None:
    """Its arguments and its result are of types that JSON can carry."""
    rooms = server.sessions.verbs._rooms
    assert {"Sessions.submit", "Waiting.result", "PollingAgent.put", "Tasks.look"} <= set(rooms)
    for made, _ in rooms.values():
        arguments, result = made._types
        msgspec.json.Decoder(arguments)
        msgspec.json.Decoder(result)


def test_a_server_that_has_just_begun_is_not_taken_for_dead() -> None:
    node, other = Node("new", "http://new"), Node("old", "http://old")
    vigil = Vigil(node, 100.0)
    assert not vigil.is_dead([other], 101.0)
    assert not vigil.is_dead([other, node], 102.0)
    assert vigil.is_dead([other], 102.5), "it was seen, and is seen no more"
    never = Vigil(node, 100.0)
    assert not never.is_dead([], 102.5)
    assert never.is_dead([], 102.6)


async def test_what_a_stranger_says_is_a_ticket_makes_no_server_ask_the_others(tmp_path: Path) -> None:
    async with two(tmp_path) as (here, there):
        keys = Keys(KEYS)
        made, asked = [StreamTickets(lambda: 0, each.verbs, keys) for each in (there, here)]
        text, _ = made.make("s", "token")
        for session_id, told in (
            ("s", "x" * 54), ("s", "ü"), ("s", text[:-1] + "x"), ("s", text[:22]), ("other", text),
        ):  # fmt: skip
            with pytest.raises(Unauthenticated):
                await asked.redeem(session_id, told)
        assert here.asked == []
        assert await asked.redeem("s", text) == "token"
        assert here.asked == ["StreamTickets.taken"]
        with pytest.raises(Unauthenticated):
            await asked.redeem("s", text)
