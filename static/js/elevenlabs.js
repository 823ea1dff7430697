// The bridge between an ElevenLabs conversation in a page and a companion session.

import { AgentConnection } from "./net/agent-connection.js"
import { RELAYED } from "./core/commands.js"
import { COMPANION_TOOLS, isCard } from "./core/companion-tools.js"
import { callOf, lookUp, resultOf } from "./core/protocol.js"
import { letterOf, Mailbox, summaryOf, WORDS } from "./elevenlabs/mailbox.js"
import { WidgetSocket } from "./elevenlabs/widget-socket.js"
import { NotUnderstood, understood } from "./elevenlabs/parameters.js"
import { newId, Outbox } from "./net/outbox.js"

/** ElevenLabs gives up on a client tool after 20 s; the session answers a second before this. */
const ANSWER_WITHIN_MS = 19_000
/** Characters of a call's id. */
const MAX_CALL_ID = 256
/** The longest a session lets a call wait. */
const MOST_MS = 120_000
/** Showing asks nothing, so the agent need not wait until somebody opens the screen. */
const SHOW_MS = 3000
/** An update waits this long for a newer one of its context: bursts confuse the model. */
const SETTLE_MS = 150
const RETRY_MS = 500
/** What may wait for a server that is away. */
const MAX_UNACKNOWLEDGED = 1000
/** What the session is told when the conversation begins, by the bridge itself. */
const METADATA = "conversation_initiation_metadata"
/** Results that are nobody's answer: the question is open still, or was none. */
const NO_NEWS = new Set(["no_screen", "no_answer", "shown", "cancelled", "interrupted"])
/** What a message has beside what was said. */
const ENVELOPE_BYTES = 1024
/** Names JavaScript itself asks objects for. */
const NO_TOOLS = new Set(["then", "toJSON"])

/**
 * One agent in a page, joined to one companion session; it outlives conversations.
 *
 * `options`:
 * - `token`: a session token with role `agent` (what a public page may hold) or a user token; a
 *   function is asked again when the token has expired
 * - `url`: the companion server, by default the one this file came from
 * - `sessionId`: needed with a user token to join a session that exists
 * - `tools`: names to list beside the companion's four, for those who copy `clientTools` (React
 *   does); any name is answered anyway
 * - `answerWithinMs`, `words`: `{unreachable, late(question, answer)}`
 * - `WebSocket`: to use another than the runtime's; Node before 22 has none and uses the package `ws`
 * - `environment`: timers and chance, for tests
 */
