// The session manager: one's sessions, live; found, made, named, paired, exported and ended here.
//
// The list is fetched again every few seconds. A row stays the same element and changes in place,
// so that a keyboard, a finger or a half-typed name on it is never disturbed.

import { ask } from "../net/api.js"
import { allRecords, command, confirmed, save, signIn, signInForm, signOut } from "../elements/owner.js"
import { arrange, fillIn, h, icon } from "../elements/dom.js"
import { BASE } from "../net/place.js"
import { readdress } from "../net/storage.js"
import { SessionRow } from "../elements/session-row.js"
import { ORDERS, sorted } from "../core/session-list.js"

const REFRESH_MS = 3000
const PAGE = 200
/** Who types on within this has not asked yet. */
const TYPING_MS = 200

const root = document.getElementById("app")
const query = new URLSearchParams(location.search)
const rows = new Map()
let token = null
let page = null
let timer = null
let asked = 0
let pages = 1

const found = await signIn().catch((error) => {
  const reason = error.status ? "This sign-in link has already been used or has expired." : error.message
  fillIn(root, signInForm(begin, reason))
})
if (found) begin(found)
else if (found === null) fillIn(root, signInForm(begin))

function begin(given) {
  token = given
  page = {
    find: h("input", { type: "search", placeholder: "Title, person, id or call", "aria-label": "Find sessions", value: query.get("find") ?? "",
      on: { input: () => {
        keep("find", page.find.value.trim())
        pages = 1
        clearTimeout(timer)
        timer = setTimeout(refresh, TYPING_MS)
      } } }),
    order: h("select", { "aria-label": "Sort by", on: { change: () => {
      keep("sort", page.order.value)
      refresh()
    } } }, Object.entries(ORDERS).map(([value, { label }]) => h("option", { value, selected: value === query.get("sort") }, label))),
    list: h("ul", { class: "sessions" }),
    tools: h("div", { class: "list-tools", role: "search" }),
    told: h("p", { class: "unseen", role: "status" }),
    empty: h("div", { class: "empty", hidden: true }),
    more: h("button", { type: "button", class: "secondary", hidden: true, on: { click: () => { pages += 1; refresh() } } }, "More sessions"),
    fault: h("p", { class: "note", role: "alert" }),
  }
  fillIn(page.tools, page.find, page.order)
  fillIn(root,
    h("div", { class: "page-head is-row" }, h("h1", {}, "Sessions"),
      h("button", { type: "button", class: "primary", on: { click: create } }, "New session")),
    page.fault, page.tools, page.told, page.empty, page.list, page.more)
  fillIn(document.getElementById("nav"),
    h("button", { type: "button", class: "quiet", on: { click: leave } }, "Sign out"))
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && refresh())
  refresh()
}

function keep(name, value) {
  if (value) query.set(name, value)
  else query.delete(name)
  readdress(`${location.pathname}${String(query) ? `?${query}` : ""}`)
}

function leave() {
  signOut()
  clearTimeout(timer)
  asked += 1
  fillIn(document.getElementById("nav"))
  fillIn(root, signInForm(begin))
}

async function refresh() {
  clearTimeout(timer)
  const mine = (asked += 1)
  if (document.visibilityState === "visible") {
    try {
      const wanted = page.find.value.trim()
      const [listed, known] = await Promise.all([sessions(wanted), ask("GET", "me/devices", { token })])
      // What was asked for later is what is wanted, whichever answer comes first.
      if (mine !== asked) return undefined
      page.fault.textContent = ""
      paint(listed, known.body.devices, wanted)
    } catch (error) {
      if (mine !== asked) return undefined
      if (error.status === 401 || error.status === 403) return fillIn(root, signInForm(begin, "This token is not valid here."))
      page.fault.textContent = "The server cannot be reached. Trying again…"
    }
  }
  timer = setTimeout(refresh, REFRESH_MS)
  return undefined
}

/** The newest sessions that hold every wanted word, as many pages as were asked for. */
async function sessions(wanted) {
  const all = []
  let next = ""
  for (let at = 0; at < pages && next !== null; at += 1) {
    const asks = new URLSearchParams({ limit: PAGE, brief: 1, ...(wanted && { find: wanted }), ...(next && { cursor: next }) })
    const { body } = await ask("GET", `me/sessions?${asks}`, { token })
    all.push(...body.sessions)
    next = body.next ?? null
  }
  return { all, hasMore: next !== null }
}

function paint({ all, hasMore }, devices, wanted) {
  page.more.hidden = !hasMore
  page.tools.hidden = all.length === 0 && !wanted
  page.empty.hidden = all.length > 0
  if (all.length === 0 && page.empty.dataset.of !== wanted) {
    page.empty.dataset.of = wanted
    fillIn(page.empty, wanted ? noMatch(wanted) : noSession())
  }
  const told = all.length || !wanted ? "" : `No session matches “${wanted}”.`
  if (page.told.textContent !== told) page.told.textContent = told
  arrange(page.list, sorted(all, page.order.value).map((session) => {
    const id = session.session_id
    if (!rows.has(id)) rows.set(id, new SessionRow(acts))
    rows.get(id).show(session, devices.filter((device) => device.session_id === id))
    return rows.get(id).node
  }))
}

function noMatch(wanted) {
  return [h("h2", {}, `No session matches “${wanted}”`),
    h("p", {}, h("button", { type: "button", class: "secondary", on: { click: () => {
      page.find.value = ""
      keep("find", "")
      page.find.focus()
      refresh()
    } } }, "Show all sessions"))]
}

function noSession() {
  const isNear = /^(localhost|127\.|\[::1\])/.test(BASE.hostname)
  return [h("div", { class: "empty-sign" }, icon("phone")), h("h2", {}, "No session yet"),
    h("p", { class: "muted" }, "An agent opens one when it connects, or you create one here and pair a phone. To try it in a terminal:"),
    command(isNear ? `companion-ws connect --url ${BASE.origin}` : `companion-ws connect --url ${BASE.href.replace(/\/$/, "")} --token TOKEN`)]
}

async function create() {
  await attempt(async () => {
    const { body } = await ask("POST", "sessions", { token, body: {} })
    await refresh()
    rows.get(body.session_id)?.focus()
  })
}

/** What a row does to its session; each resolves to whether it was done. */
const acts = {
  rename: (session, title) => attempt(() => ask("PATCH", `sessions/${session.session_id}`, { token, body: { title } })),
  download: (session) => attempt(async () => {
    const records = await allRecords(token, session.session_id)
    save(`${session.session_id}.jsonl`, records.map((record) => `${JSON.stringify(record)}\n`).join(""))
  }),
  remove: (device) => attempt(() => ask("DELETE", `sessions/${device.session_id}/devices/${device.device_id}`, { token })),
  async end(session) {
    const name = session.title || session.session_id
    const text = "Everyone will be disconnected. You can still read what was said and shown until it is deleted."
    if (!(await confirmed(`End “${name}”?`, text, "End session", { danger: true }))) return
    await attempt(() => ask("DELETE", `sessions/${session.session_id}`, { token }))
  },
  async erase(session) {
    const name = session.title || session.session_id
    const text = "Everything stored about it will be deleted. This cannot be undone."
    if (!(await confirmed(`Erase “${name}”?`, text, "Erase", { danger: true }))) return
    if (await attempt(() => ask("DELETE", `sessions/${session.session_id}?erase=1`, { token }))) page.find.focus()
  },
}

async function attempt(act) {
  try {
    await act()
    await refresh()
    return true
  } catch (error) {
    page.fault.textContent = error.message || "That did not work."
    return false
  }
}
