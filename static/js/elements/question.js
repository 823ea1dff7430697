// <companion-question>: a tool call of the agent, answered by tap or keyboard.
//
// Properties in: `show(model)` with {view, time, open, pending, receipt, note, isHint, isChangeable, mayChange, changing,
// draft, words, locale}. `isChangeable`: whether the answer may be changed at all, `mayChange` whether an
// agent is here to hear it; `changing`: what is said of a change under way; `answered`: the result that
// is told, which a change begins with.
// Events out: "answer" with the result text, "amend" with that of a later change (inputs have a "change" of their own), "draft" with what has
// been filled in so far.

import { entriesOf } from "../core/fields.js"
import { countText } from "../core/form-words.js"
import { isAsking, results } from "../core/questions.js"
import { isPlain } from "../core/protocol.js"
import { define, h, refill } from "./dom.js"
import { choiceButton, paintSafely, receipt } from "./card.js"
import { choiceBoxes, SEARCHED, searchOver } from "./choices.js"
import { formElement, say } from "./form.js"
import { line, prose, value } from "./rich.js"

export function defineQuestion() {
  define("companion-question", CompanionQuestion)
}

let serial = 0

class CompanionQuestion extends HTMLElement {
  #id = `question-${(serial += 1)}`
  /** What is being filled in: built once, so that it survives whatever else changes. */
  #control = null
  #isChanging = false
  #model = null

