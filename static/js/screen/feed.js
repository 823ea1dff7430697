// The CompanionUI of a joined session: fold in, cards and questions out.

import { cardView, cleanText, cut, humanized, listText, spokenView } from "../core/cards.js"
import { COMPANION_TOOLS, isCard } from "../core/companion-tools.js"
import { callOf, lookUp, resultOf } from "../core/protocol.js"
import { isOpen, isPresent } from "../core/session.js"
import { arrange, fillIn, h } from "../elements/dom.js"
import { localStore } from "../net/storage.js"
import { ScreenSession } from "./screen-session.js"
import { Announcer } from "./announcer.js"

/** A pause shorter than this is nobody's business. */
const BANNER_AFTER_MS = 1500
const SUMMARY_MS = 800
/** The first card comes first; the next thing an agent does may be to ask. */
const QUESTIONS_MS = 2500
const MAX_SUMMARY = 500
/** What an agent is told of a card that could not be shown. */
const MAX_PROBLEM = 500
/** Who answers a call a person is asked about; a server's own tools are none of theirs. */
const SCREENS = "screens"

/**
 * Show the session `target` ({sessionId, token, device}) in `page`.
 * `language` is {locale, name, words}; `speak(wanted)` gives another where the session
 * names one.
 */
export class Feed {
  #screen
  #page
  #words
  #locale
  #name
  #speak
  #spoken = null
  #items = new Map()
  #painted = new Map()
  #told = new Set()
  #announcer
  #summary = ""
  #summarising = null
  #tick = null
  #frame = null
  #isEmbedded
  #wakeLock = null
  #surfaces = null
  #drawing = Promise.resolve()
  #problems = new Map()
  #questioning = null
  #fetching = null

