"""Figures for operators, in Prometheus' words; no name, token or id is ever a label."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector


class _Records(Collector):
    """Counts that are taken with every record, so with an addition and no lock."""

    def __init__(self, by_type: Mapping[str, int]) -> None:
        self._by_type = by_type

    def collect(self) -> Iterable[CounterMetricFamily]:
        records = CounterMetricFamily(
            "companion_records", "Records stored and told", labels=["type"]
        )
        for kind, count in self._by_type.items():
            records.add_metric([kind], count)
        yield records


class Metrics:
    """All figures of one server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._records: defaultdict[str, int] = defaultdict(int)
        self.registry.register(_Records(self._records))
        self._expired = Counter(
            "companion_sessions_expired", "Sessions that expired", registry=self.registry
        )
        self._refused = Counter(
            "companion_refused",
            "Messages, joins and requests refused",
            ["code"],
            registry=self.registry,
        )
        self._slow = Counter(
            "companion_slow_consumers", "Connections that did not read", registry=self.registry
        )
        self._joins = Counter(
            "companion_joins", "Connections that joined", ["role"], registry=self.registry
        )
        self._recoveries = Counter(
            "companion_recoveries", "How joins recovered", ["recovery"], registry=self.registry
        )
        self._rendered = Histogram(
            "companion_rendered_seconds",
            "From a record's append to its being painted",
            buckets=(0.05, 0.1, 0.2, 0.3, 0.5, 1, 2, 5, 15, 60),
            registry=self.registry,
        )
        self._question = Histogram(
            "companion_question_seconds",
            "Questions to screens: shown (from the call), pondered (from there to the answer),"
            " answered (from the call)",
            ["step"],
            buckets=(0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600),
            registry=self.registry,
        )
        self._connections = Gauge(
            "companion_connections", "Connections there are now", registry=self.registry
        )
        self._writable = Gauge(
            "companion_database_writable",
            "1 while the database is whole and takes writes",
            registry=self.registry,
        )

        self._sessions = Gauge(
            "companion_sessions_in_memory",
            "Sessions that this server has in memory",
            registry=self.registry,
        )
        self._carried = Gauge(
            "companion_carried_connections",
            "Connections whose session lives on another server",
            registry=self.registry,
        )
        self._held = Gauge(
            "companion_carried_held_bytes",
            "Bytes that wait here for their clients",
            registry=self.registry,
        )
        self._passed_on = Counter(
            "companion_passed_on",
            "Operations that another server was asked to run",
            ["verb"],
            registry=self.registry,
        )

    def watch(self, connections: Callable[[], float], writable: Callable[[], float]) -> None:
        """Read these when somebody asks."""
        self._connections.set_function(connections)
        self._writable.set_function(writable)

    def watch_passing(
        self,
        sessions: Callable[[], float],
        carried: Callable[[], float],
        held_bytes: Callable[[], float],
    ) -> None:
        """Read these when somebody asks."""
        self._sessions.set_function(sessions)
        self._carried.set_function(carried)
        self._held.set_function(held_bytes)

    def passed_on(self, verb: str) -> None:
        self._passed_on.labels(verb).inc()

    def recorded(self, kind: str) -> None:
        self._records[kind] += 1

    def expired(self) -> None:
        self._expired.inc()

    def refused(self, code: str) -> None:
        self._refused.labels(code).inc()

    def slow(self) -> None:
        self._slow.inc()

    def joined(self, role: str, recovery: str) -> None:
        self._joins.labels(role).inc()
        self._recoveries.labels(recovery).inc()

    def rendered(self, latency_s: float) -> None:
        self._rendered.observe(latency_s)

    def question(self, step: str, seconds: float) -> None:
        self._question.labels(step).observe(seconds)

    def text(self) -> bytes:
        """Return the exposition text."""
        return generate_latest(self.registry)
