// A question arrives and the phone is at the ear: the tab's title says so, the phone buzzes and chimes.
//
// Only what arrives while somebody is here rings, once; what a reload brings was seen before. No
// browser lets a page make a sound, or most of them buzz, before it was touched once. A person who
// wants neither turns it off in the sheet, for this device.

import { cut } from "../core/cards.js"
import { fillIn, h, icon } from "../elements/dom.js"
import { settings } from "../net/storage.js"

const QUIET = "quiet"
const BUZZ_MS = [60, 80, 60]
/** Two notes, up: short, and soft enough for an ear at the phone. */
const NOTES = [{ hz: 660, at_s: 0 }, { hz: 880, at_s: 0.12 }]
const NOTE_S = 0.16
const LOUDNESS = 0.08
const BELL = "M6 16v-5a6 6 0 0 1 12 0v5l1.5 2h-15zM10 21h4"
const STRUCK = "M4 4l16 16"
/** A tab shows no more. */
const MAX_TITLE = 80

export class Attention {
  #seen = new Set()
  #hasLooked = false
  #audio = null
  #isTouched = false

  constructor() {
    for (const type of ["pointerdown", "keydown"]) addEventListener(type, () => this.#touched(), { capture: true, passive: true })
  }

  /**
   * Take in the open questions, `{key, title, seq}` with the one in front first. `name` is the tab's
   * title while nothing is asked, `horizon` the last record that was there before.
   */
  see(questions, { name, horizon }) {
    const [first] = questions
    const title = first ? `(${questions.length}) ${cut(first.title || name, MAX_TITLE)}` : name
    if (document.title !== title) document.title = title
    const isNews = questions.some(({ key, seq }) => !this.#seen.has(key) && (this.#hasLooked || seq > horizon))
    for (const { key } of questions) this.#seen.add(key)
    this.#hasLooked = true
    if (isNews && !settings.get(QUIET)) this.#ring()
  }

  /** The button that turns sound and vibration off, and on again. */
  button(words) {
    const button = h("button", { type: "button", class: "quiet sheet-alerts", "aria-label": words("alerts"), on: { click: () => {
      settings.set(QUIET, !settings.get(QUIET))
      paint()
    } } })
    const paint = () => {
      const isOn = !settings.get(QUIET)
      button.setAttribute("aria-pressed", String(isOn))
      fillIn(button, icon("bell", isOn ? BELL : BELL + STRUCK))
    }
    paint()
    return button
  }

  #ring() {
    if (!this.#isTouched) return
    navigator.vibrate?.(BUZZ_MS)
    this.#allow()
    if (this.#audio?.state === "running") for (const note of NOTES) this.#play(note)
  }

  #touched() {
    this.#isTouched = true
    this.#allow()
  }

  /** Begin or go on with sound, where a touch has allowed it. */
  #allow() {
    if (settings.get(QUIET) || !globalThis.AudioContext) return
    this.#audio ??= new AudioContext()
    if (this.#audio.state === "suspended") this.#audio.resume().catch(() => {})
  }

  #play({ hz, at_s: at }) {
    const begins = this.#audio.currentTime + at
    const tone = new OscillatorNode(this.#audio, { frequency: hz })
    const loudness = new GainNode(this.#audio, { gain: 0 })
    loudness.gain.setValueAtTime(0, begins)
    loudness.gain.linearRampToValueAtTime(LOUDNESS, begins + 0.015)
    loudness.gain.exponentialRampToValueAtTime(0.0001, begins + NOTE_S)
    tone.connect(loudness).connect(this.#audio.destination)
    tone.start(begins)
    tone.stop(begins + NOTE_S)
  }
}
