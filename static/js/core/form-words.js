// What a form says in the person's language: hints before, faults after, and the receipt.

import { cleanText, cut, listText } from "./cards.js"
import { digitsIn, eachField } from "./fields.js"
import { faultsIn, isEqual } from "./forms.js"
import { numberText } from "./numbers.js"
import { isPlain, lookUp, plainText } from "./protocol.js"

const MAX_ENTRY = 40

/** What stands below a field's label: its description, an example, and what is allowed. */
export function hintOf(field, { words, locale }) {
  const parts = [field.hint, rangeHint(field, words, locale)]
  if (field.example) parts.push(words("for_example", { text: field.example }))
  if (field.kind === "lines") parts.push(words("one_per_line"))
  return parts.filter(Boolean)
}

/** What is wrong with a field that does not meet `keyword`, as a sentence; `value` is what was given. */
export function faultText(field, keyword, value, about) {
  const { words } = about
  switch (keyword) {
    case "required":
      return missingText(field, about)
    case "enum":
      return words(field.kind === "tick" ? "wrong_tick" : "wrong_choice")
    case "minLength":
    case "maxLength":
      return lengthText(field, keyword, about)
    case "pattern":
      return patternText(field, about)
    case "minItems":
    case "maxItems":
      return countText(lookUp(field.schema, "minItems"), lookUp(field.schema, "maxItems"), words)
    case "uniqueItems":
      return words("wrong_twice")
    case "items":
      return entryText(field, value, about)
    case "formatMinimum":
    case "formatMaximum":
      return dateText(field, about)
    case "format":
      return words(lookUp(FORMATS, lookUp(field.schema, "format")) ?? "field_wrong")
    default:
      return typeText(field, keyword, about)
  }
}

/** What is missing says what would be right, where that is more than "something". */
function missingText(field, about) {
  const { kind, schema } = field
  if (kind === "number" || kind === "integer") return typeText(field, "type", about)
  const byKind = { tick: "wrong_tick", one: "wrong_choice", many: "wrong_choice", date: "wrong_date", time: "wrong_time", datetime: "wrong_time" }
  return about.words(lookUp(byKind, kind) ?? lookUp(FORMATS, lookUp(schema, "format")) ?? "wrong_empty")
}

const FORMATS = { email: "wrong_email", uri: "wrong_link", date: "wrong_date", time: "wrong_time", "date-time": "wrong_time" }

function typeText(field, keyword, { words, locale }) {
  const kind = field.kind === "lines" ? field.entry.kind : field.kind
  if (kind !== "number" && kind !== "integer") return words("field_wrong")
  const step = lookUp(field.schema, "multipleOf")
  if (keyword === "multipleOf" && step !== 1) return words("wrong_step", { step: numberText(step, locale) })
  const isWhole = kind === "integer" || step === 1
  const { least, most, isOpen } = boundsOf(field.schema)
  const blanks = { min: numberText(least ?? 0, locale), max: numberText(most ?? 0, locale) }
  const whole = isWhole ? "whole" : "number"
  if (isOpen) {
    if (keyword === "exclusiveMinimum" || (least !== null && most === null)) return words(`wrong_${whole}_above`, blanks)
    if (most !== null && keyword !== "minimum") return words(`wrong_${whole}_below`, blanks)
  }
  if (least !== null && most !== null) return words(`wrong_${whole}_range`, blanks)
  if (least !== null) return words(`wrong_${whole}_least`, blanks)
  if (most !== null) return words(`wrong_${whole}_most`, blanks)
  return words(`wrong_${whole}`)
}

/** What a number lies between; `isOpen` where one of the two is not itself allowed. */
function boundsOf(schema) {
  const bound = (name) => (Number.isFinite(lookUp(schema, name)) ? lookUp(schema, name) : null)
  const [above, below] = [bound("exclusiveMinimum"), bound("exclusiveMaximum")]
  return { least: above ?? bound("minimum"), most: below ?? bound("maximum"), isOpen: above !== null || below !== null }
}

function rangeHint(field, words, locale) {
  const { schema, kind } = field
  if (kind === "many") return countText(lookUp(schema, "minItems"), lookUp(schema, "maxItems"), words)
  if (kind !== "number" && kind !== "integer") return ""
  const { least, most, isOpen } = boundsOf(schema)
  if (isOpen || least === null || most === null) return ""
  return words("from_to", { min: numberText(least, locale), max: numberText(most, locale) })
}

