// What a browser remembers between visits: tokens, the last view, taps not yet acknowledged.

import { idFrom } from "../core/protocol.js"

/** By storage, what it refused to take: kept as long as the page. */
const memories = new WeakMap()
const NO_STORAGE = {}

function memoryOf(storage) {
  const owner = storage ?? NO_STORAGE
  if (!memories.has(owner)) memories.set(owner, new Map())
  return memories.get(owner)
}

/** localStorage, or null: a browser may refuse it altogether. */
export function localStore() {
  return refusable(() => globalThis.localStorage)
}

/** sessionStorage, or null; what lives as long as the tab. */
export function tabStore() {
  return refusable(() => globalThis.sessionStorage)
}

function refusable(storage) {
  try {
    return storage() ?? null
  } catch {
    return null
  }
}

/** The JSON under `key`, or null. */
export function read(storage, key) {
  try {
    return JSON.parse(memoryOf(storage).get(key) ?? storage?.getItem(key) ?? "null")
  } catch {
    return null
  }
}

/** Keep `value` as JSON; null forgets. Where storage is full or forbidden, memory has to do. */
export function write(storage, key, value) {
  const memory = memoryOf(storage)
  memory.delete(key)
  try {
    if (value === null) storage?.removeItem(key)
    else if (storage) storage.setItem(key, JSON.stringify(value))
    else memory.set(key, JSON.stringify(value))
  } catch {
    if (value !== null) memory.set(key, JSON.stringify(value))
  }
}

/** The keys of what is kept that begin with `prefix`. */
function keysOf(storage, prefix) {
  const found = new Set(memoryOf(storage).keys())
  try {
    for (let at = 0; at < (storage?.length ?? 0); at += 1) found.add(storage.key(at))
  } catch {
    // What memory has is all there is.
  }
  return [...found].filter((key) => key.startsWith(prefix))
}

/**
 * Put `address` where this page's own stands, without a new entry in the history. A browser
 * that refuses it (a frame without rights, too many at once) shows the old one, but no secret.
 */
export function readdress(address) {
  try {
    history.replaceState(null, "", address)
  } catch {
    if (location.hash) refusable(() => (location.hash = ""))
  }
}

const LAST = "companion.last"
const tokenKey = (sessionId) => `companion.token.${sessionId}`
const outboxKey = (sessionId) => `companion.outbox.${sessionId}`
const viewKey = (sessionId) => `companion.view.${sessionId}`
/** More than this is not worth a phone's storage. */
const MAX_VIEW_CHARACTERS = 1_000_000

/** The paired sessions of this browser. */
export const paired = {
  /** `{token, deviceId}` or null. */
  find: (sessionId) => (sessionId ? read(localStore(), tokenKey(sessionId)) : null),
  last: () => read(localStore(), LAST),
  save: (sessionId, token, deviceId) => {
    write(localStore(), tokenKey(sessionId), { token, deviceId })
    write(localStore(), LAST, sessionId)
  },
  forget: (sessionId) => {
    const taps = keysOf(localStore(), outboxKey(sessionId))
    for (const key of [tokenKey(sessionId), viewKey(sessionId), ...taps]) write(localStore(), key, null)
    if (read(localStore(), LAST) === sessionId) write(localStore(), LAST, null)
  },
}

/** The token a link gave to this tab. */
export const signedIn = {
  token: () => read(tabStore(), "companion.token"),
  save: (token) => write(tabStore(), "companion.token", token),
}

/** What was on the screen, so that a reload without network is not blank. */
export const views = {
  load: (sessionId) => read(localStore(), viewKey(sessionId)),
  save: (sessionId, view) => {
    if (JSON.stringify(view).length <= MAX_VIEW_CHARACTERS) write(localStore(), viewKey(sessionId), view)
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
 * again with the same `requestId`, so it counts once. Each has a key of its own, so that
 * two tabs of one browser never write over one another's.
 */
export class Outbox {
  #storage
  #prefix
  #entries

  /** `storage` is a Storage or null where the browser refuses one; then memory must do. */
  constructor(storage, sessionId) {
    this.#storage = storage
    this.#prefix = outboxKey(sessionId)
    this.#entries = []
    this.#adoptList()
    this.reread()
  }

  get entries() {
    return this.#entries
  }

  add(command, about = null, next = []) {
    // What follows gets its id now: two tabs that share this storage then send the same.
    const [first, ...followers] = [command, ...next].map((each) => ({ requestId: newRequestId(), ...each }))
    const entry = this.#keep({ command: first, about, next: followers, place: this.#nextPlace() })
    this.#entries = [...this.#entries, entry]
    for (const old of this.#entries.slice(0, -MAX_KEPT)) this.drop(old.command.requestId)
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
    // Written before the old one goes: whatever happens between, nothing is lost.
    const follower = first ? this.#keep({ command: first, about: entry.about, next, place: entry.place }) : null
    this.#forget(entry)
    this.#entries = this.#entries.flatMap((each) => (each !== entry ? [each] : follower ? [follower] : []))
    return follower
  }

  /** Take the entry out together with what would have followed. */
  drop(requestId) {
    const entry = this.find(requestId)
    if (!entry) return null
    this.#forget(entry)
    this.#entries = this.#entries.filter((each) => each !== entry)
    return entry
  }

  /** Take over what other tabs of this browser have left, as one that is closed cannot send it. */
  reread() {
    const known = new Set(this.#entries.map((entry) => entry.command.requestId))
    const found = keysOf(this.#storage, `${this.#prefix}.`).map((key) => read(this.#storage, key))
    const others = found.filter((entry) => entry?.command?.requestId && Array.isArray(entry.next) && !known.has(entry.command.requestId))
    this.#entries = [...this.#entries, ...others].sort((a, b) => a.place - b.place)
  }

  /** Before each had its own key, all of them were one list. */
  #adoptList() {
    const list = read(this.#storage, this.#prefix)
    if (!Array.isArray(list)) return
    for (const [at, { command, about = null, next = [] }] of list.filter((entry) => entry?.command?.requestId).entries()) {
      this.#keep({ command, about, next, place: at })
    }
    write(this.#storage, this.#prefix, null)
  }

  #nextPlace() {
    return Math.max(Date.now(), (this.#entries.at(-1)?.place ?? 0) + 1)
  }

  #keep(entry) {
    write(this.#storage, this.#keyOf(entry), entry)
    return entry
  }

  #forget(entry) {
    write(this.#storage, this.#keyOf(entry), null)
  }

  #keyOf({ command }) {
    return `${this.#prefix}.${command.requestId}`
  }
}
