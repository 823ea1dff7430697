// What stands around the cards: the bar, the question's sheet, the dock, banners, what fills the page where
// no card is, and what draws a person's attention: one spoken sentence, a pill, a toast, where the agent points.
//
// One Send in sight. A question with a Send of its own, or too few lines, folds the dock's field to a
// button. The person who opens that field folds the sheet, and back.

import { cleanText, cut, listText } from "../core/cards.js"
import { lookUp } from "../core/protocol.js"
import { isPresent } from "../core/session.js"
import { isGone } from "../core/take-away.js"
import { fillIn, h, icon } from "../elements/dom.js"
import { settings } from "../net/storage.js"
import { Room } from "./room.js"

/** What is said below the cards of each kind of loss, and after how long: a short pause is nobody's business. */
const BANNERS = {
  connecting: { text: "no_server", afterMs: 8000 },
  reconnecting: { text: "reconnecting", afterMs: 1500 },
  offline: { text: "no_network", afterMs: 0 },
}
const READS_CAPTIONS = "reads-captions"
const ANNOUNCE_MS = 400
const TOAST_MS = 6000
const MAX_TOAST = 300
/** Further down than this a person reads; nothing moves under their eyes. */
const READING_PX = 120
const AT_TOP_PX = 40
/** The way to the top takes no longer, however long it is. */
const RISE_MS = 1000

/**
 * The frame of `page` ({root, main}) in one language, `{words, locale}`. It shows what `screen`, a
 * ScreenSession, says of itself; `list` is where the cards go.
 * `headAtEnd()` gives what stands above the cards of a session that is over: null where it cannot be had,
 * undefined while it is on its way.
 * `onSay(event)` hears typed text, `find(target)` gives the element an agent means.
 */
export class Shell {
  #screen
  #words
  #locale
  #headAtEnd
  #title
  #lights
  #room
  #main
  /** Where questions are asked, once they can be. */
  sheet = null
  #hasSend = false
  #banner = h("div", { class: "banner", hidden: true })
  #alarm = h("div", { role: "alert" })
  #working = h("p", { class: "working", hidden: true })
  #workingText = null
  #fetching = null
  #waiting = null
  #waitingFor = ""

