// The one connection to the server: joins, reconnects, resumes, and gets said what was said.
//
// Why it is more than a WebSocket. A phone loses its network in every lift and sleeps in every
// pocket, and what a person tapped there must arrive, once, and in order. So nothing is sent and
// forgotten: a command stands in the outbox until the server acknowledges it under its
// `requestId`, and whatever is still there after a reconnect is sent again under the same id. The
// server stores an id once, so sending too often costs nothing, and sending too seldom costs taps.
//
// Connecting. `#open` gets a token and makes a socket; `session_joined` makes it usable. The join
// names the last record seen (`position`), and the server replays what came since. Where a network
// lets no WebSocket through, the same goes as server-sent events and requests (stream.js, fetched
// only then). When a socket closes, its code says whether another try may help: after a pause with
// full jitter it is tried again, else the phase is `ended`. While somebody looks at the page the
// pauses stay short; when the network or the page is back, it is tried at once.
//
// Noticing a dead peer. A browser shows no ping of the protocol, so silence is answered by a
// `ping` message, and silence after that, or a command nobody answers, ends the socket.
//
// Order. Commands leave oldest first, at most MAX_IN_FLIGHT at once. A refusal that passes (a full
// disk, a rate) stops the queue: a server refuses all that follows on an `ordered` connection, too.
// After the pause a `ping` with `resume` marks where the refused ones end; once it is answered
// everything is said again from the oldest on, no faster than the server asked for. A refusal that
// does not pass takes its command out and is told by `onRefused`.
//
// What only agents need (commands nobody answers, calls answered under another id) is added by
// AgentConnection, so that phones need not load it.

import { decode } from "../core/protocol.js"
import { newId } from "./outbox.js"

/** Silence after which the other end is asked whether it is still there. */
const QUIET_MS = 8000
/** Time it has to answer; together less than the 16 s after which a server gives up a peer. */
const ANSWER_MS = 6000
/** A connection that lived this long counts as one that worked. */
const STEADY_MS = 5000
/** A try that hangs is given up. */
const OPENING_MS = 10_000

export const FIRST_DELAY_MS = 250
export const LONGEST_DELAY_MS = 8000
/** Closes of the protocol itself that are worth another try. */
const PASSING = new Set([1001, 1005, 1006, 1009, 1011, 1012, 1013])
/** While somebody looks, ceilings stop growing: at a second for ten seconds, at two for half a minute. */
const LOOKED_AT = [{ forMs: 10_000, attempts: 2 }, { forMs: 30_000, attempts: 3 }]

const TOKEN_EXPIRED = 4401
const TOO_LARGE = 1009
const ABNORMAL = 1006
/** Commands on their way at once: below any burst a server allows. */
const MAX_IN_FLIGHT = 32
/** What a server that listens takes for an answer at most; after that the connection is no good. */
const COMMAND_MS = 45_000
const UNAVAILABLE_RETRY_MS = 1000
/** Tries in a row that found no socket before the other way is tried, once one has been open. */
const MAX_BLOCKED = 3

/**
 * A connection that reconnects by itself.
 *
 * `options`:
 * - `address`: the `ws:` URL without query; `query`: join parameters, `ordered` among them
 * - `token`: text, or a function that fetches one and is asked again when it has expired
 * - `position()`: `{after, epoch}` to resume from, `after` null for none
 * - `outbox`: what must not get lost
 * - `onMessage(message)`, `onStatus({phase, code, reason, attempt})`, phases
 *   `connecting open waiting ended`; `onRefused(entry, error)`; `onToken(token, expiresAt)`
 * - `isBehindGap(message)`: whether records before it were missed, so that it must not be taken
 * - `environment`: WebSocket, fetch, timers, clock and chance; the browser's own by default
 *
 * Where a network lets no WebSocket through, the same goes as server-sent events and requests.
 */
