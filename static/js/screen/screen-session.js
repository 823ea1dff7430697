// One session on one screen: the fold, the connection and what a person's taps become. No DOM.

import { lookUp } from "../core/protocol.js"
import { serverClock, socketAddress } from "../net/api.js"
import { Connection } from "../net/connection.js"
import { apply, emptySession, isCaughtUp, isLockAlone, isOpen } from "../core/session.js"
import { newId, Outbox } from "../net/outbox.js"
import { endOf, isGone, isTakeAway, keptLines } from "../core/take-away.js"
import { KEPT_MS, paired, takeAway, views } from "../net/storage.js"
import { LinkWatch } from "./link-watch.js"

const SAVE_MS = 500
/** Closes after which nothing of a session is left for this device. Source: docs/protocol.md. */
const OVER = new Set([4501, 4504, 4510])
/** The result of a card that was shown. Source: docs/protocol.md. */
const SHOWN = '{"status":"shown"}'
/** The parts of a session that JSON cannot hold as they are. */
const MAPS = ["state", "calls", "actions", "work", "media"]
/** What counts as an update a person may have missed. */
const VISIBLE = new Set(["contextual_update", "client_tool_call"])

/**
 * `options`: sessionId (null: the token's own), token, deviceId, device, tools, storage;
 * `kept`, what `takeAway` has of a session that is over; `keepsNothing` where no trace may stay;
 * `onChange()` after anything changed, `onPass(message)` for what leaves no trace,
 * `onCaughtUp(missed)` once after each join, `onNew(record)` for each live record.
 */
export class ScreenSession {
  #options
  #connection
  #outbox
  #own = new Set()
  #link
  #unsent = []
  #missed = 0
  #caughtUp = false
  #saving = null

