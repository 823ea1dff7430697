// A session played again, as fast as one likes; what happens meanwhile is shown as it happens.

import { fillIn, h } from "../elements/dom.js"
import { clock } from "../elements/timeline.js"

/** A replay waits no longer than this between two records, at its natural speed. */
const LONGEST_PAUSE_MS = 2000
const SPEEDS = [1, 2, 4, 8, 16, 32]

export class Replay {
  #timer = null

  /** `timeline`: what is played; `bar`: where its controls go; `onEnd()`: it is over, or was stopped. */
  constructor(timeline, bar, onEnd) {
    this.timeline = timeline
    this.messages = timeline.messages
    this.onEnd = onEnd
    this.bar = bar
    this.at = 0
    this.speed = h("select", { "aria-label": "Speed" }, SPEEDS.map((speed) => h("option", { value: speed }, `${speed}×`)))
    this.progress = h("input", { type: "range", min: 0, max: this.messages.length, value: 0, step: 1, "aria-label": "Progress",
      on: { input: () => this.#goTo(Number(this.progress.value)) } })
    this.where = h("output", { class: "muted" })
    this.speed.addEventListener("change", () => this.#goTo(this.at))
    fillIn(bar, h("button", { type: "button", class: "tool is-on", on: { click: () => this.stop() } }, "Stop"), this.speed, this.progress, this.where)
    this.#goTo(0)
  }

  stop() {
    clearTimeout(this.#timer)
    this.timeline.playAll()
    fillIn(this.bar)
    this.onEnd()
  }

  #goTo(at) {
    clearTimeout(this.#timer)
    this.at = at
    this.timeline.playTo(at)
    this.progress.value = at
    const last = this.messages[at - 1]
    this.where.textContent = `${at} of ${this.messages.length}${last ? ` · ${clock(new Date(last.timestamp))}` : ""}`
    const next = this.messages[at]
    if (!next) {
      this.#timer = setTimeout(() => this.stop(), LONGEST_PAUSE_MS / 2)
      return
    }
    const gap = last ? Math.max(0, next.timestamp - last.timestamp) : 0
    this.#timer = setTimeout(() => this.#goTo(at + 1), Math.min(gap, LONGEST_PAUSE_MS) / Number(this.speed.value))
  }
}