  show(model) {
    this.#model = model
    const { view, words } = model
    const asking = model.open && isAsking(view)
    if (!model.isChangeable) this.#isChanging = false
    if (!asking && !this.#isChanging) this.#control = null
    if (this.#control) {
      this.#control.update(model)
      return
    }
    const controls = asking || this.#isChanging ? this.#ask(model) : null
    const note = model.note && !this.#control && view.kind !== "confirm" ? noteOf(model) : null
    refill(this,
      h("article", { class: `card${asking ? " is-asking" : " is-done"}`, tabindex: "-1", "aria-labelledby": `${this.#id} ${this.#id}-amount` },
        h("header", { class: "card-head" },
          h("h2", { id: this.#id }, line(view.title || words("select"))),
          model.time ? h("time", { datetime: model.time.iso }, model.time.text) : null),
        (view.blocks ?? []).map((block) => paintSafely(block, words)),
        model.extra ?? null,
        note,
        controls,
        !asking && !this.#isChanging && model.receipt ? this.#receipt(model) : null),
    )
  }

  #ask(model) {
    switch (model.view.kind) {
      case "choose":
        return model.view.multiple ? this.#pickMany(model) : this.#pickOne(model)
      case "form":
        return this.#fill(model)
      case "confirm":
        return this.#confirm(model)
      default:
        return null
    }
  }

  #pickOne(model) {
    const { options } = model.view
    const buttons = () => options.map((option) => h("li", {}, choiceButton({ ...option, detail: option.description }, {
      pending: model.pending,
      chosen: this.#isChanging && option.id === String(model.answered?.id),
      disabled: this.#isHeld(model),
      act: () => this.#answer(results.chosen(option)),
    })))
    const rows = buttons()
    const list = h("ul", { class: "choices", "aria-labelledby": this.#id }, rows)
    if (options.length > SEARCHED || this.#isChanging) {
      const search = options.length <= SEARCHED ? null : searchOver(rows, options.map((option) => ({ ...option, detail: option.description })), model.words)
      this.#control = { update: (news) => {
        for (const button of list.querySelectorAll("button")) button.disabled = this.#isHeld(news)
        const at = options.findIndex(({ id }) => id === news.pending?.id)
        if (at >= 0) rows.at(at).querySelector("button").classList.add("is-pending")
        say(note, news.pending ? { note: news.pending.text, isHint: true } : news)
      } }
      const note = h("p", { class: "note", role: "status" })
      return [search, list, note, this.#keepButton(model)]
    }
    return [list, this.#keepButton(model)]
  }

  #pickMany(model) {
    const { view, words } = model
    const { options, min, max } = view
    const chosenIds = this.#isChanging ? (model.answered?.ids ?? []) : (model.draft ?? [])
    const list = choiceBoxes(options.map((option) => ({ ...option, detail: option.description })), {
      id: `${this.#id}-box`, words, multiple: true,
      onInput: () => {
        note.textContent = ""
        this.#tell("draft", chosen().map(({ id }) => id))
      },
    })
    list.choose(options.flatMap(({ id }, at) => (Array.isArray(chosenIds) && chosenIds.map(String).includes(id) ? [at] : [])))
    const chosen = () => list.chosen().map((at) => options.at(at))
    const count = min > 1 || max < options.length ? countText(min, max < options.length ? max : undefined, words) : ""
    const note = h("p", { class: "note", role: "status" })
    const send = h("button", { type: "button", class: "primary", on: { click: () => {
      const { length } = chosen()
      if (length < min || length > max) note.textContent = countText(min, max < options.length ? max : undefined, words)
      else this.#answer(results.chosenMany(chosen()))
    } } })
    this.#control = { update: (news) => {
      for (const box of list.boxes) box.disabled = Boolean(news.pending)
      send.disabled = this.#isHeld(news)
      send.textContent = news.pending ? news.pending.text : words(this.#isChanging ? "send_change" : "send_choice")
      if (news.note) say(note, news)
    } }
    this.#control.update(model)
    return h("div", { role: "group", class: "picking", "aria-labelledby": this.#id },
      count ? h("p", { class: "hint" }, count) : null, list.node, note, h("div", { class: "actions" }, send), this.#keepButton(model))
  }

  #confirm(model) {
    const { view, pending } = model
    const note = model.note ? noteOf(model) : null
    const button = (kind, label, result, id) =>
      h("button", { type: "button", class: pending?.id === id ? `${kind} is-pending` : kind, disabled: Boolean(pending), on: { click: () => this.#answer(result) } },
        pending?.id === id ? pending.text : label)
    return [
      view.amount ? h("p", { class: "amount", id: `${this.#id}-amount` }, h("bdi", {}, view.amount)) : null,
      view.payee ? h("p", { class: "payee" }, line(view.payee)) : null,
      view.items.length ? h("dl", { class: "rows bill" }, view.items.map(({ label, amount }) =>
        h("div", { class: "row" }, h("dt", {}, line(label)), h("dd", {}, h("bdi", {}, amount))))) : null,
      view.text ? prose(view.text) : null,
      // What went wrong stays in sight with the buttons.
      model.isHint ? note : null,
      h("div", { class: "pair" },
        model.isHint ? null : note,
        button("secondary", view.cancel, results.declined(), "declined"),
        button("primary", view.confirm, results.confirmed(), "confirmed")),
    ]
  }

  #fill(model) {
    const { view, words, locale } = model
    const draft = Array.isArray(model.draft) ? model.draft.filter((pair) => Array.isArray(pair)) : []
    const entries = this.#isChanging ? entriesOf(view.form, isPlain(model.answered?.values) ? model.answered.values : {}, { locale }) : new Map(draft)
    const form = formElement(view.form, {
      id: this.#id, words, locale, entries,
      onDraft: (kept) => this.#isChanging || this.#tell("draft", kept),
      onSubmit: (values) => this.#answer(results.submitted(values)),
      cancel: this.#isChanging ? { text: words("keep_answer"), act: () => this.#keep() } : null,
    })
    this.#control = { update: (news) => form.update({ ...news, isHeld: this.#isHeld(news), text: words(this.#isChanging ? "send_change" : "send") }) }
    this.#control.update(model)
    return form.node
  }

  // Changing one's mind

  /** Nothing can be sent twice, nor a change that no agent would hear. */
  #isHeld({ pending, mayChange }) {
    return Boolean(pending) || (this.#isChanging && !mayChange)
  }

  #receipt(model) {
    const { words } = model
    const told = model.changing ? { ...model.receipt, note: model.changing } : model.receipt
    const button = model.isChangeable && model.mayChange
      ? h("button", { type: "button", class: "quiet", on: { click: () => this.#change() } }, words("change"))
      : null
    const { rows = [] } = model.receipt
    return [receipt(told, button), rows.length ? answerRows(rows) : null]
  }

  #change() {
    this.#isChanging = true
    this.show(this.#model)
    this.querySelector("input, textarea, select, .choice")?.focus()
  }

  #keepButton(model) {
    if (!this.#isChanging) return null
    return h("button", { type: "button", class: "quiet", on: { click: () => this.#keep() } }, model.words("keep_answer"))
  }

  #keep() {
    this.#isChanging = false
    this.#control = null
    this.show(this.#model)
    this.querySelector("button")?.focus()
  }

  #answer(result) {
    if (!this.#isChanging) return this.#tell("answer", result)
    this.#isChanging = false
    this.#control = null
    this.#tell("amend", result)
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }))
  }
}

function noteOf({ note, isHint }) {
  return h("p", { class: isHint ? "note is-hint" : "note", role: "status" }, note)
}

/** What was filled in: `{label, text}` each. */
function answerRows(rows) {
  return h("dl", { class: "rows" }, rows.map(({ label, text }) =>
    h("div", { class: text.length > 32 || label.length > 24 ? "row is-long" : "row" }, h("dt", {}, h("bdi", {}, label)), h("dd", {}, value(text)))))
}
