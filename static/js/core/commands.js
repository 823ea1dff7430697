// What becomes of the commands, as far as this side must know it.
// The catalogue is companion_ws/core/commands.py; tests/wire/messages/catalogue.json holds this file to it.

/** What ElevenLabs tells its client: passed on by a server with `--no-transcripts`, recorded by any other. */
export const RELAYED = new Set([
  "user_transcript",
  "agent_response",
  "agent_response_correction",
  "interruption",
  "agent_tool_request",
  "agent_tool_response",
  "conversation_initiation_metadata",
])

/** Told to those who are there, never recorded. */
export const PASSED = new Set(["screen", "rendered", "screen_command", "user_activity"])

/** What the server answers only when it refuses. */
export const UNANSWERED = new Set([...PASSED, "pairing_answer"])

/** What has no place in the order of what is said. */
export const UNORDERED = new Set(["pairing_answer", "token_renew", "ping"])
