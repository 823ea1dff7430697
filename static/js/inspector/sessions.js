// All sessions: one search, what went wrong in how many, and the list, newest first.

import { lookUp } from "../core/protocol.js"
import { facts } from "../core/session-list.js"
import { TROUBLES } from "../core/trace.js"
import { arrange, fillIn, h, icon } from "../elements/dom.js"
import { count } from "../elements/owner.js"
import { ask, serverClock } from "../net/api.js"

const STEP = 100
/** A server answers with no more at once. */
const MOST = 1000

const SIGNS = { failed: "close", slow: "clock", no_screen: "phone-off" }

/** What a kind of trouble is called. */
export function troubleName(kind) {
  return kind.replace("_", " ")
}

export class SessionList {
  #rows = new Map()
  #wanted = STEP
  #chips = new Map()

  /** `onChoose(id)`: a session was chosen; `onAsk(isTyping)`: another list is wanted. */
  constructor({ place, onChoose, onAsk }) {
    this.place = place
    this.onChoose = onChoose
    this.onAsk = onAsk
    this.troubles = place.set("trouble")
    this.search = h("input", { type: "search", placeholder: "Title, id, user, conversation, call", "aria-label": "Find a session", value: place.get("find") ?? "",
      on: { input: () => {
        place.keep("find", this.search.value)
        this.#wanted = STEP
        onAsk(true)
      } } })
    this.list = h("ul", { class: "session-list", "aria-label": "Sessions found" })
    this.empty = h("p", { class: "muted session-none", role: "status", hidden: true })
    this.more = h("button", { type: "button", class: "tool", hidden: true, on: { click: () => this.#askMore() } }, "More")
    this.scroller = h("div", { class: "session-scroll", on: { scroll: () => this.#isNearEnd() && this.#askMore() } }, this.list, this.empty, this.more)
    this.node = h("nav", { class: "inspector-side", "aria-label": "Sessions" }, h("h1", { class: "unseen" }, "Sessions"), this.search, this.#filters(), this.scroller)
  }

  /** Ask for what is wanted: the sessions found, and whether there are more. */
  async read(token) {
    const find = this.search.value.trim()
    // One kind at a time: a session that failed and was slow is found by either.
    const [trouble] = this.troubles
    const query = new URLSearchParams({ brief: "1", limit: this.#wanted, ...(find ? { find } : {}), ...(trouble ? { trouble } : {}) })
    const { body } = await ask("GET", `sessions?${query}`, { token })
    return { found: body.sessions, hasMore: (body.next ?? null) !== null && this.#wanted < MOST, find, trouble }
  }

  get isLong() {
    return this.#wanted > 2 * STEP
  }

  paint({ found, hasMore, find, trouble }, chosen) {
    this.more.hidden = !hasMore
    this.empty.hidden = found.length > 0
    this.empty.textContent = nothingFound(find, trouble)
    arrange(this.list, found.map((session) => this.#row(session, session.session_id === chosen)))
    for (const id of [...this.#rows.keys()]) if (!this.#rows.get(id).node.isConnected) this.#rows.delete(id)
  }

  count(counts) {
    for (const [kind, { node, number }] of this.#chips) {
      number.textContent = lookUp(counts, kind) ?? 0
      node.classList.toggle("is-any", lookUp(counts, kind) > 0)
    }
  }

  /** Put the keyboard on the next row, or the one before. */
  move(step) {
    const rows = [...this.list.querySelectorAll("button")]
    const at = rows.indexOf(document.activeElement)
    rows.at(at === -1 ? 0 : Math.min(rows.length - 1, Math.max(0, at + step)))?.focus()
  }

  #filters() {
    return h("fieldset", { class: "session-troubles" }, h("legend", { class: "unseen" }, "Sessions with trouble"), TROUBLES.map((kind) => {
      const number = h("b", {}, "0")
      const box = h("input", { type: "checkbox", on: { change: () => {
        for (const { box: other } of this.#chips.values()) if (other !== box) other.checked = false
        this.troubles.clear()
        if (box.checked) this.troubles.add(kind)
        this.place.keep("trouble", [...this.troubles].join(","))
        this.#wanted = STEP
        this.onAsk(false)
      } } })
      box.checked = this.troubles.has(kind)
      const node = h("label", { class: `chip is-${kind}` }, box, h("span", {}, troubleName(kind)), number)
      this.#chips.set(kind, { node, number, box })
      return node
    }))
  }

  #row(session, isChosen) {
    const id = session.session_id
    const { agent = 0, ui = 0 } = session.connections ?? {}
    const state = JSON.stringify([session.title, session.user, session.seq, agent, ui, session.node, session.troubles, since(session.ended_at ?? session.last_active_at), session.ended_at, isChosen])
    const known = this.#rows.get(id)
    if (known?.state === state) return known.node
    const node = known?.node ?? h("li", {}, h("button", { type: "button", class: "session-row", on: { click: () => this.onChoose(id) } }))
    this.#rows.set(id, { node, state })
    // The button stays the same one: a keyboard may stand on it.
    const button = node.firstElementChild
    if (isChosen) button.setAttribute("aria-current", "true")
    else button.removeAttribute("aria-current")
    fillIn(button,
      h("span", {},
        h("span", { class: "session-name" }, h("i", { class: "dot", "aria-hidden": "true" }), h("span", {}, session.title || id.slice(0, 8))),
        h("span", { class: "session-wrong" }, TROUBLES.filter((kind) => lookUp(session.troubles, kind) > 0).map((kind) => mark(kind, lookUp(session.troubles, kind))))),
      h("span", {},
        h("span", { class: "session-facts" }, facts(session, id.slice(0, 8), count)),
        h("span", { class: "session-when" }, session.ended_at ? `ended ${since(session.ended_at)}` : since(session.last_active_at))))
    node.classList.toggle("is-on", agent + ui > 0)
    node.classList.toggle("is-ended", Boolean(session.ended_at))
    return node
  }

  #isNearEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.scroller
    return scrollHeight - scrollTop - clientHeight < clientHeight
  }

  #askMore() {
    const shown = this.list.childElementCount
    if (this.more.hidden || shown < this.#wanted) return
    this.#wanted = Math.min(MOST, this.#wanted + STEP)
    this.onAsk(false)
  }
}

/** How much of one kind of trouble, as a sign and a number; in words for who listens or points at it. */
function mark(kind, number) {
  const words = `${number} ${troubleName(kind)}`
  return h("span", { class: `mark is-${kind}`, title: words },
    icon(lookUp(SIGNS, kind)), h("span", { "aria-hidden": "true" }, String(number)), h("span", { class: "unseen" }, words))
}

/** "now", "5 min", "3 h" or "1 d": how long ago, in the room there is. */
function since(ms) {
  const minutes = Math.floor((serverClock.nowMs - ms) / 60_000)
  if (minutes < 1) return "now"
  if (minutes < 60) return `${minutes} min`
  return minutes < 48 * 60 ? `${Math.floor(minutes / 60)} h` : `${Math.floor(minutes / 1440)} d`
}

function nothingFound(find, trouble) {
  const what = trouble ? `No session with “${troubleName(trouble)}”` : "No session"
  if (find) return `${what} matches “${find}”.`
  return trouble ? `${what}.` : "No session yet. One is opened when an agent connects."
}
