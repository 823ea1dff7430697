// <companion-question>: a tool call of the agent, answered by tap or keyboard.
//
// Properties in: `show(model)` with {view, time, open, pending, receipt, note, isHint, words}.
// Event out: "answer" with the result text; prevented where it cannot be sent.

import { lookUp } from "../core/protocol.js"
import { formValues, isAsking, patternsOf, results } from "../core/questions.js"
import { define, h, refill } from "./dom.js"
import { line, prose } from "./rich.js"
import { choiceButton, paintSafely, receipt } from "./card.js"

export function defineQuestion() {
  define("companion-question", CompanionQuestion)
}

let serial = 0

class CompanionQuestion extends HTMLElement {
  #form = null
  #picked = new Set()
  #id = `question-${(serial += 1)}`

  show(model) {
    const { view, words } = model
    const asking = model.open && isAsking(view)
    // What a person has begun to fill in survives whatever else changes.
    if (asking && view.kind === "form" && this.#form) {
      this.#form(model)
      return
    }
    refill(this,
      h("article", { class: `card${asking ? " is-asking" : " is-done"}`, tabindex: "-1", "aria-labelledby": this.#id },
        h("header", { class: "card-head" },
          h("h2", { id: this.#id }, line(view.title || words("select"))),
          model.time ? h("time", { datetime: model.time.iso }, model.time.text) : null),
        (view.blocks ?? []).map((block) => paintSafely(block, words)),
        model.extra ?? null,
        asking ? this.#ask(model) : null,
        !asking && model.receipt ? receipt(model.receipt) : null,
        model.note && view.kind !== "form" ? h("p", { class: model.isHint ? "note is-hint" : "note", role: "status" }, model.note) : null),
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

  #pickOne({ view, pending }) {
    return h("ul", { class: "choices", "aria-labelledby": this.#id },
      view.options.map((option) =>
        h("li", {}, choiceButton(option, {
          pending,
          disabled: Boolean(pending),
          act: () => this.#answer(results.chosen(option)),
        }))))
  }

  #pickMany({ view, pending, words }) {
    const boxes = view.options.map((option) => {
      const box = h("input", { type: "checkbox", disabled: Boolean(pending), on: { change: () => {
        if (box.checked) this.#picked.add(option.id)
        else this.#picked.delete(option.id)
      } } })
      box.checked = this.#picked.has(option.id)
      return h("label", { class: "choice" }, box,
        h("span", { class: "choice-text" },
          h("span", { class: "choice-label" }, line(option.label, { links: false })),
          option.description ? h("span", { class: "choice-detail" }, line(option.description, { links: false })) : null))
    })
    const chosen = () => view.options.filter((option) => this.#picked.has(option.id))
    return h("div", { role: "group", class: "choices", "aria-labelledby": this.#id }, boxes,
      h("button", {
        type: "button", class: "primary", disabled: Boolean(pending),
        on: { click: () => this.#answer(results.chosenMany(chosen())) },
      }, pending ? pending.text : words("send_choice")))
  }

  #confirm({ view, pending }) {
    const button = (kind, label, result, id) =>
      h("button", { type: "button", class: kind, disabled: Boolean(pending), on: { click: () => this.#answer(result) } },
        pending?.id === id ? pending.text : label)
    return h("div", {},
      view.text ? prose(view.text) : null,
      h("div", { class: "pair" },
        button("secondary", view.cancel, results.declined(), "declined"),
        button("primary", view.confirm, results.confirmed(), "confirmed")))
  }

  #fill({ view, pending, words, note, isHint }) {
    const inputs = new Map(view.fields.map((field, at) => [field.name, inputOf(field, `${this.#id}-${at}`)]))
    const remark = h("p", { class: "note", role: "status" })
    const send = h("button", { type: "submit", class: "primary" })
    const form = h("form", { class: "form", novalidate: true, on: { submit: (event) => {
      event.preventDefault()
      this.#submit(view.fields, inputs, words)
    } } },
    view.fields.map((field) => labelled(field, inputs.get(field.name), words)), remark, send)
    this.#form = ({ pending: sent, note: told, isHint, words: say }) => {
      remark.classList.toggle("is-hint", isHint === true)
      remark.textContent = told ?? ""
      send.disabled = Boolean(sent)
      send.textContent = sent ? sent.text : say("send")
      for (const input of inputs.values()) input.inert = Boolean(sent)
    }
    this.#form({ pending, note, isHint, words })
    return form
  }

  async #submit(fields, inputs, words) {
    const patterns = await matchersOf(fields)
    const entries = new Map([...inputs].map(([name, input]) => [name, input.entry()]))
    const { values, wrong } = formValues(fields, entries, patterns)
    for (const [name, input] of inputs) markWrong(input, wrong.includes(name), words)
    if (wrong.length) inputs.get(wrong[0]).field.focus()
    else this.#answer(results.submitted(values))
  }

  #answer(result) {
    this.dispatchEvent(new CustomEvent("answer", { detail: result }))
  }
}

/** Few forms have patterns, so what checks them is fetched when one does; the server checks again. */
async function matchersOf(fields) {
  if (!fields.some(({ pattern }) => pattern !== null)) return new Map()
  try {
    const { matcher } = await import("../core/matcher.js")
    return patternsOf(fields, matcher).patterns
  } catch {
    return new Map()
  }
}

function inputOf(field, id) {
  if (field.kind === "boolean") {
    const box = h("input", { type: "checkbox", id })
    box.checked = field.initial === true
    return Object.assign(box, { field: box, entry: () => box.checked })
  }
  if (field.kind === "enum") return listOf(field, id)
  const type = lookUp({ integer: "text", number: "text" }, field.kind) ?? field.kind
  const input = h("input", {
    type, id,
    inputmode: lookUp({ integer: "numeric", number: "decimal" }, field.kind),
    maxlength: field.maxLength,
    autocomplete: lookUp(AUTOCOMPLETE, field.name.toLowerCase()) ?? "on",
    required: field.required,
    value: field.initial ?? "",
  })
  return Object.assign(input, { field: input, entry: () => input.value.trim() })
}

const AUTOCOMPLETE = {
  name: "name", email: "email", phone: "tel", tel: "tel", street: "street-address", address: "street-address",
  zip: "postal-code", postcode: "postal-code", city: "address-level2", country: "country-name",
}

function listOf(field, id) {
  const list = h("select", { id },
    field.initial === null ? h("option", { value: "" }, "–") : null,
    field.options.map((option) => h("option", { value: String(option) }, String(option))))
  if (field.initial !== null) list.value = String(field.initial)
  return Object.assign(list, { field: list, entry: () => list.value })
}

function labelled(field, input, words) {
  const wrongId = `${input.id}-wrong`
  const wrong = h("span", { class: "wrong", id: wrongId, hidden: true })
  input.wrong = wrong
  const label = h("label", { for: input.id }, field.label,
    field.required && field.kind !== "boolean" ? h("span", { class: "muted" }, ` (${words("required")})`) : null)
  const hint = field.hint ? h("span", { class: "hint" }, line(field.hint)) : null
  if (field.kind === "boolean") return h("div", { class: "field is-tick" }, input, label, hint, wrong)
  return h("div", { class: "field" }, label, hint, input, wrong)
}

function markWrong(input, isWrong, words) {
  input.wrong.hidden = !isWrong
  input.wrong.textContent = isWrong ? words("field_wrong") : ""
  if (isWrong) {
    input.setAttribute("aria-invalid", "true")
    input.setAttribute("aria-describedby", input.wrong.id)
  } else {
    input.removeAttribute("aria-invalid")
    input.removeAttribute("aria-describedby")
  }
}
