// <session-timeline>: everything that happened in a session, a line each, on one clock.
//
// Properties in: `add(messages)`, `filter(filter)`, `playTo(count)`, `select(seq)`, `move(step)`;
// `onSelect(message)` is told of the line that was chosen. Lines that come within one frame are
// put in together, and those out of sight are not laid out, so that thousands cost little.

import { gistOf, toneOf } from "../core/gists.js"
import { LANES, analyse, duration, kinOf, kindOf, laneOf, matches, targetOf, tookMs, troubleCounts, troublesAt, wordsOf } from "../core/trace.js"
import { serverClock } from "../net/api.js"
import { define, fillIn, h } from "./dom.js"
import { callBar } from "./waterfall.js"

/** A browser scrolls this many lines with ease; older ones are in the export. */
const MAX_ROWS = 4000
/** The agent's usual patience; bars are drawn no wider than this. */
const WIDEST_MS = 20_000
const AT_END_PX = 40

export function defineTimeline() {
  define("session-timeline", SessionTimeline)
}

class SessionTimeline extends HTMLElement {
  #rows = []
  #bySeq = new Map()
  #waiting = []
  #filter = { kinds: new Set(), lanes: new Set(), troubles: new Set(), text: "" }
  #found = analyse([])
  #selected = null
  #played = Infinity
  #unseen = 0
  #frame = null

