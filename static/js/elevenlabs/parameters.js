// Parameters as an agent writes them, read the way the screens read them.
// The twin of companion_ws/voice/parameters.py; tests/wire/parameters holds both to the same cases.

import { COMPANION_TOOLS } from "../core/companion-tools.js"
import { lookUp } from "../core/protocol.js"
import { mended, NotUnderstood, readJson } from "./json-text.js"

export { NotUnderstood }

const YES = new Set(["true", "yes", "1", "on"])
const NO = new Set(["false", "no", "0", "off", ""])
const TITLES = ["title", "question", "heading", "prompt"]
const LABELS = ["label", "name", "title", "text"]
const IDS = ["id", "value", "key"]
const NAMES = ["name", "id", "key", "label"]
const AMOUNTS = ["amount", "price", "value"]
const TYPES = new Set(["string", "number", "integer", "boolean", "array", "object"])
const BULLET = /^\s*(?:[-*•]|\d+[.)])\s+/
const NO_OPTIONS = "`options` is a list of {id, label}, one at least."
const NO_FIELDS = "`schema` is a JSON Schema object with properties, one at least."

/**
 * The parameters of a companion tool as the screens read them; of others as they are. A tool
 * defined at ElevenLabs takes no object of unknown shape, so its model writes it as text, and in
 * forms of its own. null is absent. Throws `NotUnderstood`.
 */
export function understood(toolName, parameters) {
  let given = mended(parameters)
  if (!toolName.startsWith("companion_")) return given
  given = withoutNulls(given)
  const title = nameOf(given, TITLES)
  if (title !== null) {
    given = { title: textOf(lookUp(given, title)), ...without(given, [title, "title"]) }
  }
  for (const name of lookUp(COMPANION_TOOLS, toolName)?.parameters ?? []) {
    if (!Object.hasOwn(given, name)) {
      if (MISSING.has(name)) throw new NotUnderstood(MISSING.get(name))
    } else if (READINGS.has(name)) given = { ...given, [name]: READINGS.get(name)(lookUp(given, name)) }
  }
  return mended(given) // Texts that were read may nest it deeper than it came.
}

function readData(value) {
  return typeof value === "string" ? (readJson(value) ?? value) : value
}

function readUi(value) {
  const found = readData(value)
  if (!isObject(found) && !Array.isArray(found)) throw new NotUnderstood("`ui` is an A2UI card: an object, or its JSON text.")
  return found
}

// Options of a choice.

function readOptions(value) {
  let found = readData(value)
  if (typeof found === "string") {
    found = found.split(/\r\n|\r|\n/).map((line) => line.replace(BULLET, "").trim()).filter(Boolean)
    if (found.length < 2) throw new NotUnderstood(NO_OPTIONS)
  }
  if (isObject(found)) found = optionsIn(found)
  if (!Array.isArray(found)) throw new NotUnderstood(NO_OPTIONS)
  const options = found.filter((part) => part !== null).map(readOption)
  if (options.length === 0) throw new NotUnderstood(NO_OPTIONS)
  return options
}

function optionsIn(found) {
  for (const name of ["options", "choices", "items"]) {
    if (Array.isArray(lookUp(found, name))) return lookUp(found, name)
  }
  if (nameOf(found, LABELS) !== null && nameOf(found, IDS) !== null) return [found]
  return Object.entries(found)
    .filter(([, value]) => value !== null)
    .map(([id, value]) => (isObject(value) ? { id, ...value } : { id, label: value }))
}

function readOption(part) {
  const found = readData(part)
  if (isObject(found)) {
    const named = nameOf(found, LABELS)
    const known = nameOf(found, IDS)
    const label = named ?? known ?? ""
    const chosen = known ?? named ?? ""
    if (isWord(lookUp(found, label)) && isWord(lookUp(found, chosen))) {
      const kept = withoutNulls(without(found, [label, chosen]))
      return { id: idOf(lookUp(found, chosen)), label: textOf(lookUp(found, label)), ...kept }
    }
  } else if (isWord(found)) {
    return { id: idOf(found), label: textOf(found) }
  }
  throw new NotUnderstood("Each of the `options` needs an `id` and a `label`.")
}

// Fields of a form.

