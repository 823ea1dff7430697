"""A client of a companion session that comes back where it left off.

`companion` is what people use; `link` keeps one connection (`stream` where no WebSocket passes), `outgoing` what was said
and not answered yet, `incoming` what was heard. `sync` is the same without an event loop, on the one of `thread`;
`notebook` and `invitation` are what notebooks show.
"""

from companion_ws.client.companion import CompanionClient, ToolFailed
from companion_ws.client.invitation import Invitation
from companion_ws.client.outgoing import CompanionClosed
from companion_ws.client.sync import SyncCompanionClient

__all__ = ["CompanionClient", "CompanionClosed", "Invitation", "SyncCompanionClient", "ToolFailed"]
