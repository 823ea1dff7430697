// A session as one screen sees it: `session_joined` and what follows, folded into one value.
//
// Nothing here changes what it was given; an untouched part keeps its identity, so a
// page may compare with === to learn what to paint again.

import { COMPANION_TOOLS } from "./companion-tools.js"
import { callOf, correctionIn, isPlain, lookUp, plainText, resultOf, spokenIn } from "./protocol.js"

/** A question closes by itself this long after it was asked. Source: docs/protocol.md. */
export const QUESTION_LIFE_MS = 600_000
/** As many as the server hands to one who joins late. */
export const MAX_CARDS = 20
const MAX_CALLS = 100
const MAX_LINES = 200
/** Tools that run at once; a line on the page names one. */
const MAX_WORK = 20
/** A tool of the agent's platform that has not told its end by then is not waited for. */
const AGENT_TOOL_MS = 30_000
/** A server tool has no longer. Source: docs/protocol.md. */
const SERVER_TOOL_MS = 120_000
/** Answers the server gives for want of a person; the question stays open for a late tap. */
const STANDINS = new Set(["no_screen", "no_answer"])

/** A session nobody has joined yet. */
export function emptySession() {
  return {
    id: null,
    title: "",
    language: null,
    role: null,
    user: null,
    connectionId: null,
    deviceId: null,
    conversationId: null,
    agentSeq: null,
    seq: 0,
    horizon: 0,
    epoch: null,
    recovery: "none",
    expiresAt: null,
    expiringAt: null,
    ended: null,
    state: new Map(),
    cards: [],
    calls: new Map(),
    actions: new Map(),
    work: new Map(),
    lines: [],
    presence: new Map(),
    /** What is known of pictures, by their addresses; `showsPictures` false: there will be none. */
    media: new Map(),
    showsPictures: false,
  }
}

/**
 * Begin or go on with what `session_joined` says.
 * With `recovery: replay` the records after `before.seq` follow; everything up to
 * `horizon` (the `seq` of the join) is history. Another session or epoch starts afresh.
 */
export function join(before, joined) {
  const same = before.id === joined.session_id && before.epoch === joined.epoch
  const old = same ? before : emptySession()
  const replay = joined.recovery === "replay"
  return {
    ...old,
    id: joined.session_id,
    title: joined.title ?? "",
    language: joined.language ?? null,
    role: joined.role,
    user: joined.user ?? null,
    connectionId: joined.connection_id,
    deviceId: joined.device_id ?? null,
    conversationId: joined.conversation_id ?? null,
    seq: replay ? old.seq : joined.seq,
    horizon: joined.seq,
    epoch: joined.epoch ?? null,
    recovery: joined.recovery,
    expiresAt: joined.expires_at ?? null,
    expiringAt: null,
    ended: null,
    state: new Map(Object.entries(joined.state ?? {})),
    cards: (joined.cards ?? []).filter(isRecord).reduce(withCard, replay ? old.cards : []),
    calls: withOpenCalls(old.calls, (joined.open_calls ?? []).filter(isRecord)),
    presence: new Map((joined.presence ?? []).map((who) => [who.connection_id, who])),
    media: new Map((joined.media ?? []).map((found) => [found.url, found])),
    showsPictures: Array.isArray(joined.media),
  }
}

/** What has a place in the log. */
function isRecord(record) {
  return typeof record.seq === "number"
}

/** Fold one message of the server; a record seen before changes nothing. */
export function apply(session, message) {
  const next = folded(session, message)
  const agentSeq = heardUpTo(next, message)
  return agentSeq === null || agentSeq <= (next.agentSeq ?? -1) ? next : { ...next, agentSeq }
}

function folded(session, message) {
  if (message.type === "session_joined") return join(session, message)
  if (message.duplicate) return session
  if (typeof message.seq !== "number") return applyPassing(session, message)
  if (message.seq <= session.seq) return session
  const isHistory = message.seq <= session.horizon
  const fold = lookUp(RECORDS, message.type)
  const next = fold ? fold(session, message, isHistory) : session
  return { ...next, seq: message.seq, expiringAt: null }
}

/** The last record that an agent was here for, as far as `message` tells of it; else null. */
function heardUpTo(session, { sender, cards = [] }) {
  if (sender?.role === "agent" || isPresent(session, "agent")) return session.seq
  const shown = cards.filter((card) => card.sender?.role === "agent" && isRecord(card)).map(({ seq }) => seq)
  return shown.length ? Math.max(...shown) : null
}

/** Whether a card's record closes its choice and shows nothing by itself. */
export function isLockAlone(record) {
  return record.locked === true && !("data" in record) && !("ui" in record)
}

/** Whether every record up to the join has been folded. */
export function isCaughtUp(session) {
  return session.seq >= session.horizon
}

/** Whether a person may still answer `call` at `nowMs` (the server's clock). */
export function isOpen(call, nowMs) {
  return call.status === "open" && nowMs < call.openUntil
}

