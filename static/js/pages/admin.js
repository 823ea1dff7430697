// The inspector: all sessions on one side, one of them as a timeline on the other.

import { ask, socketAddress } from "../net/api.js"
import { Connection } from "../net/connection.js"
import { apply, emptySession } from "../core/session.js"
import { KINDS, LANES, TOLD } from "../core/trace.js"
import { ago, allRecords, confirmed, count, save, signIn, signInForm, signOut } from "../elements/owner.js"
import { arrange, fillIn, h } from "../elements/dom.js"
import { defineTimeline } from "../elements/timeline.js"
import { Outbox } from "../net/outbox.js"
import { readdress } from "../net/storage.js"

const REFRESH_MS = 3000
const PAGE = 50
/** Who types on within this has not asked yet. */
const TYPING_MS = 200
/** A replay waits no longer than this between two records. */
const LONGEST_PAUSE_MS = 2000

/** What this page is called among the connections of a session. */
const INSPECTOR = "Inspector"

const EXAMPLES = [
  ["An update", { type: "contextual_update", text: "quote_ready", data: { carrier: "FedEx", service: "Ground", cost: 12.99, currency: "USD" } }],
  ["A choice", { type: "client_tool_call", client_tool_call: { tool_name: "companion_choose", tool_call_id: "new", parameters: { title: "Which one?", options: [{ id: "a", label: "First" }, { id: "b", label: "Second" }] } } }],
  ["A confirmation", { type: "client_tool_call", client_tool_call: { tool_name: "companion_confirm", tool_call_id: "new", parameters: { title: "Go on?" } } }],
  ["A state", { type: "state_update", key: "step", value: 1 }],
  ["A toast", { type: "screen_command", name: "toast", text: "Hello from the inspector" }],
]

const root = document.getElementById("app")
const query = new URLSearchParams(location.search)
const rows = new Map()
defineTimeline()
let token = null
let page = null
let timer = null
let asked = 0
let watched = null
let pages = 1


function askForToken(reason = "") {
  clearTimeout(timer)
  root.className = "owner-page"
  fillIn(root, signInForm(begin, reason))
}

// All sessions

function begin(given) {
  token = given
  root.className = "inspector"
  page = {
    find: h("input", { type: "search", placeholder: "User or conversation", "aria-label": "Find by user or conversation id",
      value: query.get("find") ?? "", on: { input: () => {
        keep("find", page.find.value)
        pages = 1
        clearTimeout(timer)
        timer = setTimeout(refresh, TYPING_MS)
      } } }),
    list: h("ul", { class: "inspector-list" }),
    more: h("button", { type: "button", class: "quiet", hidden: true, on: { click: () => { pages += 1; refresh() } } }, "More"),
    fault: h("p", { class: "note", role: "alert" }),
    detail: h("section", { class: "inspector-detail", "aria-label": "Session" }),
  }
  fillIn(root,
    h("nav", { class: "inspector-side", "aria-label": "Sessions" },
      h("h1", {}, "Sessions"), page.find, page.fault, page.list, page.more),
    page.detail)
  fillIn(document.getElementById("nav"), h("button", { type: "button", class: "quiet", on: { click: () => {
    signOut()
    watched?.stop()
    fillIn(document.getElementById("nav"))
    askForToken()
  } } }, "Sign out"))
  nothingChosen()
  refresh()
  if (query.get("session")) watch(query.get("session"))
}

function keep(name, value) {
  if (value) query.set(name, value)
  else query.delete(name)
  readdress(`${location.pathname}${String(query) ? `?${query}` : ""}`)
}

async function refresh() {
  clearTimeout(timer)
  const mine = (asked += 1)
  try {
    const listed = document.visibilityState === "visible" ? await sessions() : null
    // What was asked for later is what is wanted, whichever answer comes first.
    if (mine !== asked) return undefined
    if (listed) paintList(listed)
    page.fault.textContent = ""
  } catch (error) {
    if (mine !== asked) return undefined
    if ([401, 403].includes(error.status)) return askForToken("The inspector needs an admin token.")
    page.fault.textContent = error.status === 404 ? "Admin pages are available only on the server’s own machine." : "The server cannot be reached. Trying again…"
  }
  timer = setTimeout(refresh, REFRESH_MS)
  return undefined
}

