// <session-timeline>: everything that happened, in three lanes on one clock.
//
// Properties in: `add(messages)`, `filter(filter)`, `clear()`. A click opens a row's
// payload and lights up its kin.

import { LANES, duration, gistOf, kinOf, kindOf, laneOf, latenciesOf, matches, traces } from "../core/trace.js"
import { serverClock } from "../net/api.js"
import { define, fillIn, h } from "./dom.js"
import { copyButton } from "./owner.js"

/** A browser scrolls this many rows with ease; older ones are in the export and the replay. */
const MAX_ROWS = 2000

export function defineTimeline() {
  define("session-timeline", SessionTimeline)
}

class SessionTimeline extends HTMLElement {
  #messages = []
  #rows = []
  #filter = { kinds: new Set(), lanes: new Set(), text: "" }
  #unseen = 0

  connectedCallback() {
    if (this.rowsElement) return
    this.rowsElement = h("ol", { class: "timeline-rows", "aria-label": "What happened" })
    this.scroller = h("div", { class: "timeline-scroll", tabindex: "0", role: "region", "aria-label": "Timeline" }, this.rowsElement)
    this.more = h("button", { type: "button", class: "pill is-inside", hidden: true, on: { click: () => this.toEnd() } })
    this.nothing = h("p", { class: "muted timeline-empty" }, "Nothing yet.")
    this.scroller.addEventListener("scroll", () => this.#isAtEnd() && this.#seen(), { passive: true })
    fillIn(this,
      h("div", { class: "timeline-head", "aria-hidden": "true" }, h("span", {}, "Time"), LANES.map((lane) => h("span", {}, lane))),
      this.scroller, this.nothing, this.more)
  }

  get messages() {
    return this.#messages
  }

  clear() {
    this.#messages = []
    this.#rows = []
    fillIn(this.rowsElement)
    this.#seen()
  }

  /** Show what happened, each at its time: what is told later may have been before. */
  add(messages) {
    const wasAtEnd = this.#isAtEnd()
    for (const told of messages) {
      // What comes without a time happens now.
      const message = { ...told, timestamp: told.timestamp ?? serverClock.nowMs }
      const place = this.#placeOf(message)
      const at = place - (this.#messages.length - this.#rows.length)
      this.#messages.splice(place, 0, message)
      if (at < 0) continue // older than the oldest row
      const row = this.#row(message)
      this.rowsElement.insertBefore(row, this.#rows[at]?.row ?? null)
      this.#rows.splice(at, 0, { row, message })
      this.#tellGap(at)
      this.#tellGap(at + 1)
      if (!row.hidden && !wasAtEnd) this.#unseen += 1
      if (this.#rows.length > MAX_ROWS) this.#forgetFirst()
    }
    this.nothing.hidden = this.#messages.length > 0
    if (wasAtEnd) this.toEnd()
    else this.#tellUnseen()
  }

  filter(filter) {
    this.#filter = filter
    for (const { row, message } of this.#rows) row.hidden = !matches(message, filter)
  }

  toEnd() {
    this.scroller.scrollTop = this.scroller.scrollHeight
    this.#seen()
  }

  #isAtEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.scroller
    return scrollHeight - scrollTop - clientHeight < 40
  }

  #seen() {
    this.#unseen = 0
    this.more.hidden = true
  }

  #tellUnseen() {
    this.more.hidden = this.#unseen === 0
    this.more.textContent = `${this.#unseen} new`
  }

  #placeOf({ timestamp }) {
    let at = this.#messages.length
    while (at > 0 && this.#messages[at - 1].timestamp > timestamp) at -= 1
    return at
  }

  #forgetFirst() {
    this.#rows.shift().row.remove()
    this.#tellGap(0)
  }

  /** How long after the row before it this one happened. */
  #tellGap(at) {
    const entry = this.#rows[at]
    if (!entry) return
    const gap = at > 0 ? entry.message.timestamp - this.#rows[at - 1].message.timestamp : 0
    entry.row.querySelector("small").textContent = gap > 0 ? `+${duration(gap)}` : ""
  }

  #row(message) {
    const lane = laneOf(message)
    const kin = kinOf(message)
    const open = h("button", { type: "button", class: `event is-${kindOf(message)} in-${lane}`, "aria-expanded": "false" },
      h("span", { class: "event-type" }, message.type),
      message.seq ? h("span", { class: "event-seq" }, `#${message.seq}`) : null,
      h("span", { class: "event-gist" }, gistOf(message)))
    const row = h("li", { data: { kin: kin ?? "" }, hidden: !matches(message, this.#filter) },
      h("span", { class: "event-time" },
        h("time", { datetime: new Date(message.timestamp).toISOString() }, clock(message.timestamp)),
        h("small", {})),
      open)
    open.addEventListener("click", () => this.#toggle(row, open, message, kin))
    return row
  }

  #toggle(row, open, message, kin) {
    const isOpen = open.getAttribute("aria-expanded") === "true"
    open.setAttribute("aria-expanded", String(!isOpen))
    for (const each of this.#rows) each.row.classList.toggle("is-kin", !isOpen && Boolean(kin) && each.row.dataset.kin === kin)
    if (isOpen) row.querySelector(".payload")?.remove()
    else row.append(this.#payload(message, kin))
  }

  #payload(message, kin) {
    const text = JSON.stringify(message, null, 2)
    const trace = kin ? traces(this.#messages).get(kin) : null
    const latencies = trace ? latenciesOf(trace) : []
    return h("div", { class: "payload" },
      latencies.length
        ? h("dl", { class: "latencies" }, latencies.map(([what, ms]) => h("div", {}, h("dt", {}, what), h("dd", {}, duration(ms)))))
        : null,
      h("pre", { tabindex: "0", "aria-label": "Payload" }, text),
      copyButton(text, "Copy payload"))
  }
}

function clock(ms) {
  const date = new Date(ms)
  const two = (number) => String(number).padStart(2, "0")
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${String(date.getMilliseconds()).padStart(3, "0")}`
}
