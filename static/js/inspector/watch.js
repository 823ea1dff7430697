// One session under the inspector: what was and what happens, found by its failures first.
//
// The socket tells what happens from now on; what was is read over HTTP each time the socket has
// joined, because the notes of what screens have shown stand beside the log and only there. A
// session that has ended has no socket and is read alone. Nothing is shown twice: a record is
// known by its seq.

import { closeInWords } from "../core/gists.js"
import { lookUp } from "../core/protocol.js"
import { apply, emptySession } from "../core/session.js"
import { KINDS, LANES, TOLD, TROUBLES } from "../core/trace.js"
import { fillIn, h } from "../elements/dom.js"
import { ago, allRecords, confirmed, copyButton, save } from "../elements/owner.js"
import { ask, socketAddress } from "../net/api.js"
import { Connection } from "../net/connection.js"
import { Outbox } from "../net/outbox.js"
import { INSPECTOR, readRecords, readTrail } from "./history.js"
import { Panel } from "./panel.js"
import { Replay } from "./replay.js"
import { troubleName } from "./sessions.js"

const RETRY_MS = 2000

export class Watch {
  #session = emptySession()
  #connection = null
  #replay = null
  #readUpTo = 0
  #isReading = false
  #isStopped = false
  #devices = new Map()
  #chips = new Map()
  #retry = null

  /** `place` keeps what the address says: `get(name)`, `keep(name, value)`; `keptFor()` is in words. */
  constructor(id, { token, root, place, keptFor, onClose, onChange }) {
    Object.assign(this, { id, token, root, place, keptFor, onClose, onChange })
    this.filter = {
      kinds: place.set("kinds"),
      lanes: place.set("lanes"),
      troubles: place.set("only"),
      text: place.get("text") ?? "",
    }
    this.wanted = Number(place.get("record")) || null
    this.#build()
    this.#begin()
  }

  stop() {
    this.#isStopped = true
    clearTimeout(this.#retry)
    this.#replay?.stop()
    this.#connection?.stop()
  }

  /** Go to the next line, or the one before. */
  move(step) {
    this.timeline.move(step)
  }

  /** Close what is open on top: the details, or a replay. False where nothing is. */
  closeTop() {
    if (this.panel.isOpen) this.#closePanel()
    else if (this.#replay) this.#replay.stop()
    else return false
    return true
  }

  // What was.

  async #begin() {
    try {
      const { body } = await ask("GET", `sessions/${this.id}`, { token: this.token })
      if (this.#isStopped) return
      this.#name(body.title)
      if (body.ended_at) await this.#showEnded(body)
      else this.#listen()
    } catch (error) {
      if (this.#isStopped) return
      if (error.status === 404) this.#showGone()
      else {
        this.status.textContent = "The server cannot be reached. Trying again…"
        this.#retry = setTimeout(() => this.#begin(), RETRY_MS)
      }
    }
  }

  async #showEnded(body) {
    this.#tellStatus("ended", `ended ${ago(body.ended_at)} · can be read for ${this.keptFor()} after its end`)
    this.node.classList.add("is-over")
    this.state = body.state
    await this.#readOn()
  }

  #showGone() {
    this.#name("", "This session is gone")
    this.#tellStatus("ended", "")
    this.node.classList.add("is-over", "is-gone")
    this.timeline.explain(`Nothing is stored of ${this.id.slice(0, 8)} any more: it was erased, or it ended longer ago than the ${this.keptFor()} for which this server keeps ended sessions (--keep-ended).`)
  }

  /** Read what the timeline does not show yet, and who came and went. */
  async #readOn() {
    if (this.#isReading) return
    this.#isReading = true
    try {
      await readRecords(this.token, this.id, this.#readUpTo, (messages) => {
        this.timeline.add(messages)
        const last = messages.findLast(({ seq }) => typeof seq === "number")
        if (last) this.#readUpTo = last.seq
      })
    } catch {
      this.timeline.explain("What happened before cannot be read at the moment.")
    } finally {
      this.#isReading = false
    }
    if (this.#isStopped) return
    this.timeline.flush()
    this.timeline.explain("Nothing yet.")
    this.#goToWanted()
    if (!this.hasTrail) await this.#addTrail()
  }

  async #addTrail() {
    try {
      const trail = await readTrail(this.token, this.id)
      this.hasTrail = true
      for (const { device_id: id, device } of trail) if (id && device) this.#devices.set(id, device)
      this.timeline.add(trail)
    } catch {
      // The timeline is complete without it.
    }
  }