/** The newest sessions, as many pages as were asked for. */
async function sessions() {
  const wanted = page.find.value.trim()
  const filter = wanted === "" ? "" : wanted.startsWith("conv") ? `&conversation_id=${encodeURIComponent(wanted)}` : `&user=${encodeURIComponent(wanted)}`
  const found = []
  let next = ""
  for (let at = 0; at < pages && next !== null; at += 1) {
    const cursor = next ? `&cursor=${encodeURIComponent(next)}` : ""
    const { body } = await ask("GET", `sessions?limit=${PAGE}${filter}${cursor}`, { token })
    found.push(...body.sessions)
    next = body.next ?? null
  }
  return { found, hasMore: next !== null }
}

function paintList({ found, hasMore }) {
  page.more.hidden = !hasMore
  arrange(page.list, found.map((session) => {
    const id = session.session_id
    const isOn = watched?.id === id
    const state = JSON.stringify([session.title, session.user, session.seq, session.connections, ago(session.last_active_at), isOn])
    if (rows.get(id)?.state === state) return rows.get(id).node
    const node = rows.get(id)?.node ?? h("li", {},
      h("button", { type: "button", class: "inspector-session", on: { click: () => watch(id) } }))
    rows.set(id, { node, state })
    const { agent = 0, ui = 0 } = session.connections ?? {}
    // The button stays the same one: a keyboard may stand on it.
    const button = node.firstElementChild
    if (isOn) button.setAttribute("aria-current", "true")
    else button.removeAttribute("aria-current")
    fillIn(button,
      h("span", { class: "inspector-name" }, h("i", { class: "dot", "aria-hidden": "true" }), session.title || id.slice(0, 8)),
      h("span", { class: "muted" }, [session.user, count(session.seq, "record"), `${count(agent, "agent")}, ${count(ui, "screen")}`].join(" · ")),
      h("span", { class: "muted" }, ago(session.last_active_at)))
    node.classList.toggle("is-on", agent + ui > 0)
    return node
  }))
}

function nothingChosen() {
  root.classList.remove("has-detail")
  fillIn(page.detail, h("p", { class: "muted timeline-empty" }, "Choose a session to see what happens in it."))
}

// One session

function watch(id) {
  watched?.stop()
  keep("session", id)
  watched = new Watch(id)
  root.classList.add("has-detail")
  refresh()
}

class Watch {
  #connection
  #session = emptySession()
  #isReplaying = false

  constructor(id) {
    this.id = id
    this.filter = {
      kinds: new Set((query.get("kinds") ?? "").split(",").filter(Boolean)),
      lanes: new Set((query.get("lanes") ?? "").split(",").filter(Boolean)),
      text: query.get("text") ?? "",
    }
    this.#build()
    this.#connection = new Connection({
      address: socketAddress(),
      token,
      query: { session_id: id, role: "observer", device: INSPECTOR, strict: "1" },
      position: () => ({ after: this.#session.seq, epoch: this.#session.epoch }),
      outbox: new Outbox(),
      onMessage: (message) => this.#hear(message),
      onStatus: ({ phase, code }) => {
        this.status.textContent = phase === "open" ? "live" : phase === "ended" ? `closed ${code}` : "reconnecting…"
      },
    })
    this.#connection.start()
    this.#addTrail()
  }

  stop() {
    this.#isReplaying = false
    this.#connection.stop()
  }

