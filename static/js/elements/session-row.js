// One session in the owner's list: who is in it, and what can be done with it.

import { lookUp } from "../core/protocol.js"
import { standing } from "../core/session-list.js"
import { arrange, fillIn, h, icon } from "./dom.js"
import { ago, copyButton, count } from "./owner.js"

const SHORT_ID = 8
let serial = 0

/** `show(session, devices)` paints `node`; `acts` are rename, download, remove, end and erase. */
export class SessionRow {
  #acts
  #session = {}
  #form = null
  #devices = new Map()

  constructor(acts) {
    this.#acts = acts
    const panelId = `session-${(serial += 1)}`
    const button = (text, act, kind = "quiet") => h("button", { type: "button", class: kind, on: { click: act } }, text)
    this.title = h("h2", {})
    this.heading = h("div", { class: "session-title" }, this.title)
    this.state = h("span", { class: "badge" })
    this.active = h("span", { class: "muted" })
    this.shortId = h("code", { class: "muted" })
    this.pair = h("a", { class: "secondary session-act" }, icon("phone"), h("span", {}, "Pair"))
    this.more = h("button", { type: "button", class: "quiet session-act", "aria-expanded": "false", "aria-controls": panelId,
      on: { click: () => this.#unfold(this.panel.hidden) } }, h("span", {}, "More"), icon("chevron"))
    this.rename = button("Rename", () => this.#startRename())
    this.screen = h("a", { class: "quiet" }, "Open screen")
    this.end = button("End", () => acts.end(this.#session), "quiet danger")
    this.erase = button("Erase", () => acts.erase(this.#session), "quiet danger")
    this.id = h("p", { class: "muted session-id" })
    this.noDevice = h("p", { class: "muted" }, "No phone is paired with this session.")
    this.devices = h("ul", { class: "devices" })
    this.access = h("div", {}, h("h3", {}, "Devices"), this.noDevice, this.devices)
    this.panel = h("div", { class: "session-panel", id: panelId, hidden: true },
      h("div", { class: "actions" }, this.rename, this.screen, button("Export", () => acts.download(this.#session)), this.end, this.erase),
      this.id, this.access)
    this.node = h("li", { class: "session" },
      h("div", { class: "session-main" }, this.heading,
        h("p", { class: "presence" }, this.state, this.active, this.shortId)),
      this.pair, this.more, this.panel)
  }

  show(session, devices) {
    const { session_id: id, ended_at: endedAt, connections } = session
    const name = session.title || "Untitled session"
    if (this.#session.session_id !== id) fillIn(this.id, h("span", {}, "Session"), h("code", {}, id), copyButton(id, "Copy session id"))
    this.#session = session
    const here = [["agent", "agent"], ["ui", "screen"]]
      .filter(([role]) => lookUp(connections, role) > 0)
      .map(([role, one]) => count(lookUp(connections, role), one))
    const isLive = standing(session) === 0
    this.node.classList.toggle("is-live", isLive)
    this.node.classList.toggle("is-ended", Boolean(endedAt))
    this.state.classList.toggle("is-on", isLive)
    say(this.title, name)
    say(this.state, endedAt ? `ended ${ago(endedAt)}` : here.length ? here.join(", ") : "nobody connected")
    say(this.active, endedAt ? "" : `active ${ago(session.last_active_at)}`)
    say(this.shortId, id.slice(0, SHORT_ID))
    this.pair.href = `sessions/${id}/pair`
    this.screen.href = `ui?session_id=${id}`
    this.pair.setAttribute("aria-label", `Pair a phone with ${name}`)
    this.more.setAttribute("aria-label", `More about ${name}`)
    for (const part of [this.pair, this.rename, this.screen, this.end, this.access]) part.hidden = Boolean(endedAt)
    this.erase.hidden = !endedAt
    this.noDevice.hidden = devices.length > 0
    arrange(this.devices, devices.map((device) => this.#device(device)))
  }

  /** Put the keyboard on what is done next with a new session. */
  focus() {
    this.pair.focus()
  }

  #unfold(isOpen) {
    this.panel.hidden = !isOpen
    this.more.setAttribute("aria-expanded", String(isOpen))
  }

  #device(device) {
    const id = device.device_id
    if (!this.#devices.has(id)) this.#devices.set(id, h("li", {},
      h("i", { class: "dot", "aria-hidden": "true" }), h("span", { class: "device-name" }), h("span", { class: "muted" }),
      h("button", { type: "button", class: "quiet danger", "aria-label": `Remove ${device.device}`, on: { click: () => this.#acts.remove(device) } }, "Remove")))
    const node = this.#devices.get(id)
    say(node.querySelector(".device-name"), device.device || "A screen")
    say(node.querySelector(".muted"), `last seen ${ago(device.last_active_at)}`)
    return node
  }

  #startRename() {
    const box = h("input", { type: "text", "aria-label": "Name of the session", value: this.#session.title, maxlength: "200" })
    const stop = () => {
      this.#form?.remove()
      this.#form = null
      this.title.hidden = false
      this.rename.focus()
    }
    this.#form?.remove()
    this.#form = h("form", { class: "rename", on: {
      keydown: (event) => event.key === "Escape" && stop(),
      submit: async (event) => {
        event.preventDefault()
        if (await this.#acts.rename(this.#session, box.value.trim())) stop()
      },
    } }, box, h("div", { class: "actions" },
      h("button", { type: "submit", class: "primary" }, "Save"),
      h("button", { type: "button", class: "quiet", on: { click: stop } }, "Cancel")))
    this.title.hidden = true
    this.heading.append(this.#form)
    box.focus()
    box.select()
  }
}

/** Change a text only where it is another: a screen reader may be reading it. */
function say(node, text) {
  if (node.textContent !== text) node.textContent = text
}
