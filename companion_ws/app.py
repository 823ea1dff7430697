"""All objects, wired on one screen."""

from __future__ import annotations

import asyncio
import contextlib
import os
import uuid
from collections.abc import AsyncIterator
from typing import Final

import structlog
from aiohttp import web

from companion_ws.access.credentials import Credentials
from companion_ws.access.devices import Devices
from companion_ws.access.keys import Keys
from companion_ws.access.limits import CodeGuesses, Rates
from companion_ws.access.pairing import Pairing
from companion_ws.access.tokens import Revocations, Tokens
from companion_ws.addresses import Addresses
from companion_ws.clock import Clock
from companion_ws.config import Config
from companion_ws.core.session import Limits
from companion_ws.data_folder import DataLock, RunningServer, prepare_data_folder
from companion_ws.database import Database, Statement
from companion_ws.files import folder
from companion_ws.logs import adapt_to_host
from companion_ws.metrics import Metrics
from companion_ws.sessions.connections import Connection, Connections
from companion_ws.sessions.phone_calls import PhoneCalls
from companion_ws.sessions.sessions import Rules, Sessions
from companion_ws.sessions.store import Store
from companion_ws.sessions.tools import load_tools
from companion_ws.voice.polling import PollingAgent
from companion_ws.voice.store import VoiceStore
from companion_ws.web.agents.elevenlabs import Webhooks
from companion_ws.web.agents.mcp import McpRoute
from companion_ws.web.api.health import Health
from companion_ws.web.api.pairing import PairingRoutes
from companion_ws.web.api.people import PeopleRoutes
from companion_ws.web.api.records import RecordRoutes
from companion_ws.web.api.sessions import SessionRoutes
from companion_ws.web.api.tokens import TokenRoutes
from companion_ws.web.docs.documents import Documents
from companion_ws.web.guard.answers import Answers
from companion_ws.web.guard.idempotency import Idempotency
from companion_ws.web.guard.middleware import Guard
from companion_ws.web.guard.route import Room, Route
from companion_ws.web.pages import Brand, Pages
from companion_ws.web.runner import verbs_door
from companion_ws.web.socket.gateway import Gateway
from companion_ws.web.socket.visit import AppParts

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

OLD_KEY_S: Final = 60.0
"""A key that was made this long ago has been used; the first start makes one."""
NEW_DATABASE: Final = (
    "this folder's key is older; if there was a database, stop the server and restore a backup"
)
STOP_S: Final = 2.0
"""How long peers have to answer the close frame when the server stops."""


log = structlog.get_logger(__name__)


def new_id() -> str:
    """Return a UUID4 as text."""
    return str(uuid.uuid4())


class _SessionAccess:
    """What sessions must know of paired devices."""

    def __init__(self, database: Database, credentials: Credentials, clock: Clock) -> None:
        self._database = database
        self._credentials = credentials
        self._clock = clock

    async def has_device(self, session_id: str) -> bool:
        rows = await self._database.read(
            "SELECT 1 FROM devices WHERE session_id = ? AND revoked_at_ms IS NULL"
            " AND token_until_ms > ? LIMIT 1",
            (session_id, self._clock.earliest_ms()),
        )
        return bool(rows)

    def forget_session(self, session_id: str) -> list[Statement]:
        return self._credentials.forget_session(session_id)


