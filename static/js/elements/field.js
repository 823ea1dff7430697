// One field of a form as elements: its label, hints, control, and the words about what is wrong.
//
// `fieldElement` gives `{node, key, entry(), fill(entry), mark(text), focus(), disable(isSent)}`: the
// entry is what core/fields.js reads, `mark` says what is wrong in words, "" that nothing is. Hints and
// faults are told with the control (`aria-describedby`), so that whoever listens hears them there.

import { hintOf } from "../core/form-words.js"
import { lookUp } from "../core/protocol.js"
import { choiceBoxes } from "./choices.js"
import { h } from "./dom.js"
import { line } from "./rich.js"

/** `about` is {id, words, locale, onInput}; ids of elements begin with `id`. */
export function fieldElement(field, about) {
  const parts = partsOf(field, about)
  const control = (lookUp(CONTROLS, field.kind) ?? textControl)(field, parts, about)
  const { wrong } = parts
  return {
    key: field.key,
    isSecret: field.isSecret === true,
    node: control.node,
    entry: control.entry,
    fill: control.fill,
    focus: control.focus,
    disable: (isSent) => (control.node.inert = isSent),
    mark: (text) => {
      wrong.hidden = text === ""
      wrong.textContent = text
      if (text) control.told?.setAttribute("aria-invalid", "true")
      else control.told?.removeAttribute("aria-invalid")
    },
  }
}

/** What is shown of a field that nobody fills in. */
export function restingElement(field, { words }) {
  if (field.kind === "fixed") {
    return h("div", { class: "field" }, h("span", { class: "field-label" }, line(field.label)), h("span", {}, line(field.text)))
  }
  return h("p", { class: "hint" }, words("not_askable", { label: field.label }))
}

function partsOf(field, about) {
  const { id, words } = about
  const hints = hintOf(field, about)
  return {
    label: [line(field.label, { links: false }), field.required && field.kind !== "tick" ? h("span", { class: "muted" }, ` (${words("required")})`) : null],
    hint: hints.length ? h("p", { class: "hint", id: `${id}-hint` }, hints.flatMap((hint, at) => (at ? [" · ", line(hint)] : [line(hint)]))) : null,
    unit: field.unit ? h("span", { class: "unit", id: `${id}-unit` }, h("bdi", {}, field.unit)) : null,
    wrong: h("p", { class: "wrong", id: `${id}-wrong`, hidden: true }),
  }
}

function described({ hint, unit, wrong }) {
  return [hint, unit, wrong].filter(Boolean).map((each) => each.id).join(" ")
}

function labelled(control, { label, hint, unit, wrong }, beside = null) {
  return h("div", { class: "field" }, h("label", { for: control.id }, label), hint,
    unit || beside ? h("div", { class: "beside" }, control, unit, beside) : control, wrong)
}

function grouped(inside, parts) {
  const { label, hint, wrong } = parts
  return h("fieldset", { class: "field", "aria-describedby": described(parts) }, h("legend", {}, label), hint, inside, wrong)
}

const CONTROLS = {
  tick: (field, parts, { id, onInput }) => {
    const box = h("input", { type: "checkbox", id, "aria-describedby": described(parts), on: { change: onInput } })
    const node = h("div", { class: "field is-tick" }, box, h("label", { for: id }, parts.label), parts.hint, parts.wrong)
    return { node, told: box, entry: () => box.checked, fill: (entry) => (box.checked = entry === true), focus: () => box.focus() }
  },

  one: (field, parts, about) => {
    const isList = !field.isAtAGlance && field.choices.length <= LISTED
    if (isList) return listControl(field, parts, about)
    const { id, words, onInput } = about
    const list = choiceBoxes(field.choices, { id, words, onInput, multiple: false, empty: field.required ? "" : words("no_answer") })
    const node = grouped(list.node, parts)
    node.setAttribute("role", "radiogroup")
    if (field.required) node.setAttribute("aria-required", "true")
    return { node, told: node, entry: () => list.chosen()[0] ?? null, fill: (entry) => list.choose(entry === null ? [] : [entry]), focus: list.focus }
  },

  many: (field, parts, { id, words, onInput }) => {
    const list = choiceBoxes(field.choices, { id, words, onInput, multiple: true })
    return { node: grouped(list.node, parts), entry: list.chosen, fill: (entry) => list.choose(Array.isArray(entry) ? entry : []), focus: list.focus }
  },

  long: (field, parts, about) => textControl(field, parts, about, h("textarea", { rows: "4" })),
  lines: (field, parts, about) => textControl(field, parts, about, h("textarea", { rows: "3" })),
}

/** More than this are searched rather than scrolled through in a list of the phone's own. */
const LISTED = 12

function listControl(field, parts, { id, words, onInput }) {
  const first = h("option", { value: "" }, words(field.required ? "select" : "no_answer"))
  const list = h("select", { id, "aria-describedby": described(parts), "aria-required": field.required, on: { change: onInput } },
    first, field.choices.map(({ label, detail }, at) => h("option", { value: String(at) }, detail ? `${label} – ${detail}` : label)))
  return {
    node: labelled(list, parts), told: list, focus: () => list.focus(),
    entry: () => (list.value === "" ? null : Number(list.value)),
    fill: (entry) => (list.value = Number.isInteger(entry) ? String(entry) : ""),
  }
}

function textControl(field, parts, about, input = inputOf(field)) {
  input.id = about.id
  input.setAttribute("aria-describedby", described(parts))
  if (field.required) input.setAttribute("aria-required", "true")
  input.addEventListener("input", about.onInput)
  const reveal = field.isSecret ? revealing(input, about.words) : null
  return {
    node: labelled(input, parts, reveal), told: input, focus: () => input.focus(),
    // What a picker cannot read as a date is not nothing.
    entry: () => (input.validity.badInput ? "?" : input.value),
    fill: (entry) => (input.value = typeof entry === "string" ? entry : ""),
  }
}

const PICKERS = { date: "date", time: "time", datetime: "datetime-local" }

function inputOf(field) {
  const { kind, schema } = field
  const picker = lookUp(PICKERS, kind)
  if (picker) {
    const bound = (name) => (typeof lookUp(schema, name) === "string" ? lookUp(schema, name) : null)
    return h("input", { type: picker, min: bound("formatMinimum"), max: bound("formatMaximum"), autocomplete: field.autocomplete ?? "off" })
  }
  if (kind === "number" || kind === "integer") {
    // The keyboard of digits has no minus on every phone.
    const mayBeNegative = [lookUp(schema, "minimum"), lookUp(schema, "exclusiveMinimum")].some((least) => least < 0)
    return h("input", { type: "text", inputmode: mayBeNegative ? "text" : kind === "integer" ? "numeric" : "decimal", autocomplete: "off" })
  }
  if (field.isSecret) return h("input", { type: "password", autocomplete: "off", autocapitalize: "off", spellcheck: "false" })
  return h("input", {
    type: field.inputType, inputmode: field.inputMode, autocomplete: field.autocomplete,
    autocapitalize: field.isCode ? "off" : null, spellcheck: field.isCode ? "false" : null,
  })
}

/** The button that shows a password to the one who types it. */
function revealing(input, words) {
  const button = h("button", { type: "button", class: "quiet", "aria-pressed": "false", on: { click: () => {
    const isShown = input.type === "password"
    input.type = isShown ? "text" : "password"
    button.textContent = words(isShown ? "hide" : "show")
    button.setAttribute("aria-pressed", String(isShown))
  } } }, words("show"))
  return button
}
