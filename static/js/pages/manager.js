// The session manager: one's sessions, live; made, named, paired, exported and ended here.

import { lookUp } from "../core/protocol.js"
import { ask } from "../net/api.js"
import { ago, allRecords, confirmed, count, save, signIn, signInForm, signOut } from "../elements/owner.js"
import { arrange, fillIn, h, icon } from "../elements/dom.js"

const REFRESH_MS = 3000

const root = document.getElementById("app")
const rows = new Map()
let token = null
let page = null
let timer = null
let devices = []

const found = await signIn().catch((error) => {
  const reason = error.status ? "This sign-in link has already been used or has expired." : error.message
  fillIn(root, signInForm(begin, reason))
})
if (found) begin(found)
else if (found === null) fillIn(root, signInForm(begin))

function begin(given) {
  token = given
  page = {
    list: h("ul", { class: "sessions" }),
    empty: h("div", { class: "empty", hidden: true },
      h("h2", {}, "No session yet"),
      h("p", { class: "muted" }, "An agent opens one when it connects. You can also create one here and pair a phone.")),
    fault: h("p", { class: "note", role: "alert" }),
  }
  fillIn(root,
    h("div", { class: "page-head is-row" }, h("h1", {}, "Sessions"),
      h("button", { type: "button", class: "primary", on: { click: create } }, "New session")),
    page.fault, page.empty, page.list)
  fillIn(document.getElementById("nav"),
    h("button", { type: "button", class: "quiet", on: { click: leave } }, "Sign out"))
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && refresh())
  refresh()
}

function leave() {
  signOut()
  clearTimeout(timer)
  fillIn(document.getElementById("nav"))
  fillIn(root, signInForm(begin))
}

async function refresh() {
  clearTimeout(timer)
  if (document.visibilityState === "visible") {
    try {
      const [mine, known] = await Promise.all([ask("GET", "me/sessions", { token }), ask("GET", "me/devices", { token })])
      devices = known.body.devices
      page.fault.textContent = ""
      paint(mine.body.sessions)
    } catch (error) {
      if (error.status === 401 || error.status === 403) return fillIn(root, signInForm(begin, "This token is not valid here."))
      page.fault.textContent = "The server cannot be reached. Trying again…"
    }
  }
  timer = setTimeout(refresh, REFRESH_MS)
  return undefined
}

function paint(sessions) {
  page.empty.hidden = sessions.length > 0
  arrange(page.list, sessions.map(row))
}

function row(session) {
  const id = session.session_id
  const own = devices.filter((device) => device.session_id === id)
  const state = JSON.stringify([session.title, session.connections, session.seq, ago(session.last_active_at), session.ended_at, own])
  const known = rows.get(id)
  if (known?.state === state || known?.node.contains(document.activeElement)) return known.node
  const isOpen = known?.node.querySelector("details")?.open ?? false
  const node = known?.node ?? h("li", { class: "session" })
  rows.set(id, { node, state })
  const name = session.title || "Untitled session"
  if (session.ended_at) return endedRow(session, node, name, isOpen)
  fillIn(node,
    h("div", { class: "session-main" },
      h("h2", {}, name),
      h("p", { class: "muted session-id" }, h("code", {}, id)),
      h("p", { class: "presence" }, present(session), h("span", { class: "muted" }, `active ${ago(session.last_active_at)}`))),
    h("a", { class: "button primary", href: `sessions/${id}/pair`, "aria-label": `Pair a phone with ${name}` }, icon("phone"), "Pair"),
    h("details", { class: "session-more", open: isOpen },
      h("summary", { "aria-label": `More about ${name}` }, "More"),
      h("div", { class: "actions" },
        h("button", { type: "button", class: "quiet", on: { click: () => rename(session, node) } }, "Rename"),
        h("a", { class: "quiet", href: `ui?session_id=${id}` }, "Open screen"),
        h("button", { type: "button", class: "quiet", on: { click: () => download(session) } }, "Export"),
        h("button", { type: "button", class: "quiet danger", on: { click: () => end(session) } }, "End")),
      h("h3", {}, "Devices"),
      own.length
        ? h("ul", { class: "devices" }, own.map((device) => deviceRow(device)))
        : h("p", { class: "muted" }, "No phone is paired with this session.")))
  return node
}

