// What a tool call asks of a person, and how the answer reads afterwards.

import { blocksOf, cleanText, cut, humanized, listText, MAX_PARTS } from "./cards.js"
import { isPlain, lookUp } from "./protocol.js"

/** More of an answer than a pattern could be meant for. */
const MAX_MATCHED = 2000
const MAX_SPOKEN = 300

/**
 * What `call` looks like: `{kind, title, …}` with kind choose, form, confirm, show or card.
 * A question whose parameters make no sense is shown as a card rather than not at all.
 */
export function questionView(call, about) {
  const ask = lookUp(ASKS, call.name)
  const within = { ...about, room: { left: MAX_PARTS } }
  return (ask && ask(call.parameters, within)) ?? cardOf(call, within)
}

/** Whether a tap can answer this view. */
export function isAsking(view) {
  return view.kind === "choose" || view.kind === "form" || view.kind === "confirm"
}

/** What is to be decided, in one sentence for a screen reader: ≤ 300 characters. */
export function spokenQuestion(view, words) {
  const parts = [view.title]
  if (view.amount) parts.push(view.amount)
  if (view.text) parts.push(view.text)
  if (view.kind === "choose") parts.push(words("n_choices", { n: view.options.length }), ...view.options.map((option) => option.label))
  return cut(parts.filter(Boolean).join(", "), MAX_SPOKEN)
}

/** Whether it is answered by a button that sends what was filled in or ticked before. */
export function hasSend(view) {
  return view.kind === "form" || (view.kind === "choose" && view.multiple)
}

/**
 * What became of a closed call: `{text, note, tone}` with tone done, no or quiet;
 * null where nothing need be said. `mine` tells whether this device answered.
 */
export function receiptOf(call, view, about, mine) {
  const { words } = about
  const answer = call.answer
  if (!answer) return { text: words("closed"), note: "", tone: "quiet" }
  const result = answer.result
  const note = answer.by === "ui" && !mine ? words("answered_elsewhere") : ""
  switch (result.status) {
    case "shown":
      return null
    case "chosen":
      return { text: words("selected", { label: chosenText(result, about) }), note, tone: "done" }
    case "submitted":
      return { text: words("submitted"), note, tone: "done", values: isPlain(result.values) ? result.values : {} }
    case "confirmed":
      return { text: words("confirmed"), note, tone: "done" }
    case "declined":
      return { text: words("declined"), note, tone: "no" }
    case "cancelled":
      return { text: words("withdrawn"), note: "", tone: "quiet" }
    default:
      return { text: words(answer.isError ? "failed" : "answered"), note, tone: answer.isError ? "no" : "done" }
  }
}

/** The result text of a tap: what goes back to the agent as JSON. Source: docs/protocol.md. */
export const results = {
  shown: () => JSON.stringify({ status: "shown" }),
  chosen: (option) => JSON.stringify({ status: "chosen", id: option.id, label: option.label }),
  chosenMany: (options) =>
    JSON.stringify({
      status: "chosen",
      ids: options.map((option) => option.id),
      labels: options.map((option) => option.label),
    }),
  submitted: (values) => JSON.stringify({ status: "submitted", values }),
  confirmed: () => JSON.stringify({ status: "confirmed" }),
  declined: () => JSON.stringify({ status: "declined" }),
}

/**
 * The values of a filled form, or the names of fields that are wrong.
 * `entries` maps a field's name to its text, or to true/false for a tick; `patterns` a
 * field's name to the matcher of its pattern, where it has one that can be checked.
 */
export function formValues(fields, entries, patterns = new Map()) {
  const values = []
  const wrong = []
  for (const field of fields) {
    const entry = entries.get(field.name)
    const value = typedValue(field, entry)
    if (value === undefined ? field.required : !isAllowed(field, value, patterns.get(field.name))) wrong.push(field.name)
    else if (value !== undefined) values.push([field.name, value])
  }
  return { values: Object.fromEntries(values), wrong }
}

const ASKS = {
  companion_choose: (parameters) => {
    const options = optionsOf(parameters.options)
    if (options.length === 0) return null
    return { kind: "choose", title: titleOf(parameters, ""), options, multiple: parameters.multiple === true }
  },
  companion_form: (parameters) => {
    const fields = fieldsOf(parameters.schema)
    return fields.length ? { kind: "form", title: titleOf(parameters, ""), fields } : null
  },
  companion_confirm: (parameters, about) => ({
    kind: "confirm",
    title: titleOf(parameters, about.words("please_confirm")),
    text: typeof parameters.text === "string" ? cleanText(parameters.text) : "",
    confirm: labelOf(parameters.confirm_label, about.words("confirm")),
    cancel: labelOf(parameters.cancel_label, about.words("decline")),
  }),
  companion_show: (parameters, about) => ({
    kind: "show",
    title: titleOf(parameters, ""),
    blocks: blocksOf(parameters.data ?? null, "", { ...about, labels: parameters.labels }, 0, null),
    ui: parameters.ui ?? null,
  }),
}

