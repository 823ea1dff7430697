// Requests to the server this page came from, wherever it is mounted.

import { isPlain } from "../core/protocol.js"
import { BASE } from "./place.js"

/**
 * The server's time, whatever the clock of this device says or does: what was heard last, and
 * what has passed since by a clock that nobody sets.
 */
export const serverClock = {
  heardMs: Date.now(),
  atMs: performance.now(),
  get nowMs() {
    return this.heardMs + performance.now() - this.atMs
  },
  /** A time the server just told. `stepMs`: how roughly. */
  hear(ms, stepMs = 0) {
    if (typeof ms !== "number" || Math.abs(ms + stepMs / 2 - this.nowMs) <= stepMs / 2) return
    this.heardMs = ms + stepMs / 2
    this.atMs = performance.now()
  },
}

/** The address of the one socket. */
export function socketAddress() {
  const url = new URL("ws", BASE)
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:"
  return url.href
}

/** What the server refused, or `status` 0 where it could not be reached. */
export class Refusal extends Error {
  constructor(status, code, message, details = {}) {
    super(message)
    Object.assign(this, { status, code, details })
  }
}

/**
 * Ask a route: `{status, body}` with the JSON of the answer.
 * Raises a Refusal for anything but success. What others answer in the server's place (a proxy's
 * 502, the page of a hotel's network) is not an answer of the server: it could not be reached.
 * `withinMs` is how long an answer may take.
 */
export async function ask(method, path, { token = null, body, headers = {}, as = "json", withinMs = 0 } = {}) {
  const sent = { ...headers }
  if (token) sent.Authorization = `Bearer ${token}`
  if (body !== undefined) sent["Content-Type"] = "application/json"
  const request = { method, headers: sent, credentials: "omit", cache: "no-store" }
  if (body !== undefined) request.body = JSON.stringify(body)
  const limit = new AbortController()
  request.signal = limit.signal
  const timer = withinMs ? setTimeout(() => limit.abort(), withinMs) : null
  try {
    return await answerOf(await fetch(new URL(path, BASE), request), as)
  } catch (error) {
    if (error instanceof Refusal) throw error
    throw new Refusal(0, "unreachable", "The server cannot be reached.")
  } finally {
    clearTimeout(timer)
  }
}

async function answerOf(response, as) {
  const date = Date.parse(response.headers.get("Date") ?? "")
  // A header tells whole seconds.
  if (!Number.isNaN(date)) serverClock.hear(date, 1000)
  const type = response.headers.get("Content-Type") ?? ""
  if (response.ok && response.status === 204) return { status: 204, body: null }
  if (response.ok && as === "text") return { status: response.status, body: await response.text() }
  // What is JSON by its type and none by its text is not the server's either.
  if (!type.includes(response.ok ? "application/json" : "application/problem+json")) throw new TypeError("not ours")
  const body = await response.json()
  if (!isPlain(body)) throw new TypeError("not ours")
  if (response.ok) return { status: response.status, body }
  throw new Refusal(response.status, body.code ?? "", body.detail ?? body.title ?? "", body)
}

/** What this device is called until somebody names it better. */
export function deviceName(agent = navigator.userAgent) {
  if (/iPhone/.test(agent)) return "iPhone"
  if (/iPad/.test(agent)) return "iPad"
  const model = /Android [\d.]+; ([^;)]+)/.exec(agent)?.[1]
  if (model) return model.length > 2 ? model.replace(/ Build.*/, "").slice(0, 60) : "Android phone"
  if (/Macintosh/.test(agent)) return "Mac"
  if (/Windows/.test(agent)) return "Windows PC"
  return /Linux/.test(agent) ? "Linux PC" : "Browser"
}