async def create_app(config: Config, lock: DataLock | None = None) -> web.Application:
    """Return an aiohttp application that serves `config`; it may be mounted in another.

    Files are opened when the application starts and let go of when it is
    cleaned up. In between it has the data folder to itself: it takes the
    folder's lock, and starting raises DataInUse where another program has
    it. Verbs (`companion-ws token create --data …`) reach it by a loopback port of its
    own, which `data/server.json` names. `lock` is for who holds it already, and says
    itself where it listens.

    Raises:
        StartRefused: the data folder's key or database can be read by others.
        ImportError, ValueError: `config.tools` is no module with tools, or the brand no brand.
    """
    adapt_to_host()
    tools = load_tools(config.tools)
    prepare_data_folder(config.data)
    keys = Keys.load(config.data, config.secret_key)
    addresses = Addresses(config)
    revocations = Revocations(keys)
    clock = Clock()
    tokens = Tokens(keys, revocations, now_ms=clock.running_ms, time_of_day_ms=clock.now_ms)
    metrics = Metrics()
    database = Database(config.database_path, folder("migrations"), config.durability)
    credentials = Credentials(
        database, revocations, now_ms=clock.earliest_ms, latest_ms=clock.latest_ms
    )
    devices = Devices(database, tokens, credentials, now_ms=clock.earliest_ms)
    pairing = Pairing(
        database, keys, tokens, CodeGuesses(), lambda: addresses.public_url, mode=config.pairing,
        now_ms=clock.running_ms, shown_ms=clock.shown_ms,
    )

    def slow(connection: Connection) -> None:
        metrics.slow()

    sessions = Sessions(
        database, Store(database), _rules(config), Connections(slow), tools, pairing,
        _SessionAccess(database, credentials, clock), metrics,
        PhoneCalls(database, config.limit_calls, clock.now_ms), clock, new_id,
    )
    parts = AppParts(
        sessions, devices, pairing.answer, pairing.requests, config, metrics, new_id,
        tokens.left_s,
    )
    gateway = Gateway(tokens, parts)
    idempotency = Idempotency(Answers(database, keys, now_ms=clock.running_ms), sessions.note_answer)
    # A burst without a limit is no limit at all.
    rates = Rates(config.limit_messages_per_s if config.limit_burst else 0, config.limit_burst)
    voice = VoiceStore(database)
    polling = PollingAgent(sessions, voice)
    instance = new_id()
    pages = Pages(brand_of(config))
    rooms: list[Room] = [
        gateway,
        SessionRoutes(sessions, devices, pairing, idempotency, rates),
        TokenRoutes(keys, tokens, credentials, idempotency, addresses, sessions),
        PairingRoutes(pairing, tokens, credentials, idempotency, addresses, sessions),
        PeopleRoutes(sessions, credentials, devices),
        RecordRoutes(sessions, config, new_id, tokens.left_s),
        Health(database, metrics, instance),
        Webhooks(sessions, polling, tokens, credentials.record, pairing, voice, config),
        McpRoute(sessions, polling, rates),
        pages,
    ]
    routes: list[Route] = [route for room in rooms for route in room.routes()]
    documents = Documents(routes, addresses.public_url)
    served = [*routes, *documents.routes()]
    guard = Guard(config, addresses, tokens, metrics.refused, lost=pages.lost)
    app = guard.application(served)
    app[SESSIONS], app[TOKENS], app[PAIRING] = sessions, tokens, pairing
    app[ROUTES], app[CONFIG] = routes, config
    app[ADDRESSES], app[INSTANCE] = addresses, instance
    metrics.watch(lambda: len(sessions.connections), lambda: float(database.trouble is None))

    async def hold(app: web.Application) -> AsyncIterator[None]:
        with DataLock(config.data) as own:
            if lock is None:
                await own.acquire()
                RunningServer.remove(config.data)
            yield

    async def work(app: web.Application) -> AsyncIterator[None]:
        if not config.database_path.exists() and _has_old_key(config, clock):
            log.warning("database_begun_anew", path=str(config.database_path), hint=NEW_DATABASE)
        await database.open()
        try:
            await credentials.load()
            await sessions.start()
            purging = asyncio.create_task(credentials.purge_forever(), name="purge")
            yield
            purging.cancel()
            await sessions.stop()
        finally:
            await database.close()

    async def close_all(app: web.Application) -> None:
        gateway.is_stopping = True
        sessions.stop_waiting()
        await sessions.connections.close_all(1012, "The server is restarting; reconnect.", STOP_S)

    async def welcome_verbs(app: web.Application) -> AsyncIterator[None]:
        door = Guard(config, addresses, tokens, metrics.refused, is_verbs_door=True)
        async with verbs_door(door.application(served)) as url:
            async with RunningServer(pid=os.getpid(), admin_url=url).shown(config.data):
                yield

    app.cleanup_ctx.append(hold)
    app.cleanup_ctx.append(work)
    if lock is None:  # Who holds the lock says where it is by itself.
        app.cleanup_ctx.append(welcome_verbs)
    app.on_shutdown.append(close_all)
    return app


def _has_old_key(config: Config, clock: Clock) -> bool:
    """Whether somebody worked in this data folder before."""
    with contextlib.suppress(OSError):
        made_s = (config.data / "secret.key").stat().st_mtime
        return clock.now_ms() / 1000 - made_s > OLD_KEY_S
    return False


def brand_of(config: Config) -> Brand:
    """Return how the pages look.

    Raises:
        ValueError: what the settings say is no colour, no font list or no picture.
    """
    return Brand(
        accent=config.brand_accent,
        radius_px=config.brand_radius,
        font=config.brand_font,
        logo=config.brand_logo,
    )


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