/** What is kept of a session after its end: read and taken away, or erased. */
function endedRow(session, node, name, isOpen) {
  fillIn(node,
    h("div", { class: "session-main" },
      h("h2", {}, name),
      h("p", { class: "muted session-id" }, h("code", {}, session.session_id)),
      h("p", { class: "presence" }, h("span", { class: "badge" }, h("i", { class: "dot", "aria-hidden": "true" }), `ended ${ago(session.ended_at)}`))),
    h("details", { class: "session-more", open: isOpen },
      h("summary", { "aria-label": `More about ${name}` }, "More"),
      h("div", { class: "actions" },
        h("button", { type: "button", class: "quiet", on: { click: () => download(session) } }, "Export"),
        h("button", { type: "button", class: "quiet danger", on: { click: () => erase(session) } }, "Erase"))))
  return node
}

async function erase(session) {
  const name = session.title || session.session_id
  const text = "Everything stored about it will be deleted. This cannot be undone."
  if (!(await confirmed(`Erase “${name}”?`, text, "Erase", { danger: true }))) return
  await attempt(() => ask("DELETE", `sessions/${session.session_id}?erase=1`, { token }))
}

function present({ connections }) {
  const parts = [["agent", "agent"], ["ui", "screen"]]
    .filter(([role]) => lookUp(connections, role) > 0)
    .map(([role, one]) => count(lookUp(connections, role), one))
  return h("span", { class: parts.length ? "badge is-on" : "badge" }, h("i", { class: "dot", "aria-hidden": "true" }),
    parts.length ? parts.join(", ") : "nobody connected")
}

function deviceRow(device) {
  return h("li", {},
    h("i", { class: "dot", "aria-hidden": "true" }),
    h("span", { class: "device-name" }, device.device || "A screen"),
    h("span", { class: "muted" }, `last seen ${ago(device.last_active_at)}`),
    h("button", { type: "button", class: "quiet danger", "aria-label": `Remove ${device.device}`, on: { click: async () => {
      await attempt(() => ask("DELETE", `sessions/${device.session_id}/devices/${device.device_id}`, { token }))
    } } }, "Remove"))
}

async function create() {
  await attempt(() => ask("POST", "sessions", { token, body: {} }))
}

function rename(session, node) {
  const box = h("input", { type: "text", "aria-label": "Name of the session", value: session.title })
  const form = h("form", { class: "say", on: { submit: async (event) => {
    event.preventDefault()
    rows.delete(session.session_id)
    await attempt(() => ask("PATCH", `sessions/${session.session_id}`, { token, body: { title: box.value.trim() } }))
    node.remove()
    await refresh()
  } } }, box, h("button", { type: "submit", class: "primary" }, "Save"))
  node.querySelector("h2").replaceWith(form)
  box.focus()
  box.select()
}

async function download(session) {
  await attempt(async () => {
    const records = await allRecords(token, session.session_id)
    save(`${session.session_id}.jsonl`, records.map((record) => `${JSON.stringify(record)}\n`).join(""))
  })
}

async function end(session) {
  const name = session.title || session.session_id
  const text = "Everyone will be disconnected. You can still read what was said and shown until it is deleted."
  if (!(await confirmed(`End “${name}”?`, text, "End session", { danger: true }))) return
  await attempt(() => ask("DELETE", `sessions/${session.session_id}`, { token }))
}

async function attempt(act) {
  try {
    await act()
    document.activeElement?.blur()
    await refresh()
  } catch (error) {
    page.fault.textContent = error.message || "That did not work."
  }
}
