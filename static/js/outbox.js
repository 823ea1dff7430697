// Commands a person's tap has made and the server has not acknowledged: kept across reloads.

import { idFrom } from "./core/protocol.js"

/** As many as a person can tap in a tunnel; older ones give way. */
const MAX_KEPT = 50

/** A fresh `requestId`. getRandomValues alone exists on a plain-HTTP page. */
export function newRequestId() {
  return idFrom(crypto.getRandomValues(new Uint8Array(16)))
}

/**
 * What waits for its acknowledgement, oldest first.
 *
 * Each entry is `{command, about, next}`: `command` carries its `requestId`, `about`
 * says which card or call it belongs to, and `next` are commands that follow once
 * the first is stored. Written before it is sent, so a tap survives a reload; sent
 * again with the same `requestId`, so it counts once.
 */
export class Outbox {
  #storage
  #key
  #entries

  /** `storage` is a Storage or null where the browser refuses one; then memory must do. */
  constructor(storage, sessionId) {
    this.#storage = storage
    this.#key = `companion.outbox.${sessionId}`
    this.#entries = this.#read()
  }

  get entries() {
    return this.#entries
  }

  add(command, about = null, next = []) {
    const entry = { command: { requestId: newRequestId(), ...command }, about, next }
    this.#write([...this.#entries, entry].slice(-MAX_KEPT))
    return entry
  }

  find(requestId) {
    return this.#entries.find((entry) => entry.command.requestId === requestId) ?? null
  }

  /** Take the entry out; what follows it takes its place. Returns the new entry, or null. */
  acknowledge(requestId) {
    const entry = this.find(requestId)
    if (!entry) return null
    const [first, ...next] = entry.next
    const follower = first
      ? { command: { requestId: newRequestId(), ...first }, about: entry.about, next }
      : null
    this.#write(this.#entries.flatMap((each) => (each !== entry ? [each] : follower ? [follower] : [])))
    return follower
  }

  /** Take the entry out together with what would have followed. */
  drop(requestId) {
    const entry = this.find(requestId)
    if (entry) this.#write(this.#entries.filter((each) => each !== entry))
    return entry
  }

  #read() {
    try {
      const entries = JSON.parse(this.#storage?.getItem(this.#key) ?? "[]")
      return Array.isArray(entries) ? entries.filter((entry) => entry?.command?.requestId) : []
    } catch {
      return []
    }
  }

  #write(entries) {
    this.#entries = entries
    try {
      if (entries.length) this.#storage?.setItem(this.#key, JSON.stringify(entries))
      else this.#storage?.removeItem(this.#key)
    } catch {
      // Storage full or forbidden: the entries live as long as the page.
    }
  }
}
