// What the page says of a tap until the server has it: under way, kept for later, refused, too late.

import { resultOf } from "../core/protocol.js"
import { isPresent } from "../core/session.js"

/** A phone whose token has expired may rejoin, and sends what waits then. */
const TOKEN_EXPIRED = 4401

/** Of one ScreenSession, in one language. */
export class Taps {
  #screen
  #words

  constructor(screen, words) {
    this.#screen = screen
    this.#words = words
  }

  /** Nobody changes what nobody hears: there must be an agent. */
  get mayChange() {
    return isPresent(this.#screen.session, "agent")
  }

  /** The answer to `call` that travels, `{id, text}` with what is said of it; null where there is none. */
  answer(call) {
    const entry = this.#screen.pending(`call:${call.id}`)
    if (!entry) return null
    const result = resultOf(entry.command.result)
    return { id: result.id ?? result.status, text: this.#travelling }
  }

  /** What is said of a changed answer that travels, or was refused; "" where there is none. */
  change(call) {
    if (this.#screen.pending(`change:${call.id}`)) return this.#travelling
    return this.#refusal(`change:${call.id}`, true)
  }

  /** The same for the option of a card. */
  choice(card, view) {
    const entry = view.choices ? this.#screen.pending(card.key) : null
    if (!entry) return null
    const { command } = entry
    const text = JSON.stringify(command.value ?? command.context?.id)
    const option = view.choices.options.find((each) =>
      [JSON.stringify(each.value), JSON.stringify(each.id)].includes(text))
    // The first command is stored and its sentence still travels: that is done, for a person.
    return option ? { id: option.id, text: this.#travelling } : null
  }

  /** What stands below a card's choice. */
  noteOnCard(card, view) {
    if (view.choices && this.#screen.isTooLate(card, view.choices)) return this.#words("choice_closed")
    return this.#refusal(card.key, card.locked)
  }

  /** What stands below an open question: `{note, isHint}`; a hint is nothing that went wrong. */
  noteOnQuestion(call) {
    const refusal = this.#refusal(`call:${call.id}`)
    const isHint = refusal === "" && call.released
    return { note: isHint ? this.#words("still_open") : refusal, isHint }
  }

  get #travelling() {
    const { status, link } = this.#screen
    if (status.phase === "ended" && status.code !== TOKEN_EXPIRED) return this.#words("not_said")
    return this.#words(link.isSure ? "sending" : "queued")
  }

  #refusal(about, isLocked = false) {
    const code = this.#screen.refusals.get(about)
    if (!code) return ""
    if (code === "tool_closed") return ""
    if (code === "forbidden" && isLocked) return this.#words("choice_closed")
    if (code === "body_too_large") return this.#words("too_long")
    return this.#words(code === "revision_conflict" ? "changed_meanwhile" : "not_sent")
  }
}
