// The CompanionUI of a joined session: fold in, cards and questions out.
//
// Why nothing here reacts to a single message. What a phone should show depends on all records
// together, and after a reload or a tunnel it gets hundreds of them at once. So messages only
// change the session (screen-session.js folds them), and the page is painted from it as a whole, at
// most once a frame, and once a second for what time changes. Whatever the order of events, the
// same session looks the same.
//
// A paint. `#cards` and `#questions` make one entry for each thing to show: its key, its place, the
// `state` it depends on, and a `model` for its element. One open question stands in the sheet, the
// others wait; what is answered joins the cards, newest first. `#item` keeps one element for each key and shows the model again only when a part of
// `state` is another, so that focus, scrolling and a half-filled form survive. A view (what a record
// looks like) is made once for each record. Nothing may move under the eyes of somebody who reads
// further down: reading.js holds what is being read where it stands.
//
// What goes wrong stays small. A record that cannot be shown becomes its title, a part that
// cannot be painted costs itself alone, and the agent is told what is not on the screen.
//
// What comes late. Questions, the agent's own designs (A2UI) and the matcher of patterns are
// fetched when the first of them is there, questions also when the conversation goes on: the first
// card must come first. Designs change what earlier ones made, so they are taken in the order of the
// log, one at a time.
//
// Others: shell.js is what stands around the cards and draws attention, report.js what the agent
// is told, screen-session.js the connection and what taps become, taps.js what is said of them until
// then, take-away.js what stands above the cards at the end.

import { cardView, cleanText, humanized, spokenView } from "../core/cards.js"
import { COMPANION_TOOLS, isQuestion } from "../core/companion-tools.js"
import { plainOf } from "../core/markdown.js"
import { callOf, lookUp, resultOf } from "../core/protocol.js"
import { isOpen } from "../core/session.js"
import { isGone } from "../core/take-away.js"
import { arrange, fillIn, h } from "../elements/dom.js"
import { wear } from "../elements/styles.js"
import { localStore } from "../net/storage.js"
import { learnToAsk } from "../words/asking.js"
import { Awake } from "./awake.js"
import { hold, placeIn } from "./reading.js"
import { Report, summaryOf } from "./report.js"
import { ScreenSession } from "./screen-session.js"
import { attempt, Shell } from "./shell.js"
import { Taps } from "./taps.js"

