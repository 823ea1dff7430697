// Whether what a person filled in fits the form that was asked: a subset of JSON Schema.
//
// The server decides; this says the same before anything is sent, so that a person hears at once.
// A fault has the keyword that is not met for its name, form-words.js makes a sentence of it. The
// twin of companion_ws/core/forms.py; tests/wire/forms/cases.json holds both to the same cases.

import { isPlain, lookUp } from "./protocol.js"
import { choicesOf, isAskable, isNullAllowed, isShownWhole, MAX_DEPTH, plain, requiredOf, typesOf } from "./schemas.js"

const EMAIL = /^[^\s@]+@[^\s@]+$/
const URI = /^[A-Za-z][A-Za-z0-9+.-]*:\S+$/
const ZONE = /(?:[Zz]|[+-][0-9]{2}:[0-9]{2})$/
const TIME = /^([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.[0-9]{1,9})?)?$/
const DATE = /^([0-9]{4})-([0-9]{2})-([0-9]{2})$/
const DAYS = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]

/**
 * What is wrong with the values of a form: `[{path, keyword}]`, the first fault of each field.
 * `compile` makes a matcher of a pattern (core/matcher.js); without it patterns are not checked.
 */
export function faultsIn(schema, values, compile = null) {
  if (!isPlain(values)) return [{ path: [], keyword: "type" }]
  const form = plain(schema, schema)
  return form ? objectFaults(form, { root: form, compile, insists: isShownWhole(form) }, values, []) : []
}

/** The faults of an object; nothing is missed where not all of a form is shown. */
function objectFaults(field, about, values, path) {
  const properties = lookUp(field, "properties")
  if (!isPlain(properties)) return []
  const { root, insists } = about
  const faults = []
  for (const [name, value] of Object.entries(values)) {
    const part = value === null || value === undefined ? null : plain(lookUp(properties, name), root)
    if (part) faults.push(...faultsOf(part, about, value, [...path, name]))
  }
  for (const name of insists ? requiredOf(field) : []) {
    if ((lookUp(values, name) ?? null) !== null) continue
    const part = plain(lookUp(properties, name), root)
    const here = [...path, name]
    if (part && !isNullAllowed(part) && isAskable(part, root, here.length)) faults.push({ path: here, keyword: "required" })
  }
  if (lookUp(field, "additionalProperties") === false) {
    const others = Object.keys(values).filter((name) => !Object.hasOwn(properties, name))
    faults.push(...others.map((name) => ({ path: [...path, name], keyword: "additionalProperties" })))
  }
  return faults
}

function faultsOf(field, about, value, path) {
  const keyword = ownFault(field, about, value)
  if (keyword) return [{ path, keyword }]
  const isInner = isPlain(value) && path.length < MAX_DEPTH && !choicesOf(field)
  return isInner ? objectFaults(field, about, value, path) : []
}

/** The keyword that a value itself does not meet, or null. */
function ownFault(field, about, value) {
  const choices = choicesOf(field)
  if (choices && !choices.some((each) => isEqual(value, each.value))) return "enum"
  const kinds = typesOf(field)
  if (kinds.length && !kinds.some((kind) => isOf(kind, value))) return "type"
  if (Array.isArray(value)) return listFault(field, about, value)
  if (typeof value === "string") return textFault(field, about, value)
  return Number.isFinite(value) ? numberFault(field, value) : null
}

/** Whether two JSON values are the same. */
export function isEqual(one, other) {
  if (Array.isArray(one) && Array.isArray(other)) {
    return one.length === other.length && one.every((part, at) => isEqual(part, other.at(at)))
  }
  if (isPlain(one) && isPlain(other)) {
    const names = Object.keys(one)
    return names.length === Object.keys(other).length &&
      names.every((name) => Object.hasOwn(other, name) && isEqual(lookUp(one, name), lookUp(other, name)))
  }
  return one === other
}

