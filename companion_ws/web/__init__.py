"""The entrances: HTTP routes, WebSocket, pages."""
