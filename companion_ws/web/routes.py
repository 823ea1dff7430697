"""The route table: what each room of the web answers, and the documents made of all of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from companion_ws.access.credentials import Credentials
from companion_ws.access.devices import Devices
from companion_ws.access.keys import Keys
from companion_ws.access.limits import Rates
from companion_ws.access.pairing import Pairing
from companion_ws.access.shared_keys import KeyRing
from companion_ws.access.tokens import Tokens
from companion_ws.addresses import Addresses
from companion_ws.config import Config
from companion_ws.database import Database
from companion_ws.metrics import Metrics
from companion_ws.nodes.turns import Turns
from companion_ws.sessions.sessions import Sessions
from companion_ws.voice.phone_sessions import PhoneSessions
from companion_ws.voice.polling import PollingAgent
from companion_ws.voice.store import VoiceStore
from companion_ws.voice.task_store import TaskStore
from companion_ws.voice.tasks import Tasks
from companion_ws.web.agents.elevenlabs import Webhooks
from companion_ws.web.agents.mcp import McpRoute
from companion_ws.web.agents.mcp_caller import McpParts, task_result
from companion_ws.web.agents.platforms import PlatformWebhooks
from companion_ws.web.api.health import Health
from companion_ws.web.api.media import MediaRoute
from companion_ws.web.api.overview import OverviewRoutes
from companion_ws.web.api.pairing import PairingRoutes
from companion_ws.web.api.people import PeopleRoutes
from companion_ws.web.api.records import RecordRoutes
from companion_ws.web.api.sessions import SessionRoutes
from companion_ws.web.api.tokens import TokenRoutes
from companion_ws.web.api.verbs import VerbRoute
from companion_ws.web.brand import Brand
from companion_ws.web.docs.documents import Documents
from companion_ws.web.guard.answers import Answers
from companion_ws.web.guard.idempotency import Idempotency
from companion_ws.web.guard.passing import Passing
from companion_ws.web.guard.route import Room, Route
from companion_ws.web.pages import Pages
from companion_ws.web.socket.gateway import Gateway
from companion_ws.web.socket.visit import AppParts


@dataclass(frozen=True, slots=True, kw_only=True)
class Foundations:
    """What the rooms stand on; app.py makes it, and each room is given what it needs of it."""

    config: Config
    addresses: Addresses
    metrics: Metrics
    database: Database
    keys: Keys
    ring: KeyRing
    tokens: Tokens
    credentials: Credentials
    devices: Devices
    pairing: Pairing
    sessions: Sessions
    passing: Passing
    turns: Turns
    instance: str
    new_id: Callable[[], str]


class RouteTable:
    """Every route there is, and the two rooms that are more than their routes."""

    def __init__(self, on: Foundations) -> None:
        config, sessions, tokens = on.config, on.sessions, on.tokens
        clock = sessions.clock
        idempotency = Idempotency(
            Answers(on.database, on.keys, now_ms=clock.running_ms), on.turns,
            sessions.presence.note_answer,
        )
        rates = Rates(config.rated_messages_per_s, config.limit_burst)
        voice = VoiceStore(on.database)
        polling = PollingAgent(sessions, voice)
        calls = PhoneSessions(sessions, tokens, voice, on.turns, config.elevenlabs_user)
        tasks = Tasks(sessions, polling, TaskStore(on.database), on.pairing, task_result)
        parts = AppParts(
            sessions, on.devices, on.pairing.answer, on.pairing.requests, config, on.metrics,
            on.new_id, tokens.left_s,
        )  # fmt: skip
        self.gateway = Gateway(tokens, parts, on.passing)
        self.pages = Pages(Brand.of(config), as_sources=config.reload)
        rooms: list[Room] = [
            self.gateway,
            SessionRoutes(sessions, on.devices, on.pairing, idempotency, rates),
            OverviewRoutes(sessions),
            TokenRoutes(on.ring, tokens, on.credentials, idempotency, on.addresses, sessions),
            PairingRoutes(on.pairing, tokens, on.credentials, idempotency, on.addresses, sessions),
            PeopleRoutes(sessions, on.credentials, on.devices),
            RecordRoutes(sessions, config, on.new_id, tokens.left_s, on.passing, on.keys),
            MediaRoute(on.database),
            Health(on.database, sessions.places, on.metrics, on.instance),
            Webhooks(sessions, polling, tokens, on.credentials.record, on.pairing, calls, config),
            PlatformWebhooks(sessions, polling, calls, config),
            McpRoute(McpParts(sessions, polling, tasks, rates)),
            self.pages,
        ]
        self.routes: list[Route] = [route for room in rooms for route in room.routes()]
        """What the documents describe."""
        self.documents = Documents(self.routes, on.addresses.public_url, self.pages)
        between = VerbRoute(sessions.verbs)
        self.served = [*self.routes, *self.documents.routes(), *between.routes()]
