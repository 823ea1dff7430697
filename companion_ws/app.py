"""All objects, wired on one screen."""

from __future__ import annotations

import asyncio
import os
import socket
import uuid
from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog
from aiohttp import web

from companion_ws import __version__
from companion_ws.access.credentials import Credentials
from companion_ws.access.devices import Devices
from companion_ws.access.guesses import GuessesHere, SharedGuesses
from companion_ws.access.keys import Keys
from companion_ws.access.limits import CodeGuesses
from companion_ws.access.pairing import Pairing
from companion_ws.access.shared_keys import KeyRing, KeysHere, SharedKeys
from companion_ws.access.tokens import Revocations, Tokens
from companion_ws.addresses import Addresses
from companion_ws.clock import Clock, SharedClock
from companion_ws.config import Config
from companion_ws.core.companion_tools import PAIR
from companion_ws.core.session import Limits
from companion_ws.data_folder import DataLock, RunningServer, has_old_key, prepare_data_folder
from companion_ws.database import Database
from companion_ws.files import folder
from companion_ws.internet import Internet
from companion_ws.logs import adapt_to_host
from companion_ws.metrics import Metrics
from companion_ws.nodes.last import LastName
from companion_ws.nodes.news import CHANNEL, News, NoNews, SharedNews
from companion_ws.nodes.passes import Passes
from companion_ws.nodes.place import Alone, Places
from companion_ws.nodes.splice import Splices
from companion_ws.nodes.turns import SharedTurns, Turns, TurnsHere
from companion_ws.nodes.verbs import Verbs
from companion_ws.sessions.connections import Connections
from companion_ws.sessions.crowds import Crowds
from companion_ws.sessions.parts import Rules, SessionParts
from companion_ws.sessions.phone_calls import Calls, PhoneCalls
from companion_ws.sessions.sessions import Sessions
from companion_ws.sessions.shared_calls import SharedPhoneCalls
from companion_ws.sessions.store import Store
from companion_ws.sessions.tools import load_tools
from companion_ws.traces import Spans, spans_of
from companion_ws.voice.sent_links import SentLinks
from companion_ws.web.docs.documents import Documents
from companion_ws.web.guard.middleware import Guard
from companion_ws.web.guard.passing import Passing
from companion_ws.web.routes import Foundations, RouteTable
from companion_ws.web.runner import verbs_door

if TYPE_CHECKING:
    from companion_ws.sessions.call_traces import CallTraces

SESSIONS: Final = web.AppKey("SESSIONS", Sessions)
"""`app[SESSIONS]`, for embedders: the guide's three functions and all the others."""
TOKENS: Final = web.AppKey("TOKENS", Tokens)
"""`app[TOKENS]`: `issue("user", "alice", 3600.0)[0]` is a token, `verify` reads one."""
PAIRING: Final = web.AppKey("PAIRING", Pairing)
"""`app[PAIRING]`: `open(session_id)` gives a link to draw and a code to speak."""
ADDRESSES: Final = web.AppKey("ADDRESSES", Addresses)
INSTANCE: Final = web.AppKey("INSTANCE", str)
"""What `/healthz` says of itself, another for each start: who asks knows whom it reached."""
ROUTES: Final = web.AppKey("ROUTES", list)
CONFIG: Final = web.AppKey("CONFIG", Config)
DOCUMENTS: Final = web.AppKey("DOCUMENTS", Documents)

NEW_DATABASE: Final = (
    "this folder's key is older; if there was a database, stop the server and restore a backup"
)
STOP_S: Final = 2.0
"""How long peers have to answer the close frame when the server stops."""


log = structlog.get_logger(__name__)


def new_id() -> str:
    """Return a UUID4 as text."""
    return str(uuid.uuid4())


