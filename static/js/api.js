// Requests to the server this page came from, wherever it is mounted.

/** Where the server's routes begin; ends with a slash. */
export const BASE = new URL("../../", import.meta.url)

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
 * Raises a Refusal for anything but success.
 */
export async function ask(method, path, { token = null, body, headers = {}, as = "json" } = {}) {
  const sent = { ...headers }
  if (token) sent.Authorization = `Bearer ${token}`
  if (body !== undefined) sent["Content-Type"] = "application/json"
  const request = { method, headers: sent, credentials: "omit", cache: "no-store" }
  if (body !== undefined) request.body = JSON.stringify(body)
  let response
  try {
    response = await fetch(new URL(path, BASE), request)
  } catch {
    throw new Refusal(0, "unreachable", "The server cannot be reached.")
  }
  if (!response.ok) throw await refusalOf(response)
  if (response.status === 204) return { status: 204, body: null }
  return { status: response.status, body: as === "text" ? await response.text() : await response.json() }
}

async function refusalOf(response) {
  try {
    const problem = await response.json()
    return new Refusal(response.status, problem.code ?? "", problem.detail ?? problem.title ?? "", problem)
  } catch {
    return new Refusal(response.status, "", response.statusText)
  }
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
