// The fields of a form, however a model wrote its JSON Schema.
//
// Models write the same field in many ways: `{"$ref": "#/$defs/Size"}` as Pydantic does, `anyOf`
// with null as OpenAPI 3.1 does, `"type": "date"` as nobody should. `plain` makes one of them, so
// that what checks an answer and what draws a form read the same field.
//
// The twin of companion_ws/core/schemas.py; tests/wire/forms/cases.json holds both to the same cases.

import { isPlain, lookUp } from "./protocol.js"

/** Fields of a form that are shown, those of inner objects counted. */
export const MAX_FIELDS = 200
/** A field of the form's own is 1 deep, one of an object in it 2; what is deeper is not asked for. */
export const MAX_DEPTH = 3
/** References and alternatives followed for one field: a schema may refer to itself. */
const MAX_HOPS = 8
/** Parts of one `allOf`, and types of one `anyOf`, that are read. */
const MAX_PARTS = 16
/** Fields of an inner object that are looked at for one to ask. */
const MAX_LOOKED = 8

const SCALARS = new Set(["string", "number", "integer", "boolean"])
const TYPES = new Set([...SCALARS, "array", "object", "null"])
const FORMATS = new Set(["date", "time", "date-time", "email", "uri", "tel", "password", "textarea"])
const TYPE_ALIASES = {
  str: "string", text: "string", int: "integer", float: "number", double: "number",
  decimal: "number", bool: "boolean", list: "array", dict: "object",
}
const FORMAT_ALIASES = {
  datetime: "date-time", "datetime-local": "date-time", url: "uri", phone: "tel", multiline: "textarea",
}
const BOUNDS = [["minimum", "formatMinimum"], ["maximum", "formatMaximum"]]

/** The `[name, plain field]` pairs of an object; what is not a schema is not a field. */
export function* propertiesOf(field, root) {
  const properties = lookUp(field, "properties")
  if (!isPlain(properties)) return
  for (const [name, part] of Object.entries(properties)) {
    const found = plain(part, root)
    if (found) yield [name, found]
  }
}

/** The names that an object must have. */
export function requiredOf(field) {
  const required = lookUp(field, "required")
  return Array.isArray(required) ? required.filter((name) => typeof name === "string") : []
}

/** A field without references and alternatives; null where it is not a schema. */
export function plain(field, root) {
  if (!isPlain(field)) return null
  let found = field
  for (let hop = 0; hop < MAX_HOPS; hop += 1) {
    const several = waysIn(found)
    if (typeof lookUp(found, "$ref") === "string") found = followed(found, root)
    else if (Array.isArray(lookUp(found, "allOf"))) found = together(found, root)
    else if (several) found = oneWay(found, several, root)
    else break
  }
  return named(found)
}

/** The choices that a plain field allows, `[{value, title, description}]`, or null where it names none. */
export function choicesOf(field) {
  if (Object.hasOwn(field, "const")) return [choice(field.const)]
  const values = lookUp(field, "enum")
  if (Array.isArray(values)) {
    const names = lookUp(field, "enumNames")
    return values.map((value, at) => choice(value, Array.isArray(names) ? names.at(at) : undefined))
  }
  for (const name of ["oneOf", "anyOf"]) {
    const ways = lookUp(field, name)
    if (Array.isArray(ways) && ways.length > 0 && ways.every(isChoice)) {
      return ways.map((way) => choice(chosen(way), lookUp(way, "title"), lookUp(way, "description")))
    }
  }
  return null
}

/** The types of a plain field; what an agent wrote there that names none is left out. */
export function typesOf(field) {
  return listed(field).filter((kind) => typeof kind === "string" && TYPES.has(kind))
}

/** Whether null is an answer to a plain field that is required. */
export function isNullAllowed(field) {
  return typesOf(field).includes("null") || (choicesOf(field) ?? []).some(({ value }) => value === null)
}

/** Whether a person can be asked for a plain field that is `depth` deep. */
export function isAskable(field, root, depth = 1) {
  if (choicesOf(field)) return true
  const kinds = typesOf(field).filter((kind) => kind !== "null")
  if (kinds.some((kind) => SCALARS.has(kind))) return true
  if (kinds.includes("array") || (kinds.length === 0 && Object.hasOwn(field, "items"))) {
    const entry = Object.hasOwn(field, "items") ? plain(field.items, root) : {}
    return entry !== null && isOneLine(entry)
  }
  if (kinds.includes("object") || Object.hasOwn(field, "properties")) {
    if (depth >= MAX_DEPTH) return false
    let looked = 0
    for (const [, part] of propertiesOf(field, root)) {
      if (isAskable(part, root, depth + 1)) return true
      if ((looked += 1) === MAX_LOOKED) break
    }
    return false
  }
  return kinds.length === 0
}

