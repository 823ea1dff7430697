// An agent in Node with the real SDK: told what to do line by line, says what it did likewise.

import { createInterface } from "node:readline"
import { createRequire } from "node:module"
import { pathToFileURL } from "node:url"

const { modules, bridge: bridgeFile, companion, elevenlabs } = JSON.parse(process.argv[2])
const require = createRequire(`${modules}/`)
// Node 20 has no WebSocket of its own.
globalThis.WebSocket = require("ws").WebSocket

const { Conversation } = await import(pathToFileURL(`${modules}/node_modules/@elevenlabs/client/dist/index.js`))
const { CompanionBridge } = await import(pathToFileURL(bridgeFile))

const say = (message) => console.log(JSON.stringify(message))
const bridge = new CompanionBridge(companion)
let conversation = null

const own = {
  agentId: "agent",
  textOnly: true,
  connectionType: "websocket",
  origin: elevenlabs,
  onMessage: ({ source, message }) => say({ heard: message, source }),
  clientTools: { add: ({ a, b }) => a + b },
}

const orders = {
  start: async () => {
    conversation = await bridge.start(Conversation, own)
    return { started: conversation.getId(), session: bridge.sessionId }
  },
  start_copied: async () => {
    const options = bridge.options(own)
    conversation = await Conversation.startSession({ ...options, clientTools: { ...options.clientTools } })
    bridge.attach(conversation)
    return { started: conversation.getId() }
  },
  ready: async () => ({ ready: (await bridge.ready).session_id }),
  end: async () => {
    await conversation.endSession()
    return { ended: true }
  },
  pending: async () => ({ pending: bridge.pending.map((letter) => letter.text) }),
  names: async () => ({ names: Object.keys({ ...bridge.clientTools({ add: own.clientTools.add }) }) }),
  stop: async () => {
    bridge.stop()
    process.exit(0)
  },
}

for await (const line of createInterface({ input: process.stdin })) {
  orders[line.trim()]().then(say, (error) => say({ error: error.message }))
}