function cardOf(call, about) {
  const { title, ...rest } = call.parameters
  const named = typeof title === "string" && title !== ""
  return {
    kind: "card",
    title: named ? cleanText(title) : humanized(call.name),
    blocks: blocksOf(named ? rest : call.parameters, "", about, 0, null),
  }
}

function titleOf(parameters, fallback) {
  return labelOf(parameters.title, fallback)
}

function labelOf(value, fallback) {
  return typeof value === "string" && value.trim() !== "" ? cleanText(value) : fallback
}

function optionsOf(list) {
  if (!Array.isArray(list)) return []
  return list.slice(0, 100).flatMap((option) => {
    if (typeof option === "string" && option !== "") return [{ id: option, label: cleanText(option), description: "" }]
    if (!isPlain(option)) return []
    const id = [option.id, option.value, option.label].find((each) => each !== null && each !== undefined)
    if (typeof id !== "string" && typeof id !== "number") return []
    const description = typeof option.description === "string" ? cleanText(option.description) : ""
    return [{ id: String(id), label: labelOf(option.label, String(id)), description }]
  })
}

/** The fields of a flat JSON Schema object; what it cannot say is left out. */
function fieldsOf(schema) {
  if (!isPlain(schema) || !isPlain(schema.properties)) return []
  const required = new Set(Array.isArray(schema.required) ? schema.required : [])
  return Object.keys(schema.properties)
    .slice(0, 50)
    .flatMap((name) => {
      const property = lookUp(schema.properties, name)
      return isPlain(property) ? [fieldOf(name, property, required.has(name))] : []
    })
}

function fieldOf(name, property, required) {
  return {
    name,
    required,
    kind: fieldKind(property),
    label: labelOf(property.title, humanized(name)),
    hint: typeof property.description === "string" ? cleanText(property.description) : "",
    options: Array.isArray(property.enum) ? property.enum.filter((value) => value !== "" && typeof value !== "object") : [],
    min: numberOf(property.minimum),
    max: numberOf(property.maximum),
    minLength: numberOf(property.minLength),
    maxLength: numberOf(property.maxLength),
    pattern: typeof property.pattern === "string" ? property.pattern : null,
    initial: typeof property.default === "object" ? null : (property.default ?? null),
  }
}

function numberOf(value) {
  return typeof value === "number" ? value : null
}

const FORMATS = { date: "date", time: "time", "date-time": "datetime-local", email: "email", uri: "url" }

function fieldKind(property) {
  if (Array.isArray(property.enum)) return "enum"
  if (property.type === "boolean") return "boolean"
  if (property.type === "integer") return "integer"
  if (property.type === "number") return "number"
  return lookUp(FORMATS, property.format) ?? "text"
}

function typedValue(field, entry) {
  if (field.kind === "boolean") return entry === true
  if (entry === undefined || entry === "") return undefined
  if (field.kind === "integer" || field.kind === "number") {
    const number = Number(String(entry).replace(",", "."))
    return Number.isFinite(number) ? number : NaN
  }
  if (field.kind === "enum") return field.options.find((option) => String(option) === entry)
  return String(entry)
}

function isAllowed(field, value, pattern) {
  if (field.kind === "boolean") return true
  if (typeof value === "number" && field.kind !== "enum") {
    if (Number.isNaN(value) || (field.kind === "integer" && !Number.isInteger(value))) return false
    return (field.min === null || value >= field.min) && (field.max === null || value <= field.max)
  }
  if (typeof value !== "string") return true
  if (field.kind === "email" && !/^[^\s@]+@[^\s@]+$/.test(value)) return false
  if (pattern && !pattern.test(value.slice(0, MAX_MATCHED))) return false
  return (
    (field.minLength === null || value.length >= field.minLength) &&
    (field.maxLength === null || value.length <= field.maxLength)
  )
}

/**
 * The matchers of a form's patterns, `{patterns, problems}`: by the fields' names, and in words
 * for the agent which ones nobody checks here. `compile` is core/matcher.js' `matcher`.
 */
export function patternsOf(fields, compile) {
  const patterns = new Map()
  const problems = []
  for (const { name, pattern } of fields) {
    try {
      if (pattern !== null) patterns.set(name, compile(pattern))
    } catch (error) {
      problems.push(`The pattern of “${cut(name, 60)}” is not checked: ${error.message}.`)
    }
  }
  return { patterns, problems }
}

function chosenText(result, about) {
  if (Array.isArray(result.labels) || Array.isArray(result.ids)) {
    const labels = (Array.isArray(result.labels) ? result.labels : result.ids).map(cleanText)
    return labels.length ? listText(labels, about.locale) : about.words("nothing")
  }
  return cleanText(result.label ?? result.id ?? "")
}
