// What the records of a session tell somebody who looks for a fault: lanes, the life of each call,
// how long its steps took, and what was wrong.

import { gistOf, toneOf } from "./gists.js"
import { PASSED } from "./commands.js"
import { callOf, lookUp, resultOf } from "./protocol.js"

export const LANES = ["agent", "server", "screens"]
export const KINDS = ["cards", "state", "tools", "said", "presence", "other"]
/** Kinds of trouble, as the server counts them. Source: companion_ws/core/trouble.py. */
export const TROUBLES = ["failed", "slow", "no_screen"]
/** A server tool that ran so long was slow, and a question that came to its first screen so late. */
export const SLOW_MS = 3000

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

/** Whom it was for: one of LANES, or null where it was for nobody in particular. */
export function targetOf(message) {
  const from = laneOf(message)
  if (message.type === "client_tool_call") return message.handled_by === "server" ? "server" : "screens"
  if (["client_tool_result", "rendered", "screen", "ui_action"].includes(message.type)) return "agent"
  if (["contextual_update", "screen_command", "state_updated", "state_deleted", "user_message"].includes(message.type)) {
    return from === "screens" ? "agent" : "screens"
  }
  return null
}

/** The id under which records belong together: a tool call's, else none. */
export function kinOf(message) {
  if (message.type === "client_tool_call") return callOf(message).id
  return message.tool_call_id ?? message.in_reply_to ?? null
}

/**
 * What the messages of a session add up to: `{calls, troubles}`.
 * `calls` holds the life of each tool call by its id: `{id, name, seq, byServer, calledAt, shownAt,
 * shown, answeredAt, releasedAt, by, status, tone}`; times in ms, null for what did not happen.
 * `shown` lists what screens have painted: `{at, deviceId, problem}`, the first one first.
 * `troubles` maps a record's seq to the kinds of TROUBLES it is in.
 */
export function analyse(messages) {
  const calls = new Map()
  const bySeq = new Map()
  const troubles = new Map()
  const note = (seq, kind) => troubles.set(seq, (troubles.get(seq) ?? new Set()).add(kind))
  for (const message of messages) {
    const kin = kinOf(message)
    if (message.type === "client_tool_call") {
      const call = newCall(message, kin)
      calls.set(kin, call)
      bySeq.set(message.seq, call)
    } else if (message.type === "rendered") {
      if (message.problem) note(message.of_seq, "failed")
      const call = bySeq.get(message.of_seq)
      call?.shown.push({ at: message.timestamp, deviceId: message.device_id ?? null, problem: message.problem ?? null })
    } else if (message.type === "agent_tool_response" && message.seq && toneOf(message) === "bad") {
      note(message.seq, "failed")
    } else if (kin !== null && calls.has(kin)) {
      follow(calls.get(kin), message)
    }
  }
  for (const call of calls.values()) {
    call.shown.sort((one, other) => one.at - other.at)
    call.shownAt = call.shown[0]?.at ?? null
    for (const kind of troublesOf(call)) note(call.seq, kind)
  }
  return { calls, troubles }
}

/** How many records are in each kind of trouble: `{failed, slow, no_screen}`. */
export function troubleCounts(troubles) {
  const all = [...troubles.values()]
  return Object.fromEntries(TROUBLES.map((kind) => [kind, all.filter((kinds) => kinds.has(kind)).length]))
}

/** The kinds of trouble that `message` belongs to: its own, or those of the call it is part of. */
export function troublesAt(message, { calls, troubles }) {
  const seq = message.type === "rendered" ? message.of_seq : (calls.get(kinOf(message))?.seq ?? message.seq)
  return troubles.get(seq) ?? NONE
}
const NONE = new Set()

/**
 * The steps of a call, one after the other: `[{what, fromMs, tookMs}]`, from when it was called.
 * Of a call that is not over there are those that are.
 */
export function stepsOf(call) {
  const marks = [["call", call.calledAt]]
  if (call.shownAt !== null) marks.push(["shown", call.shownAt])
  if (call.by === "ui" && call.answeredAt !== null) marks.push(["tap", call.answeredAt])
  const steps = []
  for (const [at, [what, ms]] of marks.entries()) {
    if (at > 0) steps.push(step(call, marks[at - 1], [what, ms]))
  }
  const resultAt = call.releasedAt ?? call.answeredAt
  if (resultAt === null) return steps
  // The agent was told before the tap: a stand-in, and what the person did came late.
  const before = marks.filter(([, ms]) => ms <= resultAt).at(-1)
  return [...steps, step(call, before, ["result", resultAt])]
}

function step(call, [from, fromMs], [to, toMs]) {
  return { what: `${from} → ${to}`, fromMs: fromMs - call.calledAt, tookMs: Math.max(0, toMs - fromMs) }
}

/** How long until the agent had its result, in ms; null while it waits. */
export function tookMs(call) {
  const at = call.releasedAt ?? call.answeredAt
  return at === null ? null : Math.max(0, at - call.calledAt)
}

/** "240 ms", "3.2 s" or "2:05". */
export function duration(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`
  return `${Math.floor(ms / 60_000)}:${String(Math.floor((ms % 60_000) / 1000)).padStart(2, "0")}`
}

/**
 * Whether a row is to be seen under `filter`: {kinds, lanes, troubles, text}; empty sets mean all.
 * `row` is `{message, words, troubles}`: `words` is what of it can be searched, in lower case.
 */
export function matches(row, filter) {
  if (filter.kinds.size && !filter.kinds.has(kindOf(row.message))) return false
  if (filter.lanes.size && !filter.lanes.has(laneOf(row.message))) return false
  if (filter.troubles.size && ![...filter.troubles].some((kind) => row.troubles.has(kind))) return false
  return filter.text === "" || row.words.includes(filter.text.toLowerCase())
}

/** What of a message can be searched. */
export function wordsOf(message) {
  return `${gistOf(message)} ${JSON.stringify(message)}`.toLowerCase()
}

function newCall(message, id) {
  return {
    id, name: callOf(message).name, seq: message.seq, byServer: message.handled_by === "server",
    calledAt: message.timestamp, shown: [], shownAt: null, answeredAt: null, releasedAt: null,
    by: null, status: null, tone: "",
  }
}

function follow(call, message) {
  const { status } = resultOf(message.result)
  if (message.type === "client_tool_result") call.tone ||= toneOf(message)
  const isStandIn = message.answered_by === "server" && ["no_screen", "no_answer"].includes(status)
  if (message.type === "client_tool_result" && isStandIn) {
    call.releasedAt ??= message.timestamp
    call.standIn = status
  } else if (message.result !== undefined && call.answeredAt === null) {
    call.answeredAt = message.timestamp
    call.by = message.answered_by ?? "ui"
    call.status = status
  }
}

function troublesOf(call) {
  const found = []
  if (call.tone === "bad") found.push("failed")
  if (call.standIn === "no_screen") found.push("no_screen")
  const isSlow = call.byServer
    ? call.answeredAt !== null && call.answeredAt - call.calledAt >= SLOW_MS
    : call.shownAt !== null && call.shownAt - call.calledAt >= SLOW_MS
  if (isSlow) found.push("slow")
  return found
}
