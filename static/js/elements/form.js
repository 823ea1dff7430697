// A form as elements: its fields, one button that sends it, and what keeps it while it is filled in.
//
// It is built once. Whatever else changes on the page, `update` alone touches it, so that what was
// typed, the cursor and the keyboard stay.

import { answerOf } from "../core/fields.js"
import { faultText } from "../core/form-words.js"
import { isPlain, lookUp } from "../core/protocol.js"
import { fieldElement, restingElement } from "./field.js"
import { h } from "./dom.js"
import { line } from "./rich.js"

/**
 * `form` is core/fields.js' form; `about` {id, words, locale, entries, onDraft, onSubmit, cancel}:
 * `entries` is what it begins with, a map of keys; `onDraft(entries)` hears each change without passwords,
 * `onSubmit(values)` what was sent; `cancel` is {text, act} of a second button.
 * Returns `{node, update({note, isHint, pending, isHeld, text})}`.
 */
export function formElement(form, about) {
  const fields = []
  const { words, entries } = about
  let isMarked = false
  const asked = (list) => list.map((field) => {
    if (field.kind === "group") return group(field, asked(field.fields))
    if (field.kind === "fixed" || field.kind === "unasked") return restingElement(field, about)
    const element = fieldElement(field, { ...about, id: `${about.id}-${fields.length}`, onInput: () => changed(element) })
    element.fill(entries.get(field.key) ?? field.initial)
    element.field = field
    fields.push(element)
    return element.node
  })
  const remark = h("p", { class: "note", role: "status" })
  const send = h("button", { type: "submit", class: "primary" })
  const cancel = about.cancel ? h("button", { type: "button", class: "secondary", on: { click: about.cancel.act } }, about.cancel.text) : null
  const node = h("form", { class: "form", novalidate: true, on: { submit: (event) => {
    event.preventDefault()
    submit()
  } } },
  asked(form.fields),
  form.unasked ? h("p", { class: "hint" }, words("fields_left", { n: form.unasked })) : null,
  remark,
  h("div", { class: cancel ? "pair" : "actions" }, cancel, send))

  function changed(element) {
    const kept = fields.filter((each) => !each.isSecret).map((each) => [each.key, each.entry()])
    about.onDraft?.(kept)
    if (isMarked) check().then(({ faults, values, compile }) => mark([element], faults, values, compile))
  }

  async function check() {
    const compile = await patternMatcher(fields)
    return { ...answerOf(form, new Map(fields.map((each) => [each.key, each.entry()])), { locale: about.locale, compile }), compile }
  }

  function mark(elements, faults, values, compile) {
    for (const { field, mark: told } of elements) {
      const keyword = faults.get(field.key)
      told(keyword ? faultText(field, keyword, valueAt(values, field.path), { ...about, compile }) : "")
    }
  }

  async function submit() {
    const { values, faults, compile } = await check()
    isMarked = faults.size > 0
    mark(fields, faults, values, compile)
    const first = fields.find(({ key }) => faults.has(key))
    if (first) first.focus()
    else if (faults.size) remark.textContent = words("field_wrong")
    else about.onSubmit(values)
  }

  return {
    node,
    update: ({ note, isHint, pending, isHeld, text }) => {
      say(remark, { note, isHint })
      send.disabled = isHeld
      send.textContent = pending ? pending.text : text
      for (const each of fields) each.disable(Boolean(pending))
    },
  }
}

function group(field, inside) {
  return h("fieldset", { class: "field-group" },
    h("legend", {}, line(field.label)),
    field.hint ? h("p", { class: "hint" }, line(field.hint)) : null, inside)
}

function valueAt(values, path) {
  return path.reduce((object, name) => (isPlain(object) ? lookUp(object, name) : undefined), values)
}

/** Few forms have patterns, so what checks them is fetched when one does; the server checks again. */
async function patternMatcher(fields) {
  const hasPattern = ({ schema }) => [schema, lookUp(schema, "items")].some((each) => typeof lookUp(each, "pattern") === "string")
  if (!fields.some(({ field }) => hasPattern(field))) return null
  try {
    return (await import("../core/matcher.js")).matcher
  } catch {
    return null
  }
}

/** Let a remark below what is filled in say `note`, which as a hint is not a fault. */
export function say(remark, { note, isHint }) {
  remark.classList.toggle("is-hint", isHint === true)
  remark.textContent = note ?? ""
}
