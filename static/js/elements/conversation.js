// Who is there and what is said: <connection-lights> and <companion-captions>.
//
// Lights: `show({known, agent, words})`; two of them, as server and agent are two things.
// `known` is what core/link.js says a person knows of the connection.
// Captions: `show({lines, unsent, note, words})`; `unsent` are lines the server does not have, each
// with the `state` sending, queued or not_said. `fold(isFolded)` makes a button of the field to type in.
// Events out: "say" with the text typed instead of spoken, "saying" when that button opens the field or it closes,
// "reading" with whether a screen reader shall read out what is said.

import { cleanText } from "../core/cards.js"
import { lookUp } from "../core/protocol.js"
import { define, fillIn, h, icon } from "./dom.js"
import { value } from "./rich.js"

const LONGEST_TEXT = 2000

export function defineConversation() {
  define("connection-lights", ConnectionLights)
  define("companion-captions", CompanionCaptions)
}

class CompanionCaptions extends HTMLElement {
  #lines = null
  #unsent = ""
  #note = null
  #log = null
  #toggle = null
  #box = null
  #reading = null

  /** Build once, before all else: the text being typed must not be disturbed. */
  build(words) {
    this.#log = h("div", { role: "log", class: "lines", "aria-label": words("captions"), tabindex: "0" })
    this.#toggle = h("button", {
      type: "button", class: "quiet captions-toggle", "aria-expanded": "false", "aria-label": words("show_captions"),
      on: { click: () => this.open(!this.classList.contains("is-open")) },
    }, icon("up"))
    this.#box = h("input", {
      type: "text", name: "text", autocomplete: "off", enterkeyhint: "send", maxlength: LONGEST_TEXT,
      "aria-label": words("type_instead"), placeholder: words("type_instead"),
    })
    const form = h("form", { class: "say", on: {
      submit: (event) => this.#submit(event),
      focusout: (event) => form.contains(event.relatedTarget) || this.#box.value !== "" || this.stopSaying(),
      keydown: (event) => event.key === "Escape" && this.stopSaying(),
    } }, this.#box, h("button", { type: "submit", class: "round", "aria-label": words("send") }, icon("send")))
    const start = h("button", { type: "button", class: "secondary say-start", on: { click: () => this.#startSaying() } },
      icon("keyboard"), h("span", {}, words("type_instead")))
    this.#reading = h("button", { type: "button", class: "secondary for-readers", on: { click: () => this.#askToRead() } }, words("read_captions"))
    this.read(false)
    this.#note = h("p", { class: "said-note", role: "status" })
    fillIn(this, h("div", { class: "captions", hidden: true }, this.#log, this.#reading, this.#toggle), start, this.#note, form)
  }

  open(isOpen) {
    this.classList.toggle("is-open", isOpen)
    this.#toggle.setAttribute("aria-expanded", String(isOpen))
    this.#log.scrollTop = this.#log.scrollHeight
  }

  /** Whether a screen reader reads out what is said; unasked, it would talk over the agent. */
  read(isRead) {
    this.#log.setAttribute("aria-live", isRead ? "polite" : "off")
    this.#reading.setAttribute("aria-pressed", String(isRead))
  }

  #askToRead() {
    const isRead = this.#log.getAttribute("aria-live") === "off"
    this.read(isRead)
    this.dispatchEvent(new CustomEvent("reading", { detail: isRead }))
  }

  /** Fold the field to a button; what is being typed stays in sight. */
  fold(isFolded) {
    const isTyping = document.activeElement === this.#box || this.#box.value !== ""
    if (isFolded && !this.classList.contains("is-folded") && isTyping) this.classList.add("is-saying")
    this.classList.toggle("is-folded", isFolded)
  }

  /** Whether the field was opened although it is to be folded. */
  get isSaying() {
    return this.classList.contains("is-saying")
  }

  stopSaying() {
    this.#say(false)
  }

  #startSaying() {
    this.#say(true)
    this.#box.focus({ preventScroll: true })
  }

  #say(isSaying) {
    if (this.isSaying === isSaying) return
    this.classList.toggle("is-saying", isSaying)
    this.dispatchEvent(new CustomEvent("saying"))
  }

  #submit(event) {
    event.preventDefault()
    const text = this.#box.value.trim()
    if (text === "") return
    // What cannot be sent stays where it can be made shorter.
    if (this.dispatchEvent(new CustomEvent("say", { detail: text, cancelable: true }))) this.#box.value = ""
  }

  show({ lines, unsent, note, words }) {
    if (this.#note.textContent !== note) this.#note.textContent = note
    const waiting = JSON.stringify(unsent)
    if (lines === this.#lines && waiting === this.#unsent) return
    this.#lines = lines
    this.#unsent = waiting
    const all = [
      ...lines.map((line) => ({ ...line, state: line.typed ? "said" : "heard" })),
      ...unsent.map((line) => ({ ...line, who: "user" })),
    ]
    const isAtEnd = unsent.length > 0 || this.#log.scrollHeight - this.#log.scrollTop - this.#log.clientHeight < 48
    this.firstElementChild.hidden = all.length === 0
    all.forEach((line, at) => this.#paint(line, this.#log.children[at], words))
    while (this.#log.children.length > all.length) this.#log.lastElementChild.remove()
    if (isAtEnd) this.#log.scrollTop = this.#log.scrollHeight
  }

  #paint({ who, text, state }, known, words) {
    const key = `${who} ${state} ${text}`
    if (known?.dataset.key === key) return
    const painted = h("p", { class: `line is-${who} is-${state}`, data: { key } },
      h("b", {}, words(who === "user" ? "you" : "agent")), h("span", { class: "said" }, value(cleanText(text))), signOf(state, words))
    if (known) known.replaceWith(painted)
    else this.#log.append(painted)
  }
}

/** How far what was typed has come; a tick is enough for what the server has. */
function signOf(state, words) {
  if (state === "heard") return null
  if (state === "said") return h("small", { class: "line-state" }, icon("check"), h("span", { class: "unseen" }, words("submitted")))
  return h("small", { class: "line-state" }, icon(state === "not_said" ? "close" : "clock"), words(state))
}

const SIGNS = {
  connected: { state: "on", text: "connected" },
  connecting: { state: "busy", text: "connecting" },
  reconnecting: { state: "busy", text: "lost" },
  offline: { state: "off", text: "offline" },
  ended: { state: "off", text: "ended" },
}

class ConnectionLights extends HTMLElement {
  #shown = ""

  show({ known, agent, words }) {
    const { state, text } = lookUp(SIGNS, known)
    const isKnown = known === "connected"
    // Without a connection nobody knows whether the agent is there.
    const other = isKnown ? `${words("agent")} ${words(agent ? "here" : "away")}` : words("agent")
    const key = `${state} ${words(text)} ${other}`
    if (this.#shown === key) return
    this.#shown = key
    this.setAttribute("role", "status")
    fillIn(this, light(state, words(text), "server"), known === "ended" ? null : light(isKnown && agent ? "on" : "off", other, "agent"))
  }
}

function light(state, text, of) {
  return h("span", { class: `light is-${state}`, data: { of } }, h("i", { "aria-hidden": "true" }), h("span", {}, text))
}
