// Who is there and what is said: <connection-lights> and <companion-captions>.
//
// Lights: `show({phase, agent, words})`; two of them, as server and agent are two things.
// Captions: `show({lines, words})`; event out: "say" with the text typed instead of spoken.

import { lookUp } from "../core/protocol.js"
import { define, fillIn, h, icon } from "./dom.js"

const LONGEST_TEXT = 2000

export function defineConversation() {
  define("connection-lights", ConnectionLights)
  define("companion-captions", CompanionCaptions)
}

class CompanionCaptions extends HTMLElement {
  #lines = null
  #log = null
  #toggle = null

  /** Build once: the text being typed must not be disturbed. */
  build(words) {
    this.#log = h("div", { role: "log", class: "lines", "aria-label": words("captions"), tabindex: "0" })
    this.#toggle = h("button", {
      type: "button", class: "quiet captions-toggle", "aria-expanded": "false", "aria-label": words("show_captions"),
      on: { click: () => this.open(!this.classList.contains("is-open")) },
    }, icon("up"))
    const box = h("input", {
      type: "text", name: "text", autocomplete: "off", enterkeyhint: "send", maxlength: LONGEST_TEXT,
      "aria-label": words("type_instead"), placeholder: words("type_instead"),
    })
    const form = h("form", { class: "say", on: { submit: (event) => {
      event.preventDefault()
      const text = box.value.trim()
      if (text === "") return
      // What cannot be sent stays where it can be made shorter.
      if (this.dispatchEvent(new CustomEvent("say", { detail: text, cancelable: true }))) box.value = ""
    } } }, box, h("button", { type: "submit", class: "round", "aria-label": words("send") }, icon("send")))
    fillIn(this, h("div", { class: "captions", hidden: true }, this.#log, this.#toggle), form)
  }

  open(isOpen) {
    this.classList.toggle("is-open", isOpen)
    this.#toggle.setAttribute("aria-expanded", String(isOpen))
    this.#log.scrollTop = this.#log.scrollHeight
  }

  show({ lines, words }) {
    if (!this.#log) this.build(words)
    if (lines === this.#lines) return
    this.#lines = lines
    const isAtEnd = this.#log.scrollHeight - this.#log.scrollTop - this.#log.clientHeight < 48
    this.firstElementChild.hidden = lines.length === 0
    lines.forEach((line, at) => this.#paint(line, this.#log.children[at], words))
    while (this.#log.children.length > lines.length) this.#log.lastElementChild.remove()
    if (isAtEnd) this.#log.scrollTop = this.#log.scrollHeight
  }

  #paint(line, known, words) {
    const who = words(line.who === "user" ? "you" : "agent")
    if (known?.dataset.text === line.text && known.dataset.who === line.who) return
    const painted = h("p", { class: `line is-${line.who}`, data: { text: line.text, who: line.who } },
      h("b", {}, who), h("span", { dir: "auto" }, line.text))
    if (known) known.replaceWith(painted)
    else this.#log.append(painted)
  }
}

const WORDS = { open: "connected", connecting: "connecting", waiting: "offline", ended: "offline" }

class ConnectionLights extends HTMLElement {
  #shown = ""

  show({ phase, agent, words }) {
    const server = words(lookUp(WORDS, phase))
    // Without a connection nobody knows whether the agent is there.
    const other = phase === "open" ? `${words("agent")} ${words(agent ? "here" : "away")}` : words("agent")
    if (this.#shown === `${phase} ${agent} ${server}`) return
    this.#shown = `${phase} ${agent} ${server}`
    this.setAttribute("role", "status")
    fillIn(this,
      light(phase === "open" ? "on" : phase === "connecting" ? "busy" : "off", server, "server"),
      light(phase === "open" && agent ? "on" : "off", other, "agent"),
    )
  }
}

function light(state, text, of) {
  return h("span", { class: `light is-${state}`, data: { of } }, h("i", { "aria-hidden": "true" }), text)
}
