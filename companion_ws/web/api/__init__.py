"""JSON over HTTP: sessions, records, pairing, people."""
