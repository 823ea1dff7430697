// What a program in a page has said and the server has not acknowledged yet.

import { idFrom } from "../core/protocol.js"

/** What may wait for a server that is away. */
const MAX_WAITING = 1000

/** What has not been acknowledged; kept in memory, since a page that is gone has no agent. */
export class Unacknowledged {
  #most
  #entries = new Map()

  constructor(most = MAX_WAITING) {
    this.#most = most
  }

  /** Oldest first. */
  get entries() {
    return [...this.#entries.values()]
  }

  add(command, about = null, next = []) {
    const requestId = idFrom(crypto.getRandomValues(new Uint8Array(16)))
    const entry = { command: { requestId, ...command }, about, next }
    this.#entries.set(entry.command.requestId, entry)
    if (this.#entries.size > this.#most) this.#entries.delete(this.#entries.keys().next().value)
    return entry
  }

  find(requestId) {
    return this.#entries.get(requestId) ?? null
  }

  acknowledge(requestId) {
    this.drop(requestId)
    return null
  }

  drop(requestId) {
    const entry = this.find(requestId)
    this.#entries.delete(requestId)
    return entry
  }
}
