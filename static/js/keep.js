// What a browser remembers between visits: tokens, the last view, taps not yet acknowledged.

import { idFrom } from "./core/protocol.js"

/** localStorage or null: a browser may refuse it altogether. */
export function localKeep() {
  try {
    return globalThis.localStorage
  } catch {
    return null
  }
}

/** sessionStorage or null; what lives as long as the tab. */
export function tabKeep() {
  try {
    return globalThis.sessionStorage
  } catch {
    return null
  }
}

/** The JSON under `key`, or null. */
export function read(storage, key) {
  try {
    return JSON.parse(storage?.getItem(key) ?? "null")
  } catch {
    return null
  }
}

/** Keep `value` as JSON; null forgets. Full or forbidden storage is no error. */
export function write(storage, key, value) {
  try {
    if (value === null) storage?.removeItem(key)
    else storage?.setItem(key, JSON.stringify(value))
  } catch {
    // The page works without.
  }
}

const LAST = "companion.last"
const tokenKey = (sessionId) => `companion.token.${sessionId}`
const viewKey = (sessionId) => `companion.view.${sessionId}`
/** More than this is not worth a phone's storage. */
const MAX_VIEW_CHARACTERS = 1_000_000

/** The paired sessions of this browser. */
export const paired = {
  /** `{token, deviceId}` or null. */
  find: (sessionId) => (sessionId ? read(localKeep(), tokenKey(sessionId)) : null),
  last: () => read(localKeep(), LAST),
  keep: (sessionId, token, deviceId) => {
    write(localKeep(), tokenKey(sessionId), { token, deviceId })
    write(localKeep(), LAST, sessionId)
  },
  forget: (sessionId) => {
    for (const key of [tokenKey(sessionId), viewKey(sessionId), `companion.outbox.${sessionId}`]) {
      write(localKeep(), key, null)
    }
    if (read(localKeep(), LAST) === sessionId) write(localKeep(), LAST, null)
  },
}

/** The token a link gave to this tab. */
export const signedIn = {
  token: () => read(tabKeep(), "companion.token"),
  keep: (token) => write(tabKeep(), "companion.token", token),
}

/** What was on the screen, so that a reload without network is not blank. */
export const views = {
  load: (sessionId) => read(localKeep(), viewKey(sessionId)),
  save: (sessionId, view) => {
    if (JSON.stringify(view).length <= MAX_VIEW_CHARACTERS) write(localKeep(), viewKey(sessionId), view)
  },
}

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
    // What follows gets its id now: two tabs that share this storage then send the same.
    const [first, ...followers] = [command, ...next].map((each) => ({ requestId: newRequestId(), ...each }))
    const entry = { command: first, about, next: followers }
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
    const follower = first ? { command: first, about: entry.about, next } : null
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
    const entries = read(this.#storage, this.#key)
    return Array.isArray(entries) ? entries.filter((entry) => entry?.command?.requestId) : []
  }

  #write(entries) {
    this.#entries = entries
    write(this.#storage, this.#key, entries.length ? entries : null)
  }
}
