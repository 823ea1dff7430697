// A socket made of server-sent events and requests, for networks that let no WebSocket through.

import { UNORDERED } from "../core/commands.js"

/** Close codes that stand for what a request was refused with. */
const CLOSES = new Map([
  ["token_expired", 4401],
  ["unauthenticated", 4501],
  ["forbidden", 4503],
  ["session_forbidden", 4503],
  ["session_not_found", 4504],
  ["not_found", 4504],
  ["session_ended", 4510],
  ["too_many_connections", 4429],
  ["bad_parameter", 4500],
  ["bad_request", 4500],
])
const ABNORMAL = 1006
const RETRY_MS = 1000

/**
 * Has what of a WebSocket is used here. What it is told arrives as events of
 * `GET /sessions/{id}/records`; what it is given goes, one at a time and in order, to
 * `POST /sessions/{id}/messages`. An event stream with a role counts as a member of it: a phone
 * on such a network is a screen like any other.
 */
export class EventSocket {
  readyState = 0
  onopen = null
  onmessage = null
  onclose = null
  onerror = null
  #environment
  #base
  #headers
  #query
  #waiting = []
  #isSending = false
  #refusal = null
  #abort = new AbortController()

  /** Whether there is enough to go on: a session to name, and a browser that reads answers as they come. */
  static mayServe(query, environment) {
    return Boolean(query.session_id) && typeof environment.fetch === "function" && typeof ReadableStream === "function"
  }

  /** `address` and `protocols` as a WebSocket is given them. */
  constructor(address, protocols, environment) {
    const url = new URL(address)
    this.#environment = environment
    this.#query = new URLSearchParams(url.searchParams)
    this.#headers = { Authorization: `Bearer ${protocols[1].slice("bearer.".length)}` }
    url.protocol = url.protocol.replace("ws", "http")
    url.search = ""
    this.#base = new URL(`sessions/${encodeURIComponent(this.#query.get("session_id"))}/`, url)
    this.#listen()
  }

  send(text) {
    this.#waiting.push(text)
    if (!this.#isSending) this.#sendAll()
  }

  close() {
    this.readyState = 3
    this.#abort.abort()
  }

  async #listen() {
    const address = new URL("records", this.#base)
    for (const name of ["after", "epoch", "role", "device", "tools"]) {
      if (this.#query.has(name)) address.searchParams.set(name, this.#query.get(name))
    }
    try {
      const response = await this.#fetch(address, { headers: { ...this.#headers, Accept: "text/event-stream" } })
      if (!response.ok) return this.#end(await closeOf(response))
      if (!response.headers.get("content-type")?.startsWith("text/event-stream")) return this.#end({ code: ABNORMAL })
      this.readyState = 1
      this.onopen?.({})
      await this.#read(response.body.getReader())
    } catch {
      // Told below: the line is gone, whatever cut it.
    }
    return this.#end({ code: ABNORMAL })
  }

  async #read(reader) {
    const decoder = new TextDecoder()
    let rest = ""
    for (;;) {
      const { done, value } = await reader.read()
      if (done || this.readyState === 3) return
      const events = (rest + decoder.decode(value, { stream: true })).split(/\r?\n\r?\n/)
      rest = events.pop()
      // A comment is nothing to read, but tells that the other end lives.
      for (const event of events) this.onmessage?.({ data: dataOf(event) })
    }
  }

  async #sendAll() {
    this.#isSending = true
    while (this.#waiting.length && this.readyState !== 3) {
      try {
        await this.#post(this.#waiting[0])
      } catch {
        // Not known to be stored; what is on the next connection settles it.
        this.#end({ code: ABNORMAL })
      }
      this.#waiting.shift()
    }
    this.#isSending = false
  }

  /** Post one; after a refusal that passes the next are refused here, as an `ordered` socket does. */
  async #post(text) {
    const command = read(text) ?? {}
    if (command.type === "ping" && command.resume) this.#refusal = null
    if (this.#refusal && !UNORDERED.has(command.type)) {
      this.#say({ ...this.#refusal, requestId: command.requestId ?? null })
      return
    }
    const address = new URL("messages", this.#base)
    if (this.#query.has("role")) address.searchParams.set("role", this.#query.get("role"))
    const headers = { ...this.#headers, "Content-Type": "application/json" }
    const response = await this.#fetch(address, { method: "POST", headers, body: text })
    const answer = read(await response.text())
    if (response.ok) {
      // A record comes by the stream, in its place among the others.
      if (answer && (typeof answer.seq !== "number" || answer.duplicate)) this.#say(answer)
      return
    }
    const close = CLOSES.get(answer?.code)
    if (response.status === 401 && close) return this.#end({ code: close, reason: answer.detail ?? "" })
    if (!answer?.code) throw new Error(`HTTP ${response.status}`)
    const error = errorOf(answer, command, response)
    if (error.code === "unavailable" || (error.code === "too_many_requests" && "retry_after_ms" in error)) this.#refusal = error
    this.#say(error)
  }

  #say(message) {
    if (this.readyState !== 3) this.onmessage?.({ data: JSON.stringify(message) })
  }

  #fetch(address, options) {
    return this.#environment.fetch(address.href, {
      credentials: "omit", cache: "no-store", signal: this.#abort.signal, ...options,
    })
  }

  #end({ code, reason = "" }) {
    if (this.readyState === 3) return
    this.close()
    this.onclose?.({ code, reason })
  }
}

/** The `error` message that a problem of HTTP stands for. */
function errorOf(problem, command, response) {
  const { type, title, status, detail, ...details } = problem
  const seconds = Number(response.headers.get("retry-after"))
  const retry = problem.code === "too_many_requests" && seconds > 0 ? { retry_after_ms: seconds * RETRY_MS } : {}
  return { requestId: command.requestId ?? null, ...retry, ...details, type: "error", message: detail ?? title ?? "" }
}

async function closeOf(response) {
  const problem = read(await response.text())
  return { code: CLOSES.get(problem?.code) ?? ABNORMAL, reason: problem?.detail ?? "" }
}

function read(text) {
  try {
    return Object(JSON.parse(text))
  } catch {
    return null
  }
}

function dataOf(event) {
  const lines = event.split(/\r?\n/).filter((line) => line.startsWith("data:"))
  return lines.map((line) => line.slice(line.startsWith("data: ") ? 6 : 5)).join("\n")
}
