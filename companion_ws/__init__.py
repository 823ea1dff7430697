"""Give a voice agent a screen: shared sessions for agents and the phones that scan in."""

__version__ = "0.1.0"