export class Connection {
  #options
  #environment
  #socket = null
  #token
  #attempt = 0
  #opening = 0
  #wasOpen = false
  #hasOpened = false
  #blocked = 0
  #limitBytes = 0
  #inFlight = new Map()
  #isHeld = false
  #mark = null
  #notBefore = 0
  #spacing = 0
  #pause = null
  #retry = null
  #watch = null
  #heardAt = 0
  #openedAt = 0
  #lostAt = null
  #asked = false
  #isOver = false
  #isByEvents = false
  #isJoined = false
  #wake = () => this.#wakeUp()
  #show = () => globalThis.document?.visibilityState === "visible" && this.#wakeUp()

  constructor(options) {
    this.#options = options
    this.#token = typeof options.token === "function" ? null : options.token
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
    this.#isOver = true
    this.#isJoined = false
    this.#environment.clearTimeout(this.#retry)
    this.#environment.clearTimeout(this.#watch)
    this.#environment.clearTimeout(this.#pause)
    globalThis.window?.removeEventListener("online", this.#wake)
    globalThis.window?.removeEventListener("pageshow", this.#wake)
    globalThis.document?.removeEventListener("visibilitychange", this.#show)
    this.#socket?.close(1000)
    this.#socket = null
  }

  get isJoined() {
    return this.#isJoined
  }

  /** The newest token, or null before a function has given one. */
  get token() {
    return this.#token
  }

  /** Ask the function for another token; false where there is only the one that was given. */
  async fetchToken() {
    if (typeof this.#options.token !== "function") return false
    const token = await this.#options.token()
    if (typeof token === "string") this.#token = token
    return typeof token === "string"
  }

  /** Bytes a message may have, 0 where that is not known or unlimited. */
  get limitBytes() {
    return this.#limitBytes
  }

  /** Send now if joined, without promise: for what is worthless later. Returns whether it left. */
  pass(command) {
    const text = JSON.stringify(command)
    if (!this.#isJoined || isTooLarge(text, this.#limitBytes)) return false
    this.#socket.send(text)
    return true
  }

  /**
   * Keep `command` until it is acknowledged; returns its outbox entry. What is larger than
   * the server takes is refused here, by `onRefused`, and never sent.
   */
  send(command, about = null, next = []) {
    const entry = this.#options.outbox.add(command, about, next)
    if (!this.#refuseTooLarge(entry)) this.#pump()
    return entry
  }

  /** Take back what was not acknowledged; what is on its way may be stored all the same. */
  forget(requestId) {
    this.#options.outbox.drop(requestId)
    this.#inFlight.delete(requestId)
    this.#pump()
  }

  // What AgentConnection adds to.

  /** Commands on their way, oldest first. */
  get underWay() {
    return [...this.#inFlight.values()].map(({ entry }) => entry.command)
  }

  /** Whether the server answers `command`; what it does not answer is done once it is written. */
  isAnswered() {
    return true
  }

  /** As much was written as may be on its way, and no mark is out. */
  hasWritten() {}

  // Opening and losing the socket, and in between what goes over it.

  #open() {
    this.#retry = null
    this.#tell({ phase: "connecting" })
    this.#asked = false
    this.#heardAt = this.#openedAt = this.#environment.now()
    this.#environment.clearTimeout(this.#watch)
    this.#watch = this.#environment.setTimeout(() => this.#lookAfter(), 1000)
    this.#opening += 1
    if (this.#token === null) this.#fetchToken(this.#opening)
    else this.#connect(this.#environment.WebSocket)
  }

  async #fetchToken(opening) {
    const isCurrent = () => opening === this.#opening && !this.#isOver
    try {
      const isText = await this.fetchToken()
      if (!isCurrent()) return
      if (!isText) throw new Error("it gave no text")
      this.#connect(this.#environment.WebSocket)
    } catch (error) {
      if (isCurrent()) this.#lose(ABNORMAL, `no token: ${error?.message ?? error}`)
    }
  }

  #connect(Socket) {
    const { address, query, position } = this.#options
    const { after, epoch } = position()
    const url = new URL(address)
    for (const [name, value] of Object.entries(query)) if (value) url.searchParams.set(name, value)
    if (after !== null) url.searchParams.set("after", String(after))
    if (after && epoch) url.searchParams.set("epoch", epoch)
    // The token travels as a subprotocol: an address would end up in logs and histories.
    const protocols = ["companion.v1", `bearer.${this.#token}`]
    this.#isByEvents = Socket !== this.#environment.WebSocket
    const socket = new Socket(url.href, protocols, ...(this.#isByEvents ? [this.#environment] : []))
    this.#socket = socket
    this.#wasOpen = false
    socket.onopen = () => {
      if (socket !== this.#socket || this.#isByEvents) return
      this.#wasOpen = this.#hasOpened = true
      this.#blocked = 0
    }
    socket.onmessage = (event) => socket === this.#socket && this.#hear(event.data)
    // Node's sockets end the program over an error nobody listens to; its close follows anyway.
    socket.onerror = () => {}
    socket.onclose = (event) => socket === this.#socket && this.#lose(event.code, event.reason)
  }

  #hear(text) {
    this.#heardAt = this.#environment.now()
    this.#asked = false
    const message = decode(text)
    if (!message) return
    if (this.#options.isBehindGap?.(message)) {
      // The next connection asks for what is missing.
      this.#lose(ABNORMAL, "a record is missing")
      return
    }
    if (message.type === "session_joined") this.#joined(message)
    if (message.type === "token_expiring") this.pass({ type: "token_renew", requestId: newId() })
    if (message.type === "token_renewed") {
      this.#token = message.token
      this.#options.onToken?.(message.token, message.expires_at)
    }
    this.settle(message)
    this.#options.onMessage(message)
    this.#pump()
  }

  #joined({ limits }) {
    this.#isJoined = true
    this.#lostAt = null
    this.#limitBytes = limits?.message_bytes || 0
    this.#inFlight.clear()
    this.#mark = null
    this.#isHeld = false
    this.#notBefore = this.#spacing = 0
    this.#tell({ phase: "open" })
    this.#options.outbox.reread()
    for (const entry of this.#options.outbox.entries) this.#refuseTooLarge(entry)
  }

  /** Write what waits, oldest first, as far as the server keeps up. */
  #pump() {
    if (!this.#isJoined || this.#isHeld || this.#pause !== null) return
    for (const entry of this.#options.outbox.entries) {
      const { requestId } = entry.command
      if (this.#inFlight.has(requestId)) continue
      if (this.#inFlight.size >= MAX_IN_FLIGHT) break
      const waitMs = this.#notBefore - this.#environment.now()
      if (waitMs > 0) {
        this.#rest(waitMs, () => this.#pump())
        return
      }
      this.#notBefore = this.#environment.now() + this.#spacing
      if (!this.pass(entry.command)) break
      this.#inFlight.set(requestId, { entry, at: this.#environment.now() })
      if (!this.isAnswered(entry.command)) this.acknowledge(requestId)
    }
    if (this.#mark === null) this.hasWritten()
  }

  #rest(waitMs, act) {
    this.#environment.clearTimeout(this.#pause)
    this.#pause = this.#environment.setTimeout(() => {
      this.#pause = null
      act()
    }, waitMs)
  }

  /** Ask for a sign that all written so far is dealt with; `resume` ends the refusing, too. Returns its id. */
  sendMark(resume = false) {
    const requestId = newId()
    this.#mark = { requestId, resume }
    this.pass({ type: "ping", requestId, resume })
    return requestId
  }

  #takeMark(message) {
    const { resume } = this.#mark
    this.#mark = null
    if (message.type === "error") this.#hold(message)
    else if (resume) this.#goBack(true)
    else if (this.#isHeld && this.#pause === null) this.#goBack()
  }

  /** Say nothing more until all that is on its way is answered; then from the oldest on. */
  #hold({ code, retry_after_ms: retryMs }) {
    const waitMs = code === "unavailable" ? UNAVAILABLE_RETRY_MS : (retryMs ?? UNAVAILABLE_RETRY_MS)
    // From here on at the rate the server allows, or every second one is refused.
    if (code !== "unavailable") this.#spacing = Math.min(1000, Math.max(this.#spacing, waitMs * 1.1))
    this.#isHeld = true
    this.#rest(waitMs, () => this.#goBack())
  }

  /** Say all again from the oldest on, once a server that refuses what follows has resumed. */
  #goBack(hasResumed = !this.#options.query.ordered) {
    if (!this.#isJoined || this.#mark !== null) return
    if (!hasResumed) {
      this.sendMark(true)
      return
    }
    this.#inFlight.clear()
    this.#isHeld = false
    this.#pump()
  }

  /** Take what a message answers out of the outbox. */
  settle(message) {
    const entry = message.requestId ? this.#options.outbox.find(message.requestId) : null
    if (this.#mark !== null && message.requestId === this.#mark.requestId) this.#takeMark(message)
    else if (message.type === "error" && isPassing(message)) this.#hold(message)
    else if (entry && message.type === "error") this.#drop(entry, message)
    else if (entry) this.acknowledge(message.requestId)
  }

  acknowledge(requestId) {
    this.#options.outbox.acknowledge(requestId)
    this.#inFlight.delete(requestId)
  }

  #drop(entry, error) {
    this.#options.outbox.drop(entry.command.requestId)
    this.#inFlight.delete(entry.command.requestId)
    this.#options.onRefused?.(entry, error)
  }

  #refuseTooLarge(entry) {
    const text = JSON.stringify(entry.command)
    if (!isTooLarge(text, this.#limitBytes)) return false
    const message = `This message is ${sizeOf(text)} bytes; the server accepts at most ${this.#limitBytes}.`
    this.#drop(entry, { type: "error", code: "body_too_large", message, requestId: entry.command.requestId })
    return true
  }

  /** Ask a silent peer; leave one that does not answer. Browsers show no ping of the protocol. */
  #lookAfter() {
    const quiet = this.#environment.now() - this.#heardAt
    if (!this.#isJoined && quiet > OPENING_MS) return this.#lose(ABNORMAL, "no answer")
    if (this.#isJoined && quiet > QUIET_MS + ANSWER_MS) return this.#lose(ABNORMAL, "silent")
    const oldest = this.#inFlight.values().next().value
    if (oldest && !this.#isHeld && this.#environment.now() - oldest.at > COMMAND_MS) {
      return this.#lose(ABNORMAL, "a command was not answered")
    }
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
    this.#opening += 1
    this.#environment.clearTimeout(this.#watch)
    this.#environment.clearTimeout(this.#pause)
    this.#pause = null
    if (socket && socket.readyState < 2) socket.close()
    if (this.#isOver) return
    // The server refused one of those on their way for its size, and did not say which.
    const largest = code === TOO_LARGE && largestOf(this.#inFlight)
    if (largest) this.#drop(largest, { type: "error", code: "body_too_large", message: "The server refuses messages this large." })
    // A network that lets no WebSocket through never opens one.
    const isBlocked = socket && !this.#isByEvents && !this.#wasOpen && code === ABNORMAL
    if (isBlocked) this.#blocked += 1
    if (isBlocked && this.#blocked >= (this.#hasOpened ? MAX_BLOCKED : 1)) this.#goByEvents(code, reason)
    else this.#endOrWait(code, reason)
  }

  /** The other way is fetched when it is needed: few networks let no WebSocket through. */
  async #goByEvents(code, reason) {
    const opening = this.#opening
    const { EventSocket } = await import("./stream.js").catch(() => ({ EventSocket: null }))
    if (opening !== this.#opening || this.#isOver) return
    if (!EventSocket?.mayServe(this.#options.query, this.#environment)) {
      this.#endOrWait(code, reason)
      return
    }
    this.#connect(EventSocket)
    this.#watch = this.#environment.setTimeout(() => this.#lookAfter(), 1000)
    this.#heardAt = this.#environment.now()
  }

  #endOrWait(code, reason) {
    const mayAskAgain = typeof this.#options.token === "function"
    if (code === TOKEN_EXPIRED && mayAskAgain) this.#token = null
    if (!mayReturn(code) || (code === TOKEN_EXPIRED && !mayAskAgain)) {
      this.stop()
      this.#tell({ phase: "ended", code, reason })
      return
    }
    if (this.#environment.now() - this.#openedAt > STEADY_MS) this.#attempt = 0
    this.#lostAt ??= this.#environment.now()
    const attempt = patience(this.#attempt, this.#environment.now() - this.#lostAt)
    const wait = delayMs(attempt, this.#environment.random())
    this.#attempt += 1
    this.#tell({ phase: "waiting", code, reason, attempt: this.#attempt })
    this.#retry = this.#environment.setTimeout(() => this.#open(), wait)
  }

  /** The network or the page is back: try at once, or make sure a sleeping socket still lives. */
  #wakeUp() {
    if (this.#isOver) return
    if (this.#retry !== null) {
      this.#environment.clearTimeout(this.#retry)
      this.#attempt = 0
      this.#open()
    } else if (this.#isJoined && !this.#asked) {
      // Timers slept as well: give the peer its time to answer from now.
      this.#asked = true
      this.#heardAt = this.#environment.now() - QUIET_MS
      this.pass({ type: "ping" })
    }
  }

  #tell(status) {
    this.#options.onStatus?.({ code: null, reason: "", attempt: this.#attempt, ...status })
  }
}

/**
 * Whether the same attempt may succeed later.
 * 4000 to 4499 mean "reconnect", 4500 to 4999 "do not"; a message that was too large costs no seat.
 */
export function mayReturn(code) {
  if (code >= 4000 && code <= 4499) return true
  return PASSING.has(code)
}

/**
 * Milliseconds to wait before attempt number `attempt` (0 is the first).
 * Full jitter: anywhere between nothing and the ceiling, so that a thousand
 * phones do not reconnect in the same moment. `chance` is in [0, 1).
 */
export function delayMs(attempt, chance) {
  return Math.floor(chance * Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(attempt, 16)))
}

/** The attempt whose ceiling counts: while somebody looks at the page, or an agent talks, an earlier one. */
function patience(attempt, lostForMs) {
  if (globalThis.document && document.visibilityState !== "visible") return attempt
  const limit = LOOKED_AT.find(({ forMs }) => lostForMs < forMs)
  return Math.min(attempt, limit?.attempts ?? attempt)
}

/** A quota names no time after which it would be otherwise; that is an answer. */
function isPassing(error) {
  return error.code === "unavailable" || (error.code === "too_many_requests" && "retry_after_ms" in error)
}

function isTooLarge(text, limitBytes) {
  return limitBytes > 0 && sizeOf(text) > limitBytes
}

/** The largest of those on their way, the oldest of equal ones; undefined where there is none. */
function largestOf(inFlight) {
  const size = ({ command }) => sizeOf(JSON.stringify(command))
  return [...inFlight.values()].map(({ entry }) => entry).sort((one, other) => size(other) - size(one))[0]
}

function sizeOf(text) {
  return new TextEncoder().encode(text).length
}

function browser() {
  return {
    WebSocket: globalThis.WebSocket,
    fetch: (address, options) => globalThis.fetch(address, options),
    setTimeout: (act, ms) => globalThis.setTimeout(act, ms),
    clearTimeout: (timer) => globalThis.clearTimeout(timer),
    random: Math.random,
    now: () => performance.now(),
  }
}
