// The connection of an agent: it says what no screen says.

import { RELAYED, UNANSWERED } from "../core/commands.js"
import { Connection } from "./connection.js"
import { PackageSocket } from "./package-socket.js"

/**
 * A Connection for what agents send besides: what is only passed on and never answered, what
 * ElevenLabs tells its client, which some servers record and some do not, and tool calls, whose
 * first record may answer another call of the same id.
 */
export class AgentConnection extends Connection {
  #outbox
  /** Whether this server records what ElevenLabs tells; null until one of them has shown it. */
  #recordsRelayed = null
  /** The newest mark's id, and the ids of those on their way when it was sent. */
  #mark = null
  #marked = []

  constructor(options) {
    super({ ...options, environment: { WebSocket: globalThis.WebSocket ?? PackageSocket, ...options.environment } })
    this.#outbox = options.outbox
  }

  isAnswered({ type }) {
    return !UNANSWERED.has(type) && !(RELAYED.has(type) && this.#recordsRelayed === false)
  }

  /** A mark tells: it is answered after whatever is recorded before it. */
  hasWritten() {
    if (this.#recordsRelayed === null && this.#relayedUnderWay.length) this.sendMark()
  }

  sendMark(resume = false) {
    this.#marked = this.#relayedUnderWay
    this.#mark = super.sendMark(resume)
    return this.#mark
  }

  get #relayedUnderWay() {
    return this.underWay.filter(({ type }) => RELAYED.has(type)).map(({ requestId }) => requestId)
  }

  settle(message) {
    if (message.requestId === this.#mark) this.#passMark()
    super.settle(message)
    if (message.type !== "error") this.#learn(message)
  }

  /** All that was written before the newest mark is dealt with: what is left is not recorded. */
  #passMark() {
    const left = new Set(this.underWay.map(({ requestId }) => requestId))
    for (const requestId of this.#marked) {
      if (!left.has(requestId)) continue
      this.#recordsRelayed = false
      this.acknowledge(requestId)
    }
  }

  #learn(message) {
    // It may have been restarted with other settings.
    if (message.type === "session_joined" && !this.#recordsRelayed) this.#recordsRelayed = null
    if (RELAYED.has(message.type) && typeof message.seq === "number") this.#recordsRelayed = true
    // A call made before is answered with its own first record, under its own requestId.
    const id = message.client_tool_call?.tool_call_id ?? message.tool_call_id
    if (typeof id !== "string") return
    for (const { command } of this.#outbox.entries) {
      if (command.type === "client_tool_call" && command.client_tool_call?.tool_call_id === id) {
        this.acknowledge(command.requestId)
      }
    }
  }
}
