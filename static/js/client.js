// A client of a companion session for pages and programs: say, ask, hear, whatever the network does.

import { AgentConnection } from "./net/agent-connection.js"
import { isPlain, lookUp } from "./core/protocol.js"
import { apply, emptySession } from "./core/session.js"
import { newId, Outbox } from "./net/outbox.js"

/** No command waits longer, wherever its answer is: longer than a restart takes. */
const ANSWER_WITHIN_MS = 120_000
/** What a server gives a tool call that names no time of its own. */
const CALL_TIMEOUT_MS = 18_000
/** Records kept for readers that are slow. */
const MAX_KEPT = 1000
const PAGE = 100

/** What the server refused; `code` is its word for why, `details` what else it said. */
export class CompanionError extends Error {
  constructor(code, message, details = {}) {
    super(message)
    Object.assign(this, { name: new.target.name, code, details })
  }
}

/** `ifRevision` does not hold; `details` are the current `value` and `revision`. */
export class RevisionConflict extends CompanionError {}

/** A tool answered with an error; `result` is its parsed result. */
export class ToolFailed extends Error {
  constructor(toolName, result) {
    super(`${toolName}: ${typeof result === "string" ? result : JSON.stringify(result)}`)
    Object.assign(this, { name: "ToolFailed", toolName, result })
  }
}

/** The session cannot be reached any more; `code` and `reason` are the server's. */
export class CompanionClosed extends Error {
  constructor(code, reason) {
    super(reason ? `${code}: ${reason}` : String(code))
    Object.assign(this, { name: "CompanionClosed", code, reason })
  }
}

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
 * `onToken(token)` when a session token was renewed, `environment` (`{ WebSocket }` where the
 * runtime has none, as Node 20).
 */
export class CompanionClient {
  #base
  #connection
  #outbox = new Outbox({ most: Infinity })
  #query
  #answers = new Map()
  #calls = new Map()
  #session = emptySession()
  #first = null
  #newest = null
  #ended = null
  #isLeft = false
  #warned = false
  #answerWithinMs
  #after
  #kept = []
  #keptFrom = 0
  #firstAfter = 0
  #snapshotAt = 0
  #waiters = new Set()
  #listeners = new Map()
  #whenReady

  constructor(url, options = {}) {
    const given = isPlain(url) ? url : { ...options, url }
    this.#base = baseOf(given.url ?? new URL("../../", import.meta.url))
    this.#answerWithinMs = given.answerWithinMs ?? ANSWER_WITHIN_MS
    this.#after = given.after ?? null
    this.#query = {
      session_id: given.sessionId ?? "",
      role: given.role ?? "agent",
      device: given.device ?? "",
      tools: (given.tools ?? []).join(","),
      ordered: "1",
    }
    this.ready = new Promise((resolve, reject) => (this.#whenReady = { resolve, reject }))
    this.ready.catch(() => {})
    this.#connection = new AgentConnection({
      address: new URL("ws", this.#base.href.replace(/^http/, "ws")).href,
      token: given.token,
      query: this.#query,
      position: () => this.#position,
      outbox: this.#outbox,
      onMessage: (message) => this.#hear(message),
      onStatus: (status) => this.#change(status),
      onRefused: (entry, error) => this.#refuse(entry.command.requestId, error),
      onToken: (token) => given.onToken?.(token),
      environment: given.environment,
    })
    this.#connection.start()
  }

  /** Leave; what was not acknowledged by now is given up. */
  close() {
    this.#isLeft = true
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
    return this.#ask({ type: "contextual_update", text, data, ui, context_id: contextId, labels, locked })
  }

  /** Set a key; with `ifRevision` (0: only if absent) it may be a RevisionConflict. */
  setState(key, value, { ifRevision } = {}) {
    return this.#ask({ type: "state_update", key, value, if_revision: ifRevision })
  }