/** Whether a form has no more fields than are shown. */
export function isShownWhole(schema) {
  const room = { left: MAX_FIELDS }
  count(schema, schema, 0, room)
  return room.left >= 0
}

function count(field, root, depth, room) {
  for (const [, part] of propertiesOf(field, root)) {
    room.left -= 1
    if (room.left < 0) return
    if (depth < MAX_DEPTH && !choicesOf(part)) count(part, root, depth + 1, room)
  }
}

function isOneLine(entry) {
  if (choicesOf(entry)) return true
  const isNested = Object.hasOwn(entry, "properties") || Object.hasOwn(entry, "items")
  return !isNested && !typesOf(entry).some((kind) => kind === "array" || kind === "object")
}

/** A field with what its `$ref` names, which it may add to. */
function followed(field, root) {
  const path = lookUp(field, "$ref")
  if (typeof path !== "string") return field
  let target = root
  for (const step of path.startsWith("#/") ? path.split("/").slice(1) : []) {
    const name = step.replaceAll("~1", "/").replaceAll("~0", "~")
    target = isPlain(target) ? lookUp(target, name) : undefined
  }
  const known = isPlain(target) && target !== root ? target : {}
  return { ...known, ...without(field, "$ref") }
}

function together(field, root) {
  const parts = field.allOf.slice(0, MAX_PARTS).filter(isPlain).map((part) => followed(part, root))
  return Object.assign({}, ...parts, without(field, "allOf"))
}

/** The keyword under which a field has alternatives that are not a list of choices, or null. */
function waysIn(field) {
  const name = ["anyOf", "oneOf"].find((each) => {
    const ways = lookUp(field, each)
    return Array.isArray(ways) && ways.some(isPlain) && !ways.every(isChoice)
  })
  return name ?? null
}

/** A field with its only alternative beside null, or with the types of all. */
function oneWay(field, name, root) {
  const ways = lookUp(field, name).filter(isPlain).map((way) => followed(way, root))
  const kept = ways.filter((way) => lookUp(way, "type") !== "null")
  const rest = without(field, name)
  if (kept.length && kept.every(isChoice)) return { ...rest, [name]: [...kept, { const: null }] }
  let only = kept.length === 1 ? kept[0] : { type: kept.slice(0, MAX_PARTS).flatMap(listed) }
  if (kept.length < ways.length) only = { ...only, type: [...listed(only), "null"] }
  return { ...only, ...rest }
}

function listed(field) {
  const kind = lookUp(field, "type")
  if (Array.isArray(kind)) return kind
  return kind === null || kind === undefined ? [] : [kind]
}

function isChoice(way) {
  if (!isPlain(way)) return false
  return Object.hasOwn(way, "const") || (Array.isArray(lookUp(way, "enum")) && way.enum.length === 1)
}

function chosen(way) {
  return Object.hasOwn(way, "const") ? way.const : way.enum[0]
}

function choice(value, title, description) {
  const text = (words) => (typeof words === "string" ? words : "")
  return { value, title: text(title), description: text(description) }
}

/** A field with types and formats by the names that JSON Schema has for them. */
function named(field) {
  let found = field
  const kinds = listed(field).map((kind) => (typeof kind === "string" ? typeName(kind) : kind))
  const ofFormat = kinds.find((kind) => typeof kind === "string" && !TYPES.has(kind) && FORMATS.has(formatName(kind)))
  if (ofFormat !== undefined) found = { format: ofFormat, ...found }
  if (kinds.length) {
    const types = kinds.map((kind) => (kind === ofFormat ? "string" : kind))
    found = { ...found, type: Array.isArray(found.type) ? types : types[0] }
  }
  const format = lookUp(found, "format")
  if (typeof format === "string") found = { ...found, format: formatName(format) }
  for (const [name, other] of BOUNDS) {
    const bound = lookUp(found, name)
    if (typeof bound === "string" && !Object.hasOwn(found, other)) found = { ...without(found, name), [other]: bound }
  }
  return found
}

function typeName(kind) {
  const name = kind.trim().toLowerCase()
  return lookUp(TYPE_ALIASES, name) ?? name
}

function formatName(name) {
  return lookUp(FORMAT_ALIASES, name.toLowerCase()) ?? name.toLowerCase()
}

function without(field, name) {
  return Object.fromEntries(Object.entries(field).filter(([key]) => key !== name))
}
