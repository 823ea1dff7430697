// One line that says what happened, and how good or bad it is: the inspector's, and `watch`'s.
//
// The twin of companion_ws/core/gists.py; tests/wire/gists/list.json holds both to the same lines.

import { cut } from "./cards.js"
import { callOf, correctionIn, isPlain, lookUp, plainText, resultOf, spokenIn } from "./protocol.js"

/** A line is read at a glance; the whole stands in the payload. */
const MAX_LINE = 160

/** What a socket's close codes mean. */
export const CLOSES = {
  1000: "closed normally",
  1001: "page closed or reloaded",
  1005: "closed without a word",
  1006: "connection lost",
  1009: "message too large",
  1011: "fault of the server",
  1012: "server restarted",
  1013: "server overloaded",
  4401: "token expired",
  4408: "read too slowly",
  4429: "past a limit",
  4500: "malformed parameter",
  4501: "not signed in, or revoked",
  4503: "not allowed here",
  4504: "no such session",
  4510: "session over",
}

/** What a status that stands for no answer means. */
const STATUSES = {
  no_screen: "no screen to ask",
  no_answer: "no answer in time",
  cancelled: "withdrawn",
  interrupted: "cut off by a restart",
}

const OVER = 4510

const ROLES = { agent: "agent", ui: "screen", observer: "observer" }

/** One line that says what happened; "" where the type says it all. */
export function gistOf(message) {
  const gist = lookUp(GISTS, message.type)
  return gist ? short(gist(message)) : ""
}

/** "bad", "warn" or "good" where it is one of these, else "". */
export function toneOf(message) {
  if (message.type === "client_tool_result") {
    const { status } = resultOf(message.result)
    if (message.is_error === true || status === "no_answer") return "bad"
    if (status === "no_screen") return "warn"
    return status === "cancelled" ? "" : "good"
  }
  if (message.type === "agent_tool_response") return lookUp(message.agent_tool_response, "is_error") === true ? "bad" : ""
  if (message.type === "rendered") return message.problem ? "bad" : ""
  if (message.type === "trail" || message.type === "presence") {
    // At its end a session closes every connection; nothing is wrong with that.
    return message.code === OVER ? "" : (lookUp({ refused: "bad", dropped: "warn" }, message.event) ?? "")
  }
  return ""
}

/** What a close code means, with the code: "connection lost (1006)". */
export function closeInWords(code) {
  const words = lookUp(CLOSES, String(code))
  return words ? `${words} (${code})` : `closed ${code}`
}

const GISTS = {
  contextual_update: (record) => joined(" · ", record.locked ? "locked" : "", record.text, plainText(record.data), inBrackets(record.context_id)),
  state_updated: (record) => `${plainText(record.key)} = ${plainText(record.value) || "nothing"}`,
  state_deleted: (record) => `${plainText(record.key)} deleted`,
  client_tool_call: (record) => called(callOf(record)),
  client_tool_result: (record) => `${plainText(record.tool_name)} → ${ended(record)}`,
  client_tool_cancel: (record) => `withdraws ${plainText(record.tool_call_id)}`,
  user_message: (record) => quoted(record.text),
  user_transcript: (record) => quoted(spokenIn(record)?.text),
  agent_response: (record) => quoted(spokenIn(record)?.text),
  agent_response_correction: (record) => `corrected to ${quoted(correctionIn(record).corrected)}`,
  interruption: () => "",
  agent_tool_request: (record) => plainText(lookUp(record.agent_tool_request, "tool_name")),
  agent_tool_response: (record) => joined(" → ", lookUp(record.agent_tool_response, "tool_name"), lookUp(record.agent_tool_response, "is_error") === true ? "failed" : ""),
  ui_action: (record) => joined(" on ", record.name, record.surface_id),
  screen: (record) => plainText(record.text),
  rendered: (record) => (record.problem ? `#${plainText(record.of_seq)} not shown: ${plainText(record.problem)}` : `#${plainText(record.of_seq)} shown`),
  screen_command: (record) => joined(" ", record.name, record.target ?? record.text),
  session_ended: (record) => plainText(record.reason),
  presence: (message) => `${who(message)} ${plainText(message.event)}`,
  trail: (entry) => joined(" · ", `${who(entry)} ${plainText(entry.event)}`, entry.code ? closeInWords(entry.code) : "", entry.reason),
  conversation_initiation_metadata: (record) => plainText(lookUp(record.conversation_initiation_metadata_event, "conversation_id")),
}

/** The types of message that have a gist. */
export const gists = new Set(Object.keys(GISTS))

function called({ name, parameters }) {
  const title = lookUp(parameters, "title")
  if (typeof title === "string" && title.trim() !== "") return `${name} ${quoted(title)}`
  return `${name}(${plainText(parameters)})`
}

/** How a call ended, in words. */
function ended(record) {
  const result = read(record.result)
  const status = isPlain(result) ? plainText(lookUp(result, "status")) : ""
  const words = lookUp(STATUSES, status)
  if (words) return words
  if (status === "") return record.is_error === true ? joined(": ", "failed", result) : plainText(result)
  if (record.is_error === true) return joined(": ", "failed", lookUp(result, "message") ?? status)
  return joined(" ", status, lookUp(result, "label") ?? lookUp(result, "values"))
}

/** What a result says: its JSON read, or the text it is. */
function read(result) {
  try {
    return JSON.parse(result)
  } catch {
    return result
  }
}

function who(message) {
  return plainText(message.device) || lookUp(ROLES, message.role) || "somebody"
}

function joined(between, ...parts) {
  return parts.map((part) => plainText(part)).filter((part) => part !== "").join(between)
}

function inBrackets(text) {
  return text === undefined || text === null ? "" : `(${plainText(text)})`
}

function quoted(text) {
  return `“${plainText(text)}”`
}

function short(text) {
  return cut(text.replace(/[ \t\r\n]+/g, " ").trim(), MAX_LINE)
}