async def create_app(
    config: Config, lock: DataLock | None = None, *, internet: Internet | None = None
) -> web.Application:
    """Return an aiohttp application that serves `config`; it may be mounted in another.

    Files are opened when the application starts and let go of when it is
    cleaned up. In between it has the data folder to itself: it takes the
    folder's lock, and starting raises DataInUse where another program has
    it. Verbs (`companion-ws token create --data …`) reach it by a loopback port of its
    own, which `data/server.json` names. `lock` is for who holds it already, and says
    itself where it listens. `internet` is how pictures are fetched where they are; a test gives
    one that leads to a server of its own.

    Raises:
        StartRefused: the data folder's key or database can be read by others.
        ImportError, ValueError: `config.tools` is not a module with tools, or the brand cannot be used.
    """
    adapt_to_host()
    tools = load_tools(config.tools)
    prepare_data_folder(config.data)
    keys = Keys.load(config.data, config.secret_key)
    addresses = Addresses(config)
    revocations = Revocations(keys)
    metrics = Metrics()
    database = Database(
        config.database or config.database_path, folder("migrations"), config.durability
    )
    places = _places(config, addresses, database, keys)
    clock, news = _shared(config.database, database, places)
    tokens = Tokens(
        keys, revocations, now_ms=clock.running_ms, time_of_day_ms=clock.now_ms,
        is_current=lambda: news.is_current and not ring.is_behind,
    )
    ring: KeyRing = (
        SharedKeys(keys, database, news, places) if news.is_shared else KeysHere(keys)
    )
    credentials = Credentials(
        database, revocations, now_ms=clock.earliest_ms, latest_ms=clock.latest_ms, news=news
    )
    devices = Devices(database, tokens, credentials, now_ms=clock.earliest_ms)
    guesses = (
        SharedGuesses(database, keys, clock.running_ms) if news.is_shared else GuessesHere(CodeGuesses())
    )
    pairing = Pairing(
        database, keys, tokens, guesses, lambda: addresses.public_url, mode=config.pairing,
        now_ms=clock.running_ms, shown_ms=clock.shown_ms,
    )

    connections = Connections(lambda _: metrics.slow())
    crowds = Crowds(database, places, connections, config.limit_connections_per_user)
    instance = new_id()
    spans = spans_of(config.traces_to, __version__, instance)
    traces = _call_traces(spans)
    passes = Passes(lambda: keys.all, clock.now_ms, new_id)
    verbs = Verbs(places, passes, metrics.passed_on)
    splices = Splices(places.others, verbs.is_deaf)
    passing = Passing(places, passes, splices)
    store = Store(database, places)
    calls: Calls = (
        SharedPhoneCalls(database, config.limit_calls, clock.now_ms, clock.running_ms)
        if news.is_shared else PhoneCalls(database, config.limit_calls, clock.now_ms)
    )
    links = SentLinks(config.send_link, database, store, pairing.open, calls, clock)
    sessions = Sessions(
        SessionParts(
            database, store, _rules(config), connections,
            {PAIR.name: links.tool(), **tools}, pairing, credentials, metrics, calls,
            clock, new_id, links.is_out,
            (internet or Internet()).fetch if config.fetches_images else None,
            places, news, verbs, traces,
        )
    )
    places.on_lost(tokens.end_all)
    turns: Turns = SharedTurns(database, places) if news.is_shared else TurnsHere()
    news.on_named(turns.tidy)
    table = RouteTable(
        Foundations(
            config=config, addresses=addresses, metrics=metrics, database=database, keys=keys, ring=ring,
            tokens=tokens, credentials=credentials, devices=devices, pairing=pairing,
            sessions=sessions, passing=passing, instance=instance, new_id=new_id,
            turns=turns,
        )
    )
    guard = Guard(
        config, addresses, tokens, metrics.refused, in_words=table.pages.in_words, passing=passing
    )
    app = guard.application(table.served)
    app[SESSIONS], app[TOKENS], app[PAIRING] = sessions, tokens, pairing
    app[ROUTES], app[CONFIG] = table.routes, config
    app[ADDRESSES], app[INSTANCE] = addresses, instance
    app[DOCUMENTS] = table.documents
    metrics.watch(lambda: len(sessions.connections), lambda: float(database.trouble is None))
    metrics.watch_passing(
        lambda: sessions.presence.count_here, lambda: len(splices), lambda: splices.held_bytes
    )

    async def hold(app: web.Application) -> AsyncIterator[None]:
        with DataLock(config.data) as own:
            if lock is None:
                await own.acquire()
                RunningServer.remove(config.data)
            yield

    async def work(app: web.Application) -> AsyncIterator[None]:
        is_new = config.database is None and not config.database_path.exists()
        if is_new and has_old_key(config.data, clock.now_ms()):
            log.warning("database_created_beside_old_key", path=str(config.database_path), hint=NEW_DATABASE)
        await database.open()
        try:
            await places.start()
            await news.start()
            await places.check(keys.marks)
            await credentials.load()
            await sessions.start()
            working = [
                asyncio.create_task(credentials.purge_forever(), name="purge"),
                asyncio.create_task(news.run(), name="news"),
                *([asyncio.create_task(crowds.run(), name="crowds")] if news.is_shared else []),
            ]
            yield
            for task in working:
                task.cancel()
            await sessions.stop()
        finally:
            await verbs.close()
            await places.stop()
            await database.close()
            if spans is not None and traces is not None:
                traces.end()
                await spans.close()

    async def close_all(app: web.Application) -> None:
        table.gateway.is_stopping = passing.is_stopping = verbs.is_stopping = True
        sessions.waiting.stop()
        parting = asyncio.create_task(splices.part_all())
        await sessions.ownership.hand_over()
        await sessions.connections.close_all(1012, "The server is restarting; reconnect.", STOP_S)
        await parting

    async def welcome_verbs(app: web.Application) -> AsyncIterator[None]:
        door = Guard(config, addresses, tokens, metrics.refused, is_verbs_door=True)
        async with verbs_door(door.application(table.served)) as url:
            async with RunningServer(pid=os.getpid(), admin_url=url).shown(config.data):
                yield

    app.cleanup_ctx.append(hold)
    app.cleanup_ctx.append(work)
    if lock is None:  # The holder of the lock says itself where it listens.
        app.cleanup_ctx.append(welcome_verbs)
    app.on_shutdown.append(close_all)
    return app


