// The package by its bare name: a session's client, and the bridge of an ElevenLabs agent in a page.

export * from "./client.js"
export * from "./elevenlabs.js"
