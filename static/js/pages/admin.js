// The inspector: all sessions on one side, one of them as a timeline on the other.

import { lookUp } from "../core/protocol.js"
import { TROUBLES, duration } from "../core/trace.js"
import { fillIn, h } from "../elements/dom.js"
import { signIn, signInForm, signOut } from "../elements/owner.js"
import { defineTimeline } from "../elements/timeline.js"
import { Overview } from "../inspector/overview.js"
import { SessionList } from "../inspector/sessions.js"
import { Watch } from "../inspector/watch.js"
import { ask } from "../net/api.js"
import { readdress } from "../net/storage.js"

const REFRESH_MS = 3000
/** A list of hundreds is asked for less often. */
const LONG_REFRESH_MS = 10_000
const OVERVIEW_MS = 5000
/** Who types on within this has not asked yet. */
const TYPING_MS = 200
const DAY_S = 86_400

const root = document.getElementById("app")
const query = new URLSearchParams(location.search)
let token = null
let list = null
let overview = null
let detail = null
let fault = null
let watched = null
let keptFor = "time that ended sessions are kept"
let timer = null
let overviewTimer = null
let asked = 0

/** What the address says, kept as it changes. */
const place = {
  get: (name) => query.get(name),
  set: (name) => new Set((query.get(name) ?? "").split(",").filter(Boolean)),
  keep(name, value) {
    if (value) query.set(name, value)
    else query.delete(name)
    readdress(this.linkTo({}))
  },
  linkTo(changes) {
    const wanted = Object.keys(changes).length ? new URLSearchParams(changes) : query
    return `${location.pathname}${String(wanted) ? `?${wanted}` : ""}`
  },
}

defineTimeline()
document.addEventListener("keydown", press)
const found = await signIn().catch(() => askForToken("This sign-in link has already been used or has expired."))
if (found) begin(found)
else if (found === null) askForToken()

function askForToken(reason = "") {
  clearTimeout(timer)
  clearTimeout(overviewTimer)
  watched?.stop()
  watched = null
  list = null
  root.className = "owner-page"
  fillIn(root, signInForm(begin, reason))
}

function begin(given) {
  token = given
  root.className = "inspector"
  list = new SessionList({ place, onChoose: watch, onAsk: (isTyping) => {
    clearTimeout(timer)
    timer = setTimeout(refresh, isTyping ? TYPING_MS : 0)
  } })
  overview = new Overview()
  fault = h("p", { class: "note", role: "alert" })
  list.node.append(fault)
  detail = h("section", { class: "inspector-detail", "aria-label": "Session" })
  fillIn(root, list.node, detail)
  fillIn(document.getElementById("nav"), h("button", { type: "button", class: "quiet", on: { click: () => {
    signOut()
    fillIn(document.getElementById("nav"))
    askForToken()
  } } }, "Sign out"))
  nothingChosen()
  refresh()
  look().finally(() => query.get("session") && !watched && watch(query.get("session")))
}

async function refresh() {
  clearTimeout(timer)
  const mine = (asked += 1)
  try {
    const listed = document.visibilityState === "visible" ? await list.read(token) : null
    // What was asked for later is what is wanted, whichever answer comes first.
    if (mine !== asked || !list) return
    if (listed) list.paint(listed, watched?.id)
    fault.textContent = ""
  } catch (error) {
    if (mine !== asked || !list) return
    if ([401, 403].includes(error.status)) return askForToken("The inspector needs an admin token.")
    fault.textContent = error.status === 404 ? "Admin pages are available only on the server’s own machine." : "The server cannot be reached. Trying again…"
  }
  timer = setTimeout(refresh, list.isLong ? LONG_REFRESH_MS : REFRESH_MS)
}

/** Look over all sessions: how many are in trouble, and each tool. */
async function look() {
  clearTimeout(overviewTimer)
  try {
    if (document.visibilityState === "visible") {
      const { body } = await ask("GET", "overview", { token })
      if (!list) return
      list.count(body.sessions)
      overview.paint(body)
      keptFor = body.keep_ended_s === DAY_S ? "24 hours" : duration(body.keep_ended_s * 1000)
      document.title = titleFor(body.sessions)
    }
  } catch {
    // The list says what is wrong.
  }
  if (list) overviewTimer = setTimeout(look, OVERVIEW_MS)
}

function titleFor(counts) {
  const wrong = TROUBLES.reduce((sum, kind) => sum + lookUp(counts, kind), 0)
  return `${wrong ? `(${wrong}) ` : ""}Inspector · Companion`
}

function nothingChosen() {
  root.classList.remove("has-detail")
  fillIn(detail, overview.node)
}

function watch(id) {
  if (watched?.id === id) return
  watched?.stop()
  if (query.get("session") !== id) query.delete("record")
  place.keep("session", id)
  root.classList.add("has-detail")
  watched = new Watch(id, { token, root: detail, place, keptFor: () => keptFor, onClose: unwatch, onChange: () => refresh() })
  refresh()
}

function unwatch() {
  watched?.stop()
  watched = null
  query.delete("record")
  place.keep("session", "")
  nothingChosen()
  refresh()
}

/** j and k move, / searches, Esc closes what is on top. */
function press(event) {
  if (!list || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return
  const box = event.target.closest?.("input:not([type=checkbox]):not([type=range]), textarea, select")
  if (event.key === "Escape") return escape(box)
  if (box) return
  if (event.key === "/") {
    event.preventDefault()
    list.search.focus()
    list.search.select()
  } else if (event.key === "j" || event.key === "k") {
    const step = event.key === "j" ? 1 : -1
    const isInList = list.node.contains(document.activeElement)
    if (watched && !isInList) watched.move(step)
    else list.move(step)
  }
}

function escape(box) {
  if (box) {
    box.blur()
  } else if (watched && !watched.closeTop()) {
    unwatch()
  }
}