  deleteState(key, { ifRevision } = {}) {
    return this.#ask({ type: "state_delete", key, if_revision: ifRevision })
  }

  /** Ask the server: the value of `key` (undefined where absent), or all values by key. */
  getState(key) {
    return handled(this.#ask({ type: "state_get", key }).then(({ state }) => {
      if (key !== undefined) return lookUp(state, key)?.value
      return plain(Object.entries(state).map(([name, entry]) => [name, entry.value]))
    }))
  }

  /** Say something as the person. */
  userMessage(text, { inReplyTo } = {}) {
    return this.#ask({ type: "user_message", text, in_reply_to: inReplyTo })
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
  call(toolName, parameters = {}, { toolCallId = newId(), timeoutMs } = {}) {
    const question = canonical([toolName, parameters])
    const known = this.#calls.get(toolCallId)
    if (known && known.question !== question) {
      return refused(new CompanionError("tool_call_reused", `${toolCallId} already belongs to another question.`))
    }
    if (known) return known.promise
    const call = { tool_name: toolName, tool_call_id: toolCallId, parameters, timeout_ms: timeoutMs }
    const command = { type: "client_tool_call", requestId: newId(), client_tool_call: call }
    const pending = { question, command }
    pending.promise = handled(new Promise((resolve, reject) => Object.assign(pending, { resolve, reject })))
    this.#calls.set(toolCallId, pending)
    const longest = this.#answerWithinMs + (timeoutMs ?? CALL_TIMEOUT_MS)
    pending.timer = setTimeout(() => this.#settleCall(toolCallId, overdue(longest)), longest)
    this.send(command).catch((error) => this.#settleCall(toolCallId, error))
    return pending.promise
  }

  /** Answer a call, as a screen does; anything but text is sent as JSON. */
  answerTool(toolCallId, result, { isError = false } = {}) {
    const text = typeof result === "string" ? result : JSON.stringify(result)
    return this.#ask({ type: "client_tool_result", tool_call_id: toolCallId, result: text, is_error: isError })
  }

  /** Withdraw a call of this agent's. */
  cancelTool(toolCallId) {
    return this.#ask({ type: "client_tool_cancel", tool_call_id: toolCallId })
  }

  /** Send any command: what the server answers, null for what it only passes on. */
  send(command) {
    if (this.#ended) return refused(this.#ended)
    const { requestId = newId() } = command
    if (typeof requestId !== "string" || requestId === "" || requestId.length > 128) {
      return refused(new CompanionError("invalid_message", "requestId must be a string of 1 to 128 characters."))
    }
    if (this.#answers.has(requestId)) {
      return refused(new CompanionError("invalid_message", `requestId ${requestId} is already waiting for its answer.`))
    }
    const promise = handled(new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#giveUp(requestId), this.#answerWithinMs)
      this.#answers.set(requestId, { resolve, reject, timer, callId: madeBy(command) })
    }))
    try {
      this.#connection.send({ ...command, requestId })
    } catch (error) {
      this.#outbox.drop(requestId)
      this.#refuse(requestId, { code: "invalid_message", message: `This cannot be sent as JSON: ${error.message}` })
    }
    this.#settlePassed()
    return promise
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
      return await this.#request(method, path, body)
    } catch (error) {
      if (error.code !== "token_expired" || !(await this.#connection.fetchToken())) throw error
      return this.#request(method, path, body)
    }
  }

  async #request(method, path, body) {
    const headers = { Authorization: `Bearer ${this.#connection.token}` }
    if (body !== undefined) headers["Content-Type"] = "application/json"
    const request = { method, headers, credentials: "omit", cache: "no-store" }
    if (body !== undefined) request.body = JSON.stringify(body)
    let response
    let answer
    try {
      response = await fetch(new URL(path.replace(/^\//, ""), this.#base), request)
      answer = parsed(await response.text())
    } catch (error) {
      throw new CompanionError("unavailable", `${method} ${path}: ${error.message}`)
    }
    if (response.ok) return answer
    throw errorOf({ ...Object(answer), message: answer?.detail ?? response.statusText })
  }

  // What it hears.

  /**
   * Every record from the first join on, in order, each once, own ones among them. It ends
   * when the client leaves, and throws CompanionClosed where the server ended it.
   */
  async *records() {
    await this.ready
    let position = 0
    let after = this.#firstAfter
    for (;;) {
      if (position < this.#keptFrom) {
        for (const record of await this.#missed(position, after)) {
          position += 1
          after = record.seq
          yield record
        }
      } else if (position < this.#keptFrom + this.#kept.length) {
        const record = this.#kept.at(position - this.#keptFrom)
        position += 1
        after = record.seq
        yield record
      } else if (this.#isLeft) return
      else if (this.#ended) throw this.#ended
      else await new Promise((resolve) => this.#waiters.add(resolve))
    }
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
      this.#wake()
    }, timeoutMs)
    try {
      while (!holds(this)) {
        if (isLate) throw new Error(`The condition did not hold within ${timeoutMs} ms.`)
        if (this.#ended) throw this.#ended
        await new Promise((resolve) => this.#waiters.add(resolve))
      }
    } finally {
      clearTimeout(timer)
    }
  }

  // Inside.

  get #position() {
    if (this.#session.id === null) return { after: this.#after, epoch: null }
    return { after: this.#session.seq, epoch: this.#session.epoch }
  }

  #ask(command) {
    return this.send(command)
  }

  #hear(message) {
    const before = this.#session
    this.#session = apply(before, message)
    if (message.type === "session_joined") this.#join(message)
    const isNew = typeof message.seq === "number" && message.type !== "session_joined" && !message.duplicate
    if (isNew && message.seq > before.seq) this.#keep(message)
    this.#answer(message)
    this.#emit(message.type, message)
    this.#emit("message", message)
    this.#settlePassed()
    this.#wake()
  }

  #join(joined) {
    this.#newest = joined
    // Rejoining must not land in another session without a word.
    Object.assign(this.#query, { session_id: joined.session_id, strict: "1" })
    const isFirst = this.#first === null
    if (isFirst) this.#first = joined
    else if (joined.recovery === "snapshot") {
      this.#snapshotAt = this.#keptFrom + this.#kept.length
      // A result may have been among what is no longer kept; asking again answers it.
      for (const { command } of this.#calls.values()) {
        if (!this.#outbox.find(command.requestId)) this.#connection.send(command)
      }
    }
    if (isFirst && joined.recovery === "replay") this.#session = { ...this.#session, seq: this.#after ?? 0 }
    if (isFirst) this.#firstAfter = this.#session.seq
    this.#whenReady.resolve(this)
  }

  #keep(record) {
    this.#kept.push(record)
    if (this.#kept.length > MAX_KEPT) {
      this.#kept.shift()
      this.#keptFrom += 1
    }
    this.#emit("record", record)
  }

  async #missed(position, after) {
    const gone = new CompanionError("slow_consumer", "The log no longer has the records this reader has not read yet.")
    if (position < this.#snapshotAt) throw gone
    const limit = Math.min(this.#keptFrom - position, PAGE)
    const { records } = await this.http("GET", `/sessions/${this.sessionId}/records?after=${after}&limit=${limit}`)
    if (!records.length || records[0].seq > after + 1) throw gone
    return records
  }

  #answer(message) {
    if (message.type === "error") return
    if (message.requestId) this.#settle(message.requestId, message)
    const id = message.client_tool_call?.tool_call_id ?? message.tool_call_id
    // A call made before is answered with its own first record, under its own requestId.
    for (const [requestId, { callId }] of [...this.#answers]) {
      if (callId !== null && callId === id) this.#settle(requestId, message)
    }
    if (message.type !== "client_tool_result") return
    for (const [callId, { command }] of [...this.#calls]) {
      if (callId === id || command.requestId === message.requestId) this.#settleCall(callId, message)
    }
  }

  #settle(requestId, answer) {
    const waiting = this.#answers.get(requestId)
    if (!waiting) return
    this.#answers.delete(requestId)
    clearTimeout(waiting.timer)
    if (answer instanceof Error) waiting.reject(answer)
    else waiting.resolve(answer)
  }

  #settleCall(callId, answer) {
    const call = this.#calls.get(callId)
    if (!call) return
    this.#calls.delete(callId)
    clearTimeout(call.timer)
    if (answer instanceof Error) call.reject(answer)
    else if (typeof answer.result === "string") call.resolve(answer)
    else call.reject(new CompanionError("tool_closed", "This call was answered; its result is no longer in the log."))
  }

  /** What has left the outbox without an answer is only passed on. */
  #settlePassed() {
    for (const requestId of [...this.#answers.keys()]) {
      if (!this.#outbox.find(requestId)) this.#settle(requestId, null)
    }
  }

  #giveUp(requestId) {
    this.#connection.forget(requestId)
    this.#settle(requestId, overdue(this.#answerWithinMs))
  }

  #refuse(requestId, error) {
    const refusal = errorOf(error)
    this.#settle(requestId, refusal)
    for (const [callId, { command }] of [...this.#calls]) {
      if (command.requestId === requestId) this.#settleCall(callId, refusal)
    }
  }

  #change(status) {
    this.#emit("status", status)
    if (status.phase === "waiting" && this.#first === null && !this.#warned) {
      this.#warned = true
      console.warn(`${this.#base} cannot be reached (${status.reason || status.code}); trying again.`)
    }
    if (status.phase === "ended") this.#end(status.code, status.reason)
  }

  #end(code, reason) {
    if (this.#ended) return
    this.#ended = new CompanionClosed(code, reason)
    this.#whenReady.reject(this.#ended)
    for (const requestId of [...this.#answers.keys()]) this.#settle(requestId, this.#ended)
    for (const callId of [...this.#calls.keys()]) this.#settleCall(callId, this.#ended)
    this.#emit("close", this.#ended)
    this.#wake()
  }

  #emit(type, event) {
    for (const listener of [...(this.#listeners.get(type) ?? [])]) {
      try {
        listener(event)
      } catch (error) {
        // A listener's fault is its own; what is heard goes on.
        console.error(error)
      }
    }
  }

  #wake() {
    const waiters = [...this.#waiters]
    this.#waiters.clear()
    for (const wake of waiters) wake()
  }
}

/** What nobody awaits must not end a program. */
function handled(promise) {
  promise.catch(() => {})
  return promise
}

function refused(error) {
  return handled(Promise.reject(error))
}

function errorOf({ type, code, message, requestId, session_id: session, timestamp, status, title, detail, ...details }) {
  const Refusal = code === "revision_conflict" ? RevisionConflict : CompanionError
  return new Refusal(code ?? "internal", message ?? "", details)
}

function overdue(withinMs) {
  const text = `No answer within ${withinMs} ms. The command may or may not be stored; send it again with the same requestId to find out.`
  return new CompanionError("unavailable", text)
}

/** The id of the call that a command makes, or null. */
function madeBy(command) {
  if (command.type !== "client_tool_call") return null
  return command.client_tool_call?.tool_call_id ?? command.tool_call_id ?? null
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

/** JSON text that is the same for equal values, whatever the order of their keys. */
function canonical(value) {
  return JSON.stringify(value, (_, each) => (isPlain(each) ? Object.fromEntries(Object.entries(each).sort()) : each))
}

function baseOf(url) {
  const base = new URL(String(url).replace(/^ws/, "http"))
  base.search = base.hash = ""
  if (!base.pathname.endsWith("/")) base.pathname += "/"
  return base
}
