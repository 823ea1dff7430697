// The open question, at the thumb's end of the page: a sheet above the dock, the rest waits behind it.
//
// What a tap means. A finger is on its way for some tenths of a second, and aims at what it saw. So
// where the sheet is another one than before, takes the place of something that can be tapped, or
// has gone away, a shield that cannot be seen catches what is tapped there for a moment. A sheet that
// stood takes taps at once, and a keyboard is never held up: it answers what has the focus.
//
// Which question is in front is queue.js' decision. How high the sheet may become is the style's.

import { fillIn, h, icon, ruleFor } from "../elements/dom.js"
import { QuestionQueue } from "./queue.js"

/** How long a finger may be on its way. */
const AIMED_MS = 400
const TAPPABLE = "a, button, input, label, select, summary, textarea"
/** What holds the question while it has the focus; that a tap beside all controls gives it to the article means nothing. */
const AT_WORK = "button, input, select, textarea, :focus-visible"
const TOUCHES = ["pointerdown", "keydown", "input", "wheel"]

let shield = null

/**
 * `node` is the sheet and `shield` what stands before it for a moment; `list` holds the cards under it.
 * Events out of `node`: "turn" when another question is to come to the front, "fold" when the
 * person folds it away or opens it.
 */
export class Sheet {
  #words
  #list
  #queue = new QuestionQueue()
  #front = null
  #isShown = false
  #shielding = null
  #title = h("span", { class: "sheet-title" })
  #count = h("button", { type: "button", class: "quiet sheet-count", on: { click: () => this.#turn() } })
  #body = h("div", { class: "sheet-body", id: "sheet-body" })
  #toggle

  constructor({ words, list }) {
    this.#words = words
    this.#list = list
    this.#toggle = h("button", {
      type: "button", class: "quiet sheet-toggle", "aria-controls": "sheet-body",
      on: { click: () => this.#fold(!this.isFolded) },
    }, this.#title, icon("down"))
    this.node = h("section", { class: "sheet", hidden: true, "aria-label": words("question") }, this.#count, this.#toggle, this.#body)
    this.shield = h("div", { class: "shield", hidden: true })
    for (const type of TOUCHES) this.node.addEventListener(type, () => this.#queue.touch(performance.now()), { passive: true })
    this.fold(false)
  }

  /** The key of the question in front, or null. */
  get front() {
    return this.#queue.front
  }

  get isFolded() {
    return this.node.classList.contains("is-folded")
  }

  /** Decide which of `keys`, the open questions as they were asked, is in front; returns those queued just now. */
  take(keys) {
    return this.#queue.take(keys, { nowMs: performance.now(), hasFocus: this.hasFocus && document.activeElement.matches(AT_WORK) })
  }

  get hasFocus() {
    return this.node.contains(document.activeElement)
  }

  /** Show the question in front as `{node, title}`, or null where none is open. */
  show(question) {
    const before = this.#isShown ? this.node.getBoundingClientRect() : null
    const isOther = question?.node !== this.#front
    this.#front = question?.node ?? null
    this.#isShown = question !== null
    this.node.hidden = !question
    this.#title.textContent = question?.title ?? ""
    this.#paintCount()
    if (!isOther) return
    fillIn(this.#body, this.#front)
    this.#body.scrollTop = 0
    this.fold(false)
    this.#protect(before)
  }

  /** Fold the sheet to its title, or open it. */
  fold(isFolded) {
    this.node.classList.toggle("is-folded", isFolded)
    this.#toggle.setAttribute("aria-expanded", String(!isFolded))
    if (isFolded) this.#toggle.removeAttribute("aria-label")
    else this.#toggle.setAttribute("aria-label", this.#words("fold_question"))
  }

  /** Give the focus to the question in front, for who had it in the one before. */
  focus() {
    this.#front?.querySelector("article")?.focus({ preventScroll: true })
  }

  #fold(isFolded) {
    this.fold(isFolded)
    this.node.dispatchEvent(new CustomEvent("fold", { detail: isFolded }))
  }

  /** A person who turns to the next question knows that it will be another. */
  #turn() {
    this.#queue.goOn()
    this.node.dispatchEvent(new CustomEvent("turn"))
    this.shield.hidden = true
    this.focus()
  }

  #paintCount() {
    const all = this.#queue.length
    this.#count.hidden = all < 2
    const text = this.#words("one_of", { n: 1, all })
    this.#count.setAttribute("aria-label", `${text}. ${this.#words("next_question")}`)
    if (this.#count.textContent !== text) fillIn(this.#count, text, icon("chevron"))
  }

  #protect(before) {
    const after = this.#isShown ? this.node.getBoundingClientRect() : null
    const place = before && after ? union(before, after) : (before ?? (after && this.#coversControls(after) ? after : null))
    clearTimeout(this.#shielding)
    this.shield.hidden = place === null
    if (!place) return
    const style = (shield ??= ruleFor(".shield"))
    style.setProperty("left", `${place.left}px`)
    style.setProperty("top", `${place.top}px`)
    style.setProperty("width", `${place.right - place.left}px`)
    style.setProperty("height", `${place.bottom - place.top}px`)
    this.#shielding = setTimeout(() => (this.shield.hidden = true), AIMED_MS)
  }

  #coversControls(place) {
    return [...this.#list.querySelectorAll(TAPPABLE)].some((each) => {
      const box = each.getBoundingClientRect()
      return box.height > 0 && box.bottom > place.top && box.top < place.bottom
    })
  }
}

function union(a, b) {
  return {
    left: Math.min(a.left, b.left), right: Math.max(a.right, b.right),
    top: Math.min(a.top, b.top), bottom: Math.max(a.bottom, b.bottom),
  }
}
