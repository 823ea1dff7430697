"""What a client knows of its session without asking: folded from all it has heard."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from typing import Any

from companion_ws.core.view import Message, View


class KnownSession(ABC):
    """A session as its client last heard of it."""

    @abstractmethod
    def _heard(self) -> View:
        """Return the session as of now."""

    @property
    def session_id(self) -> str:
        """The session this client is in; not always the one that was asked for."""
        return self._heard().session_id or ""

    @property
    def joined(self) -> Message:
        """The newest `session_joined`, as the server sent it."""
        return self._heard().joined

    @property
    def created(self) -> bool:
        """Whether the first join made a new session."""
        return bool(self._heard().first.get("created"))

    @property
    def reason(self) -> str | None:
        """Why it is another session than the one asked for: `session_unavailable`, or None."""
        reason: str | None = self._heard().first.get("reason")
        return reason

    @property
    def epoch(self) -> str | None:
        """Names the server's log; it changes when a backup is restored."""
        return self._heard().epoch

    @property
    def seq(self) -> int:
        """Of the last record received."""
        return self._heard().seq

    @property
    def state(self) -> Mapping[str, Any]:
        """The session's state as this client last heard it: key to value."""
        return {key: entry["value"] for key, entry in self._heard().state.items()}

    def revision(self, key: str) -> int:
        """Return the revision of a key as last heard, 0 where it is absent; for `if_revision`."""
        return int(self._heard().state.get(key, {"revision": 0})["revision"])

    @property
    def presence(self) -> list[Message]:
        """Who is connected, this client included."""
        return list(self._heard().presence.values())

    @property
    def connected(self) -> Collection[str]:
        """The `connection_id` of everybody in `presence`."""
        return self._heard().presence.keys()

    @property
    def screens(self) -> list[Message]:
        """Those in `presence` that are screens."""
        return [entry for entry in self.presence if entry["role"] == "ui"]

    def call_record(self, tool_call_id: str) -> Message | None:
        """Return the record of a call, if it is among the newest that were heard of."""
        return self._heard().calls.get(tool_call_id)