/** What an element says that a person has done. */
const DONE = ["choose", "answer", "amend", "draft"]
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
  #shell
  #taps
  #report
  #pictures = null
  #tick = null
  #frame = null
  #isEmbedded
  #awake = new Awake()
  #surfaces = null
  #drafts = null
  #attention = null
  #drawing = Promise.resolve()
  #questioning = null
  #fetching = null
  #taking = null
  #ending
  #takeAway = null
  #onCleared

  constructor(page, target, language, speak) {
    this.#page = page
    this.#speak = speak
    this.#isEmbedded = target.isEmbedded === true
    this.#onCleared = target.onCleared
    this.#screen = new ScreenSession({
      ...target,
      role: "ui",
      keepsNothing: this.#isEmbedded,
      storage: localStore(),
      tools: Object.keys(COMPANION_TOOLS),
      onChange: () => this.#paintSoon(),
      onPass: (message) => this.#obey(message),
      onCaughtUp: (missed) => this.#caughtUp(missed),
      onNew: (record) => this.#arrived(record),
    })
    this.#report = new Report(this.#screen, () => summaryOf([...this.#questions(), ...this.#cards()], this.#words))
    this.#use(language)
  }

  /** `isAsking`: a question is known to come with the first cards. */
  start({ isAsking = false } = {}) {
    if (isAsking) this.#fetchQuestions()
    this.#paint()
    this.#screen.start()
    this.#tick = setInterval(() => this.#paintSoon(), 1000)
    document.addEventListener("visibilitychange", () => this.#screen.isConnected && this.#awake.keep())
    this.#page.root.addEventListener("pointerdown", () => {
      this.#fetchQuestions()
      this.#fetchTakeAway()
    }, { once: true })
  }

  get session() {
    return this.#screen.session
  }

  #use({ words, locale, name }) {
    this.#words = words
    this.#locale = locale
    this.#name = name
    this.#shell?.stop()
    this.#shell = new Shell(this.#page, {
      screen: this.#screen,
      language: { words, locale },
      onSay: (event) => this.#say(event),
      find: (target) => this.#find(target),
      headAtEnd: () => this.#headAtEnd(),
    })
    this.#taps = new Taps(this.#screen, words)
    this.#takeAway = null
    // It knows the words of the language before; the script itself is there already.
    this.#taking = null
    this.#ending = undefined
    if (this.#questioning) this.#haveSheet()
  }

  #haveSheet() {
    this.#shell.learnToAsk(this.#questioning.Sheet)
    this.#attention ??= new this.#questioning.Attention()
    this.#shell.sheet.node.append(this.#attention.button(this.#words))
    this.#shell.sheet.node.addEventListener("turn", () => this.#paint())
  }

  // Painting

  #paintSoon() {
    this.#frame ??= requestAnimationFrame(() => {
      this.#frame = null
      this.#paint()
    })
  }

  /** Speak as the session does, once it has said so. */
  async #follow(wanted) {
    if (!wanted || wanted === this.#spoken) return
    this.#spoken = wanted
    const language = await this.#speak([wanted])
    if (language.name === this.#name && language.locale === this.#locale) return
    if (this.#questioning) await learnToAsk(language.words).catch(() => {})
    this.#items.clear()
    this.#painted.clear()
    this.#surfaces = null
    this.#use(language)
    this.#paint()
  }

  #paint() {
    this.#follow(this.session.language)
    const place = this.#shell.announcer.isRising ? null : placeIn(this.#shell.list)
    if (this.#screen.end !== null) this.#fetchTakeAway()
    this.#shell.paint()
    attempt(() => this.#paintFeed())
    attempt(() => this.#fetchPictures())
    attempt(() => this.#takeAway?.painted())
    hold(place)
    attempt(() => this.#report.summariseSoon())
    if (!this.#isOver) return
    clearInterval(this.#tick)
    this.#awake.end()
  }

  /** What fills the places of pictures is fetched when there is one; from then on each paint tells it what is new. */
  #fetchPictures() {
    const { root } = this.#page
    root.dataset.pictures = this.session.showsPictures ? "fetched" : "off"
    if (!this.#pictures && !root.querySelector("companion-picture")) return
    this.#pictures ??= import("./pictures.js").then(({ Pictures }) => new Pictures(root, () => this.session))
    this.#pictures.then((pictures) => pictures.tell(), () => (this.#pictures = null))
  }

  /** What is done with the cards at the end: fetched when it comes, or before. */
  #fetchTakeAway() {
    this.#taking ??= Promise.all([import("./take-away.js"), wear("take-away"), learnToAsk(this.#words)]).then(
      ([part]) => (this.#ending = part),
      // A heading is left, and the cards.
      () => (this.#ending = null),
    ).then(() => this.#paintSoon())
  }

  /** What stands above the cards at the end; undefined while it is fetched, null where that failed. */
  #headAtEnd() {
    if (!this.#ending) return this.#ending
    const { end, hasTaps, isTakeAway } = this.#screen
    if (!isTakeAway) return this.#ending.terminal(end, this.#words, { isEmbedded: this.#isEmbedded, hasTaps })
    this.#takeAway = new this.#ending.TakeAway({
      screen: this.#screen,
      language: { words: this.#words, locale: this.#locale },
      list: this.#shell.list,
      parts: () => [...this.#cards(), ...this.#questions()].sort(newestFirst).map(({ model }) => partOf(model, this.#words)),
      toast: (text) => this.#shell.announcer.toast(text),
      onCleared: this.#onCleared,
    })
    return this.#takeAway.head()
  }

  #paintFeed() {
    const questions = [...this.#questions()]
    const open = questions.filter((entry) => entry.asks)
    // What is answered and cannot be sent yet gives way to what can still be decided.
    const undecided = open.filter((entry) => !entry.model.pending || this.#screen.link.isSure)
    const asking = undecided.length ? undecided : open
    const told = [...this.#cards(), ...questions.filter((entry) => !asking.includes(entry))].sort(newestFirst)
    const { sheet } = this.#shell
    const hadFocus = sheet?.hasFocus
    const front = sheet ? this.#inFront(sheet, asking) : null
    const nodes = told.map((entry) => this.#item(entry))
    if (nodes.length === 0 && this.#screen.status.phase !== "ended") nodes.push(this.#shell.waiting(front !== null))
    const focused = document.activeElement
    if (sheet) this.#shell.ask(front)
    arrange(this.#shell.list, nodes)
    // What is moved loses the focus: it goes on in the next question, else with what became of the last.
    if (hadFocus && !sheet.hasFocus && front) sheet.focus()
    else if (hadFocus && !front && focused?.isConnected) focused.focus({ preventScroll: true })
  }

  /** The one of the open questions that is asked now, as the shell takes it, or null. */
  #inFront(sheet, asking) {
    this.#tellQuestions(asking, sheet.front, sheet.take(asking.map((entry) => entry.key)))
    const front = asking.find((entry) => entry.key === sheet.front)
    const questions = [front, ...asking.filter((entry) => entry !== front)].filter(Boolean)
    this.#attention.see(questions.map(({ key, record, model }) => ({ key, seq: record.seq, title: plainOf(model.view.title) })), {
      name: cleanText(this.session.title) || this.#words("companion"), horizon: this.session.horizon,
    })
    if (!front) return null
    const { view } = front.model
    return { node: this.#item(front), title: plainOf(view.title), hasSend: this.#questioning.hasSend(view) }
  }

  /** Say what is to be decided now, and that more waits: `queued` are keys, `before` was in front. */
  #tellQuestions(asking, before, queued) {
    for (const { key, model } of asking) {
      if (key === this.#shell.sheet.front && key !== before) this.#shell.announcer.ask(this.#questioning.spokenQuestion(model.view, this.#words))
      else if (queued.includes(key)) this.#shell.announcer.ask(this.#words("question_waits", { title: plainOf(model.view.title) }))
    }
  }

  *#cards() {
    if (isGone(this.#screen.end)) return
    for (const card of this.session.cards) {
      const view = this.#view(card.record, () => cardView(card.record, this.#about), PLAIN_CARD)
      const chosen = view.choices ? this.#screen.chosen(card, view.choices) : null
      const pending = this.#taps.choice(card, view)
      const note = this.#taps.noteOnCard(card, view)
      const seen = view.choices ? this.#screen.standing(card, view.choices) : 0
      yield { key: card.key, position: card.position, asks: false, record: card.record, element: "companion-card",
        state: [card.record, chosen?.id, pending?.text, note, this.#isOver, card.locked, this.#taps.mayChange],
        model: { ...view, title: this.#titleOf(view), chosen, pending, note, closed: this.#isOver || card.locked, mayChange: this.#taps.mayChange },
        choose: (option) => this.#screen.choose(card, view.choices, option, { sentence: sentenceOf(option), seen }) }
    }
  }

  /** What questions are made of: fetched when one is there, or before. */
  #fetchQuestions() {
    this.#fetching ??= this.#learnToAsk().catch(() => (this.#fetching = null))
  }

  async #learnToAsk() {
    let words = this.#words
    // One after the other they would take as long as many cards.
    const [asking] = await Promise.all([import("./asking.js"), wear("asking"), learnToAsk(words)])
    asking.defineQuestion()
    // The session may name its language in the meantime.
    while (words !== this.#words) await learnToAsk((words = this.#words))
    this.#questioning = asking
    this.#screen.keptCall = (call) => asking.keptCall(call, this.#about)
    this.#haveSheet()
    this.#paintSoon()
  }

  /** A card that says nothing is news all the same. */
  #titleOf({ title, blocks, choices }) {
    return title.trim() || (blocks.length || choices ? "" : this.#words("n_updates", { n: 1 }))
  }

  *#questions() {
    const { nowMs, end } = this.#screen
    if (isGone(end)) return
    const calls = [...this.session.calls.values()].filter(({ record }) => (record.handled_by ?? SCREENS) === SCREENS)
    if (calls.length && !this.#questioning) this.#fetchQuestions()
    if (!this.#questioning) return
    this.#drafts ??= new this.#questioning.Drafts(this.session.id)
    const { changeText, isAsking, mayChange: isOurs, questionView, receiptOf } = this.#questioning
    for (const call of calls) {
      const view = this.#view(call.record, () => questionView(call, this.#about), PLAIN_QUESTION)
      const open = !this.#isOver && isOpen(call, nowMs)
      const asks = open && isAsking(view)
      if (!open && !call.answer && isAsking(view) && this.#isOver) continue
      const mine = call.answer ? this.#screen.isMine(call.answer) : false
      const receipt = asks || !isAsking(view) ? null : receiptOf(call, view, this.#about, mine)
      if (!open) this.#drafts.forget(call.id)
      const pending = asks ? this.#taps.answer(call) : null
      const changing = call.answer ? this.#taps.change(call) : ""
      const isChangeable = !this.#isOver && isOurs(call)
      const mayChange = isChangeable && this.#taps.mayChange && !this.#screen.pending(`change:${call.id}`)
      const { note, isHint } = asks ? this.#taps.noteOnQuestion(call) : { note: "", isHint: false }
      yield { key: `call:${call.id}`, position: call.record.seq, asks, record: call.record, element: "companion-question",
        state: [call.record, open, call.answer, call.change, pending?.text, note, changing, isChangeable, mayChange],
        model: { view, open, receipt, pending, note, changing, isChangeable, mayChange, answered: (call.change ?? call.answer)?.result, isHint, ui: view.ui, draft: asks ? this.#drafts.find(call.id) : null },
        draft: (draft) => this.#drafts.keep(call.id, draft),
        amend: (result) => this.#screen.amend(call, result, changeText(view, resultOf(result), this.#about)),
        answer: (result) => {
          this.#screen.answer(call, result)
          navigator.vibrate?.(10)
        } }
    }
  }

  /** A view is made once per record: the same facts look the same. One that cannot be made is its title. */
  #view(record, make, plain) {
    let view = this.#painted.get(record)
    if (view) return view
    try {
      view = make()
    } catch (error) {
      this.#report.note(record, `It could not be shown: ${error.message}.`)
      view = { ...plain, title: humanized(record.text ?? callOf(record).name) || this.#words("could_not_show") }
    }
    this.#painted.set(record, view)
    return view
  }

  /** What of a form nobody can ask or check here. */
  async #checkForm({ record, model }) {
    if (!model.view?.form) return
    try {
      const { matcher } = await import("../core/matcher.js")
      for (const problem of this.#questioning.problemsOf(model.view, matcher)) this.#report.note(record, problem)
    } catch {
      // The server checks what is sent.
    }
  }

  #item(entry) {
    let item = this.#items.get(entry.key)
    if (!item) {
      item = { node: h(entry.element), state: null }
      for (const type of DONE) item.node.addEventListener(type, (event) => lookUp(item.entry, type)?.(event.detail))
      this.#items.set(entry.key, item)
    }
    item.entry = entry
    if (!item.state || entry.state.some((part, at) => part !== item.state[at])) {
      const isNewRecord = item.state?.[0] !== entry.record
      item.state = entry.state
      this.#show(item, entry)
      const hasDesign = (entry.record.ui ?? entry.model.ui ?? null) !== null
      if (isNewRecord && hasDesign) this.#draw(item, entry)
      else if (isNewRecord) this.#checkForm(entry).then(() => this.#report.rendered(entry))
    }
    return item.node
  }

  #show(item, { record, model }) {
    const { timestamp } = record
    const time = timestamp === undefined ? null : { iso: new Date(timestamp).toISOString(), text: this.#shell.clock(timestamp) }
    try {
      item.node.show({ ...designed(item, record, model), time, words: this.#words, locale: this.#locale })
    } catch (error) {
      this.#report.note(record, `It could not be shown: ${error.message}.`)
      fillIn(item.node, h("article", { class: "card" }, h("p", { class: "note" }, this.#words("could_not_show"))))
    }
  }

  /** A card of its own design: one after the other, with a pause in which the page can do other things. */
  #draw(item, entry) {
    this.#drawing = this.#drawing.then(async () => {
      try {
        this.#drawNow(await this.#painters(), item, entry)
      } catch (error) {
        this.#report.note(entry.record, `Its design could not be shown: ${error.message}.`)
      }
      this.#report.rendered(entry)
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
    this.#surfaces ??= Promise.all([import("../a2ui/surfaces.js"), learnToAsk(this.#words)]).then(([{ Surfaces }]) => new Surfaces(about))
    this.#surfaces.catch(() => (this.#surfaces = null))
    return this.#surfaces
  }

  #drawNow(surfaces, item, entry) {
    const { record, model } = entry
    const { node, problems, unchecked } = surfaces.takeAfter(this.session.cards, record.seq, record.ui ?? model.ui)
    for (const problem of [...problems, ...unchecked]) this.#report.note(record, problem)
    item.designed = { record, node, isWhole: problems.length === 0 }
    const isStillShown = item.state?.[0] === record
    if (node && isStillShown) this.#show(item, entry)
  }

  // Taps

  #say(event) {
    if (this.#screen.say(event.detail)) return
    event.preventDefault()
    this.#shell.announcer.toast(this.#words("too_long"))
  }

  // Being told

  #arrived(record) {
    // A conversation that goes on comes to a question, and to its end; a scan alone costs no more.
    this.#fetchQuestions()
    this.#fetchTakeAway()
    // A question is told when it comes to the front, or where it waits.
    const isTold = record.type !== "client_tool_call" || !(record.handled_by === "server" || isQuestion(callOf(record).name))
    if (isTold) this.#shell.announcer.tell(this.#sentenceFor(record))
  }

  #sentenceFor(record) {
    if (record.type === "client_tool_call") {
      const { name, parameters } = callOf(record)
      return cleanText(parameters.title) || humanized(name)
    }
    return spokenView(cardView(record, this.#about), this.#words)
  }

  #caughtUp(missed) {
    this.#awake.keep()
    this.#report.startOver()
    if (missed > 0) this.#shell.announcer.toast(this.#words("n_missed", { n: missed }))
  }

  /** The agent's four commands. Source: docs/protocol.md, `screen_command`. */
  #obey(message) {
    if (message.type !== "screen_command") return
    const { name, target, text } = message
    if (name === "toast") this.#shell.announcer.toast(cleanText(text))
    else if (name === "navigate" && target === "conversation") this.#shell.captions.open(true)
    else if (name === "navigate" && (target === "top" || target === "cards")) this.#shell.announcer.toTop()
    else this.#shell.announcer.pointAt(cleanText(target), name === "highlight")
  }

  #find(target) {
    const key = [`context:${target}`, `call:${target}`, `seq:${target}`, target].find((each) => this.#items.has(each))
    const wanted = target.toLowerCase()
    const nodes = [...this.#shell.list.children]
    return key
      ? this.#items.get(key).node
      : nodes.find((node) => node.querySelector("h2")?.textContent.toLowerCase() === wanted)
  }

  // Small things

  get #about() {
    return { locale: this.#locale, nowMs: this.#screen.nowMs, words: this.#words }
  }

  get #isOver() {
    return this.#screen.status.phase === "ended"
  }
}

/** What is shown of a record whose view cannot be made: its name. */
const PLAIN_CARD = { choices: null, blocks: [] }
const PLAIN_QUESTION = { kind: "card", blocks: [] }

function newestFirst(one, other) {
  return other.position - one.position
}

/** An entry's `model` as core/take-away.js shares it. */
function partOf(model, words) {
  const { title, blocks } = model.view ?? model
  const label = model.chosen ? sentenceOf(model.chosen) : null
  return { title, blocks, receipt: label ? words("selected", { label }) : (model.receipt?.text ?? ""), answers: model.receipt?.rows ?? [] }
}

/** What is said to the agent when an option of a card was tapped. */
function sentenceOf(option) {
  return option.price ? `${option.label}, ${option.price}` : option.label
}

/** A card's own design in the place of its data; beside it, where the design cannot be shown whole. */
function designed(item, record, model) {
  if (item.designed?.record !== record || !item.designed.node) return model
  const { node: extra, isWhole } = item.designed
  if (!isWhole) return { ...model, extra }
  return model.view ? { ...model, extra, view: { ...model.view, blocks: [] } } : { ...model, extra, blocks: [], choices: null }
}
