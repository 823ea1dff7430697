// What draws a person's attention: one spoken sentence, a pill, a toast, and where the agent points.

import { cut } from "../core/cards.js"
import { fillIn, h, icon } from "../elements/dom.js"

const ANNOUNCE_MS = 400
const TOAST_MS = 6000
const MAX_TOAST = 300
/** Further down than this a person reads; nothing moves under their eyes. */
const READING_PX = 120
const AT_TOP_PX = 40
/** The way to the top takes no longer, however long it is. */
const RISE_MS = 1000

/**
 * The parts of the page that tell of news; `parts` are its elements.
 * `find(target)` gives the element an agent means, or null; `list` holds the cards.
 */
export class Announcer {
  #words
  #list
  #find
  #unseen = 0
  #sentences = []
  #announcing = null
  #toasting = null
  #risingUntil = 0

  constructor({ words, list, find }) {
    this.#words = words
    this.#list = list
    this.#find = find
    this.pill = h("button", { type: "button", class: "pill", hidden: true, on: { click: () => this.toTop() } })
    this.toastBox = h("p", { class: "toast", role: "status", hidden: true })
    this.spoken = h("p", { class: "unseen", "aria-live": "polite" })
    addEventListener("scroll", () => this.#scrolled(), { passive: true })
  }

  get parts() {
    return [this.pill, this.toastBox, this.spoken]
  }

  /** Something new is shown; `sentence` is what a screen reader says of it. */
  tell(sentence) {
    this.#sentences.push(sentence)
    this.#announcing ??= setTimeout(() => this.#announce(), ANNOUNCE_MS)
    if (scrollY <= READING_PX) return
    this.#unseen += 1
    this.pill.hidden = false
    fillIn(this.pill, icon("up"), this.#words("n_new", { n: this.#unseen }))
  }

  toast(text) {
    this.toastBox.textContent = cut(text, MAX_TOAST)
    this.toastBox.hidden = false
    clearTimeout(this.#toasting)
    this.#toasting = setTimeout(() => (this.toastBox.hidden = true), TOAST_MS)
  }

  /** Go to what the agent means; `isLit` makes it glow for a moment. */
  pointAt(target, isLit) {
    const node = this.#find(target)
    if (!node) return
    node.scrollIntoView({ block: "center", behavior: calm() ? "auto" : "smooth" })
    if (!isLit) return
    node.classList.remove("is-lit")
    // Reading the layout starts the animation anew.
    void node.offsetWidth
    node.classList.add("is-lit")
  }

  /** Whether the page is on its way to the top, where nothing may hold it back. */
  get isRising() {
    return performance.now() < this.#risingUntil
  }

  toTop() {
    this.#risingUntil = performance.now() + RISE_MS
    scrollTo({ top: 0, behavior: calm() ? "auto" : "smooth" })
    this.#list.querySelector("article")?.focus({ preventScroll: true })
  }

  /** Many at once are one sentence: nobody can follow ten. */
  #announce() {
    const [first, ...others] = this.#sentences
    this.spoken.textContent = others.length ? this.#words("n_updates", { n: others.length + 1 }) : first
    this.#sentences = []
    this.#announcing = null
  }

  #scrolled() {
    if (scrollY > AT_TOP_PX || this.#unseen === 0) return
    this.#unseen = 0
    this.pill.hidden = true
  }
}

function calm() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches
}
