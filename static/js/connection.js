// The one WebSocket: joins, resumes where it left off, sends again what was not acknowledged.

import { decode } from "./core/protocol.js"
import { delayMs, mayReturn } from "./core/reconnect.js"
import { newRequestId } from "./keep.js"

/** Silence after which the other end is asked whether it is still there. */
const QUIET_MS = 8000
/** Time it has to answer; together less than the 16 s after which a server gives up a peer. */
const ANSWER_MS = 6000
/** A connection that lived this long counts as one that worked. */
const STEADY_MS = 5000
/** A try that hangs is given up. */
const OPENING_MS = 10_000

/** While somebody looks, ceilings stop growing: at a second for ten seconds, at two for half a minute. */
const LOOKED_AT = [{ forMs: 10_000, attempts: 2 }, { forMs: 30_000, attempts: 3 }]

const TOKEN_EXPIRED = 4401
/** Refusals after which the same command may be tried again. */
const PASSING_ERRORS = new Set(["unavailable", "too_many_requests"])

/**
 * A connection that comes back.
 *
 * `options`:
 * - `address`: the `ws:` URL without query; `token`; `query`: join parameters
 * - `position()`: `{after, epoch}` to resume from, `after` null for none
 * - `outbox`: what must not get lost
 * - `onMessage(message)`, `onStatus({phase, code, reason, attempt})`, phases
 *   `connecting open waiting ended`; `onRefused(entry, error)`; `onToken(token, expiresAt)`
 * - `environment`: WebSocket, timers, clock and chance; the browser's own by default
 */
export class Connection {
  #options
  #environment
  #socket = null
  #token
  #attempt = 0
  #retry = null
  #watch = null
  #heardAt = 0
  #openedAt = 0
  #lostAt = null
  #asked = false
  #isOver = false
  #isJoined = false
  #wake = () => this.#wakeUp()
  #show = () => globalThis.document?.visibilityState === "visible" && this.#wakeUp()

  constructor(options) {
    this.#options = options
    this.#token = options.token
    this.#environment = { ...browser(), ...options.environment }
  }