export class CompanionBridge {
  #options
  #connection
  #mailbox = new Mailbox()
  #calls = new Map()
  /** Questions of agents that are gone, by call id. */
  #strays = new Map()
  #ids = new WeakMap()
  #widgetSocket = new WidgetSocket(
    (event) => this.#relay(event),
    () => this.detach(),
  )
  #joined = null
  #seq = null
  #epoch = null
  #ended = null
  #conversation = null
  #widget = null
  #conversationId = null
  /** Stands for a conversation whose id is not known yet. */
  #run = newId()
  #sawEvents = false
  #flushing = null
  #whenJoined

  constructor(options) {
    this.#options = { tools: [], answerWithinMs: ANSWER_WITHIN_MS, ...options }
    this.#options.words = { ...WORDS, ...options.words }
    this.ready = new Promise((resolve, reject) => (this.#whenJoined = { resolve, reject }))
    this.ready.catch(() => {})
    const query = { session_id: options.sessionId ?? "", role: "agent", device: options.device ?? "", ordered: "1" }
    this.#connection = new AgentConnection({
      address: socketAddress(options.url ?? new URL("../../", import.meta.url)),
      token: options.token,
      query,
      position: () => ({ after: this.#seq, epoch: this.#epoch }),
      outbox: new Outbox({ most: MAX_UNACKNOWLEDGED }),
      onMessage: (message) => this.#hear(message, query),
      onStatus: (status) => status.phase === "ended" && this.#end(status),
      onRefused: (entry, error) => this.#refuse(entry, error),
      onToken: (token) => options.onToken?.(token),
      environment: { ...options.environment, ...(options.WebSocket && { WebSocket: options.WebSocket }) },
    })
    this.#connection.start()
  }

  /** The companion session, once joined. */
  get sessionId() {
    return this.#joined?.session_id ?? null
  }

  /** ElevenLabs' id of the newest conversation. */
  get conversationId() {
    return this.#conversationId
  }

  /** What the agent has not been told yet. */
  get pending() {
    return this.#mailbox.letters
  }

  /** Start a conversation joined to the session: `bridge.start(Conversation, {agentId, …})`. */
  async start(Conversation, options = {}) {
    const conversation = await Conversation.startSession(this.options(options))
    this.attach(conversation)
    return conversation
  }

  /**
   * Options to spread into `Conversation.startSession`; your own callbacks are called as
   * ever, your own tools come first. Follow with `attach(conversation)`.
   */
  options(own = {}) {
    const after = (name, act) => (...given) => {
      act(...given)
      return lookUp(own, name)?.(...given)
    }
    return {
      ...own,
      clientTools: this.clientTools(own.clientTools),
      onIncomingEvent: after("onIncomingEvent", (event) => this.#relay(event)),
      onMessage: after("onMessage", (message) => this.#relayMessage(message)),
      onConnect: after("onConnect", (props) => this.#begin(props?.conversationId)),
      onDisconnect: after("onDisconnect", () => this.detach()),
    }
  }

  /** An object that has a tool of every name. `own` tools are used where there are some. */
  clientTools(own = {}) {
    const toolOf = (name) => {
      if (typeof name !== "string" || NO_TOOLS.has(name)) return undefined
      return lookUp(own, name) ?? ((parameters) => this.#call(name, parameters ?? {}))
    }
    return new Proxy(own, {
      get: (_, name) => toolOf(name),
      has: (_, name) => toolOf(name) !== undefined,
      ownKeys: () => [...new Set([...Object.keys(own), ...Object.keys(COMPANION_TOOLS), ...this.#options.tools])],
      getOwnPropertyDescriptor: (_, name) => {
        const value = toolOf(name)
        return value && { value, enumerable: true, configurable: true, writable: true }
      },
    })
  }

  /** Tell this conversation what screens do, from what waits on. */
  attach(conversation) {
    if (this.#conversation !== null && this.#conversation !== conversation) this.#letGo(() => true)
    this.#conversation = conversation
    if (this.#conversationId === null) this.#begin(conversation.getId?.())
    this.#flush()
  }

  /** The conversation is over; what it was not told waits for the next. */
  detach() {
    this.#letGo(() => true)
    this.#conversation = null
    this.#conversationId = null
    this.#run = newId()
    this.#sawEvents = false
    this.#widgetSocket.forget()
  }

  /**
   * Join an `<elevenlabs-convai>` element: its tools are answered, and it tells its agent what
   * screens do. The widget keeps `onMessage` and `onDisconnect` for itself, so what is said
   * is read from its socket; over WebRTC it has none, and neither transcripts nor the end of a
   * call are known here.
   */
  attachWidget(element) {
    this.#widget = element
    // Without this the widget does not listen to the events it is told by.
    if (!element.hasAttribute("allow-events")) element.setAttribute("allow-events", "true")
    element.addEventListener("elevenlabs-convai:call", (event) => {
      this.detach()
      const { config } = event.detail
      const { clientTools, onConnect } = this.options({ ...config })
      Object.assign(config, { clientTools, onConnect })
      this.#widgetSocket.nextSocket()
    })
  }

  /** Leave the session. */
  stop() {
    clearTimeout(this.#flushing)
    this.#connection.stop()
    this.#end({ code: 1000, reason: "stopped" })
  }

  // From the conversation.

  #begin(conversationId) {
    if (!conversationId || conversationId === this.#conversationId) return
    this.#letGo((call) => call.conversationId !== null)
    this.#conversationId = conversationId
    const summary = this.#joined ? summaryOf(this.#joined) : ""
    if (summary) this.#mailbox.putFirst({ kind: "update", text: summary, contextId: "session" })
    this.#connection.send({
      type: METADATA,
      conversation_initiation_metadata_event: { conversation_id: conversationId },
    })
    this.#flush()
  }

  #relay(event) {
    this.#sawEvents = true
    if (event?.type === "client_tool_call" && Object(event.client_tool_call?.parameters) === event.client_tool_call.parameters) {
      // The tool is called with this very object next, and without the id.
      this.#ids.set(event.client_tool_call.parameters, event.client_tool_call.tool_call_id)
    }
    if (RELAYED.has(event?.type) && event.type !== METADATA) this.#connection.send(this.#shortened({ ...event }))
  }

  /** Older SDKs have no raw events; what was said comes this way. */
  #relayMessage(message) {
    if (this.#sawEvents || typeof message?.message !== "string") return
    this.#connection.send(this.#shortened(
      message.source === "user"
        ? { type: "user_transcript", user_transcription_event: { user_transcript: message.message } }
        : { type: "agent_response", agent_response_event: { agent_response: message.message } },
    ))
  }

  /** Cut what is too long for a message at its end: most of a speech is better than none. */
  #shortened(event) {
    const limitBytes = this.#connection.limitBytes
    return limitBytes ? cut(event, limitBytes - ENVELOPE_BYTES) : event
  }

  /** Nobody waits any more for what a conversation asked; the answers are the next one's turns. */
  #letGo(isOver) {
    for (const call of this.#calls.values()) {
      if (call.released || !isOver(call)) continue
      clearTimeout(call.timer)
      call.released = true
      call.resolve(this.#unreachable())
    }
  }

  async #call(name, parameters) {
    const known = this.#ids.get(parameters) ?? this.#widgetSocket.claimId(name, parameters)
    if (this.#ended) return this.#unreachable()
    let given
    try {
      given = understood(name, parameters)
    } catch (error) {
      if (error instanceof NotUnderstood) return this.#refused(error.message)
      throw error
    }
    const asked = {
      tool_name: name,
      tool_call_id: this.#callId(known ?? newId()),
      parameters: given,
      timeout_ms: this.#patienceMs(name),
    }
    const open = this.#calls.get(asked.tool_call_id)
    if (open && !open.released) {
      if (isSame(open.command.client_tool_call, asked)) return open.answer
      asked.tool_call_id = this.#callId(newId())
    }
    const call = { question: given.title ?? name, released: false, conversationId: this.#conversationId }
    call.answer = new Promise((resolve, reject) => Object.assign(call, { resolve, reject }))
    call.timer = setTimeout(() => {
      call.released = true
      call.resolve(this.#unreachable())
    }, this.#options.answerWithinMs)
    this.#ask(call, asked)
    return call.answer
  }

  #ask(call, asked) {
    const id = asked.tool_call_id
    call.command = { type: "client_tool_call", client_tool_call: asked }
    this.#calls.set(id, call)
    call.requestId = this.#connection.send(call.command, `call:${id}`).command.requestId
  }

  /** The id of an agent's call: platforms restart their numbers in each conversation. */
  #callId(platformCallId) {
    return `${this.#conversationId ?? this.#run}:${platformCallId}`.slice(-MAX_CALL_ID)
  }

  #patienceMs(name) {
    const longest = Math.max(1000, Math.min(MOST_MS, this.#options.answerWithinMs - 1000))
    return isCard(name) ? Math.min(longest, SHOW_MS) : longest
  }

  #unreachable() {
    return JSON.stringify({ status: "unreachable", say: this.#options.words.unreachable })
  }

  /** No error: ElevenLabs hides those from its model, which can do better once it knows why. */
  #refused(reason) {
    return JSON.stringify({ status: "refused", say: this.#options.words.refused, reason })
  }

  // From the session.

  #hear(message, query) {
    if (message.type === "session_joined") this.#join(message, query)
    if (message.type === "client_tool_result") this.#settle(message)
    if (message.duplicate) return
    if (typeof message.seq === "number" && message.type !== "session_joined") {
      if (message.seq <= this.#seq) return
      this.#seq = message.seq
    }
    const letter = letterOf(message)
    if (!letter) return
    this.#mailbox.put(letter)
    this.#flush()
  }

  #join(joined, query) {
    const isFirst = this.#joined === null
    this.#joined = joined
    this.#epoch = joined.epoch
    if (isFirst || joined.recovery !== "replay") this.#seq = joined.seq
    if (isFirst) this.#findStrays(joined)
    Object.assign(query, { session_id: joined.session_id, strict: "1" })
    if (!isFirst && joined.recovery === "snapshot") {
      // A result may have been among what is no longer kept; asking again answers it.
      for (const call of this.#calls.values()) this.#connection.send(call.command)
    }
    this.#whenJoined.resolve(joined)
  }

  /** What an agent asked that is gone since, say with the page before this one. */
  #findStrays(joined) {
    const here = new Set((joined.presence ?? []).map((who) => who.connection_id))
    for (const record of joined.open_calls ?? []) {
      const { id, name, parameters } = callOf(record)
      if (!here.has(record.sender?.connection_id)) this.#strays.set(id, { question: parameters.title ?? name })
    }
  }

  #settle(record) {
    const id = this.#calls.has(record.tool_call_id) ? record.tool_call_id : this.#idByRequest(record.requestId)
    const call = this.#calls.get(id)
    const stray = this.#strays.get(record.tool_call_id)
    if (!call && stray) this.#late(stray, record)
    if (!call) return
    this.#calls.delete(id)
    clearTimeout(call.timer)
    if (call.released) this.#late(call, record)
    else if (typeof record.result !== "string") call.reject(new Error("This call was answered before."))
    else if (record.is_error) call.reject(new Error(record.result))
    else call.resolve(record.result)
  }

  #idByRequest(requestId) {
    for (const [id, call] of this.#calls) if (requestId && call.requestId === requestId) return id
    return null
  }

  #late(call, record) {
    const result = resultOf(record.result ?? "")
    if (NO_NEWS.has(result.status)) return
    const answer = result.label ?? result.text ?? JSON.stringify(result.values ?? result.status)
    this.#mailbox.put({ kind: "turn", text: this.#options.words.late(call.question, answer), contextId: null })
    this.#flush()
  }

  #refuse(entry, error) {
    const id = entry.command.client_tool_call?.tool_call_id
    const call = this.#calls.get(id)
    if (!call) return
    this.#calls.delete(id)
    if (error.code === "tool_call_reused") {
      // Some models number the calls of every turn alike: it is another question.
      this.#ask(call, { ...entry.command.client_tool_call, tool_call_id: this.#callId(newId()) })
      return
    }
    clearTimeout(call.timer)
    // A fault in a tool's definition is an error; of the rest the model should know.
    const isAuthors = error.code === "invalid_message" && !entry.command.client_tool_call.tool_name.startsWith("companion_")
    if (isAuthors) call.reject(new Error(error.message))
    else call.resolve(this.#refused(error.message))
  }

  #end(status) {
    if (this.#ended) return
    this.#ended = status
    this.#whenJoined.reject(new Error(`${status.code}: ${status.reason}`))
    for (const call of this.#calls.values()) {
      clearTimeout(call.timer)
      if (!call.released) call.resolve(this.#unreachable())
    }
    this.#calls.clear()
    this.#options.onEnd?.(status)
  }

  // To the agent.

  #flush(waitMs = null) {
    if (this.#flushing !== null || !this.#mailbox.first) return
    const settle = this.#mailbox.first.contextId ? SETTLE_MS : 0
    this.#flushing = setTimeout(() => {
      this.#flushing = null
      const letter = this.#mailbox.first
      if (!letter || !this.#isHeard()) return
      try {
        this.#tell(letter)
        this.#mailbox.take(letter)
        this.#flush()
      } catch {
        this.#flush(RETRY_MS)
      }
    }, waitMs ?? settle)
  }

  /** After a close the SDK loses what it is given without a word, so it is asked first. */
  #isHeard() {
    if (this.#conversation) return this.#conversation.isOpen?.() ?? true
    return this.#widget !== null && this.#conversationId !== null
  }

  #tell(letter) {
    const conversation = this.#conversation
    if (!conversation) return this.#tellWidget(letter)
    if (letter.kind === "turn") return conversation.sendUserMessage(letter.text)
    if (letter.kind === "activity") return conversation.sendUserActivity()
    return conversation.sendContextualUpdate(letter.text, letter.contextId ? { contextId: letter.contextId } : undefined)
  }

  #tellWidget(letter) {
    const names = { turn: "user-message", update: "contextual-update", activity: "user-activity" }
    const detail = { message: letter.text }
    this.#widget.dispatchEvent(new CustomEvent(`elevenlabs-agent:${lookUp(names, letter.kind)}`, { detail }))
  }
}

/** A bridge; the same as `new CompanionBridge(options)`. */
export function companion(options) {
  return new CompanionBridge(options)
}

/** Whether two calls ask the same, as the text of their parameters has it. */
function isSame(one, other) {
  return one.tool_name === other.tool_name && JSON.stringify(one.parameters) === JSON.stringify(other.parameters)
}

/** A message with its longest texts cut, so that its JSON has `limitBytes` at most. */
function cut(message, limitBytes) {
  let value = message
  for (;;) {
    const over = new TextEncoder().encode(JSON.stringify(value)).length - limitBytes
    if (over <= 0) return value
    const longest = textsOf(value).reduce((most, text) => (text.length > most.length ? text : most), "")
    if (longest.length < 8) return { type: message.type }
    const kept = Math.max(longest.length - over - 3, Math.floor(longest.length / 2))
    value = withText(value, longest, `${longest.slice(0, kept).replace(/[\uD800-\uDBFF]$/, "")}…`)
  }
}

function textsOf(value) {
  if (typeof value === "string") return [value]
  return value && typeof value === "object" ? Object.values(value).flatMap(textsOf) : []
}

function withText(value, old, text) {
  if (Array.isArray(value)) return value.map((each) => withText(each, old, text))
  if (value && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, withText(each, old, text)]))
  }
  return value === old ? text : value
}

function socketAddress(base) {
  const address = new URL("ws", String(base).endsWith("/") ? base : `${base}/`)
  address.protocol = address.protocol.replace("http", "ws")
  return address.href
}