  connectedCallback() {
    if (this.rowsElement) return
    this.rowsElement = h("ol", { class: "timeline-rows", "aria-label": "What happened" })
    this.scroller = h("div", { class: "timeline-scroll", tabindex: "0", role: "region", "aria-label": "Timeline" }, this.#head(), this.rowsElement)
    this.more = h("button", { type: "button", class: "pill is-inside", hidden: true, on: { click: () => this.toEnd() } })
    this.nothing = h("p", { class: "muted timeline-empty", role: "status" })
    this.scroller.addEventListener("scroll", () => this.#isAtEnd() && this.#seen(), { passive: true })
    this.rowsElement.addEventListener("click", (event) => {
      const row = this.#rows.find(({ node }) => node === event.target.closest("li"))
      if (row) this.#choose(row)
    })
    fillIn(this, this.scroller, this.nothing, this.more)
  }

  /** What has been shown so far, oldest first. */
  get messages() {
    return this.#rows.map(({ message }) => message)
  }

  /** `{calls, troubles}` of all of it; see `analyse`. */
  get found() {
    return this.#found
  }

  get counts() {
    return troubleCounts(this.#found.troubles)
  }

  /** Show what happened, each at its time: what is told later may have been before. */
  add(messages) {
    for (const told of messages) {
      if (typeof told.seq === "number" && this.#bySeq.has(told.seq)) continue
      // What comes without a time happens now.
      const message = { ...told, timestamp: told.timestamp ?? serverClock.nowMs }
      const row = { message, words: wordsOf(message), troubles: new Set(), node: null, isLive: this.#played !== Infinity }
      if (typeof message.seq === "number") this.#bySeq.set(message.seq, row)
      this.#waiting.push(row)
    }
    this.#frame ??= requestAnimationFrame(() => this.flush())
  }

  /** Put in what waits; by itself that happens once a frame. */
  flush() {
    if (this.#frame !== null) cancelAnimationFrame(this.#frame)
    this.#frame = null
    const wasAtEnd = this.#isAtEnd()
    const added = this.#waiting.sort((one, other) => one.message.timestamp - other.message.timestamp)
    this.#waiting = []
    let at = this.#rows.length
    // The newest first: most belong at the end, and each place is found from the one before it.
    for (const row of added.reverse()) {
      while (at > 0 && isAfter(this.#rows[at - 1].message, row.message)) at -= 1
      row.node = this.#line(row)
      this.rowsElement.insertBefore(row.node, this.#rows[at]?.node ?? null)
      this.#rows.splice(at, 0, row)
    }
    while (this.#rows.length > MAX_ROWS) {
      const first = this.#rows.shift()
      first.node.remove()
      this.#bySeq.delete(first.message.seq)
    }
    this.#look(added)
    this.#paintAll()
    const shown = added.filter(({ node }) => !node.hidden).length
    if (wasAtEnd && this.#selected === null) this.toEnd()
    else if (shown > 0 && !this.#isAtEnd()) this.#tellUnseen(shown)
  }

  filter(filter) {
    this.#filter = filter
    this.#paintAll()
  }

  /** Say why there is nothing to see. */
  explain(words) {
    this.why = words
    this.#paintAll()
  }

  /** Show the first `count` of the lines there are; whatever comes meanwhile is shown as well. */
  playTo(count) {
    this.#played = count
    this.#paintAll()
    this.#rows.at(Math.min(count, this.#rows.length) - 1)?.node.scrollIntoView({ block: "nearest" })
  }

  /** Show everything again. */
  playAll() {
    this.#played = Infinity
    for (const row of this.#rows) row.isLive = false
    this.#paintAll()
  }

  /** Choose the line of a record; false where there is none. */
  select(seq) {
    const row = this.#bySeq.get(seq)
    if (!row?.node) return false
    this.#choose(row)
    row.node.scrollIntoView({ block: "center" })
    return true
  }

  /** Choose the next line that is to be seen, or the one before it. */
  move(step) {
    const seen = this.#rows.filter(({ node }) => !node.hidden)
    const at = seen.indexOf(this.#selected)
    const next = at === -1 ? seen.at(step > 0 ? 0 : -1) : seen.at(Math.max(0, at + step))
    if (!next || next === this.#selected) return
    this.#choose(next)
    next.node.firstElementChild.focus({ preventScroll: true })
    next.node.scrollIntoView({ block: "nearest" })
  }

  /** Let go of the line that was chosen, and give it the keyboard. */
  unselect() {
    const row = this.#selected
    this.#selected = null
    this.#light()
    row?.node.firstElementChild.focus({ preventScroll: true })
  }

  toEnd() {
    this.scroller.scrollTop = this.scroller.scrollHeight
    this.#seen()
  }

  #head() {
    return h("div", { class: "timeline-head", "aria-hidden": "true" },
      h("span", { class: "head-time" }, "Time"), h("span", { class: "head-gap" }, "after"),
      h("span", { class: "head-lanes" }, LANES.map((lane) => h("span", {}, lane))),
      h("span", { class: "head-seq" }, "#"), h("span", {}, "What happened"), h("span", { class: "head-took" }, "took"))
  }

  #choose(row) {
    this.#selected = row
    this.#light()
    this.onSelect?.(row.message)
  }

  #light() {
    const kin = this.#selected ? kinOf(this.#selected.message) : null
    for (const row of this.#rows) {
      const isChosen = row === this.#selected
      row.node.classList.toggle("is-kin", !isChosen && kin !== null && kinOf(row.message) === kin)
      if (isChosen) row.node.firstElementChild.setAttribute("aria-current", "true")
      else row.node.firstElementChild.removeAttribute("aria-current")
    }
  }

  /** See what it all adds up to: of which calls the bars, which rows are in trouble. */
  #look(added) {
    this.#found = analyse(this.messages)
    const longest = Math.max(1000, ...[...this.#found.calls.values()].map((call) => tookMs(call) ?? 0))
    const scaleMs = Math.min(WIDEST_MS, longest)
    const isNew = new Set(added)
    const touched = new Set(added.map(({ message }) => kinOf(message)))
    for (const { message } of added) if (message.type === "rendered") touched.add(kinOf(this.#bySeq.get(message.of_seq)?.message ?? {}))
    for (const [at, row] of this.#rows.entries()) {
      row.troubles = troublesAt(row.message, this.#found)
      this.#tell(row, at)
      const isCall = row.message.type === "client_tool_call"
      const mustDraw = isCall && (isNew.has(row) || touched.has(kinOf(row.message)) || this.scaleMs !== scaleMs)
      if (mustDraw) this.#draw(row, this.#found.calls.get(kinOf(row.message)), scaleMs)
    }
    this.scaleMs = scaleMs
  }

  #tell(row, at) {
    const isSlow = row.message.type === "client_tool_call" && row.troubles.has("slow")
    const call = row.message.type === "client_tool_call" ? this.#found.calls.get(kinOf(row.message)) : null
    const tone = isSlow && call.tone !== "bad" ? "warn" : (call?.tone ?? toneOf(row.message))
    if (row.tone !== tone) {
      row.tone = tone
      row.node.dataset.tone = tone
    }
    const gap = at > 0 ? row.message.timestamp - this.#rows[at - 1].message.timestamp : 0
    if (row.gap !== gap) {
      row.gap = gap
      row.node.querySelector(".event-gap").textContent = gap > 0 ? `+${duration(gap)}` : ""
    }
  }

  #draw(row, call, scaleMs) {
    const took = tookMs(call)
    fillIn(row.node.querySelector(".event-took"), callBar(call, scaleMs), took === null ? "…" : duration(took))
  }

  #paintAll() {
    let isAny = false
    let at = 0
    for (const row of this.#rows) {
      const isAhead = !row.isLive && at >= this.#played
      if (!row.isLive) at += 1
      const hidden = isAhead || !matches(row, this.#filter)
      if (row.node.hidden !== hidden) row.node.hidden = hidden
      isAny ||= !hidden
    }
    this.nothing.hidden = isAny
    this.nothing.textContent = this.#rows.length > 0 ? "Nothing here matches the filter." : (this.why ?? "Nothing yet.")
    this.onPaint?.()
  }

  #line(row) {
    const { message } = row
    const from = laneOf(message)
    const to = targetOf(message)
    const gist = gistOf(message)
    const date = new Date(message.timestamp)
    return h("li", {},
      h("button", { type: "button", class: `event is-${kindOf(message)}`, title: gist },
        h("time", { class: "event-time", datetime: date.toISOString() }, clock(date).slice(0, -4), h("span", {}, clock(date).slice(-4))),
        h("span", { class: "event-gap" }),
        h("span", { class: `event-lanes from-${from}${to && to !== from ? ` to-${to}` : ""}` }, h("span", { class: "unseen" }, to && to !== from ? `${from} to ${to}` : from)),
        h("span", { class: "event-seq" }, message.seq ? `#${message.seq}` : ""),
        h("span", { class: "event-what" },
          h("span", { class: "event-type" }, message.type), " ",
          h("span", { class: "event-gist" }, gist)),
        h("span", { class: "event-took" })))
  }

  #isAtEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.scroller
    return scrollHeight - scrollTop - clientHeight < AT_END_PX
  }

  #seen() {
    this.#unseen = 0
    this.more.hidden = true
  }

  #tellUnseen(count) {
    this.#unseen += count
    this.more.hidden = this.#unseen === 0
    this.more.textContent = `${this.#unseen} new`
  }
}

/** Records keep the order of the log, whatever a clock did; the rest goes by time. */
function isAfter(one, other) {
  if (typeof one.seq === "number" && typeof other.seq === "number") return one.seq > other.seq
  return one.timestamp > other.timestamp
}

/** "14:03:22.123" */
export function clock(date) {
  const two = (number) => String(number).padStart(2, "0")
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${String(date.getMilliseconds()).padStart(3, "0")}`
}