function isOf(kind, value) {
  switch (kind) {
    case "string":
      return typeof value === "string"
    case "boolean":
      return typeof value === "boolean"
    case "number":
      return Number.isFinite(value)
    case "integer":
      return Number.isInteger(value)
    case "array":
      return Array.isArray(value)
    case "object":
      return isPlain(value)
    default:
      return value === null
  }
}

function textFault(field, { compile }, value) {
  const length = [...value].length
  const { least, most } = { least: lookUp(field, "minLength"), most: lookUp(field, "maxLength") }
  if (Number.isFinite(least) && length < least) return "minLength"
  if (Number.isFinite(most) && length > most) return "maxLength"
  const isRight = lookUp(FORMATS, lookUp(field, "format"))
  if (isRight && !isRight(value)) return "format"
  return boundFault(field, value) ?? patternFault(lookUp(field, "pattern"), compile, value)
}

/** Dates as JSON writes them are in the order of their letters. */
function boundFault(field, value) {
  if (lookUp(field, "format") !== "date") return null
  const least = lookUp(field, "formatMinimum")
  const most = lookUp(field, "formatMaximum")
  if (typeof least === "string" && isDate(least) && value < least) return "formatMinimum"
  return typeof most === "string" && isDate(most) && value > most ? "formatMaximum" : null
}

function patternFault(pattern, compile, value) {
  if (typeof pattern !== "string" || !compile) return null
  try {
    return compile(pattern).test(value, true) ? null : "pattern"
  } catch (error) {
    // By their names: the matcher is fetched when a form has a pattern.
    if (error.name === "TooLong") return "maxLength"
    if (error.name === "Unsupported") return null
    throw error
  }
}

function numberFault(field, value) {
  const wrong = RANGES.find(([name, isWrong]) => Number.isFinite(lookUp(field, name)) && isWrong(value, lookUp(field, name)))
  if (wrong) return wrong[0]
  const step = lookUp(field, "multipleOf")
  if (!Number.isFinite(step) || step <= 0) return null
  const count = value / step
  // Tenths are not exact fractions of two.
  const isOff = !Number.isFinite(count) || Math.abs(count - Math.round(count)) > 1e-9 * Math.max(1, Math.abs(count))
  return isOff ? "multipleOf" : null
}

const RANGES = [
  ["minimum", (value, bound) => value < bound],
  ["maximum", (value, bound) => value > bound],
  ["exclusiveMinimum", (value, bound) => value <= bound],
  ["exclusiveMaximum", (value, bound) => value >= bound],
]

function listFault(field, about, value) {
  const { least, most } = { least: lookUp(field, "minItems"), most: lookUp(field, "maxItems") }
  if (Number.isFinite(least) && value.length < least) return "minItems"
  if (Number.isFinite(most) && value.length > most) return "maxItems"
  if (lookUp(field, "uniqueItems") === true && hasTwice(value)) return "uniqueItems"
  const entry = plain(lookUp(field, "items"), about.root)
  return entry && value.some((each) => ownFault(entry, about, each)) ? "items" : null
}

function hasTwice(list) {
  return list.some((one, at) => list.slice(at + 1).some((other) => isEqual(one, other)))
}

function isDate(text) {
  const found = DATE.exec(text)
  if (!found) return false
  const [year, month, day] = found.slice(1).map(Number)
  const isLeap = year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0)
  return month >= 1 && month <= 12 && day >= 1 && day <= (isLeap && month === 2 ? 29 : DAYS.at(month - 1))
}

/** Whether this is a time of day, with or without seconds and zone, as pages send it. */
function isTime(text) {
  const found = TIME.exec(text.replace(ZONE, ""))
  return found !== null && Number(found[1]) < 24 && Number(found[2]) < 60 && Number(found[3] ?? 0) < 60
}

function isDateTime(text) {
  return text.length > 11 && "Tt ".includes(text.charAt(10)) && isDate(text.slice(0, 10)) && isTime(text.slice(11))
}

const FORMATS = {
  date: isDate,
  time: isTime,
  "date-time": isDateTime,
  email: (text) => EMAIL.test(text),
  uri: (text) => URI.test(text),
}