/** How many may be chosen, "" where it does not matter. */
export function countText(least, most, words) {
  const from = Number.isFinite(least) && least > 0 ? least : 0
  if (!Number.isFinite(most)) return from ? words("choose_least", { n: from }) : ""
  if (from === most) return words("choose_exactly", { n: most })
  return from ? words("choose_from_to", { min: from, max: most }) : words("choose_most", { n: most })
}

function lengthText({ schema }, keyword, { words }) {
  const least = lookUp(schema, "minLength")
  const most = lookUp(schema, "maxLength")
  if (keyword === "minLength" && least === most) return words("wrong_length", { n: least })
  if (keyword === "minLength") return words("wrong_short", { n: least })
  return Number.isFinite(most) ? words("wrong_long", { n: most }) : words("too_long")
}

function patternText(field, { words }) {
  const digits = digitsIn(field.schema)
  if (digits?.least === digits?.most && digits) return words("wrong_digits", { n: digits.least })
  if (digits) return words("wrong_digits_only")
  if (field.example) return words("wrong_pattern_like", { text: field.example })
  return words(field.hint ? "wrong_pattern_hint" : "wrong_pattern")
}

function dateText({ schema }, { words, locale }) {
  const [least, most] = [lookUp(schema, "formatMinimum"), lookUp(schema, "formatMaximum")]
  const blanks = { min: dayText(least, locale), max: dayText(most, locale) }
  if (blanks.min && blanks.max) return words("wrong_date_range", blanks)
  return blanks.min ? words("wrong_date_least", blanks) : words("wrong_date_most", blanks)
}

/** The first entry of a list that is wrong, and why. */
function entryText(field, value, about) {
  const entry = field.entry
  const items = lookUp(field.schema, "items")
  if (!entry || !Array.isArray(value)) return about.words("wrong_choice")
  for (const each of value) {
    const [fault] = faultsIn({ properties: { entry: items } }, { entry: each }, about.compile)
    if (fault) return `“${cut(plainText(each), MAX_ENTRY)}”: ${faultText(entry, fault.keyword, each, about)}`
  }
  return about.words("field_wrong")
}

// Receipts

/** What was sent, `[{label, text}]`: each field that has an answer. */
export function answersText(form, values, about) {
  return [...eachField(form.fields)].flatMap((field) => {
    if (field.kind === "fixed") return []
    const value = field.path.reduce((object, name) => (isPlain(object) ? lookUp(object, name) : undefined), values)
    const text = value === null || value === undefined ? "" : valueText(field, value, about)
    return text === "" ? [] : [{ label: field.label, text }]
  })
}

function valueText(field, value, about) {
  const { words, locale } = about
  if (field.isSecret) return "••••••"
  if (typeof value === "boolean" && field.kind === "tick") return words(value ? "yes" : "no")
  if (Array.isArray(value)) return listText(value.map((each) => choiceLabel(field, each, locale)), locale)
  if (typeof value === "number" && field.kind !== "one") {
    const number = numberText(value, locale)
    return field.unit ? `${number} ${field.unit}` : number
  }
  if (field.kind === "date") return dayText(value, locale) || cleanText(value)
  if (field.kind === "time" || field.kind === "datetime") return clockText(field.kind, value, locale) || cleanText(value)
  return choiceLabel(field, value, locale)
}

function choiceLabel(field, value, locale) {
  const known = field.choices?.find((each) => isEqual(each.value, value))
  if (known) return known.label
  return typeof value === "number" ? numberText(value, locale) : cleanText(value)
}

/** "29 Nov 2026", or "" where it is not a day. */
export function dayText(value, locale) {
  const day = typeof value === "string" ? new Date(`${value.slice(0, 10)}T00:00:00Z`) : new Date(NaN)
  return Number.isNaN(day.getTime()) ? "" : formatted(day, locale, { dateStyle: "medium", timeZone: "UTC" })
}

function clockText(kind, value, locale) {
  const text = plainText(value)
  const time = new Date(kind === "time" ? `1970-01-01T${text}` : text)
  if (Number.isNaN(time.getTime())) return ""
  return formatted(time, locale, kind === "time" ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" })
}

function formatted(date, locale, style) {
  try {
    return new Intl.DateTimeFormat(locale, style).format(date)
  } catch {
    return new Intl.DateTimeFormat("en", style).format(date)
  }
}