function readSchema(value) {
  let found = readData(value)
  if (isObject(found) && !Object.hasOwn(found, "properties")) {
    const inner = readData(lookUp(found, "schema"))
    if (Object(inner) === inner) found = inner
    else if (Object.keys(found).length && Object.values(found).every(isObject)) found = { properties: found }
  }
  if (Array.isArray(found)) found = { properties: found }
  let properties = isObject(found) ? readData(lookUp(found, "properties")) : undefined
  let required = isObject(found) ? readData(lookUp(found, "required")) : undefined
  if (Array.isArray(properties)) {
    const named = fieldsOf(properties)
    properties = named.properties
    required ??= named.required
  }
  if (!isObject(properties)) throw new NotUnderstood(NO_FIELDS)
  const fields = Object.fromEntries(
    Object.entries(properties)
      .filter(([, part]) => part !== null)
      .map(([name, part]) => [name, readField(part)]),
  )
  if (Object.keys(fields).length === 0) throw new NotUnderstood(NO_FIELDS)
  const schema = { type: "object", ...without(found, ["properties", "required"]), properties: fields }
  if (typeof required === "string") required = required.split(",").map((name) => name.trim())
  if (required === true) required = Object.keys(fields)
  if (Array.isArray(required)) schema.required = required.filter((name) => Object.hasOwn(fields, name))
  return schema
}

/** The properties, and the names of those required, of a list of fields. */
function fieldsOf(found) {
  const properties = new Map()
  const required = []
  for (const part of found) {
    const called = isObject(part) ? nameOf(part, NAMES) : null
    const name = called === null ? part : lookUp(part, called)
    if (!isWord(name)) throw new NotUnderstood(NO_FIELDS)
    let rest = isObject(part) ? without(part, ["name", "id", "key", "required"]) : {}
    if (Object.hasOwn(rest, "label")) rest = { title: rest.label, ...without(rest, ["label", "title"]) }
    properties.set(textOf(name), Object.keys(rest).length ? rest : { type: "string" })
    if (isObject(part) && flagOr(lookUp(part, "required"), false)) required.push(textOf(name))
  }
  return { properties: Object.fromEntries(properties), required }
}

function readField(part) {
  const found = readData(part)
  if (typeof found === "string") return TYPES.has(found) ? { type: found } : { type: "string", description: found }
  if (!isObject(found)) throw new NotUnderstood("Each of the `schema`'s properties is an object with a `type`.")
  return withoutNulls(found)
}

// What a confirmation lists.

function readItems(value) {
  let found = readData(value)
  if (isObject(found)) found = Object.entries(found).map(([label, part]) => (isObject(part) ? { label, ...part } : { label, amount: part }))
  if (!Array.isArray(found)) throw new NotUnderstood("`items` is a list of {label, amount}.")
  return found.filter((part) => part !== null).map((part) => readItem(readData(part)))
}

function readItem(part) {
  if (isWord(part)) return { label: textOf(part) }
  const label = isObject(part) ? nameOf(part, LABELS) : null
  if (label === null || !isWord(lookUp(part, label))) throw new NotUnderstood("Each of the `items` needs a `label`.")
  const amount = nameOf(part, AMOUNTS)
  const kept = withoutNulls(without(part, [label, amount ?? label]))
  const listed = { label: textOf(lookUp(part, label)), ...kept }
  return amount === null ? listed : { ...listed, amount: readAmount(lookUp(part, amount)) }
}

function readAmount(value) {
  if (typeof value !== "string" || !/^-?\d+(?:\.\d+)?$/.test(value.trim())) return value
  return mended(Number(value))
}

// Single values.

function readFlag(value) {
  const flag = flagOr(value, null)
  if (flag === null) throw new NotUnderstood("`multiple` is true or false.")
  return flag
}

function flagOr(value, otherwise) {
  const text = isWord(value) || value === "" ? textOf(value).trim().toLowerCase() : null
  return YES.has(text) ? true : NO.has(text) ? false : otherwise
}

function readCount(value) {
  if (typeof value === "number" && Number.isInteger(value)) return value
  if (typeof value === "string" && /^\d{1,9}$/.test(value.trim())) return Number(value)
  throw new NotUnderstood("`min` and `max` are whole numbers.")
}

function isObject(value) {
  return Object(value) === value && !Array.isArray(value)
}

function isWord(value) {
  return ["string", "number", "boolean"].includes(typeof value) && value !== ""
}

function idOf(value) {
  return typeof value === "boolean" ? textOf(value) : value
}

/** A word as text; what is no word stays. */
function textOf(value) {
  return isWord(value) || value === "" ? String(value) : value
}

/** The first of these names that something stands under, or null. */
function nameOf(found, names) {
  return names.find((name) => ![undefined, null, ""].includes(lookUp(found, name))) ?? null
}

function without(found, names) {
  return Object.fromEntries(Object.entries(found).filter(([name]) => !names.includes(name)))
}

function withoutNulls(found) {
  return Object.fromEntries(Object.entries(found).filter(([, value]) => value !== null && value !== undefined))
}

/** How each parameter is read that is more than text. */
const READINGS = new Map([
  ["data", readData],
  ["ui", readUi],
  ["options", readOptions],
  ["multiple", readFlag],
  ["min", readCount],
  ["max", readCount],
  ["schema", readSchema],
  ["items", readItems],
  ["amount", readAmount],
])

/** What is said where a parameter is missing that may not be. */
const MISSING = new Map([["options", NO_OPTIONS], ["schema", NO_FIELDS]])
