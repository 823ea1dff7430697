"""A PostgreSQL primary with a synchronous standby that can be promoted."""

from __future__ import annotations

import time
from typing import Any, Final, Protocol

from tests.postgres_server import PostgresServer

SETTINGS: Final = ("max_wal_senders=8", "wal_keep_size=64MB")
FOLLOWS_S: Final = 30.0


class Wire(Protocol):
    """What a standby hears its primary through: a port of this machine, and where it leads to."""

    port: int
    target: str


class Replicated:
    """A primary and its synchronous standby; what it does may take seconds, and blocks.

    With `waits=False` no commit waits for the standby: the control, where losses must be found.
    """

    def __init__(self, wire: Wire | None = None, *, waits: bool = True) -> None:
        self._wire, self._waits = wire, waits
        self.primary = PostgresServer(*SETTINGS)
        self.database = self.primary.name("cluster")
        try:
            self.primary.url("cluster")
            self.standby = self._new_standby()
        except BaseException:
            self.primary.stop()
            raise

    def _new_standby(self) -> PostgresServer:
        settings = list(SETTINGS)
        if self._wire is not None:
            self._wire.target = self.primary.socket
            heard = f"host=127.0.0.1 port={self._wire.port} user=companion"
            settings.append(f"primary_conninfo={heard}")
        standby = PostgresServer(*settings, follows=self.primary)
        try:
            self._wait_for_standby("*" if self._waits else "")
        except BaseException:
            standby.stop()
            raise
        return standby

    def _wait_for_standby(self, names: str) -> None:
        """Let commits wait for these standbys from now on; return once one follows."""
        self._name_standbys(names)
        wanted = "sync" if names else "async"
        until_s = time.monotonic() + FOLLOWS_S
        while not self.primary.query(
            "postgres",
            "SELECT 1 FROM pg_stat_replication WHERE state = 'streaming' AND sync_state = %s",
            (wanted,),
        ):
            assert time.monotonic() < until_s, "the standby never followed"
            time.sleep(0.02)

    def _name_standbys(self, names: str) -> None:
        self.primary.query("postgres", f"ALTER SYSTEM SET synchronous_standby_names = '{names}'")
        self.primary.query("postgres", "SELECT pg_reload_conf()")

    def lose_primary(self) -> None:
        """Kill every process of the primary."""
        self.primary.kill()

    def promote(self) -> None:
        """Let the standby be the primary."""
        lost, self.primary = self.primary, self.standby
        self.primary.query("postgres", "SELECT pg_promote(true, 30)")
        self._name_standbys("")
        lost.stop()

    def restore_standby(self) -> None:
        """Put a new standby where the lost primary was."""
        self.standby = self._new_standby()

    def close(self) -> None:
        for each in (self.standby, self.primary):
            each.stop()

    def query(self, sql: str, *params: Any) -> list[Any]:
        return self.primary.query(self.database, sql, params)
