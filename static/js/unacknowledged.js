// What an agent in a page has said and the server has not acknowledged yet.

import { idFrom } from "./core/protocol.js"

/** What may wait for a server that is away. */
const MAX_WAITING = 1000

/** What has not been acknowledged; kept in memory, since a page that is gone has no agent. */
export class Unacknowledged {
  entries = []

  add(command, about = null, next = []) {
    const requestId = idFrom(crypto.getRandomValues(new Uint8Array(16)))
    const entry = { command: { requestId, ...command }, about, next }
    this.entries = [...this.entries, entry].slice(-MAX_WAITING)
    return entry
  }

  find(requestId) {
    return this.entries.find((entry) => entry.command.requestId === requestId) ?? null
  }

  acknowledge(requestId) {
    this.drop(requestId)
    return null
  }

  drop(requestId) {
    const entry = this.find(requestId)
    this.entries = this.entries.filter((each) => each !== entry)
    return entry
  }
}
