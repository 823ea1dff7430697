// A client of a companion session for pages and programs: say, ask, hear, whatever the network does.

import { isPlain, lookUp } from "./core/protocol.js"
import { apply, emptySession } from "./core/session.js"
import { AgentConnection } from "./net/agent-connection.js"
import { Answers, handled } from "./net/answers.js"
import { CompanionClosed, CompanionError, errorOf, RevisionConflict, ToolFailed } from "./net/errors.js"
import { Outbox } from "./net/outbox.js"
import { Records } from "./net/records.js"

export { CompanionClosed, CompanionError, RevisionConflict, ToolFailed }

/**
 * One member of a session, as agent, screen or observer.
 *
 * `new CompanionClient("https://companion.example", { token, sessionId })` connects at once;
 * `await companion.ready` where you need the session. It reconnects by itself, says
 * again what was not acknowledged, and every command is stored once, in the order said.
 *
 * `options`: `token` (text, or a function that fetches one and is asked again when it has
 * expired), `sessionId` (none: a new session), `role` ("agent"), `device`, `tools` (names a screen
 * answers; none: any), `after` (records after that one first), `answerWithinMs`,
 * `onToken(token)` when a session token was renewed, `traceparent` (returns the trace, in W3C's
 * form, that a call made now belongs to), `WebSocket` (to use another than the
 * runtime's; Node before 22 has none, and there the package `ws` is used if it is installed).
 */
export class CompanionClient {
  #base
  #connection
  #outbox = new Outbox({ most: Infinity })
  #query
  #answers
  #records
  #session = emptySession()
  #first = null
  #newest = null
  #ended = null
  #after
  #listeners = new Map()
  #traceparent
  #whenReady

  constructor(url, options = {}) {
    const given = isPlain(url) ? url : { ...options, url }
    this.#base = baseOf(given.url ?? new URL("../../", import.meta.url))
    this.#after = given.after ?? null
    this.#traceparent = given.traceparent ?? (() => undefined)
    this.#query = {
      session_id: given.sessionId ?? "",
      role: given.role ?? "agent",
      device: given.device ?? "",
      tools: (given.tools ?? []).join(","),
      ordered: "1",
    }
    this.ready = new Promise((resolve, reject) => (this.#whenReady = { resolve, reject }))
    this.ready.catch(() => {})
    const warn = warnOnce(this.#base)
    this.#connection = new AgentConnection({
      address: new URL("ws", this.#base.href.replace(/^http/, "ws")).href,
      token: given.token,
      query: this.#query,
      position: () => ({ after: this.sessionId === null ? this.#after : this.seq, epoch: this.epoch }),
      outbox: this.#outbox,
      isBehindGap: (message) => isRecord(message) && this.#first !== null && message.seq > this.seq + 1,
      onMessage: (message) => this.#hear(message),
      onStatus: (status) => {
        tell(this.#listeners, "status", status)
        warn(status)
        if (status.phase === "ended") this.#end(status.code, status.reason)
      },
      onRefused: (entry, error) => this.#answers.refuse(entry.command.requestId, error),
      onToken: (token) => given.onToken?.(token),
      environment: { ...given.environment, ...(given.WebSocket && { WebSocket: given.WebSocket }) },
    })
    this.#answers = new Answers({
      connection: this.#connection,
      outbox: this.#outbox,
      answerWithinMs: given.answerWithinMs ?? undefined,
    })
    this.#records = new Records((after, limit) => (
      this.http("GET", `/sessions/${this.sessionId}/records?after=${after}&limit=${limit}`)
    ))
    this.#connection.start()
  }

  /** Leave; what was not acknowledged by now is given up. */
  close() {
    this.#records.leave()
    this.#connection.stop()
    this.#end(1000, "the client left")
  }

  [Symbol.asyncDispose ?? Symbol.for("Symbol.asyncDispose")]() {
    this.close()
    return Promise.resolve()
  }

  // What it knows.

  /** The session this client is in, null before it joined. */
  get sessionId() {
    return this.#session.id
  }

  /** Whether the first join made a new session. */
  get created() {
    return this.#first?.created ?? false
  }

  /** Why it is another session than the one asked for: `session_unavailable`, or null. */
  get reason() {
    return this.#first?.reason ?? null
  }

  /** The newest `session_joined`, as the server sent it. */
  get joined() {
    return this.#newest
  }

  /** Whether the connection stands at this moment. */
  get isConnected() {
    return this.#connection.isJoined
  }

  /** Of the last record received. */
  get seq() {
    return this.#session.seq
  }