def _shared(url: str | None, database: Database, places: Places) -> tuple[Clock, News]:
    """Return the clock, and what servers of one database tell each other; a file has one server."""
    if url is None:
        return Clock(), NoNews(database)
    from companion_ws.database.postgres.listening import ERRORS, Listening

    clock = SharedClock()
    line = partial(Listening.open, url, CHANNEL)
    return clock, SharedNews(database, places, clock, line, ERRORS)


def _call_traces(spans: Spans | None) -> CallTraces | None:
    if spans is None:
        return None
    from companion_ws.sessions.call_traces import CallTraces  # imports OpenTelemetry

    return CallTraces(spans.tracer)


def _places(config: Config, addresses: Addresses, database: Database, keys: Keys) -> Places:
    """Return where sessions live: all of them here, or on one of the servers of a PostgreSQL."""
    if config.database is None:
        return Alone(database)
    from companion_ws.database.postgres.apart import Apart
    from companion_ws.nodes.lease import Lease
    from companion_ws.nodes.owners import Owners

    url = config.database
    lease = Lease(
        Apart(url), config.node_url or addresses.node_url, lambda: keys.marks[0], _new_node,
        LastName(config.data),
    )  # fmt: skip
    return Owners(database, lease, lambda: Apart(url))


def _new_node() -> str:
    """Return a name for a server that people can tell apart, and that nobody had before."""
    return f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"


def _rules(config: Config) -> Rules:
    return Rules(
        ttl_s=config.session_ttl_s,
        keep_ended_s=config.keep_ended_s,
        sessions_per_user=config.limit_sessions_per_user,
        is_development=config.reload,
        made_bytes=config.limit_outbox_bytes // 2,
        limits=Limits(
            state_bytes=config.limit_state_bytes,
            value_bytes=config.limit_value_bytes,
            state_keys=config.limit_state_keys,
            records=config.limit_records,
            log_bytes=config.limit_log_bytes,
            open_calls=config.limit_open_calls,
            open_calls_bytes=config.limit_open_calls_bytes,
            transcripts=config.transcripts,
        ),
    )
