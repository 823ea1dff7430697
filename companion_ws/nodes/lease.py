"""The lease of this server: as long as it is valid no other server can have its sessions.

How it works. A row of `nodes` says until when, by the clock of the database. A thread renews it
each second over a connection of its own; so a busy writer or event loop costs no lease, but one
that stands still for LOOP_S does. A lease that ran out is never renewed.

The server judges itself by a clock of its own, one that counts suspends. Its lease is good until the
time at which the last renewal that succeeded was *sent*, and what the database then gave, less
EARLY_S: before any other server may think so, this one has given up. Whoever wakes from a standstill
sees that before anything else, for `is_good` reads the clock.

A lease is lost at once for everything: `on_lost` drops what memory holds, on the event loop and
in one step. Only then the thread begins again, with a new row under a new name.

                   renewal sent                      good until       until (database)
    ───────────────────┼───────────────────────────────────┼─────────────────┼──────────►
                       └────────── 4 s ───────────────────►└───── 1 s ──────►│ others may take

Where news was not acted on (`heard`), the lease is extended no further than HEARD_S after it, so that
who tells it need not wait longer. See news.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

import structlog

from companion_ws.clock import since_boot_s
from companion_ws.core.errors import Unavailable
from companion_ws.database import CannotOpen, Read
from companion_ws.nodes.last import LastName
from companion_ws.nodes.news import HEARD_S
from companion_ws.nodes.place import Node

LEASE_S: Final = 5.0
EARLY_S: Final = 1.0
RENEW_S: Final = 1.0
RETRY_S: Final = 0.2
LOOK_S: Final = 0.1
LOOP_S: Final = 10.0
"""An event loop that stands still for so long serves nobody: others should."""
START_S: Final = 20.0
END_S: Final = 1.0
"""How long a stop waits for the database."""

_LEFT: Final = "CAST(extract(epoch FROM until - clock_timestamp()) AS double precision)"
_BEGIN: Final = f"""
    INSERT INTO nodes (node, url, until, heard, key_mark)
    SELECT ?, ?, clock_timestamp() + interval '{LEASE_S} s', number, ? FROM news_count
    RETURNING {_LEFT}"""  # noqa: S608 - joined from constants
_RENEW: Final = f"""
    UPDATE nodes SET until = least(clock_timestamp() + interval '{LEASE_S} s',
        (SELECT min(at) FROM news WHERE number > heard) + interval '{HEARD_S} s')
    WHERE node = ? AND until > clock_timestamp() RETURNING {_LEFT}"""  # noqa: S608
_OTHERS: Final = "SELECT node, url FROM nodes WHERE node <> ? AND until > clock_timestamp() ORDER BY node"
END: Final = "DELETE FROM nodes WHERE node = ?"
_TIDY: Final = "DELETE FROM nodes WHERE until < clock_timestamp() - interval '1 day'"

log = structlog.get_logger(__name__)

R = TypeVar("R")


class Transacts(Protocol):
    """A connection to the database that no other thread uses."""

    def transact(self, work: Callable[[Read], R]) -> R: ...

    def close(self) -> None: ...


class Tenure:
    """A lease from its beginning to its end, and what this server is called that long."""

    __slots__ = ("good_until_s", "has_lapsed", "is_lost", "is_over", "node")

    def __init__(self, node: Node, good_until_s: float) -> None:
        self.node = node
        self.good_until_s = good_until_s
        """By `since_boot_s`."""
        self.has_lapsed = False
        """Whether anybody has found it not to be good: then it never is again."""
        self.is_lost = False
        self.is_over = False
        """Whether everything that rested on it is gone, too."""


class Lease:
    """The lease of this server; its first one is there after `start`."""

    def __init__(
        self,
        connection: Transacts,
        url: str,
        key_mark: Callable[[], str],
        new_name: Callable[[], str],
        last_name: LastName,
        since_boot_s: Callable[[], float] = since_boot_s,
    ) -> None:
        """`url` is where other servers reach this one; `key_mark` says which key it signs with."""
        self._connection = connection
        self._url = url
        self._key_mark = key_mark
        self._new_name = new_name
        self._since_boot_s = since_boot_s
        self._last_name = last_name
        self._tenure = Tenure(Node("", url), 0.0)
        self._tenure.is_lost = self._tenure.is_over = True
        self._acts: list[Callable[[], None]] = []
        self._is_stopping = False
        self._wake = threading.Event()
        self._looked_s = 0.0
        self._watcher: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._work, name="companion-lease", daemon=True)
        self.others: list[Node] = []
        """Who else had a valid lease when this one was renewed."""

    @property
    def node(self) -> Node:
        """This server; after a lost lease it has another name."""
        return self._tenure.node

    @property
    def is_good(self) -> bool:
        """Whether no other server can have what this one has."""
        tenure = self._tenure
        if tenure.is_lost or tenure.has_lapsed:
            return False
        # What was held back in between nobody would send on.
        tenure.has_lapsed = self._since_boot_s() >= tenure.good_until_s
        return not tenure.has_lapsed

    def on_lost(self, act: Callable[[], None]) -> None:
        """Call `act` on the event loop when the lease is lost; it drops what rested on it."""
        self._acts.append(act)

    async def start(self) -> None:
        """Begin; this server has a lease when it returns.

        Raises:
            CannotOpen: the database gives none.
        """
        self._loop = asyncio.get_running_loop()
        self._begun: asyncio.Future[None] = self._loop.create_future()
        self._looked_s = self._since_boot_s()
        # Only now the data folder is known to be ours.
        self._tenure.node = Node(self._last_name.read() or "", self._url)
        self._thread.start()
        try:
            async with asyncio.timeout(START_S):
                await self._begun
        except TimeoutError:
            raise CannotOpen("the database gives this server no lease; see its log") from None
        finally:
            self._is_stopping = not self.is_good
        self._watcher = asyncio.create_task(self._watch(), name="lease-watcher")

    def retire(self) -> None:
        """Be good no more, and begin no other one: a stop gives the sessions away next."""
        self._tenure.is_lost = True

    async def stop(self) -> None:
        """End the lease, so that nobody waits for it to run out."""
        self._is_stopping = True
        self._wake.set()
        if self._watcher is not None:
            self._watcher.cancel()
        if self._thread.ident is not None:
            await asyncio.to_thread(self._thread.join, END_S)

    # On the event loop.

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            self._looked_s = self._since_boot_s()
            if not self.is_good:
                self._lose(self._tenure)

    def _lose(self, tenure: Tenure) -> None:
        """Drop everything, once, before the next lease begins."""
        if tenure.is_lost:
            return
        tenure.is_lost = True
        log.error("lease_lost", node=tenure.node.name, way_out="another one is begun as soon as the database lets us")
        for act in self._acts:
            try:
                act()
            except Exception:  # the others must drop theirs all the same
                log.exception("lease_act_failed")
        tenure.is_over = True
        self._wake.set()

    # On the thread.

    def _work(self) -> None:
        while not self._is_stopping:
            tenure, pause_s = self._tenure, RENEW_S
            try:
                if tenure.is_over:
                    self._begin(tenure)
                elif not tenure.is_lost:
                    self._renew(tenure)
            except Unavailable:
                pause_s = RETRY_S  # Nobody is told: the writer tells of trouble.
            except Exception:
                log.exception("lease_failed")
            self._wake.wait(pause_s)
            self._wake.clear()
        with contextlib.suppress(Unavailable):
            self._connection.transact(lambda run: run(END, (self._tenure.node.name,)))
        self._connection.close()

    def _begin(self, last: Tenure) -> None:
        node = Node(self._new_name(), self._url)
        sent_s = self._since_boot_s()

        def begin(run: Read) -> tuple[float, list[Node]]:
            run(END, (last.node.name,))
            run(_TIDY)
            [(left_s,)] = run(_BEGIN, (node.name, node.url, self._key_mark()))
            return left_s, [Node(*row) for row in run(_OTHERS, (node.name,))]

        left_s, self.others = self._connection.transact(begin)
        self._tenure = Tenure(node, sent_s + left_s - EARLY_S)
        self._last_name.note(node.name)
        log.info("lease_begun", node=node.name, url=node.url, others=len(self.others))
        self._tell(self._note_begun)

    def _renew(self, tenure: Tenure) -> None:
        sent_s = self._since_boot_s()
        if sent_s - self._looked_s > LOOP_S:
            return

        def renew(run: Read) -> tuple[list[tuple[float]], list[Node]]:
            renewed = run(_RENEW, (tenure.node.name,))
            return renewed, [Node(*row) for row in run(_OTHERS, (tenure.node.name,))]

        renewed, self.others = self._connection.transact(renew)
        if renewed:
            tenure.good_until_s = sent_s + renewed[0][0] - EARLY_S
        else:
            self._tell(self._lose, tenure)

    def _tell(self, function: Callable[..., None], *args: object) -> None:
        with contextlib.suppress(RuntimeError):  # A loop that has ended has dropped everything.
            self._loop.call_soon_threadsafe(function, *args)

    def _note_begun(self) -> None:
        if not self._begun.done():
            self._begun.set_result(None)
