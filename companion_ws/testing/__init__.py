"""What users test their agents with: a strict fake ElevenLabs, a phone, a server."""
