export * from "./client.js"
export * from "./elevenlabs.js"
