// What the records of a session tell somebody who looks for a fault: lane, gist, kin, latencies.

import { cut } from "./cards.js"
import { PASSED } from "./commands.js"
import { callOf, correctionIn, lookUp, plainText, resultOf, spokenIn } from "./protocol.js"

export const LANES = ["agent", "server", "screens"]
export const KINDS = ["cards", "state", "tools", "said", "presence", "other"]

/** Told without a place in the log, and worth a row; that a person is busy is told too often for one. */
export const TOLD = new Set(["presence", ...PASSED].filter((type) => type !== "user_activity"))

const KIND_OF = {
  contextual_update: "cards",
  rendered: "cards",
  screen: "cards",
  screen_command: "cards",
  ui_action: "cards",
  state_updated: "state",
  state_deleted: "state",
  client_tool_call: "tools",
  client_tool_result: "tools",
  client_tool_cancel: "tools",
  agent_tool_request: "tools",
  agent_tool_response: "tools",
  user_message: "said",
  user_transcript: "said",
  agent_response: "said",
  agent_response_correction: "said",
  interruption: "said",
  presence: "presence",
  trail: "presence",
}

/** One of KINDS. */
export function kindOf(message) {
  return lookUp(KIND_OF, message.type) ?? "other"
}

/** Whose doing it was: one of LANES. */
export function laneOf(message) {
  const role = message.sender?.role ?? message.role ?? "server"
  return lookUp({ agent: "agent", ui: "screens" }, role) ?? "server"
}

/** One line that says what happened. */
export function gistOf(message) {
  const gist = lookUp(GISTS, message.type)
  return gist ? gist(message) : ""
}

/** The id under which records belong together: a tool call's, else none. */
export function kinOf(message) {
  if (message.type === "client_tool_call") return callOf(message).id
  return message.tool_call_id ?? message.in_reply_to ?? null
}

/**
 * The life of each tool call, by its id: `{name, calledAt, shownAt, answeredAt, releasedAt,
 * by, status}`; times in ms, null for what did not happen. `shownAt` is the first
 * screen's `rendered`.
 */
export function traces(messages) {
  const found = new Map()
  const bySeq = new Map()
  for (const message of messages) {
    const kin = kinOf(message)
    if (message.type === "client_tool_call") {
      const trace = {
        id: kin, name: callOf(message).name, calledAt: message.timestamp,
        shownAt: null, answeredAt: null, releasedAt: null, by: null, status: null,
      }
      found.set(kin, trace)
      bySeq.set(message.seq, trace)
    } else if (message.type === "rendered") {
      const trace = bySeq.get(message.of_seq)
      if (trace) trace.shownAt ??= message.timestamp
    } else if (kin && found.has(kin)) {
      follow(found.get(kin), message)
    }
  }
  return found
}

/** The latencies of a trace that are known: `[[what, ms], …]`. */
export function latenciesOf(trace) {
  const { calledAt, shownAt, answeredAt, releasedAt } = trace
  return [
    ["call to screen", difference(calledAt, shownAt)],
    ["screen to tap", difference(shownAt, answeredAt)],
    ["call to answer", difference(calledAt, answeredAt)],
    ["call to release", difference(calledAt, releasedAt)],
  ].filter(([, ms]) => ms !== null)
}

/** "240 ms", "3.2 s" or "2:05". */
export function duration(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`
  return `${Math.floor(ms / 60_000)}:${String(Math.floor((ms % 60_000) / 1000)).padStart(2, "0")}`
}

/** Whether `message` is to be seen under `filter`: {kinds, lanes, text}; empty sets mean all. */
export function matches(message, filter) {
  if (filter.kinds.size && !filter.kinds.has(kindOf(message))) return false
  if (filter.lanes.size && !filter.lanes.has(laneOf(message))) return false
  return filter.text === "" || JSON.stringify(message).toLowerCase().includes(filter.text.toLowerCase())
}

const GISTS = {
  contextual_update: (record) => `${record.text ?? ""}${record.context_id ? ` (${record.context_id})` : ""}`,
  state_updated: (record) => `${record.key ?? ""} = ${short(record.value) || "nothing"}`,
  state_deleted: (record) => `${record.key ?? ""} deleted`,
  client_tool_call: (record) => `${callOf(record).name}(${short(callOf(record).parameters)})`,
  client_tool_result: (record) => `${record.tool_name ?? ""} → ${short(resultOf(record.result).status) || short(saidBy(record.result))}`,
  client_tool_cancel: (record) => `withdraws ${record.tool_call_id ?? ""}`,
  user_message: (record) => `“${record.text ?? ""}”`,
  user_transcript: (record) => `“${spokenIn(record)?.text ?? ""}”`,
  agent_response: (record) => `“${spokenIn(record)?.text ?? ""}”`,
  agent_response_correction: (record) => `corrected to “${correctionIn(record).corrected}”`,
  interruption: () => "",
  agent_tool_request: (record) => plainText(record.agent_tool_request?.tool_name),
  agent_tool_response: (record) => plainText(record.agent_tool_response?.tool_name),
  ui_action: (record) => `${record.name ?? ""} on ${record.surface_id ?? ""}`,
  screen: (record) => record.text ?? "",
  rendered: (record) => `painted ${record.of_seq ?? ""}${record.problem ? `: ${record.problem}` : ""}`,
  screen_command: (record) => `${record.name ?? ""} ${record.target ?? record.text ?? ""}`,
  session_ended: (record) => record.reason ?? "",
  presence: (message) => `${message.device || message.role || ""} ${message.event ?? ""}`,
  trail: (entry) => [entry.device || entry.role, entry.event, entry.code, entry.reason].filter(Boolean).join(" · "),
  conversation_initiation_metadata: (record) =>
    plainText(record.conversation_initiation_metadata_event?.conversation_id),
}

/** The types of message that have a gist. */
export const gists = new Set(Object.keys(GISTS))

function follow(trace, message) {
  const isStandIn = message.answered_by === "server" && ["no_screen", "no_answer"].includes(resultOf(message.result).status)
  if (message.type === "client_tool_result" && isStandIn) trace.releasedAt ??= message.timestamp
  else if (message.result !== undefined && trace.answeredAt === null) {
    trace.answeredAt = message.timestamp
    trace.by = message.answered_by ?? "ui"
    trace.status = resultOf(message.result).status
  }
}

function difference(from, to) {
  return from === null || to === null ? null : Math.max(0, to - from)
}

/** What a result says: its JSON read, or the text it is. */
function saidBy(result) {
  try {
    return JSON.parse(result)
  } catch {
    return result
  }
}

function short(value) {
  return cut(plainText(value), 160)
}
