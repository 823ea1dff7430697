// The pairing page: the codes of one session, and who has joined with them.

import { ask, deviceName, serverClock, socketAddress } from "../net/api.js"
import { Connection } from "../net/connection.js"
import { apply, emptySession, isPresent } from "../core/session.js"
import { ago, confirmed, copyButton, signIn, signInForm, signOut } from "../elements/owner.js"
import { arrange, fillIn, h, icon } from "../elements/dom.js"
import { definePairing } from "../elements/pairing.js"
import { Outbox } from "../net/outbox.js"

const root = document.getElementById("app")
const sessionId = location.pathname.split("/").at(-2)
definePairing()
let session = emptySession()
let devices = []
let newest = null
let newestLook = 0
const rows = new Map()

const token = await signIn()
if (token) begin(token)
else fillIn(root, signInForm(begin))

function begin(token) {
  const pairing = h("companion-pairing", { class: "pairing" })
  const page = {
    pairing,
    title: h("h1", {}, "Pair a phone"),
    joined: h("div", { role: "status", class: "joined" },
      h("i", { class: "dot", "aria-hidden": "true" }), h("span", {}, "Waiting for a phone")),
    list: h("ul", { class: "devices" }),
    empty: h("p", { class: "muted" }, "No phone yet. Phones appear here as soon as they join."),
  }
  fillIn(root,
    h("div", { class: "page-head" }, page.title,
      h("p", { class: "muted session-id" }, h("span", {}, "Session "), h("code", {}, sessionId), copyButton(sessionId, "Copy session id"))),
    h("div", {}, page.joined, pairing),
    h("section", { class: "panel" }, h("h2", {}, "Devices in this session"), page.empty, page.list))
  fillIn(document.getElementById("nav"), h("button", { type: "button", class: "quiet", on: { click: () => {
    signOut()
    location.reload()
  } } }, "Sign out"))
  pairing.begin({ token, sessionId, onRefused: (error) => refuse(error) })
  listen(token, page)
  lookAtDevices(token, page)
}

function refuse(error) {
  const reason = error.status === 404 ? "There is no such session for this token." : "This token does not open the session."
  fillIn(root, signInForm(begin, reason))
}

function listen(token, page) {
  const connection = new Connection({
    address: socketAddress(),
    token,
    query: { session_id: sessionId, role: "observer", device: deviceName(), strict: "1" },
    position: () => ({ after: null, epoch: null }),
    outbox: new Outbox(),
    onMessage: (message) => hear(message, token, page),
    onStatus: ({ phase, code }) => {
      document.getElementById("lights").textContent = phase === "open" ? "" : phase === "ended" ? "" : "Reconnecting…"
      if (phase === "ended") over(code)
    },
  })
  connection.start()
}

function hear(message, token, page) {
  const before = session
  session = apply(session, message)
  if (message.type === "session_joined" || typeof message.seq !== "number") serverClock.hear(message.timestamp)
  page.pairing.hear(message)
  if (message.type === "pairing_request") decide(message, token)
  if (message.type === "presence" && message.role === "ui") {
    if (message.event === "joined" && !before.presence.has(message.connection_id)) welcome(message, token, page)
    lookAtDevices(token, page)
  }
  page.title.textContent = session.title ? `Pair a phone with “${session.title}”` : "Pair a phone"
  paint(token, page)
}

function welcome(who, token, page) {
  newest = who.device_id
  page.joined.classList.add("is-news")
  fillIn(page.joined,
    icon("check"), h("strong", {}, `${who.device || "A screen"} joined`),
    who.device_id ? h("button", { type: "button", class: "quiet", on: { click: () => undo(who.device_id, token, page) } }, "Undo") : null)
}

async function undo(deviceId, token, page) {
  await ask("DELETE", `sessions/${sessionId}/devices/${deviceId}`, { token })
  if (deviceId === newest) fillIn(page.joined, icon("close"), "Removed. That phone no longer has access.")
  devices = devices.filter((device) => device.device_id !== deviceId)
  paint(token, page)
  lookAtDevices(token, page)
}

async function decide({ pairing_id: id, device, verification }, token) {
  const question = h("div", {},
    h("p", {}, "Let it in only if the phone shows this number:"),
    h("p", { class: "verification" }, verification))
  const allow = await confirmed(`${device || "A phone"} wants to join`, question, "Yes, let it in", { no: "No" })
  await ask("POST", `sessions/${sessionId}/pairings/${id}`, { token, body: { allow } })
}

async function lookAtDevices(token, page) {
  const look = (newestLook += 1)
  try {
    const { body } = await ask("GET", "me/devices", { token })
    // One that was asked for later knows more, whichever comes first.
    if (look !== newestLook) return
    devices = body.devices.filter((device) => device.session_id === sessionId)
    paint(token, page)
  } catch {
    // A guest of the session sees who is connected, not the owner's list.
  }
}

function paint(token, page) {
  const here = [...session.presence.values()].filter((who) => who.role === "ui")
  const known = new Set(devices.map((device) => device.device_id))
  const all = [
    ...devices.map((device) => ({ ...device, isHere: here.some((who) => who.device_id === device.device_id) })),
    ...here.filter((who) => !who.device_id || !known.has(who.device_id)).map((who) => ({ ...who, isHere: true })),
  ]
  if (isPresent(session, "agent")) all.unshift({ device: "Agent", isHere: true, connection_id: "agent" })
  page.empty.hidden = all.some((device) => device.connection_id !== "agent")
  arrange(page.list, all.map((device) => row(device, token, page)))
}

function row(device, token, page) {
  const key = device.device_id ?? device.connection_id
  const state = device.isHere ? "here now" : `last seen ${ago(device.last_active_at)}`
  // The row stays the same one: a keyboard or a finger may be on its button.
  const node = rows.get(key) ?? h("li", {},
    h("i", { class: "dot", "aria-hidden": "true" }),
    h("span", { class: "device-name" }),
    h("span", { class: "muted" }),
    device.device_id
      ? h("button", { type: "button", class: "quiet danger", on: { click: () => undo(device.device_id, token, page) } }, "Remove")
      : null)
  rows.set(key, node)
  node.classList.toggle("is-here", device.isHere)
  const says = { ".device-name": device.device || "A screen", ".muted": state }
  for (const [part, text] of Object.entries(says)) {
    const told = node.querySelector(part)
    if (told.textContent !== text) told.textContent = text
  }
  node.querySelector("button")?.setAttribute("aria-label", `Remove ${device.device}`)
  return node
}

function over(code) {
  const text = code === 4510 ? "This session has ended." : code === 4501 ? "This token is no longer valid." : "There is no such session for this token."
  fillIn(root, h("section", { class: "terminal", role: "alert" },
    h("h1", {}, text), h("a", { class: "button primary", href: "../../" }, "All sessions")))
}