  get epoch() {
    return this.#session.epoch
  }

  /** The session's state as last heard, key to value; it inherits nothing. */
  get state() {
    return plain([...this.#session.state].map(([key, entry]) => [key, entry.value]))
  }

  /** The revision of a key as last heard, 0 where it is absent. */
  revision(key) {
    return this.#session.state.get(key)?.revision ?? 0
  }

  /** Who is connected, this client included. */
  get presence() {
    return [...this.#session.presence.values()]
  }

  get screens() {
    return this.presence.filter((who) => who.role === "ui")
  }

  // What it can say. Each answers with the record once it is stored.

  /** Tell everyone; one with a `contextId` replaces the card of the one before it. */
  contextualUpdate(text, data, { ui, contextId, labels, locked } = {}) {
    return this.send({ type: "contextual_update", text, data, ui, context_id: contextId, labels, locked })
  }

  /** Set a key; with `ifRevision` (0: only if absent) it may be a RevisionConflict. */
  setState(key, value, { ifRevision } = {}) {
    return this.send({ type: "state_update", key, value, if_revision: ifRevision })
  }

  deleteState(key, { ifRevision } = {}) {
    return this.send({ type: "state_delete", key, if_revision: ifRevision })
  }

  /** Ask the server: the value of `key` (undefined where absent), or all values by key. */
  getState(key) {
    return handled(this.send({ type: "state_get", key }).then(({ state }) => {
      if (key !== undefined) return lookUp(state, key)?.value
      return plain(Object.entries(state).map(([name, entry]) => [name, entry.value]))
    }))
  }

  /**
   * Say something as the person. With `result` a screen changes its answer to the question
   * `inReplyTo`: the new one is told to the agent; the recorded result stays.
   */
  userMessage(text, { inReplyTo, result } = {}) {
    const changed = result === undefined || typeof result === "string" ? result : JSON.stringify(result)
    return this.send({ type: "user_message", text, in_reply_to: inReplyTo, result: changed })
  }

  /**
   * Call a server tool or ask the screens; the parsed result. There is one within
   * `timeoutMs` (18,000 unless set), also when no screen is there: `{status: "no_screen", say, …}`.
   * Rejects with ToolFailed where the result is an error.
   */
  callTool(toolName, parameters = {}, options = {}) {
    return handled(this.call(toolName, parameters, options).then((record) => {
      const result = parsed(record.result)
      if (record.is_error) throw new ToolFailed(toolName, result)
      return result
    }))
  }

  /** Call a tool; its `client_tool_result` record. The same `toolCallId` is one call. */
  call(toolName, parameters = {}, options = {}) {
    return this.#answers.call(toolName, parameters, { traceparent: this.#traceparent(), ...options })
  }

  /** Answer a call, as a screen does; anything but text is sent as JSON. */
  answerTool(toolCallId, result, { isError = false } = {}) {
    const text = typeof result === "string" ? result : JSON.stringify(result)
    const traceparent = this.#session.calls.get(toolCallId)?.record.traceparent
    return this.send({ type: "client_tool_result", tool_call_id: toolCallId, result: text, is_error: isError, traceparent })
  }

  /** Withdraw a call of this agent's. */
  cancelTool(toolCallId) {
    return this.send({ type: "client_tool_cancel", tool_call_id: toolCallId })
  }

  /** Send any command: what the server answers, null for what it only passes on. */
  send(command) {
    return this.#answers.send(command)
  }

  /** Open a pairing for this session: `{url, code, code_url, …}` for a phone. */
  async pair({ ttlS } = {}) {
    await this.ready
    return this.http("POST", `/sessions/${this.sessionId}/pairings`, ttlS === undefined ? {} : { ttl_s: ttlS })
  }

  /** Use a route of the server with this client's token: the JSON it answers. */
  async http(method, path, body) {
    await this.ready
    try {
      return await request(this.#base, this.#connection.token, { method, path, body })
    } catch (error) {
      if (error.code !== "token_expired" || !(await this.#connection.fetchToken())) throw error
      return request(this.#base, this.#connection.token, { method, path, body })
    }
  }

  // What it hears.

  /**
   * Every record from the first join on, in order, each once, own ones among them. It ends
   * when the client leaves, and throws CompanionClosed where the server ended it.
   */
  async *records() {
    await this.ready
    yield* this.#records.read()
  }

  /**
   * Have `listener` called for every message of a type, `message` for all, `record` for each new
   * record, `status` ({phase, code, reason}) or `close` (a CompanionClosed). Returns what undoes it.
   */
  on(type, listener) {
    if (!this.#listeners.has(type)) this.#listeners.set(type, new Set())
    this.#listeners.get(type).add(listener)
    return () => this.off(type, listener)
  }

  off(type, listener) {
    this.#listeners.get(type)?.delete(listener)
  }

  /** Wait until a screen is connected: its presence entry. */
  async waitForScreen({ timeoutMs } = {}) {
    await this.waitUntil(() => this.screens.length > 0, { timeoutMs })
    return this.screens[0]
  }

  /** Wait until `holds(companion)`, asked after everything that arrives. */
  async waitUntil(holds, { timeoutMs } = {}) {
    let isLate = false
    const timer = timeoutMs === undefined ? null : setTimeout(() => {
      isLate = true
      this.#records.wake()
    }, timeoutMs)
    try {
      while (!holds(this)) {
        if (isLate) throw new Error(`The condition did not hold within ${timeoutMs} ms.`)
        if (this.#ended) throw this.#ended
        await this.#records.next()
      }
    } finally {
      clearTimeout(timer)
    }
  }

  // Inside.

  #hear(message) {
    const before = this.#session
    this.#session = apply(before, message)
    if (message.type === "session_joined") this.#join(message)
    if (isRecord(message) && message.seq > before.seq) {
      this.#records.keep(message)
      tell(this.#listeners, "record", message)
    }
    this.#answers.hear(message)
    tell(this.#listeners, message.type, message)
    tell(this.#listeners, "message", message)
    this.#answers.settlePassed()
    this.#records.wake()
  }

  #join(joined) {
    this.#newest = joined
    // Rejoining must not land in another session without a word.
    Object.assign(this.#query, { session_id: joined.session_id, strict: "1" })
    const isFirst = this.#first === null
    if (isFirst) this.#first = joined
    else if (joined.recovery === "snapshot") {
      this.#records.skip()
      this.#answers.askAgain()
    }
    if (joined.recovery === "replay") {
      // Older records than `first_seq` are gone; a replay says so only to those who ask for all.
      const asked = isFirst ? (this.#after ?? 0) : this.#session.seq
      this.#session = { ...this.#session, seq: Math.max(asked, (joined.first_seq ?? 1) - 1) }
    }
    if (isFirst) this.#records.begin(this.#session.seq)
    this.#whenReady.resolve(this)
  }

  #end(code, reason) {
    if (this.#ended) return
    this.#ended = new CompanionClosed(code, reason)
    this.#whenReady.reject(this.#ended)
    this.#answers.end(this.#ended)
    this.#records.end(this.#ended)
    tell(this.#listeners, "close", this.#ended)
    this.#records.wake()
  }

}

/** Whether it is a record for the first time: not the join, nor an answer to what was said before. */
function isRecord({ type, seq, duplicate }) {
  return typeof seq === "number" && type !== "session_joined" && !duplicate
}

/** An object of these entries that inherits nothing: a key may be named like anything. */
function plain(entries) {
  return Object.setPrototypeOf(Object.fromEntries(entries), null)
}

function parsed(text) {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

async function request(base, token, { method, path, body }) {
  const headers = { Authorization: `Bearer ${token}` }
  if (body !== undefined) headers["Content-Type"] = "application/json"
  const options = { method, headers, credentials: "omit", cache: "no-store" }
  if (body !== undefined) options.body = JSON.stringify(body)
  let response
  let answer
  try {
    response = await fetch(new URL(path.replace(/^\//, ""), base), options)
    answer = parsed(await response.text())
  } catch (error) {
    throw new CompanionError("unavailable", `${method} ${path}: ${error.message}`)
  }
  if (response.ok) return answer
  throw errorOf({ ...Object(answer), message: answer?.detail ?? response.statusText })
}

/** Returns what warns, once, that the server has not been reached yet: its address may be wrong. */
function warnOnce(base) {
  let isDone = false
  return ({ phase, code, reason }) => {
    if (phase === "waiting" && !isDone) console.warn(`${base} cannot be reached (${reason || code}); trying again.`)
    if (phase === "waiting" || phase === "open") isDone = true
  }
}

function tell(listeners, type, event) {
  for (const listener of [...(listeners.get(type) ?? [])]) {
    try {
      listener(event)
    } catch (error) {
      // A listener's fault is its own; what is heard goes on.
      console.error(error)
    }
  }
}

function baseOf(url) {
  const base = new URL(String(url).replace(/^ws/, "http"))
  base.search = base.hash = ""
  if (!base.pathname.endsWith("/")) base.pathname += "/"
  return base
}
