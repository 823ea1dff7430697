// The side panel of a session: one record whole, the state, or a message to send.

import { gistOf, toneOf } from "../core/gists.js"
import { duration, kinOf, laneOf, targetOf, troublesAt } from "../core/trace.js"
import { fillIn, h, icon } from "../elements/dom.js"
import { copy, copyButton } from "../elements/owner.js"
import { clock } from "../elements/timeline.js"
import { waterfall } from "../elements/waterfall.js"
import { ask } from "../net/api.js"

const EXAMPLES = [
  ["An update", { type: "contextual_update", text: "quote_ready", data: { carrier: "FedEx", service: "Ground", cost: 12.99, currency: "USD" } }],
  ["A choice", { type: "client_tool_call", client_tool_call: { tool_name: "companion_choose", tool_call_id: "new", parameters: { title: "Which one?", options: [{ id: "a", label: "First" }, { id: "b", label: "Second" }] } } }],
  ["A confirmation", { type: "client_tool_call", client_tool_call: { tool_name: "companion_confirm", tool_call_id: "new", parameters: { title: "Go on?" } } }],
  ["A state", { type: "state_update", key: "step", value: 1 }],
  ["A toast", { type: "screen_command", name: "toast", text: "Hello from the inspector" }],
]

export class Panel {
  /** `onClose()`: it was closed by hand; `onGo(seq)`: another record was asked for. */
  constructor({ onClose, onGo }) {
    this.onGo = onGo
    this.title = h("h3")
    this.body = h("div", { class: "panel-body" })
    this.node = h("aside", { class: "inspector-panel", "aria-label": "Details", hidden: true },
      h("header", { class: "panel-head" }, this.title,
        h("button", { type: "button", class: "tool icon-only", "aria-label": "Close details", title: "Close (Esc)", on: { click: onClose } }, icon("close"))),
      this.body)
    this.shows = null
  }

  get isOpen() {
    return !this.node.hidden
  }

  close() {
    this.node.hidden = true
    this.shows = null
  }

  /** `found` is what the timeline's messages add up to, `devices` the names of devices by id. */
  showRecord(message, { found, devices, messages, link }) {
    const kin = kinOf(message)
    const call = found.calls.get(kin) ?? [...found.calls.values()].find(({ seq }) => message.type === "rendered" && seq === message.of_seq)
    const troubles = [...troublesAt(message, found)]
    const from = laneOf(message)
    const to = targetOf(message)
    const text = JSON.stringify(message, null, 2)
    const gist = gistOf(message)
    this.#open("record", [message.type, message.seq ? h("span", { class: "muted" }, ` #${message.seq}`) : null],
      h("p", { class: "panel-facts" }, [clock(new Date(message.timestamp)), to && to !== from ? `${from} → ${to}` : from].join(" · ")),
      gist ? h("p", { class: "panel-gist", data: { tone: toneOf(message) } }, gist) : null,
      troubles.map((kind) => h("p", { class: "panel-trouble", data: { tone: kind === "failed" ? "bad" : "warn" } }, reason(kind, call, message.type === "agent_tool_response"))),
      call ? this.#call(call, devices, messages, message) : null,
      h("div", { class: "panel-payload" }, h("h4", {}, "Payload"),
        link ? this.#linkButton(link) : null,
        copyButton(text, "Copy payload")),
      h("pre", { tabindex: "0", "aria-label": "Payload" }, text))
  }

  showState(state) {
    const text = JSON.stringify(state, null, 2)
    const isFirst = this.shows !== "state"
    if (!isFirst) {
      this.body.querySelector("pre").textContent = text
      return
    }
    this.#open("state", ["State"], h("pre", { tabindex: "0", "aria-label": "State" }, text))
  }

  showSend(token, id) {
    const box = h("textarea", { rows: "12", "aria-label": "Message as JSON", spellcheck: "false", value: JSON.stringify(EXAMPLES[0][1], null, 2) })
    const note = h("p", { class: "note", role: "alert" })
    const choice = h("select", { "aria-label": "Example", on: { change: () => {
      box.value = JSON.stringify(EXAMPLES.at(choice.selectedIndex)[1], null, 2)
    } } }, EXAMPLES.map(([name]) => h("option", {}, name)))
    const submit = async (event) => {
      event.preventDefault()
      try {
        const message = JSON.parse(box.value)
        if (message.client_tool_call?.tool_call_id === "new") message.client_tool_call.tool_call_id = `inspector-${Date.now()}`
        await ask("POST", `sessions/${id}/messages?role=agent`, { token, body: message })
        note.textContent = ""
      } catch (error) {
        note.textContent = error.message
      }
    }
    this.#open("send", ["Send as agent"],
      h("form", { class: "form", on: { submit } }, choice, box, note, h("button", { type: "submit", class: "primary" }, "Send")))
  }

  #open(shows, title, ...children) {
    this.shows = shows
    fillIn(this.title, title)
    fillIn(this.body, ...children)
    this.body.scrollTop = 0
    this.node.hidden = false
  }

  /** The life of the call a record belongs to. */
  #call(call, devices, messages, shown) {
    const kin = messages.filter((each) => each !== shown && each.seq && kinOf(each) === call.id)
    return h("section", { class: "panel-call", "aria-label": `Call of ${call.name}` },
      h("h4", {}, call.name),
      waterfall(call),
      call.shown.length
        ? h("ul", { class: "panel-shown" }, call.shown.map(({ at, deviceId, problem }) =>
          h("li", {}, `${problem ? "not shown" : "shown"} on ${devices.get(deviceId) ?? "a screen"} after ${duration(at - call.calledAt)}${problem ? `: ${problem}` : ""}`)))
        : h("p", { class: "muted fine" }, call.byServer ? "Answered by the server." : "No screen has said that it showed this."),
      kin.length
        ? h("p", { class: "panel-kin" }, kin.map((each) =>
          h("button", { type: "button", class: "tool", on: { click: () => this.onGo(each.seq) } }, `#${each.seq} ${each.type}`)))
        : null)
  }

  #linkButton(link) {
    const button = h("button", { type: "button", class: "tool" }, "Copy link")
    button.addEventListener("click", async () => {
      button.textContent = (await copy(link)) ? "Copied" : "Not copied"
      setTimeout(() => { button.textContent = "Copy link" }, 1500)
    })
    return button
  }
}

/** What was wrong, in a sentence; `call` is the call it belongs to, if any, `isTool` whether the agent's own tool is meant. */
function reason(kind, call, isTool) {
  if (kind === "no_screen") return "No screen was connected. The agent was told so; the question stays open for ten minutes."
  if (kind === "slow") {
    const ms = (call.byServer ? call.answeredAt : call.shownAt) - call.calledAt
    return call.byServer ? `The tool took ${duration(ms)}.` : `It took ${duration(ms)} until a screen showed this.`
  }
  if (call?.standIn === "no_answer") {
    const late = call.answeredAt === null ? "" : ` The answer came after ${duration(call.answeredAt - call.calledAt)}.`
    return `Nobody answered within ${duration(call.releasedAt - call.calledAt)}; the agent was told so and went on.${late}`
  }
  return isTool || call?.tone === "bad" ? "The tool returned an error." : "A screen could not show this."
}