  #goToWanted() {
    if (this.wanted === null || this.timeline.select(this.wanted)) {
      this.wanted = null
      return
    }
    const first = this.timeline.messages.find(({ seq }) => typeof seq === "number")?.seq
    const why = first > this.wanted ? `; the log begins at #${first}` : ""
    this.note.textContent = `There is no record #${this.wanted} here${why}.`
    this.wanted = null
  }

  // What happens.

  #listen() {
    this.#connection = new Connection({
      address: socketAddress(),
      token: this.token,
      query: { session_id: this.id, role: "observer", device: INSPECTOR, strict: "1" },
      position: () => ({ after: null, epoch: null }),
      outbox: new Outbox(),
      onMessage: (message) => this.#hear(message),
      onStatus: (status) => this.#hearStatus(status),
    })
    this.#connection.start()
  }

  #hearStatus({ phase, code }) {
    if (phase === "open") this.#tellStatus("live", "live")
    else if (phase !== "ended") this.#tellStatus("lost", "reconnecting…")
    else if (!this.#isStopped) {
      this.#tellStatus("ended", closeInWords(code))
      this.#begin()
    }
  }

  #hear(message) {
    const before = this.#session
    this.#session = apply(before, message)
    if (message.type === "session_joined") {
      if (before.epoch !== null && before.epoch !== message.epoch) this.#readUpTo = 0
      this.#name(message.title)
      for (const { device_id: id, device } of message.presence ?? []) if (id && device) this.#devices.set(id, device)
      this.#readOn()
    }
    if (message.type === "presence" && message.device_id) this.#devices.set(message.device_id, message.device)
    const isRecord = typeof message.seq === "number" && message.type !== "session_joined"
    if (isRecord ? !message.duplicate : TOLD.has(message.type)) this.timeline.add([message])
    if (isRecord && !this.#isReading && message.seq === this.#readUpTo + 1) this.#readUpTo = message.seq
    this.state = Object.fromEntries(this.#session.state)
    if (this.panel.shows === "state") this.#showState()
  }

  // What it looks like.

  #build() {
    this.timeline = h("session-timeline")
    this.status = h("span", { class: "watch-status", role: "status" })
    this.title = h("h2", {}, "…")
    this.note = h("p", { class: "note", role: "alert" })
    this.tools = h("div", { class: "watch-tools" })
    this.state = {}
    this.panel = new Panel({ onClose: () => this.#closePanel(), onGo: (seq) => this.timeline.select(seq) })
    const button = (text, act, kind = "") => h("button", { type: "button", class: `tool ${kind}`, on: { click: act } }, text)
    this.node = h("div", { class: "watch" },
      h("header", { class: "watch-head" },
        button("‹ Sessions", this.onClose, "only-narrow"),
        h("div", { class: "watch-name" }, this.title, h("code", { title: this.id }, this.id.slice(0, 8)), copyButton(this.id, "Copy session id"), this.status),
        h("div", { class: "watch-actions" },
          button("State", () => this.#showState()),
          button("Replay", () => this.#play(), "while-any"),
          button("Export", () => this.#export(), "while-any"),
          button("Send as agent", () => { this.panel.showSend(this.token, this.id) }, "while-alive"),
          button("Act as screen", () => this.#actAsScreen(), "while-alive"),
          button("End", () => this.#end(), "while-alive danger"))),
      this.tools, this.note, this.timeline)
    fillIn(this.root, this.node, this.panel.node)
    this.#showFilters()
    this.timeline.onSelect = (message) => this.#showRecord(message)
    this.timeline.onPaint = () => this.#count()
    this.timeline.explain("Reading…")
    this.timeline.filter(this.filter)
  }

  #showFilters() {
    const chip = (set, name, value, label) => {
      const box = h("input", { type: "checkbox", on: { change: () => {
        if (box.checked) set.add(value)
        else set.delete(value)
        this.place.keep(name, [...set].join(","))
        this.timeline.filter(this.filter)
      } } })
      box.checked = set.has(value)
      return h("label", { class: `chip is-${value}` }, box, h("span", {}, label))
    }
    const text = h("input", { type: "search", placeholder: "Filter", "aria-label": "Filter by text", value: this.filter.text, on: { input: () => {
      this.filter.text = text.value
      this.place.keep("text", text.value)
      this.timeline.filter(this.filter)
    } } })
    fillIn(this.tools,
      h("fieldset", {}, h("legend", { class: "unseen" }, "Trouble in this session"), TROUBLES.map((kind) => {
        const node = chip(this.filter.troubles, "only", kind, troubleName(kind))
        const number = h("b", {}, "0")
        node.append(number)
        this.#chips.set(kind, { node, number })
        return node
      })),
      h("fieldset", {}, h("legend", { class: "unseen" }, "Kinds"), KINDS.map((kind) => chip(this.filter.kinds, "kinds", kind, kind))),
      h("fieldset", { class: "wide-only" }, h("legend", { class: "unseen" }, "Lanes"), LANES.map((lane) => chip(this.filter.lanes, "lanes", lane, lane))),
      text)
    this.#count()
  }

  #count() {
    const counts = this.timeline.counts
    for (const [kind, { node, number }] of this.#chips) {
      number.textContent = lookUp(counts, kind)
      node.classList.toggle("is-any", lookUp(counts, kind) > 0)
    }
  }

  #name(title, otherwise = "Untitled session") {
    this.title.textContent = title || otherwise
    this.onChange?.(title)
  }

  #tellStatus(kind, words) {
    this.status.dataset.is = kind
    this.status.textContent = words
  }

  #showRecord(message) {
    this.note.textContent = ""
    this.place.keep("record", message.seq ? String(message.seq) : "")
    const link = message.seq ? new URL(this.place.linkTo({ session: this.id, record: message.seq }), location.href).href : null
    this.panel.showRecord(message, { found: this.timeline.found, devices: this.#devices, messages: this.timeline.messages, link })
  }

  #showState() {
    this.panel.showState(Object.fromEntries(Object.entries(this.state).map(([key, entry]) => [key, entry?.value ?? null])))
  }

  #closePanel() {
    this.panel.close()
    this.place.keep("record", "")
    this.timeline.unselect()
  }

  // What one can do.

  #play() {
    if (this.#replay) return
    this.#closePanel()
    this.#replay = new Replay(this.timeline, this.tools, () => {
      this.#replay = null
      this.#chips.clear()
      this.#showFilters()
    })
  }

  async #attempt(act) {
    try {
      await act()
      this.note.textContent = ""
    } catch (error) {
      this.note.textContent = error.message
    }
  }

  #export() {
    return this.#attempt(async () => {
      const records = await allRecords(this.token, this.id)
      save(`${this.id}.jsonl`, records.map((record) => `${JSON.stringify(record)}\n`).join(""))
    })
  }

  #actAsScreen() {
    // Opened in the click itself: later, a browser would call it an unwanted window.
    const screen = open("about:blank", "_blank")
    return this.#attempt(async () => {
      const { body } = await ask("POST", `sessions/${this.id}/tokens`, { token: this.token, body: { role: "ui", ttl_s: 3600 } })
      screen.location.href = new URL(`ui?session_id=${this.id}#token=${body.token}`, location.href).href
    })
  }

  async #end() {
    if (!(await confirmed("End this session?", "Everyone will be disconnected.", "End session", { danger: true }))) return
    await this.#attempt(() => ask("DELETE", `sessions/${this.id}`, { token: this.token }))
    this.onChange?.()
  }
}
