// What the agent is told of this screen: what it shows, what has been painted, and what could not be.

import { cut, spokenView } from "../core/cards.js"
import { isCard } from "../core/companion-tools.js"
import { callOf } from "../core/protocol.js"

const SUMMARY_MS = 800
const MAX_SUMMARY = 500
/** What an agent is told of a card that could not be shown. */
const MAX_PROBLEM = 500
/** A summary names the newest few. */
const MAX_ENTRIES = 8

/** Reports to the agents of `screen`, a ScreenSession; `shown()` says in a sentence what is shown. */
export class Report {
  #screen
  #shown
  #summary = ""
  #summarising = null
  #told = new Set()
  #problems = new Map()

  constructor(screen, shown) {
    this.#screen = screen
    this.#shown = shown
  }

  /** Keep what could not be shown of a record until it is reported. */
  note(record, problem) {
    if (problem) this.#problems.set(record.seq, [...(this.#problems.get(record.seq) ?? []), problem])
  }

  /** Tell agents that it is on the screen, once it is, and what of it is not. */
  rendered({ record, asks }) {
    const { seq } = record
    if (this.#told.has(seq)) return
    this.#told.add(seq)
    const problem = cut((this.#problems.get(seq) ?? []).join(" "), MAX_PROBLEM)
    const isLive = problem !== "" || seq > this.#screen.session.horizon || (asks && this.#screen.isConnected)
    requestAnimationFrame(() => setTimeout(() => {
      if (isLive) this.#screen.pass({ type: "rendered", of_seq: seq, ...(problem ? { problem } : {}) })
      const call = this.#screen.session.calls.get(callOf(record).id)
      if (isCard(call?.name) && record.type === "client_tool_call") this.#screen.shown(call)
    }))
  }

  /** Say what is shown, where that has changed: a burst of changes is one summary. */
  summariseSoon() {
    this.#summarising ??= setTimeout(() => {
      this.#summarising = null
      this.#summarise()
    }, SUMMARY_MS)
  }

  /** A new connection was told nothing yet. */
  startOver() {
    this.#summary = ""
  }

  #summarise() {
    if (!this.#screen.isConnected || document.visibilityState === "hidden") return
    const text = cut(this.#shown(), MAX_SUMMARY)
    if (text === this.#summary) return
    if (this.#screen.pass({ type: "screen", text })) this.#summary = text
  }
}

/** One sentence of what `entries`, oldest first, show. */
export function summaryOf(entries, words) {
  const parts = entries.reverse().slice(0, MAX_ENTRIES).map(({ asks, model }) => {
    const title = model.view?.title ?? model.title
    if (asks) return `asked: ${title}`
    if (model.receipt) return `${title}: ${model.receipt.text}`
    if (model.chosen) return `${title}: chosen ${model.chosen.label}`
    if (model.choices) return `${title}: ${model.choices.options.map((each) => each.label).join(" / ")}`
    return model.view ? title : spokenView(model, words)
  })
  return parts.length ? `On screen: ${parts.join("; ")}.` : "The screen is empty."
}
