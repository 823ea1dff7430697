"""WebSocket: a connection from the handshake to its end."""