/** Whether anybody with `role` is connected. */
export function isPresent(session, role) {
  return [...session.presence.values()].some((who) => who.role === role)
}

const RECORDS = {
  contextual_update: (session, record) => withLock({ ...session, cards: withCard(session.cards, record) }, record),

  state_updated: (session, record, isHistory) =>
    isHistory ? session : { ...session, state: new Map(session.state).set(record.key, stateEntry(record)) },

  state_deleted: (session, record, isHistory) => {
    if (isHistory) return session
    const state = new Map(session.state)
    state.delete(record.key)
    return { ...session, state }
  },

  client_tool_call: (session, record, isHistory) => {
    const { id } = callOf(record)
    if (session.calls.has(id)) return session
    if (typeof record.joins === "string") return isHistory ? session : withJoined(session, record)
    const isServers = record.handled_by === "server"
    // Of the history only what `open_calls` named is still open; it is there already.
    const status = isHistory || isServers ? "closed" : "open"
    const next = { ...session, calls: withCall(session.calls, { ...newCall(record), status }) }
    if (!isServers) return next
    return withWork(next, id, { name: callOf(record).name, until: record.deadline_at ?? timeOf(record) + SERVER_TOOL_MS, by: "server" })
  },

  client_tool_result: (before, record) => {
    const session = withoutWork(before, record.tool_call_id)
    // One of several that ask the same has been cancelled: the question stays.
    if (record.question_open === true) return session
    const result = resultOf(record.result)
    if (record.answered_by === "server" && STANDINS.has(result.status)) {
      return withChangedCall(session, questionOf(record), { released: true })
    }
    return withAnswer(session, questionOf(record), record, record.answered_by)
  },

  client_tool_cancel: (session, record) =>
    record.question_open === true
      ? session
      : withAnswer(session, questionOf(record), { ...record, result: '{"status":"cancelled"}' }, "agent"),

  user_message: (session, record) => {
    // Only a late answer has a result; other messages may refer to a call and leave it open.
    if (record.is_change === true && "result" in record) return withChange(session, record)
    if (typeof record.in_reply_to === "string" && "result" in record) {
      return withAnswer(session, questionOf(record), record, "ui")
    }
    return withLine(session, record, { who: "user", text: plainText(record.text), typed: true })
  },

  ui_action: (session, record) => ({
    ...session,
    actions: new Map(session.actions).set(record.surface_id, record),
  }),

  conversation_initiation_metadata: (session, record) => ({
    ...session,
    conversationId:
      record.conversation_initiation_metadata_event?.conversation_id ??
      record.conversation_id ??
      session.conversationId,
  }),

  user_transcript: withSpoken,
  agent_response: withSpoken,
  agent_response_correction: withCorrection,
  agent_tool_request: withAgentTool,
  agent_tool_response: withoutAgentTool,
  session_ended: (session, record) => ({ ...session, ended: record.reason ?? "ended" }),
}

const PASSING = {
  presence: (session, message) => {
    const presence = new Map(session.presence)
    if (message.event === "joined") presence.set(message.connection_id, { screen: "", ...message })
    else presence.delete(message.connection_id)
    const next = { ...session, presence }
    return message.role === "agent" && message.event !== "joined" ? withoutAgentsWork(next) : next
  },
  screen: (session, message) => {
    const id = message.connection_id ?? message.sender?.connection_id
    const who = session.presence.get(id)
    if (!who) return session
    return { ...session, presence: new Map(session.presence).set(id, { ...who, screen: message.text }) }
  },
  media: (session, message) => ({ ...session, media: new Map(session.media).set(message.url, message) }),
  session_expiring: (session, message) => ({ ...session, expiringAt: message.expires_at }),
  session_ended: (session, message) => ({ ...session, ended: message.reason ?? "ended" }),
  // With --no-transcripts what is said has no place in the log.
  user_transcript: withSpoken,
  agent_response: withSpoken,
  agent_response_correction: withCorrection,
  agent_tool_request: withAgentTool,
  agent_tool_response: withoutAgentTool,
}

function applyPassing(session, message) {
  const fold = lookUp(PASSING, message.type)
  return fold ? fold(session, message) : session
}

function stateEntry(record) {
  return { value: record.value, revision: record.revision, sender: record.sender }
}

function withCard(cards, record) {
  const key = typeof record.context_id === "string" ? `context:${record.context_id}` : `seq:${record.seq}`
  const at = cards.findIndex((card) => card.key === key)
  const locked = record.locked === true
  const lockedAt = locked ? record.seq : null
  if (at >= 0 && isLockAlone(record)) {
    // It replaces nothing: the card stays, and its choice is closed.
    return cards[at].record.seq >= record.seq ? cards : replaced(cards, at, { ...cards[at], locked, lockedAt })
  }
  if (at < 0) {
    const place = cards.findIndex((card) => card.position > record.seq)
    const next = [...cards]
    next.splice(place < 0 ? cards.length : place, 0, { key, position: record.seq, record, locked, lockedAt })
    return next.slice(-MAX_CARDS)
  }
  if (cards[at].record.seq >= record.seq) return cards
  return replaced(cards, at, { ...cards[at], record, locked, lockedAt })
}