  constructor(options) {
    this.#options = options
    this.session = emptySession()
    this.status = { phase: "connecting", code: null }
    this.asOf = null
    /** What was said and never sent, where the session is over. */
    this.unsaid = []
    /** Until when the take-away stays on this phone; null where there is none. */
    this.keptUntil = null
    this.refusals = new Map()
    /** Gives a call as this device may keep it; who does not know forms cannot tell secrets from other answers. */
    this.keptCall = (call) => (call.name === "companion_form" && call.answer ? null : call)
    this.#restore()
    this.#link = new LinkWatch({
      ask: (requestId) => this.#connection.pass({ type: "ping", requestId }),
      onChange: options.onChange,
      wasConnected: this.session.id !== null,
    })
    this.#outbox = new Outbox({ storage: options.storage, sessionId: options.sessionId ?? "own" })
    this.#connection = new Connection({
      address: socketAddress(),
      token: options.token,
      query: {
        session_id: options.sessionId,
        role: options.role ?? "ui",
        device: options.device,
        tools: options.tools?.join(",") ?? "",
        strict: "1",
        ordered: "1",
      },
      position: () => ({ after: this.session.seq, epoch: this.session.epoch }),
      outbox: this.#outbox,
      onMessage: (message) => this.#hear(message),
      onStatus: (status) => this.#change(status),
      onToken: (token) => paired.find(this.session.id) && paired.save(this.session.id, token, this.session.deviceId),
      onRefused: (entry, error) => {
        if (entry.about) this.refusals.set(entry.about, error.code)
        else if (isLine(entry.command)) this.#unsent = [...this.#unsent, entry.command]
        options.onChange()
      },
    })
  }

  start() {
    if (this.#options.kept) {
      const { code, reason, unsaid, until } = this.#options.kept
      this.status = { phase: "ended", code, reason }
      this.unsaid = unsaid ?? []
      this.keptUntil = until
      this.#link.change("ended")
      return
    }
    this.#link.start()
    this.#connection.start()
    globalThis.addEventListener?.("pagehide", () => this.#save())
  }

  stop() {
    this.#connection.stop()
  }

  /** The server's clock, as far as this one knows; no step of the phone's own moves it. */
  get nowMs() {
    return serverClock.nowMs
  }

  /** What a person is told of the connection, a LinkWatch. */
  get link() {
    return this.#link
  }

  /** How it ended (core/take-away.js); null while it has not. */
  get end() {
    return this.status.phase === "ended" ? endOf(this.status, this.session) : null
  }

  /** Whether what is shown is to be taken away. */
  get isTakeAway() {
    return isTakeAway(this.end, this.session)
  }

  /** Whether this phone still has the take-away: another tab may have cleared it, or its time is over. */
  get hasTakeAway() {
    return takeAway.load(this.session.id) !== null
  }

  clearTakeAway() {
    takeAway.clear()
  }

  get isConnected() {
    return this.#connection.isJoined
  }

  /** What waits under `about` for its acknowledgement, or null. */
  pending(about) {
    return this.#outbox.entries.find((entry) => entry.about === about) ?? null
  }

  /** What a person said and the server does not have: `{requestId, text, isRefused}`, oldest first. */
  get unsent() {
    const waiting = this.#outbox.entries.map(({ command }) => command).filter(isLine)
    return [
      ...this.#unsent.map(({ requestId, text }) => ({ requestId, text, isRefused: true })),
      ...waiting.map(({ requestId, text }) => ({ requestId, text, isRefused: false })),
    ]
  }

  /** Whether something a person did is still to be sent. */
  get hasTaps() {
    return this.#outbox.entries.length > 0
  }

  isMine(answer) {
    const { deviceId, connectionId } = this.session
    if (answer.requestId && this.#own.has(answer.requestId)) return true
    if (answer.sender?.connection_id === connectionId) return true
    return Boolean(deviceId) && answer.sender?.device_id === deviceId
  }

  /** Answer a tool call with the text of its result. */
  answer(call, result) {
    const about = `call:${call.id}`
    if (this.pending(about) || !isOpen(call, this.nowMs)) return
    this.refusals.delete(about)
    const { traceparent } = call.record
    this.#send({ type: "client_tool_result", tool_call_id: call.id, result, is_error: false, traceparent }, about)
  }

  /** Change an answer: the agent is told the new one in `text`, a sentence. */
  amend(call, result, text) {
    const about = `change:${call.id}`
    if (this.pending(about)) return
    this.refusals.delete(about)
    this.#send({ type: "user_message", text, in_reply_to: call.id, result }, about)
  }

  /** Tell the agent a card was shown: nobody's tap, so nothing is said when it comes too late. */
  shown(call) {
    if (isOpen(call, this.nowMs) && !this.pending(`shown:${call.id}`)) {
      const { traceparent } = call.record
      this.#send({ type: "client_tool_result", tool_call_id: call.id, result: SHOWN, traceparent }, `shown:${call.id}`)
    }
  }

  /** Where the choice of a card stands: the revision of its key, or the seq of the last action. */
  standing(card, choices) {
    const { state, actions } = this.session
    return (choices.select ? state.get(choices.select)?.revision : actions.get(surfaceOf(card))?.seq) ?? 0
  }

  /**
   * Choose an option of a card: the state key, then a sentence for the agent.
   * The first screen wins: the key must still be what was `seen` here, a `standing`.
   */
  choose(card, choices, option, { sentence, seen }) {
    const about = card.key
    // A second tap can come after the answer to the first and before the next frame.
    if (this.pending(about) || this.standing(card, choices) !== seen) return
    this.refusals.delete(about)
    const say = { type: "user_message", text: sentence }
    if (!choices.select) {
      const surface = surfaceOf(card)
      const context = { id: option.id, label: option.label }
      const action = { type: "ui_action", action_id: newId(), surface_id: surface, name: "choose", context }
      this.#send(action, about, [say])
      return
    }
    const command = { type: "state_update", key: choices.select, value: option.value, if_revision: seen }
    this.#send(command, about, [say])
  }

  /** The chosen option of a card, or null: chosen after the card was last changed. */
  chosen(card, choices) {
    if (!choices.select) {
      const action = this.session.actions.get(surfaceOf(card))
      if (action && this.isTooLate(card, choices)) return null
      return choices.options.find((option) => option.id === action?.context?.id) ?? null
    }
    const entry = this.session.state.get(choices.select)
    if (!entry || entry.revision < card.record.seq) return null
    const text = JSON.stringify(entry.value)
    return (
      choices.options.find((option) => JSON.stringify(option.value) === text) ??
      choices.options.find((option) => option.id === String(entry.value?.id ?? "")) ??
      null
    )
  }

  /** Whether the last tap on a card's choice came after the agent had closed it: a button, which no server refuses. */
  isTooLate(card, choices) {
    const action = choices.select ? null : this.session.actions.get(surfaceOf(card))
    return Boolean(action) && card.lockedAt !== null && action.seq > card.lockedAt
  }

  /** Say something instead of speaking; whether it can be sent. */
  say(text) {
    return this.#send({ type: "user_message", text })
  }

  act(command, about = null) {
    this.#send(command, about)
  }

  keepOpen() {
    if (!this.#connection.pass({ type: "user_activity" })) return
    this.session = { ...this.session, expiringAt: null }
    this.#options.onChange()
  }

  pass(command) {
    return this.#connection.pass(command)
  }

  #send(command, about = null, next = []) {
    const entry = this.#connection.send(command, about, next)
    const { requestId } = entry.command
    this.#own.add(requestId)
    this.#options.onChange()
    return this.#outbox.find(requestId) !== null
  }

  #hear(message) {
    const before = this.session
    this.#link.hear(message)
    const joined = message.type === "session_joined"
    const isReplayed = typeof message.seq === "number" && message.seq <= before.horizon
    if (joined || !isReplayed) serverClock.hear(message.timestamp)
    if (joined) {
      this.#missed = 0
      this.#caughtUp = false
    }
    this.session = apply(before, message)
    if (this.session !== before) this.#note(before, message, joined)
    else if (message.duplicate !== true && typeof message.seq !== "number") this.#options.onPass(message)
    this.#options.onChange()
  }

  #note(before, message, joined) {
    const wasHere = before.epoch !== null && before.epoch === this.session.epoch && before.seq > 0
    if (joined) this.wasHere = wasHere
    else if (VISIBLE.has(message.type) && typeof message.seq === "number" && !isLockAlone(message)) {
      if (message.seq <= this.session.horizon) this.#missed += 1
      else this.#options.onNew(message)
    }
    if (!this.#caughtUp && isCaughtUp(this.session)) {
      this.#caughtUp = true
      this.#options.onCaughtUp(this.wasHere ? this.#missed : 0)
    }
    this.#saving ??= setTimeout(() => this.#save(), SAVE_MS)
  }

  #change(status) {
    this.status = status
    this.#link.change(status.phase)
    if (status.phase === "ended") {
      this.asOf ??= this.nowMs
      this.#keepOrForget()
      // A device whose token has expired may rejoin with a new code, and finds all as it was.
      if (this.session.id && (OVER.has(status.code) || this.session.ended)) paired.forget(this.session.id)
      clearTimeout(this.#saving)
      this.#saving = -1
    } else if (status.phase === "open") this.asOf = null
    else if (this.session.id) this.asOf ??= this.nowMs
    this.#options.onChange()
  }

  /** The cards stay on this phone for a day after it was last connected, unless somebody wants them gone. */
  #keepOrForget() {
    const { session, end, status } = this
    this.unsaid = this.unsent.map(({ text }) => text)
    const until = Date.now() + KEPT_MS - (this.nowMs - this.asOf)
    if (this.isTakeAway && !this.#options.keepsNothing && until > Date.now()) {
      this.keptUntil = until
      const { code, reason } = status
      takeAway.save({ ...this.#view({ ...session, lines: keptLines(session) }), until, code, reason, unsaid: this.unsaid })
    } else if (isGone(end) && takeAway.load(session.id)) takeAway.clear()
  }

  #restore() {
    const view = this.#options.kept ?? views.load(this.#options.sessionId) ?? this.#leftOver()
    if (!view?.session) return
    const { session } = view
    const maps = MAPS.map((name) => [name, new Map(lookUp(session, name) ?? [])])
    this.session = { ...emptySession(), ...session, ...Object.fromEntries(maps), presence: new Map() }
    this.#own = new Set(view.own)
    this.asOf = view.at
  }

  /** A tab that is signed in joins a session that is over once more, only to be told so. */
  #leftOver() {
    return this.#options.sessionId && !this.#options.keepsNothing ? takeAway.load(this.#options.sessionId) : null
  }

  #save() {
    clearTimeout(this.#saving)
    if (this.#saving === -1 || !this.session.id) return
    this.#saving = null
    views.save(this.session.id, this.#view(this.session))
  }

  /** `session` as JSON can hold it, with what else is needed to show it again. */
  #view(session) {
    const lists = MAPS.map((name) => [name, [...lookUp(session, name)]])
    return {
      at: this.isConnected ? this.nowMs : (this.asOf ?? this.nowMs),
      own: [...this.#own].slice(-100),
      session: { ...session, ...Object.fromEntries(lists), calls: keptCalls(session, this.keptCall), presence: [] },
    }
  }
}

/** The calls of `session` as lists, those left out that `keptCall` makes null. */
function keptCalls({ calls }, keptCall) {
  return [...calls].map(([id, call]) => [id, keptCall(call)]).filter(([, call]) => call !== null)
}

function surfaceOf(card) {
  return `card-${card.position}`
}

/** What stands among the lines of the conversation; an answer to a question stands there. */
function isLine({ type, in_reply_to: question }) {
  return type === "user_message" && question === undefined
}