  constructor(page, { screen, language: { words, locale }, onSay, find, headAtEnd }) {
    this.#screen = screen
    this.#words = words
    this.#locale = locale
    this.#headAtEnd = headAtEnd
    this.#main = page.main
    this.list = h("div", { class: "feed" })
    this.captions = h("companion-captions", { on: {
      say: onSay,
      saying: () => this.sheet?.fold(this.captions.isSaying),
      reading: (event) => settings.set(READS_CAPTIONS, event.detail),
    } })
    this.captions.build(words)
    this.captions.read(settings.get(READS_CAPTIONS))
    this.announcer = new Announcer({ words, list: this.list, find })
    this.#lights = h("connection-lights")
    this.#title = h("h1", { class: "bar-title" }, words("companion"))
    fillIn(page.main, this.#alarm, this.list)
    const dock = h("footer", { class: "dock" }, this.#banner, this.captions)
    fillIn(page.root,
      h("header", { class: "bar" }, h("span", { class: "brand", "aria-hidden": "true" }), this.#title, this.#lights),
      page.main, this.#working, ...this.announcer.parts, dock,
    )
    this.#room = new Room({ root: page.root, list: this.list, dock, onChange: () => this.#foldDock() })
  }

  /** Another shell takes the place of this one. */
  stop() {
    this.#room.stop()
  }

  /** Have a sheet for questions, of the class `Sheet`: it comes with the first of them. */
  learnToAsk(Sheet) {
    this.sheet = new Sheet({ words: this.#words, list: this.list })
    this.sheet.node.addEventListener("fold", () => this.sheet.isFolded || this.captions.stopSaying())
    this.#main.before(this.sheet.node)
    this.#main.after(this.sheet.shield)
    this.#room.stand(this.sheet.node)
  }

  /** Show the question in front, `{node, title, hasSend}`, or null where none is open. */
  ask(question) {
    this.#hasSend = question?.hasSend ?? false
    this.#foldDock()
    this.sheet.show(question)
    this.#room.measure()
  }

  #foldDock() {
    this.captions.fold(this.#hasSend || this.#room.isShort)
  }

  paint() {
    const { session, status, end } = this.#screen
    const words = this.#words
    if (isGone(end)) this.announcer.forget()
    const parts = [
      () => (this.#title.textContent = cleanText(session.title) || words("companion")),
      () => this.#lights.show({ known: this.#screen.link.known, agent: isPresent(session, "agent"), words }),
      () => this.captions.show({ lines: isGone(end) ? [] : session.lines, unsent: isGone(end) ? [] : this.#unsent(), note: this.#noteOnWords(), words }),
      () => (this.captions.parentElement.hidden = status.phase === "ended"),
      () => this.#paintWork(),
      () => this.#paintBanner(),
      () => this.#paintAlarm(),
    ]
    for (const paint of parts) attempt(paint)
  }

  /** What stands in the place of cards while there is none: words, or above a question only a sign of life. */
  waiting(isAsking) {
    const { session, status } = this.#screen
    const words = this.#words
    const agent = isPresent(session, "agent")
    const joined = status.phase === "open"
    const key = `${isAsking} ${agent} ${joined} ${[...session.presence.keys()].join()}`
    if (this.#waiting && this.#waitingFor === key) return this.#waiting
    const others = [...session.presence.values()]
      .filter((who) => who.role === "ui" && who.connection_id !== session.connectionId)
      .map((who) => cleanText(who.device) || words("another_screen"))
    this.#waitingFor = key
    const breath = h("div", { class: "breath", "aria-hidden": "true" }, h("i"), h("i"), h("i"))
    this.#waiting = isAsking ? h("section", { class: "waiting" }, breath) : h("section", { class: "waiting" },
      breath,
      h("h2", {}, words(joined ? "waiting_title" : "connecting_title")),
      joined ? h("p", {}, words(agent ? "waiting_agent" : "waiting_nobody")) : h("p", { class: "muted fine" }, "\u00a0"),
      others.length ? h("p", { class: "muted" }, words("also_here", { names: listText(others, this.#locale) })) : null,
      joined && !isSecureContext ? h("p", { class: "muted fine" }, words("plain_http")) : null)
    return this.#waiting
  }

  /** "14:05" or "9:05 AM", as people here write it. */
  clock(ms) {
    return new Intl.DateTimeFormat(this.#locale, { timeStyle: "short" }).format(ms)
  }

  /** What was said and is not stored, with what is to be said of each: `{requestId, text, state, note}`. */
  #unsent() {
    const { unsent, link, status } = this.#screen
    const state = status.phase === "ended" ? "not_said" : link.isSure ? "sending" : "queued"
    return unsent.map(({ isRefused, ...line }) => ({ ...line, state: isRefused ? "not_said" : state }))
  }

  /** Who types to nobody is told when it will be read. */
  #noteOnWords() {
    const { session, link, unsent } = this.#screen
    const last = session.lines.at(-1)
    const isUnread = unsent.length > 0 || (last?.typed && last.seq > (session.agentSeq ?? -1))
    if (link.known !== "connected" || !isUnread || isPresent(session, "agent")) return ""
    return this.#words(session.agentSeq !== null ? "agent_has_left" : "agent_not_here")
  }

  /** How to say what it does: fetched with the first work, which the first card need not wait for. */
  #fetchWorking() {
    this.#fetching ??= import("../core/working.js").then(
      ({ workingText }) => {
        this.#workingText = workingText
        this.#paintWork()
      },
      () => (this.#fetching = null),
    )
  }

  /** What the agent does between two cards. It is not announced: a screen reader would talk over the agent. */
  #paintWork() {
    const { session, nowMs, link } = this.#screen
    const about = { words: this.#words, locale: this.#locale }
    if (session.work.size) this.#fetchWorking()
    const text = link.known === "connected" && this.#workingText ? this.#workingText(session, nowMs, about) : ""
    if (this.#working.dataset.text === text) return
    this.#working.dataset.text = text
    this.#working.hidden = text === ""
    fillIn(this.#working, h("span", { class: "spinner", "aria-hidden": "true" }), text)
  }

  #paintBanner() {
    const { link, session, status, asOf } = this.#screen
    const banner = this.#banner
    const lostForMs = link.lostAt === null ? 0 : performance.now() - link.lostAt
    const told = lookUp(BANNERS, link.known)
    const isLost = told !== undefined && lostForMs > told.afterMs
    const isExpiring = status.phase === "open" && session.expiringAt
    const key = isLost ? `${link.known} ${asOf}` : isExpiring ? "expiring" : ""
    if (banner.dataset.key === key) return
    banner.dataset.key = key
    banner.hidden = key === ""
    if (isLost) {
      const time = this.clock(asOf ?? this.#screen.nowMs)
      const old = session.seq > 0 ? h("span", { class: "banner-detail" }, this.#words("as_of", { time })) : null
      const sign = link.known === "offline" ? icon("clock") : h("span", { class: "spinner", "aria-hidden": "true" })
      fillIn(banner, sign, h("span", {}, this.#words(told.text)), old)
    } else if (isExpiring) {
      fillIn(banner, h("span", {}, this.#words("expiring")),
        h("button", { type: "button", class: "quiet", on: { click: () => this.#screen.keepOpen() } }, this.#words("keep_open")))
    }
  }

  #paintAlarm() {
    if (this.#screen.end === null || this.#alarm.firstChild) return
    const head = this.#headAtEnd()
    if (head === undefined) return
    fillIn(this.#alarm, head ?? h("section", { class: "terminal" }, h("h2", {}, this.#words("ended"))))
    this.announcer.callUp(this.#alarm.querySelector("h1, h2")?.textContent ?? "")
  }
}

/** Do one thing; what goes wrong in it costs nothing else. */
export function attempt(act) {
  try {
    act()
  } catch (error) {
    console.warn("a part of the page could not be shown", error)
  }
}

/**
 * The parts of the page that tell of news; `parts` are its elements.
 * `find(target)` gives the element an agent means, or null; `list` holds the cards.
 */
class Announcer {
  #words
  #list
  #find
  #unseen = 0
  #sentences = []
  #questions = []
  #announcing = null
  #toasting = null
  #risingUntil = 0

  constructor({ words, list, find }) {
    this.#words = words
    this.#list = list
    this.#find = find
    this.pill = h("button", { type: "button", class: "pill", hidden: true, on: { click: () => this.toTop() } })
    this.toastBox = h("p", { class: "toast", role: "status", hidden: true })
    this.spoken = h("p", { class: "unseen", "aria-live": "polite" })
    addEventListener("scroll", () => this.#scrolled(), { passive: true })
  }

  get parts() {
    return [this.pill, this.toastBox, this.spoken]
  }

  /** Something new is shown; `sentence` is what a screen reader says of it. */
  tell(sentence) {
    this.#sentences.push(sentence)
    this.#announceSoon()
    this.#unseen += 1
    this.callUp(this.#words("n_new", { n: this.#unseen }))
  }

  /** Offer the way to the top, in words, to who reads further down: the page does not go there by itself. */
  callUp(text) {
    this.pill.hidden = scrollY <= READING_PX
    if (this.pill.hidden) this.#unseen = 0
    else fillIn(this.pill, icon("up"), text)
  }

  /** Say what is to be decided: `sentence` is never summed up. */
  ask(sentence) {
    this.#questions.push(sentence)
    this.#announceSoon()
  }

  /** Say nothing of what was shown any more. */
  forget() {
    clearTimeout(this.#announcing)
    this.#sentences = []
    this.#questions = []
    this.pill.hidden = this.toastBox.hidden = true
    this.spoken.textContent = this.toastBox.textContent = ""
  }

  toast(text) {
    this.toastBox.textContent = cut(text, MAX_TOAST)
    this.toastBox.hidden = false
    clearTimeout(this.#toasting)
    this.#toasting = setTimeout(() => (this.toastBox.hidden = true), TOAST_MS)
  }

  /** Go to what the agent means; `isLit` makes it glow for a moment. */
  pointAt(target, isLit) {
    const node = this.#find(target)
    if (!node) return
    node.scrollIntoView({ block: "center", behavior: calm() ? "auto" : "smooth" })
    if (!isLit) return
    node.classList.remove("is-lit")
    // Reading the layout restarts the animation.
    void node.offsetWidth
    node.classList.add("is-lit")
  }

  /** Whether the page is on its way to the top, where nothing may hold it back. */
  get isRising() {
    return performance.now() < this.#risingUntil
  }

  toTop() {
    this.#risingUntil = performance.now() + RISE_MS
    scrollTo({ top: 0, behavior: calm() ? "auto" : "smooth" })
    this.#list.querySelector("article")?.focus({ preventScroll: true })
  }

  #announceSoon() {
    this.#announcing ??= setTimeout(() => this.#announce(), ANNOUNCE_MS)
  }

  /** Many updates at once are one sentence: nobody can follow ten. What is asked comes last, to be remembered. */
  #announce() {
    const [first, ...others] = this.#sentences
    const updates = others.length ? this.#words("n_updates", { n: others.length + 1 }) : first
    this.spoken.textContent = [updates, ...this.#questions].filter(Boolean).join(". ")
    this.#sentences = []
    this.#questions = []
    this.#announcing = null
  }

  #scrolled() {
    if (scrollY > AT_TOP_PX || this.pill.hidden) return
    this.#unseen = 0
    this.pill.hidden = true
  }
}

function calm() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches
}