  constructor(page, target, language, speak) {
    this.#page = page
    this.#use(language)
    this.#speak = speak
    this.#isEmbedded = target.isEmbedded === true
    this.#screen = new ScreenSession({
      ...target,
      role: "ui",
      storage: localStore(),
      tools: Object.keys(COMPANION_TOOLS),
      onChange: () => this.#paintSoon(),
      onPass: (message) => this.#obey(message),
      onCaughtUp: (missed) => this.#caughtUp(missed),
      onNew: (record) => this.#arrived(record),
    })
    this.#build()
  }

  start() {
    this.#paint()
    this.#screen.start()
    this.#tick = setInterval(() => this.#paintSoon(), 1000)
    document.addEventListener("visibilitychange", () => this.#stayAwake())
  }

  get session() {
    return this.#screen.session
  }

  // Building

  #build() {
    const words = this.#words
    const page = this.#page
    page.captions = h("companion-captions", { on: { say: (event) => this.#say(event) } })
    page.lights = h("connection-lights")
    page.title = h("h1", { class: "bar-title" }, words("companion"))
    page.banner = h("div", { class: "banner", hidden: true })
    page.list = h("div", { class: "feed" })
    page.alarm = h("div", { role: "alert" })
    this.#announcer = new Announcer({ words, list: page.list, find: (target) => this.#find(target) })
    fillIn(page.main, page.alarm, page.list)
    fillIn(page.root,
      h("header", { class: "bar" }, h("span", { class: "brand", "aria-hidden": "true" }), page.title, page.lights),
      page.main, ...this.#announcer.parts,
      h("footer", { class: "dock" }, page.banner, page.captions),
    )
  }

  // Painting

  #paintSoon() {
    this.#frame ??= requestAnimationFrame(() => {
      this.#frame = null
      this.#paint()
    })
  }

  #use({ words, locale, name }) {
    this.#words = words
    this.#locale = locale
    this.#name = name
  }

  /** Speak as the session does, once it has said so. */
  async #follow(wanted) {
    if (!wanted || wanted === this.#spoken) return
    this.#spoken = wanted
    const language = await this.#speak([wanted])
    if (language.name === this.#name && language.locale === this.#locale) return
    this.#use(language)
    this.#items.clear()
    this.#painted.clear()
    this.#surfaces = null
    this.#build()
    this.#paint()
  }

  #paint() {
    const { session, status } = this.#screen
    const words = this.#words
    this.#follow(session.language)
    const parts = [
      () => (this.#page.title.textContent = cleanText(session.title) || words("companion")),
      () => this.#page.lights.show({ phase: status.phase, agent: isPresent(session, "agent"), words }),
      () => this.#page.captions.show({ lines: session.lines, words }),
      () => (this.#page.captions.parentElement.hidden = status.phase === "ended"),
      () => this.#paintBanner(),
      () => this.#paintAlarm(),
      () => this.#paintFeed(),
      () => this.#summariseSoon(),
    ]
    for (const paint of parts) attempt(paint)
  }

  #paintBanner() {
    const { status, offlineForMs, session, asOf } = this.#screen
    const { banner } = this.#page
    const words = this.#words
    const isLost = status.phase !== "ended" && offlineForMs > BANNER_AFTER_MS
    const isExpiring = status.phase === "open" && session.expiringAt
    const key = isLost ? `lost ${asOf}` : isExpiring ? "expiring" : ""
    if (banner.dataset.key === key) return
    banner.dataset.key = key
    banner.hidden = key === ""
    if (isLost) {
      const time = this.#clock(asOf ?? this.#screen.nowMs)
      const old = session.seq > 0 ? h("span", { class: "banner-detail" }, words("as_of", { time })) : null
      fillIn(banner, h("span", { class: "spinner", "aria-hidden": "true" }), h("span", {}, words("reconnecting")), old)
    } else if (isExpiring) {
      fillIn(banner, h("span", {}, words("expiring")),
        h("button", { type: "button", class: "quiet", on: { click: () => this.#screen.keepOpen() } }, words("keep_open")))
    }
  }

  #paintAlarm() {
    const { status } = this.#screen
    if (status.phase !== "ended" || this.#page.alarm.firstChild) return
    clearInterval(this.#tick)
    this.#wakeLock?.release?.()
    fillIn(this.#page.alarm, terminal(status.code, this.session, this.#words, { isEmbedded: this.#isEmbedded, hasTaps: this.#screen.hasTaps }))
    scrollTo({ top: 0 })
  }

  #paintFeed() {
    const entries = [...this.#cards(), ...this.#questions()]
    entries.sort((a, b) => Number(b.asks) - Number(a.asks) || b.position - a.position)
    const place = this.#place()
    const nodes = entries.map((entry) => this.#item(entry))
    if (entries.length === 0 && this.#screen.status.phase !== "ended") nodes.push(this.#waiting())
    arrange(this.#page.list, nodes)
    const moved = place?.node.isConnected ? place.node.getBoundingClientRect().top - place.top : 0
    // Scrolling by nothing would stop a smooth scroll that is under way.
    if (Math.abs(moved) >= 1) scrollBy({ top: moved, behavior: "instant" })
  }

  /** What is being read and where it stands, so that news above does not move it. */
  #place() {
    if (scrollY < 80 || this.#announcer.isRising) return null
    const node = [...this.#page.list.children].find((each) => each.getBoundingClientRect().bottom > 0)
    return node ? { node, top: node.getBoundingClientRect().top } : null
  }

  *#cards() {
    for (const card of this.session.cards) {
      const view = this.#view(card.record, () => cardView(card.record, this.#about), PLAIN_CARD)
      const chosen = view.choices ? this.#screen.chosen(card, view.choices) : null
      const pending = this.#pendingChoice(card, view)
      const note = this.#refusal(card.key)
      const seen = view.choices ? this.#screen.standing(card, view.choices) : 0
      yield { key: card.key, position: card.position, asks: false, record: card.record, element: "companion-card",
        state: [card.record, chosen?.id, pending?.text, note, this.#isOver, card.locked],
        model: { ...view, title: this.#titleOf(view), chosen, pending, note, closed: this.#isOver || card.locked },
        choose: (option) => this.#screen.choose(card, view.choices, option, { sentence: sentenceOf(option), seen }) }
    }
  }

  /** What questions are made of: fetched when one is there, or soon after the first card. */
  #fetchQuestions() {
    this.#fetching ??= Promise.all([import("../core/questions.js"), import("../elements/question.js")]).then(
      ([questions, { defineQuestion }]) => {
        defineQuestion()
        this.#questioning = questions
        this.#paintSoon()
      },
      () => (this.#fetching = null),
    )
  }

  /** A card that says nothing is news all the same. */
  #titleOf({ title, blocks, choices }) {
    return title.trim() || (blocks.length || choices ? "" : this.#words("n_updates", { n: 1 }))
  }

  *#questions() {
    const { nowMs } = this.#screen
    const calls = [...this.session.calls.values()].filter(({ record }) => (record.handled_by ?? SCREENS) === SCREENS)
    if (calls.length && !this.#questioning) this.#fetchQuestions()
    if (!this.#questioning) return
    const { isAsking, questionView, receiptOf } = this.#questioning
    for (const call of calls) {
      const view = this.#view(call.record, () => questionView(call, this.#about), PLAIN_QUESTION)
      const open = !this.#isOver && isOpen(call, nowMs)
      const asks = open && isAsking(view)
      if (!open && !call.answer && isAsking(view) && this.#isOver) continue
      const mine = call.answer ? this.#screen.isMine(call.answer) : false
      const receipt = asks || !isAsking(view) ? null : receiptOf(call, view, this.#about, mine)
      const pending = asks ? this.#pendingAnswer(call) : null
      const note = open ? this.#refusal(`call:${call.id}`) : ""
      yield { key: `call:${call.id}`, position: call.record.seq, asks, record: call.record, element: "companion-question",
        state: [call.record, open, call.answer, pending?.text, note],
        model: { view, open, receipt, pending, note, ui: view.ui },
        answer: (result) => this.#answered(call, result) }
    }
  }

  /** A view is made once per record: the same facts look the same. One that cannot be made is its title. */
  #view(record, make, plain) {
    let view = this.#painted.get(record)
    if (view) return view
    try {
      view = make()
    } catch (error) {
      this.#note(record, `It could not be shown: ${error.message}.`)
      view = { ...plain, title: humanized(record.text ?? callOf(record).name) || this.#words("could_not_show") }
    }
    this.#painted.set(record, view)
    return view
  }

  /** What of a form nobody can check here. */
  async #checkPatterns({ record, model }) {
    const fields = (model.view?.fields ?? []).filter(({ pattern }) => pattern !== null)
    if (fields.length === 0) return
    try {
      const { matcher } = await import("../core/matcher.js")
      for (const problem of this.#questioning.patternsOf(fields, matcher).problems) this.#note(record, problem)
    } catch {
      // The server checks what is sent.
    }
  }

  /** Keep what could not be shown of a record, for the agent. */
  #note(record, problem) {
    if (problem) this.#problems.set(record.seq, [...(this.#problems.get(record.seq) ?? []), problem])
  }

  #item(entry) {
    let item = this.#items.get(entry.key)
    if (!item) {
      item = { node: h(entry.element), state: null }
      item.node.addEventListener("choose", (event) => item.choose(event.detail))
      item.node.addEventListener("answer", (event) => item.answer(event.detail))
      this.#items.set(entry.key, item)
    }
    item.choose = entry.choose
    item.answer = entry.answer
    if (!item.state || entry.state.some((part, at) => part !== item.state[at])) {
      const isNewRecord = item.state?.[0] !== entry.record
      item.state = entry.state
      this.#show(item, entry)
      const hasDesign = (entry.record.ui ?? entry.model.ui ?? null) !== null
      if (isNewRecord && hasDesign) this.#draw(item, entry)
      else if (isNewRecord) this.#checkPatterns(entry).then(() => this.#rendered(entry))
    }
    return item.node
  }

  #show(item, { record, model }) {
    const { timestamp } = record
    const time = timestamp === undefined ? null : { iso: new Date(timestamp).toISOString(), text: this.#clock(timestamp) }
    try {
      item.node.show({ ...this.#designed(item, record, model), time, words: this.#words })
    } catch (error) {
      this.#note(record, `It could not be shown: ${error.message}.`)
      fillIn(item.node, h("article", { class: "card" }, h("p", { class: "note" }, this.#words("could_not_show"))))
    }
  }

  /** A card's own design in the place of its data; beside it, where the design cannot be shown whole. */
  #designed(item, record, model) {
    if (item.designed?.record !== record || !item.designed.node) return model
    const { node: extra, isWhole } = item.designed
    if (!isWhole) return { ...model, extra }
    return model.view ? { ...model, extra, view: { ...model.view, blocks: [] } } : { ...model, extra, blocks: [], choices: null }
  }

  /** A card of its own design: one after the other, with a pause in which the page can do other things. */
  #draw(item, entry) {
    this.#drawing = this.#drawing.then(async () => {
      try {
        this.#drawNow(await this.#painters(), item, entry)
      } catch (error) {
        this.#note(entry.record, `Its design could not be shown: ${error.message}.`)
      }
      this.#rendered(entry)
      await new Promise((resolve) => setTimeout(resolve))
    })
  }

  /** Its painter is fetched when the first one comes, and again where that failed. */
  #painters() {
    const about = {
      locale: this.#locale,
      words: this.#words,
      nowMs: () => this.#screen.nowMs,
      act: (command) => this.#screen.act(command, `surface:${command.surface_id}`),
    }
    this.#surfaces ??= import("../a2ui/surfaces.js").then(({ Surfaces }) => new Surfaces(about))
    this.#surfaces.catch(() => (this.#surfaces = null))
    return this.#surfaces
  }

  #drawNow(surfaces, item, entry) {
    // Later records change what earlier ones made, so they are taken in the order of the log.
    const { seq } = entry.record
    const records = this.session.cards.map((card) => card.record).filter((each) => each.ui && each.seq < seq)
    for (const each of records.sort((a, b) => a.seq - b.seq)) surfaces.take(each.seq, each.ui)
    const { node, problems, unchecked } = surfaces.take(seq, entry.record.ui ?? entry.model.ui)
    for (const problem of [...problems, ...unchecked]) this.#note(entry.record, problem)
    item.designed = { record: entry.record, node, isWhole: problems.length === 0 }
    const isStillShown = item.state?.[0] === entry.record
    if (node && isStillShown) this.#show(item, entry)
  }

  /** Tell agents that it is on the screen, once it is, and what of it is not. */
  #rendered(entry) {
    const { seq } = entry.record
    if (this.#told.has(seq)) return
    this.#told.add(seq)
    const problem = cut((this.#problems.get(seq) ?? []).join(" "), MAX_PROBLEM)
    const isLive = problem !== "" || seq > this.session.horizon || (entry.asks && this.#screen.isConnected)
    requestAnimationFrame(() => setTimeout(() => {
      if (isLive) this.#screen.pass({ type: "rendered", of_seq: seq, ...(problem ? { problem } : {}) })
      const call = this.session.calls.get(callOf(entry.record).id)
      if (isCard(call?.name) && entry.record.type === "client_tool_call") this.#screen.shown(call)
    }))
  }

  #waiting() {
    const words = this.#words
    const agent = isPresent(this.session, "agent")
    const joined = this.#screen.status.phase === "open"
    const key = `${agent} ${joined} ${[...this.session.presence.keys()].join()}`
    const known = this.#items.get("waiting")
    if (known?.state === key) return known.node
    const others = [...this.session.presence.values()]
      .filter((who) => who.role === "ui" && who.connection_id !== this.session.connectionId)
      .map((who) => cleanText(who.device) || words("another_screen"))
    const node = h("section", { class: "waiting" },
      h("div", { class: "breath", "aria-hidden": "true" }, h("i"), h("i"), h("i")),
      h("h2", {}, words(joined ? "waiting_title" : "connecting_title")),
      joined ? h("p", {}, words(agent ? "waiting_agent" : "waiting_nobody")) : null,
      others.length ? h("p", { class: "muted" }, words("also_here", { names: this.#list(others) })) : null,
      joined && !isSecureContext ? h("p", { class: "muted fine" }, words("plain_http")) : null)
    this.#items.set("waiting", { node, state: key })
    return node
  }

  // Taps

  #answered(call, result) {
    this.#screen.answer(call, result)
    this.#buzz()
  }

  #say(event) {
    if (this.#screen.say(event.detail)) return
    event.preventDefault()
    this.#announcer.toast(this.#words("too_long"))
  }

  #pendingAnswer(call) {
    const entry = this.#screen.pending(`call:${call.id}`)
    if (!entry) return null
    const result = resultOf(entry.command.result)
    return { id: result.id ?? result.status, text: this.#travelling }
  }

  #pendingChoice(card, view) {
    const entry = view.choices ? this.#screen.pending(card.key) : null
    if (!entry) return null
    const { command } = entry
    const text = JSON.stringify(command.value ?? command.context?.id)
    const option = view.choices.options.find((each) =>
      [JSON.stringify(each.value), JSON.stringify(each.id)].includes(text))
    // The first command is stored and its sentence still travels: that is done, for a person.
    return option ? { id: option.id, text: this.#travelling } : null
  }

  get #travelling() {
    return this.#words(this.#screen.isConnected ? "sending" : "queued")
  }

  #refusal(about) {
    const code = this.#screen.refusals.get(about)
    if (!code) return ""
    if (code === "tool_closed") return ""
    if (code === "body_too_large") return this.#words("too_long")
    return this.#words(code === "revision_conflict" ? "changed_meanwhile" : "not_sent")
  }

  #buzz() {
    navigator.vibrate?.(10)
  }

  // Being told

  #arrived(record) {
    const isNoise = record.type === "client_tool_call" && record.handled_by === "server"
    if (!isNoise) this.#announcer.tell(this.#sentenceFor(record))
  }

  #sentenceFor(record) {
    if (record.type === "client_tool_call") {
      const { name, parameters } = callOf(record)
      return cleanText(parameters.title) || humanized(name)
    }
    return spokenView(cardView(record, this.#about), this.#words)
  }

  #caughtUp(missed) {
    this.#stayAwake()
    setTimeout(() => this.#fetchQuestions(), QUESTIONS_MS)
    this.#summary = ""
    if (missed > 0) this.#announcer.toast(this.#words("n_missed", { n: missed }))
  }

  /** The agent's four commands. Source: docs/protocol.md, `screen_command`. */
  #obey(message) {
    if (message.type !== "screen_command") return
    const { name, target, text } = message
    if (name === "toast") this.#announcer.toast(cleanText(text))
    else if (name === "navigate" && target === "conversation") this.#page.captions.open(true)
    else if (name === "navigate" && (target === "top" || target === "cards")) this.#announcer.toTop()
    else this.#announcer.pointAt(cleanText(target), name === "highlight")
  }

  #find(target) {
    const key = [`context:${target}`, `call:${target}`, `seq:${target}`, target].find((each) => this.#items.has(each))
    const wanted = target.toLowerCase()
    const nodes = [...this.#page.list.children]
    return key
      ? this.#items.get(key).node
      : nodes.find((node) => node.querySelector("h2")?.textContent.toLowerCase() === wanted)
  }

  // Telling the agent

  #summariseSoon() {
    this.#summarising ??= setTimeout(() => {
      this.#summarising = null
      this.#summarise()
    }, SUMMARY_MS)
  }

  #summarise() {
    if (!this.#screen.isConnected || document.visibilityState === "hidden") return
    const text = cut(this.#whatIsShown(), MAX_SUMMARY)
    if (text === this.#summary) return
    if (this.#screen.pass({ type: "screen", text })) this.#summary = text
  }

  #whatIsShown() {
    const parts = []
    for (const { asks, model } of [...this.#questions(), ...this.#cards()].reverse().slice(0, 8)) {
      const title = model.view?.title ?? model.title
      if (asks) parts.push(`asked: ${title}`)
      else if (model.receipt) parts.push(`${title}: ${model.receipt.text}`)
      else if (model.chosen) parts.push(`${title}: chosen ${model.chosen.label}`)
      else if (model.choices) parts.push(`${title}: ${model.choices.options.map((each) => each.label).join(" / ")}`)
      else parts.push(model.view ? title : spokenView(model, this.#words))
    }
    return parts.length ? `On screen: ${parts.join("; ")}.` : "The screen is empty."
  }

  // Small things

  get #about() {
    return { locale: this.#locale, nowMs: this.#screen.nowMs, words: this.#words }
  }

  get #isOver() {
    return this.#screen.status.phase === "ended"
  }

  #clock(ms) {
    return new Intl.DateTimeFormat(this.#locale, { hour: "2-digit", minute: "2-digit" }).format(ms)
  }

  #list(names) {
    return listText(names, this.#locale)
  }

  async #stayAwake() {
    if (document.visibilityState !== "visible" || !navigator.wakeLock || !this.#screen.isConnected) return
    try {
      this.#wakeLock = await navigator.wakeLock.request("screen")
    } catch {
      // A low battery may say no.
    }
  }
}

/** What is shown of a record whose view cannot be made: its name. */
const PLAIN_CARD = { choices: null, blocks: [] }
const PLAIN_QUESTION = { kind: "card", blocks: [] }

/** Do one thing; what goes wrong in it costs nothing else. */
function attempt(act) {
  try {
    act()
  } catch (error) {
    console.warn("a part of the page could not be shown", error)
  }
}

/** What is said to the agent when an option of a card was tapped. */
function sentenceOf(option) {
  return option.price ? `${option.label}, ${option.price}` : option.label
}

const ENDS = { 4501: "revoked", 4401: "away", 4510: "expired", 4504: "expired" }

function terminal(code, session, words, { isEmbedded, hasTaps }) {
  const kind = session.ended ? "ended" : (lookUp(ENDS, code) ?? "refused")
  const text = lookUp({ ended: "ended_text", revoked: "revoked_text", expired: "expired_text", away: "away_text", refused: "scan_again_text" }, kind)
  return h("section", { class: "terminal" },
    h("h2", {}, words(`${kind}_title`)),
    h("p", {}, words(text)),
    kind === "away" && hasTaps ? h("p", {}, words("kept_text")) : null,
    isEmbedded || kind === "refused" ? null : h("p", { class: "muted" }, words("scan_again_text")),
    isEmbedded ? null : h("a", { class: "button primary", href: "c" }, words("type_code")))
}
