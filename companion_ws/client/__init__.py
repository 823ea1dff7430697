"""A client of a companion session that comes back where it left off.

`companion` is what people use; `link` keeps one connection (`stream` where no WebSocket passes), `outgoing` what was said
and not answered yet, `incoming` what was heard.
"""

from companion_ws.client.companion import CompanionClient, Invitation, ToolFailed
from companion_ws.client.outgoing import CompanionClosed

__all__ = ["CompanionClient", "CompanionClosed", "Invitation", "ToolFailed"]
