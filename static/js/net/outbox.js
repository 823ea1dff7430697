// What was said and not acknowledged yet, oldest first.

import { idFrom } from "../core/protocol.js"
import { keysOf, outboxKey, read, write } from "./storage.js"

/** As many as a person can tap in a tunnel. */
const MAX_KEPT = 50

/** A fresh id, of a request or a call. getRandomValues alone exists on a plain-HTTP page. */
export function newId() {
  return idFrom(crypto.getRandomValues(new Uint8Array(16)))
}

/**
 * Each entry is `{command, about, next}`: `command` carries its `requestId`, `about`
 * says which card or call it belongs to, and `next` are commands that follow once
 * the first is stored. It is sent again with the same `requestId`, so it counts once.
 *
 * With a `storage` an entry is written before it is sent, so a tap survives a reload. Each has
 * a key of its own, so that two tabs of one browser never write over one another's. Without one
 * (a program in a page, a browser that refuses storage) entries live as long as the page.
 * Beyond `most` the oldest give way.
 */
export class Outbox {
  #storage
  #prefix
  #most
  #entries = new Map()
  #lastPlace = 0

  constructor({ storage = null, sessionId = "", most = MAX_KEPT } = {}) {
    this.#storage = storage
    this.#prefix = outboxKey(sessionId)
    this.#most = most
    if (storage) this.#adoptList()
    this.reread()
  }

  get entries() {
    return [...this.#entries.values()]
  }

  add(command, about = null, next = []) {
    // What follows gets its id now: two tabs that share this storage then send the same.
    const [first, ...followers] = [command, ...next].map((each) => ({ requestId: newId(), ...each }))
    const entry = this.#keep({ command: first, about, next: followers, place: this.#nextPlace() })
    this.#entries.set(first.requestId, entry)
    while (this.#entries.size > this.#most) this.drop(this.#entries.keys().next().value)
    return entry
  }

  find(requestId) {
    return this.#entries.get(requestId) ?? null
  }

  /** Take the entry out; what follows it takes its place. Returns the new entry, or null. */
  acknowledge(requestId) {
    const entry = this.find(requestId)
    if (!entry?.next.length) {
      this.drop(requestId)
      return null
    }
    const [command, ...next] = entry.next
    // Written before the old one goes: whatever happens between, nothing is lost.
    const follower = this.#keep({ command, about: entry.about, next, place: entry.place })
    this.#forget(entry)
    this.#arrange(this.entries.map((each) => (each === entry ? follower : each)))
    return follower
  }

  /** Take the entry out together with what would have followed. */
  drop(requestId) {
    const entry = this.find(requestId)
    if (!entry) return null
    this.#forget(entry)
    this.#entries.delete(requestId)
    return entry
  }

  /** Take over what other tabs of this browser have left, as one that is closed cannot send it. */
  reread() {
    if (!this.#storage) return
    const found = keysOf(this.#storage, `${this.#prefix}.`).map((key) => read(this.#storage, key))
    const others = found.filter((entry) => isEntry(entry) && Array.isArray(entry.next) && !this.find(entry.command.requestId))
    this.#arrange([...this.entries, ...others].sort((a, b) => a.place - b.place))
    this.#lastPlace = Math.max(this.#lastPlace, this.entries.at(-1)?.place ?? 0)
  }

  #arrange(entries) {
    this.#entries = new Map(entries.map((entry) => [entry.command.requestId, entry]))
  }

  /** Before each had its own key, all of them were one list. */
  #adoptList() {
    const list = read(this.#storage, this.#prefix)
    if (!Array.isArray(list)) return
    for (const [at, { command, about = null, next = [] }] of list.filter(isEntry).entries()) {
      this.#keep({ command, about, next, place: at })
    }
    write(this.#storage, this.#prefix, null)
  }

  #nextPlace() {
    this.#lastPlace = Math.max(Date.now(), this.#lastPlace + 1)
    return this.#lastPlace
  }

  #keep(entry) {
    if (this.#storage) write(this.#storage, this.#keyOf(entry), entry)
    return entry
  }

  #forget(entry) {
    if (this.#storage) write(this.#storage, this.#keyOf(entry), null)
  }

  #keyOf({ command }) {
    return `${this.#prefix}.${command.requestId}`
  }
}

function isEntry(entry) {
  return Boolean(entry?.command?.requestId)
}