  start() {
    globalThis.window?.addEventListener("online", this.#wake)
    globalThis.window?.addEventListener("pageshow", this.#wake)
    globalThis.document?.addEventListener("visibilitychange", this.#show)
    this.#open()
  }

  /** Leave for good. */
  stop() {
    this.#finish()
    this.#socket?.close(1000)
    this.#socket = null
  }

  get isJoined() {
    return this.#isJoined
  }

  /** Send now if joined, without promise: for what is worthless later. Returns whether it left. */
  pass(command) {
    if (!this.#isJoined) return false
    this.#socket.send(JSON.stringify(command))
    return true
  }

  /** Keep `command` until it is acknowledged; returns its outbox entry. */
  send(command, about = null, next = []) {
    const entry = this.#options.outbox.add(command, about, next)
    this.pass(entry.command)
    return entry
  }

  #open() {
    const { address, query, position } = this.#options
    const { after, epoch } = position()
    const url = new URL(address)
    for (const [name, value] of Object.entries(query)) if (value) url.searchParams.set(name, value)
    if (after !== null) url.searchParams.set("after", String(after))
    if (after && epoch) url.searchParams.set("epoch", epoch)
    this.#tell({ phase: "connecting" })
    // The token travels as a subprotocol: an address would end up in logs and histories.
    const socket = new this.#environment.WebSocket(url.href, ["companion.v1", `bearer.${this.#token}`])
    this.#socket = socket
    this.#asked = false
    this.#heardAt = this.#openedAt = this.#environment.now()
    socket.onmessage = (event) => socket === this.#socket && this.#hear(event.data)
    // Node's sockets end the program over an error nobody listens to; its close follows anyway.
    socket.onerror = () => {}
    socket.onclose = (event) => socket === this.#socket && this.#lose(event.code, event.reason)
    this.#watch = this.#environment.setTimeout(() => this.#lookAfter(), 1000)
  }

  #hear(text) {
    this.#heardAt = this.#environment.now()
    this.#asked = false
    const message = decode(text)
    if (!message) return
    if (message.type === "session_joined") this.#joined()
    if (message.type === "token_expiring") this.pass({ type: "token_renew", requestId: newRequestId() })
    if (message.type === "token_renewed") {
      this.#token = message.token
      this.#options.onToken?.(message.token, message.expires_at)
    }
    const settled = this.#settle(message)
    this.#options.onMessage(message)
    if (settled) this.pass(settled.command)
  }

  #joined() {
    this.#isJoined = true
    this.#lostAt = null
    this.#tell({ phase: "open" })
    for (const entry of this.#options.outbox.entries) this.pass(entry.command)
  }

  /** Take an acknowledged command out of the outbox; returns what follows it. */
  #settle(message) {
    const entry = message.requestId ? this.#options.outbox.find(message.requestId) : null
    if (!entry) return null
    if (message.type !== "error") return this.#options.outbox.acknowledge(message.requestId)
    if (PASSING_ERRORS.has(message.code)) {
      this.#environment.setTimeout(() => this.pass(entry.command), message.retry_after_ms ?? 1000)
      return null
    }
    this.#options.outbox.drop(message.requestId)
    this.#options.onRefused?.(entry, message)
    return null
  }

  /** Ask a silent peer; leave one that does not answer. Browsers show no ping of the protocol. */
  #lookAfter() {
    const quiet = this.#environment.now() - this.#heardAt
    if (!this.#isJoined && quiet > OPENING_MS) return this.#lose(1006, "no answer")
    if (this.#isJoined && quiet > QUIET_MS + ANSWER_MS) return this.#lose(1006, "silent")
    if (this.#isJoined && quiet > QUIET_MS && !this.#asked) {
      this.#asked = true
      this.pass({ type: "ping" })
    }
    this.#watch = this.#environment.setTimeout(() => this.#lookAfter(), 1000)
    return undefined
  }

  #lose(code, reason) {
    const socket = this.#socket
    this.#socket = null
    this.#isJoined = false
    this.#environment.clearTimeout(this.#watch)
    if (socket && socket.readyState < 2) socket.close()
    if (this.#isOver) return
    if (!mayReturn(code) || code === TOKEN_EXPIRED) {
      this.#finish()
      this.#tell({ phase: "ended", code, reason })
      return
    }
    if (this.#environment.now() - this.#openedAt > STEADY_MS) this.#attempt = 0
    this.#lostAt ??= this.#environment.now()
    const wait = delayMs(this.#patience, this.#environment.random())
    this.#attempt += 1
    this.#tell({ phase: "waiting", code, reason, attempt: this.#attempt })
    this.#retry = this.#environment.setTimeout(() => this.#again(), wait)
  }

  get #patience() {
    if (globalThis.document?.visibilityState !== "visible") return this.#attempt
    const lostForMs = this.#environment.now() - this.#lostAt
    const limit = LOOKED_AT.find(({ forMs }) => lostForMs < forMs)
    return Math.min(this.#attempt, limit?.attempts ?? this.#attempt)
  }

  #again() {
    this.#retry = null
    this.#open()
  }

  /** The network or the page is back: try at once, or make sure a sleeping socket still lives. */
  #wakeUp() {
    if (this.#isOver) return
    if (this.#retry !== null) {
      this.#environment.clearTimeout(this.#retry)
      this.#attempt = 0
      this.#again()
    } else if (this.#isJoined && !this.#asked) {
      // Timers slept as well: give the peer its time to answer from now.
      this.#asked = true
      this.#heardAt = this.#environment.now() - QUIET_MS
      this.pass({ type: "ping" })
    }
  }

  #finish() {
    this.#isOver = true
    this.#isJoined = false
    this.#environment.clearTimeout(this.#retry)
    this.#environment.clearTimeout(this.#watch)
    globalThis.window?.removeEventListener("online", this.#wake)
    globalThis.window?.removeEventListener("pageshow", this.#wake)
    globalThis.document?.removeEventListener("visibilitychange", this.#show)
  }

  #tell(status) {
    this.#options.onStatus?.({ code: null, reason: "", attempt: this.#attempt, ...status })
  }
}

function browser() {
  return {
    WebSocket: globalThis.WebSocket,
    setTimeout: (act, ms) => globalThis.setTimeout(act, ms),
    clearTimeout: (timer) => globalThis.clearTimeout(timer),
    random: Math.random,
    now: () => performance.now(),
  }
}
