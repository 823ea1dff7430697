// Which open question is in front. No DOM, no clock: times come in, in milliseconds of one clock that runs.

/** Whoever touched a question this recently is at work on it. */
const HELD_MS = 5000

/**
 * The open questions by their keys; the first is in front, the rest wait behind it.
 *
 * The newest one is what is talked about, so it comes to the front. But a question never goes
 * away under a finger or while it is being typed into: while the one in front is held, whatever
 * comes queues behind all others.
 */
export class QuestionQueue {
  #order = []
  #touchedAtMs = -Infinity

  get front() {
    return this.#order[0] ?? null
  }

  get length() {
    return this.#order.length
  }

  /**
   * Take in which questions are open now, `keys` in the order they were asked. Returns the keys that
   * were queued behind the one in front rather than shown. `hasFocus`: whether the focus is in that one.
   */
  take(keys, { nowMs, hasFocus }) {
    const before = this.front
    const open = new Set(keys)
    const known = new Set(this.#order)
    this.#order = this.#order.filter((key) => open.has(key))
    const queued = []
    for (const key of keys) {
      if (known.has(key)) continue
      const isHeld = this.front !== null && this.front === before && (hasFocus || nowMs - this.#touchedAtMs < HELD_MS)
      if (isHeld) queued.push(key)
      this.#order = isHeld ? [...this.#order, key] : [key, ...this.#order]
    }
    if (this.front !== before) this.#touchedAtMs = -Infinity
    return queued
  }

  /** The question in front was touched or typed into. */
  touch(nowMs) {
    this.#touchedAtMs = nowMs
  }

  /** Put the question in front behind all others. */
  goOn() {
    if (this.#order.length < 2) return
    this.#order = [...this.#order.slice(1), this.#order[0]]
    this.#touchedAtMs = -Infinity
  }
}