function replaced(list, at, value) {
  const next = [...list]
  next[at] = value
  return next
}

function newCall(record) {
  const call = callOf(record)
  const openUntil = record.open_until ?? (record.timestamp ?? Infinity) + QUESTION_LIFE_MS
  return { ...call, record, status: "open", released: record.released === true, openUntil, answer: null }
}

/** The id under which a question is shown: that of its first call, which others may have joined. */
function questionOf(record) {
  return record.joins ?? record.tool_call_id ?? record.in_reply_to
}

/** The same question once more: it is shown already, and stays open for longer. */
function withJoined(session, record) {
  const openUntil = (record.timestamp ?? Infinity) + QUESTION_LIFE_MS
  return withChangedCall(session, record.joins, { released: callOf(record).expectsResponse === false, openUntil })
}

function withCall(calls, call) {
  const next = new Map(calls).set(call.id, call)
  if (next.size > MAX_CALLS) next.delete(next.keys().next().value)
  return next
}

function withOpenCalls(calls, records) {
  const open = new Set(records.map((record) => callOf(record).id))
  const next = new Map()
  for (const [id, call] of calls) {
    next.set(id, call.status === "open" && !open.has(id) ? { ...call, status: "closed" } : call)
  }
  for (const record of records) {
    const call = newCall(record)
    if (record.handled_by === "server") continue
    const known = next.get(call.id)
    const same = known?.status === "open" && known.released === call.released && known.openUntil === call.openUntil
    if (!same) next.set(call.id, call)
  }
  return next
}

function withChangedCall(session, id, change) {
  const call = session.calls.get(id)
  if (!call) return session
  return { ...session, calls: new Map(session.calls).set(id, { ...call, ...change }) }
}

function withAnswer(session, id, record, answeredBy) {
  const call = session.calls.get(id)
  if (!call || call.answer) return session
  const text = typeof record.result === "string" ? record.result : ""
  const answer = {
    by: answeredBy,
    result: isPlain(record.result) ? record.result : resultOf(text),
    isError: record.is_error === true,
    sender: record.sender ?? null,
    requestId: record.requestId ?? null,
    at: record.timestamp,
    seq: record.seq,
  }
  return withChangedCall(session, id, { status: "closed", answer })
}

function withWork(session, id, running) {
  const work = new Map(session.work).set(id, running)
  if (work.size > MAX_WORK) work.delete(work.keys().next().value)
  return { ...session, work }
}

function withoutWork(session, id) {
  if (!session.work.has(id)) return session
  const work = new Map(session.work)
  work.delete(id)
  return { ...session, work }
}

function withoutAgentsWork(session) {
  return { ...session, work: new Map([...session.work].filter(([, { by }]) => by !== "agent")) }
}

/** A tool that the agent's own platform runs. Those that ask somebody show themselves. */
function withAgentTool(session, message) {
  const { id, name } = callOf(message.agent_tool_request ?? message)
  if (name === "" || lookUp(COMPANION_TOOLS, name)) return session
  return withWork(session, `agent:${id}`, { name, until: timeOf(message) + AGENT_TOOL_MS, by: "agent" })
}

function withoutAgentTool(session, message) {
  return withoutWork(session, `agent:${callOf(message.agent_tool_response ?? message).id}`)
}

function timeOf(message) {
  return message.timestamp ?? 0
}

/** A question has its `tool_call_id` for a `context_id`: an agent that locks it takes no change any more. */
function withLock(session, record) {
  const call = session.calls.get(record.context_id)
  const locked = record.locked === true
  return call && (call.locked === true) !== locked ? withChangedCall(session, record.context_id, { locked }) : session
}

/** What a person answers now; the recorded answer stays. */
function withChange(session, record) {
  const change = { result: resultOf(record.result), at: record.timestamp, requestId: record.requestId ?? null, sender: record.sender ?? null }
  return withChangedCall(session, questionOf(record), { change })
}

function withSpoken(session, message) {
  const spoken = spokenIn(message)
  return spoken ? withLine(session, message, spoken) : session
}

function withLine(session, message, line) {
  const at = message.timestamp ?? null
  return { ...session, lines: [...session.lines, { ...line, at, seq: message.seq ?? null }].slice(-MAX_LINES) }
}

function withCorrection(session, message) {
  const { original, corrected } = correctionIn(message)
  const lines = session.lines
  let at = lines.findLastIndex
    ? lines.findLastIndex((line) => line.who === "agent" && line.text === original)
    : -1
  if (at < 0) at = lines.map((line) => line.who).lastIndexOf("agent")
  if (at < 0 || corrected === "") return session
  return { ...session, lines: replaced(lines, at, { ...lines[at], text: corrected, corrected: true }) }
}
