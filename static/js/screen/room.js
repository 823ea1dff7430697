// How much room the page has, told to the style: where the keyboard ends, how high dock and sheet are,
// and whether so little fits that the dock must fold.

import { ruleFor } from "../elements/dom.js"

/** Less height than this, in text of the size set: what is not content folds. */
const SHORT_REM = 30
/** Less than this, and even what decides a question must scroll with it. */
const TINY_REM = 18
/** Between the last card and what stands at the end. */
const GAP_REM = 1.25

let frame = null

/**
 * Watches `root`, the frame, with `list`, the cards, and `dock`, the lowest of what stands at its end.
 * Sets for it: `--view` and `--keyboard` (heights), `--foot-N` (of the N lowest), `--end` (what the
 * page keeps free under its last card), the classes `is-short` and `is-tiny`; calls `onChange()` when `isShort` has changed.
 */
export class Room {
  #root
  #list
  #foot = []
  // In the next frame: what a size sets changes sizes, and a browser calls that a loop.
  #sizes = new ResizeObserver(() => requestAnimationFrame(() => this.measure()))
  #onChange
  #watching = new AbortController()
  isShort = false

  constructor({ root, list, dock, onChange }) {
    this.#root = root
    this.#list = list
    this.#onChange = onChange
    const measure = () => this.measure()
    const { signal } = this.#watching
    for (const type of ["resize", "scroll"]) {
      addEventListener(type, measure, { signal, passive: true })
      globalThis.visualViewport?.addEventListener(type, measure, { signal })
    }
    this.#sizes.observe(list)
    this.stand(dock)
  }

  /** `element` stands at the end of the page, above those before. */
  stand(element) {
    this.#foot.push(element)
    this.#sizes.observe(element)
  }

  stop() {
    this.#sizes.disconnect()
    this.#watching.abort()
  }

  measure() {
    if (this.#watching.signal.aborted) return
    const remPx = parseFloat(getComputedStyle(document.documentElement).fontSize)
    const keyboard = keyboardPx()
    const view = innerHeight - keyboard
    this.#set("--keyboard", keyboard)
    this.#set("--view", view)
    this.#root.classList.toggle("is-tiny", view < TINY_REM * remPx)
    this.#fold(view < SHORT_REM * remPx)
    let height = keyboard
    this.#foot.forEach((each, at) => {
      height += each.offsetHeight
      this.#set(`--foot-${at + 1}`, height)
    })
    this.#set("--end", Math.max(height + GAP_REM * remPx, this.#seen()))
  }

  #fold(isShort) {
    if (isShort === this.isShort) return
    this.isShort = isShort
    this.#root.classList.toggle("is-short", isShort)
    this.#onChange()
  }

  /** What is seen below the last card: where it went at once, the page would have to scroll. */
  #seen() {
    const last = this.#list.lastElementChild
    return last && scrollY > 0 ? innerHeight - last.getBoundingClientRect().bottom : 0
  }

  #set(name, px) {
    const style = (frame ??= ruleFor(".frame"))
    const text = `${px.toFixed(2)}px`
    if (style.getPropertyValue(name) !== text) style.setProperty(name, text)
  }
}

/** How much of the page's end a keyboard covers, where it lies over the page (iOS); 0 where the page shrinks. */
function keyboardPx() {
  const seen = globalThis.visualViewport
  // Who zooms in with two fingers has no keyboard in the way.
  if (!seen || Math.abs(seen.scale - 1) > 0.01) return 0
  return Math.max(0, innerHeight - seen.height - seen.offsetTop)
}
