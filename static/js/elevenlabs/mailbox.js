// What waits for the agent: turns in order, updates with the newest of each context only.
// Its sentences are those of companion_ws/voice: tests/wire/bridges holds both to the same cases.

/**
 * Letters `{kind, text, contextId}` until they are delivered; kind is `turn`, `update`
 * or `activity`. Nothing is dropped but what a newer one replaces.
 */
export class Mailbox {
  #letters = []

  get letters() {
    return [...this.#letters]
  }

  get first() {
    return this.#letters[0] ?? null
  }

  put(letter) {
    if (letter.kind === "activity" && this.#letters.some((old) => old.kind === "activity")) return
    if (letter.kind === "update" && letter.contextId) {
      this.#letters = this.#letters.filter((old) => old.kind !== "update" || old.contextId !== letter.contextId)
    }
    this.#letters.push(letter)
  }

  putFirst(letter) {
    this.#letters.unshift(letter)
  }

  take(letter) {
    this.#letters = this.#letters.filter((old) => old !== letter)
  }
}

/** What an agent can say when a screen was not asked, or answered late. */
export const WORDS = {
  refused: "I could not show that on your screen. Let’s continue without it.",
  unreachable: "I cannot reach your screen at the moment. Let’s continue without it.",
  late: (question, answer) => `About “${question}”: ${answer}.`,
}

/** What an agent is told of a record or a passed message, or null. Agents' own words are no news. */
export function letterOf(message) {
  if (message.type === "user_message") return turn(message.text)
  if (message.type === "user_activity") return { kind: "activity", text: "", contextId: null }
  if (message.sender?.role !== "ui") return null
  switch (message.type) {
    case "ui_action":
      return turn(`I tapped “${message.name}” on my screen${tail(message.context)}`)
    case "contextual_update":
      return update(message.text + tail(message.data), message.context_id ?? null)
    case "state_updated":
      return update(`Set on the user’s screen: ${message.key} = ${compact(message.value)}`, `state:${message.key}`)
    case "state_deleted":
      return update(`Cleared on the user’s screen: ${message.key}`, `state:${message.key}`)
    case "screen":
      return update(`The user’s screen shows: ${message.text}`, `screen:${message.sender.connection_id}`)
    default:
      return null
  }
}

/** What an agent that joins late should know of a session, or "". */
export function summaryOf(joined) {
  const parts = Object.entries(joined.state ?? {}).map(([key, entry]) => `${key} = ${compact(entry.value)}`)
  for (const card of (joined.cards ?? []).slice(-3)) parts.push(`shown on the screen: ${card.text}${tail(card.data)}`)
  return parts.length ? short(`So far in this session: ${parts.join("; ")}`) : ""
}

/** Longer text would crowd the conversation out of the model's context. */
const MAX_CHARACTERS = 2000

function turn(text) {
  return { kind: "turn", text, contextId: null }
}

function update(text, contextId) {
  return { kind: "update", text, contextId }
}

function tail(value) {
  return value === undefined || value === null ? "" : `: ${compact(value)}`
}

function compact(value) {
  return short(JSON.stringify(value))
}

function short(text) {
  return text.length <= MAX_CHARACTERS ? text : `${text.slice(0, MAX_CHARACTERS - 1)}…`
}