  #build() {
    this.timeline = h("session-timeline")
    this.status = h("span", { class: "muted", role: "status" })
    this.title = h("h2", {}, "…")
    this.state = h("pre", { tabindex: "0", "aria-label": "State" }, "{}")
    const button = (text, act, kind = "quiet") => h("button", { type: "button", class: kind, on: { click: act } }, text)
    fillIn(page.detail,
      h("header", { class: "detail-head" },
        button("‹ Sessions", () => { this.stop(); watched = null; keep("session", ""); nothingChosen() }, "quiet only-narrow"),
        h("div", {}, this.title, h("p", { class: "muted" }, h("code", {}, this.id), " ", this.status)),
        h("div", { class: "actions" },
          button("Replay", () => this.#replay()),
          button("Export", () => this.#export()),
          button("Act as screen", () => this.#actAsScreen()),
          button("End", () => this.#end(), "quiet danger"))),
      this.#filters(),
      this.timeline,
      h("details", { class: "detail-more" }, h("summary", {}, "State"), this.state),
      this.#sendForm())
    this.timeline.filter(this.filter)
  }

  #filters() {
    const chip = (set, name, value) => {
      const box = h("input", { type: "checkbox", on: { change: () => {
        if (box.checked) set.add(value)
        else set.delete(value)
        keep(name, [...set].join(","))
        this.timeline.filter(this.filter)
      } } })
      box.checked = set.has(value)
      return h("label", { class: "filter" }, box, value)
    }
    const text = h("input", { type: "search", placeholder: "Filter text", "aria-label": "Filter by text", value: this.filter.text, on: { input: () => {
      this.filter.text = text.value
      keep("text", text.value)
      this.timeline.filter(this.filter)
    } } })
    return h("div", { class: "filters" },
      h("fieldset", {}, h("legend", { class: "unseen" }, "Kinds"), KINDS.map((kind) => chip(this.filter.kinds, "kinds", kind))),
      h("fieldset", {}, h("legend", { class: "unseen" }, "Lanes"), LANES.map((lane) => chip(this.filter.lanes, "lanes", lane))),
      text)
  }

  #hear(message) {
    const before = this.#session
    this.#session = apply(before, message)
    if (message.type === "session_joined") this.title.textContent = message.title || "Untitled session"
    const isRecord = typeof message.seq === "number" && message.type !== "session_joined"
    const isTold = isRecord ? !message.duplicate && message.seq > before.seq : TOLD.has(message.type)
    if (isTold && !this.#isReplaying) this.timeline.add([message])
    this.state.textContent = JSON.stringify(Object.fromEntries([...this.#session.state].map(([key, { value }]) => [key, value])), null, 2)
  }

  /** Who came and went before we looked. */
  async #addTrail() {
    try {
      const { body } = await ask("GET", `sessions/${this.id}/trail`, { token })
      const entries = body.trail.map((entry) => ({ ...entry, type: "trail", timestamp: entry.at }))
      // This page's own joining does not belong to what happened.
      this.timeline.add(entries.filter((entry) => entry.device !== INSPECTOR))
    } catch {
      // The timeline is complete without it.
    }
  }

  async #replay() {
    if (this.#isReplaying) return
    this.#isReplaying = true
    const messages = this.timeline.messages
    this.timeline.clear()
    for (const [at, message] of messages.entries()) {
      if (!this.#isReplaying) return
      const pause = at ? message.timestamp - messages[at - 1].timestamp : 0
      await new Promise((resolve) => setTimeout(resolve, Math.min(pause, LONGEST_PAUSE_MS)))
      this.timeline.add([message])
    }
    this.#isReplaying = false
  }

  async #export() {
    const records = await allRecords(token, this.id)
    save(`${this.id}.jsonl`, records.map((record) => `${JSON.stringify(record)}\n`).join(""))
  }

  async #actAsScreen() {
    // Opened in the click itself: later, a browser would call it an unwanted window.
    const screen = open("about:blank", "_blank")
    const { body } = await ask("POST", `sessions/${this.id}/tokens`, { token, body: { role: "ui", ttl_s: 3600 } })
    screen.location.href = new URL(`ui?session_id=${this.id}#token=${body.token}`, location.href).href
  }

  async #end() {
    if (!(await confirmed("End this session?", "Everyone will be disconnected.", "End session", { danger: true }))) return
    await ask("DELETE", `sessions/${this.id}`, { token })
    refresh()
  }

  #sendForm() {
    const box = h("textarea", { rows: "5", "aria-label": "Message as JSON", spellcheck: "false", value: JSON.stringify(EXAMPLES[0][1], null, 2) })
    const note = h("p", { class: "note", role: "alert" })
    const choice = h("select", { "aria-label": "Example", on: { change: () => {
      box.value = JSON.stringify(EXAMPLES.at(choice.selectedIndex)[1], null, 2)
    } } }, EXAMPLES.map(([name]) => h("option", {}, name)))
    const submit = async (event) => {
      event.preventDefault()
      try {
        const message = JSON.parse(box.value)
        if (message.client_tool_call?.tool_call_id === "new") message.client_tool_call.tool_call_id = `inspector-${Date.now()}`
        await ask("POST", `sessions/${this.id}/messages?role=agent`, { token, body: message })
        note.textContent = ""
      } catch (error) {
        note.textContent = error.message
      }
    }
    return h("details", { class: "detail-more" }, h("summary", {}, "Send as agent"),
      h("form", { class: "form", on: { submit } }, choice, box, note,
        h("button", { type: "submit", class: "primary" }, "Send")))
  }
}

const found = await signIn().catch(() => askForToken("This sign-in link has already been used or has expired."))
if (found) begin(found)
else if (found === null) askForToken()
