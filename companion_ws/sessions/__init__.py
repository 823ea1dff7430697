"""The one way to change a session: its line, its listeners, its tools."""
