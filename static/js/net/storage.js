// What a browser remembers between visits: tokens, the last view, and where taps wait.

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

/** The stored keys that begin with `prefix`. */
export function keysOf(storage, prefix) {
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
export const outboxKey = (sessionId) => `companion.outbox.${sessionId}`
export const draftKey = (sessionId) => `companion.draft.${sessionId}`
const viewKey = (sessionId) => `companion.view.${sessionId}`
/** A phone keeps it no longer. Source: docs/screens.md. */
export const KEPT_MS = 24 * 3_600_000
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
    for (const key of [tokenKey(sessionId), viewKey(sessionId), draftKey(sessionId), ...taps]) write(localStore(), key, null)
    if (read(localStore(), LAST) === sessionId) write(localStore(), LAST, null)
  },
}

/** The token a link gave to this tab. */
export const signedIn = {
  token: () => read(tabStore(), "companion.token"),
  save: (token) => write(tabStore(), "companion.token", token),
}

/** What was on the screen, so that a reload without network is not blank; older than a day it is nobody's business. */
export const views = {
  forgetOld: () => {
    for (const key of keysOf(localStore(), viewKey(""))) {
      const { at } = read(localStore(), key) ?? {}
      if (typeof at === "number" && Date.now() - at > KEPT_MS) write(localStore(), key, null)
    }
  },
  load: (sessionId) => read(localStore(), viewKey(sessionId)),
  save: (sessionId, view) => {
    if (JSON.stringify(view).length <= MAX_VIEW_CHARACTERS) write(localStore(), viewKey(sessionId), view)
  },
}

const TAKE_AWAY = "companion.take-away"

/**
 * What is left of the last conversation that ended, `{until, code, reason, session, …}`. Its time is
 * over at `until`, by this device's clock; a clock that was set far back counts as over, too.
 */
export const takeAway = {
  /** The one of `sessionId`, or of any session where that is null; else null. */
  load: (sessionId = null) => {
    const kept = read(localStore(), TAKE_AWAY)
    if (kept === null) return null
    const isFresh = Date.now() < kept.until && kept.until - Date.now() <= 2 * KEPT_MS
    if (!isFresh) takeAway.clear()
    return isFresh && (sessionId === null || kept.session?.id === sessionId) ? kept : null
  },
  save: (kept) => write(localStore(), TAKE_AWAY, kept),
  clear: () => write(localStore(), TAKE_AWAY, null),
}

/** What a person has set on this device: a name, and true or false. */
export const settings = {
  get: (name) => read(localStore(), `companion.setting.${name}`) === true,
  set: (name, isSet) => write(localStore(), `companion.setting.${name}`, isSet ? true : null),
}
