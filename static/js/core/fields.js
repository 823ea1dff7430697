// The fields of a form as a screen asks for them, and its answer made of what was filled in.
//
// `schema` says what an agent asks, `fieldsOf` how a person is asked: one field for each property,
// `{key, path, name, kind, label, …}`. What a person has entered under a field's `key` is an
// entry, as JSON can keep it: a text, true or false for a tick, the place of a choice in the list,
// or a list of places. `answerOf` makes values of entries and says which keyword of JSON Schema a
// field does not meet; form-words.js says it in words.

import { cleanText, cut, humanized } from "./cards.js"
import { faultsIn, isEqual } from "./forms.js"
import { numberIn, numberText } from "./numbers.js"
import { isPlain, lookUp, plainText } from "./protocol.js"
import { choicesOf, isAskable, isNullAllowed, MAX_FIELDS, plain, propertiesOf, requiredOf, typesOf } from "./schemas.js"

/** A text that may be longer than this gets several lines. */
const LONG_TEXT = 120
const MAX_NAME = 200
/** Choices a person overlooks, each with a place of its own; more are a list. */
const AT_A_GLANCE = 6

/** The form of a JSON Schema: `{schema, fields, unasked}`; `unasked` counts what there is no place for. */
export function formOf(schema, about) {
  const form = plain(schema, schema) ?? {}
  const room = { left: MAX_FIELDS, unasked: 0 }
  const fields = fieldsIn(form, [], { ...about, root: form, room })
  return { schema: form, fields, unasked: room.unasked }
}

/** Each field that holds an entry, groups taken apart. */
export function* eachField(fields) {
  for (const field of fields) {
    if (field.kind === "group") yield* eachField(field.fields)
    else yield field
  }
}

function fieldsIn(object, path, about) {
  const required = new Set(requiredOf(object))
  const fields = []
  for (const [name, property] of propertiesOf(object, about.root)) {
    if (about.room.left === 0) {
      about.room.unasked += 1
      continue
    }
    about.room.left -= 1
    fields.push(fieldOf([...path, name], property, required.has(name), about))
  }
  return fields
}

function fieldOf(path, schema, required, about) {
  const name = path.at(-1)
  const choices = choicesOf(schema)?.filter(({ value }) => value !== null && value !== "") ?? null
  const kind = kindOf(schema, choices, path.length, about.root)
  const field = {
    key: JSON.stringify(path),
    path,
    name,
    kind,
    schema,
    required,
    isNullable: isNullAllowed(schema),
    label: shortText(schema.title) || humanized(cut(name, MAX_NAME)) || "…",
    hint: textOf(schema.description),
    unit: shortText(lookUp(schema, "x-unit")),
    example: exampleOf(schema),
    ...lookUp(KINDS, kind)?.(schema, { name, choices, ...about }),
  }
  if (kind === "group") return { ...field, fields: fieldsIn(schema, path, about) }
  return { ...field, initial: initialOf(field, lookUp(schema, "default"), about) }
}

function kindOf(schema, choices, depth, root) {
  if (!isAskable(schema, root, depth)) return "unasked"
  if (isFixed(schema, choices)) return "fixed"
  const types = typesOf(schema).filter((type) => type !== "null")
  if (isTick(choices, types)) return "tick"
  if (choices) return "one"
  if (types.includes("array") || (types.length === 0 && Object.hasOwn(schema, "items"))) {
    return choicesOf(plain(lookUp(schema, "items"), root) ?? {}) ? "many" : "lines"
  }
  if (types.includes("object") || (types.length === 0 && Object.hasOwn(schema, "properties"))) return "group"
  if (types.includes("string") || types.length === 0) {
    if (types.length === 0 && ["minimum", "maximum", "multipleOf"].some((name) => Number.isFinite(lookUp(schema, name)))) return "number"
    return textKind(schema)
  }
  return types.includes("number") ? "number" : types[0] === "boolean" ? "tick" : types[0]
}

/** What is shown and not asked: it can have one value only. */
function isFixed(schema, choices) {
  if (lookUp(schema, "readOnly") === true && Object.hasOwn(schema, "default")) return true
  return Object.hasOwn(schema, "const") && choices.length === 1 && typeof schema.const !== "boolean"
}

/** Yes or no, where no words of its own stand for the two. */
function isTick(choices, types) {
  if (!choices) return types[0] === "boolean"
  return choices.length > 0 && choices.every(({ value, title }) => typeof value === "boolean" && title === "") &&
    choices.some(({ value }) => value)
}

const TEXT_KINDS = { date: "date", time: "time", "date-time": "datetime", textarea: "long" }

function textKind(schema) {
  const kind = lookUp(TEXT_KINDS, lookUp(schema, "format"))
  if (kind) return kind
  return lookUp(schema, "maxLength") > LONG_TEXT && !lookUp(schema, "format") && !lookUp(schema, "pattern") ? "long" : "text"
}

const KINDS = {
  text: (schema, { name }) => ({ ...keyboardOf(schema, name), isSecret: isSecret(schema, name), maxLength: maxLengthOf(schema) }),
  long: (schema) => ({ maxLength: maxLengthOf(schema) }),
  tick: (schema, { choices }) => ({ mustTick: choices !== null && choices.every(({ value }) => value) }),
  one: (schema, { choices, words }) => ({ choices: choices.map((each) => choiceText(each, words)), isAtAGlance: choices.length <= AT_A_GLANCE }),
  many: (schema, { root, words }) => ({ choices: choicesOf(plain(schema.items, root)).map((each) => choiceText(each, words)), isAtAGlance: true }),
  lines: (schema, { root }) => ({ entry: entryOf(plain(lookUp(schema, "items"), root) ?? {}) }),
  fixed: (schema, about) => {
    const value = Object.hasOwn(schema, "const") ? schema.const : schema.default
    const known = about.choices?.find((each) => isEqual(each.value, value))
    return { value, text: known ? choiceText(known, about.words).label : plainText(value) }
  },
}

/** What each entry of a list is, for the words about one that is wrong. */
function entryOf(schema) {
  const type = typesOf(schema).find((each) => each !== "null")
  return { kind: type === "integer" || type === "number" ? type : textKind(schema), schema, example: "" }
}

/** A key as models write it reads as words; what people write stays as it is. */
function choiceText({ value, title, description }, words) {
  if (typeof value === "boolean" && !title) return { value, label: words(value ? "yes" : "no"), detail: textOf(description) }
  const isKey = typeof value === "string" && /^(?:[a-z]{2,}|[a-z0-9]+(?:_[a-z0-9]+)+|[A-Z0-9]+(?:_[A-Z0-9]+)+|[a-z]{3,}(?:-[a-z]{3,})+)$/.test(value)
  const name = isKey ? humanized(value.toLowerCase()) : plainText(value)
  return { value, label: shortText(title) || shortText(name) || "–", detail: textOf(description) }
}

const SECRETS = /^(password|passcode|passphrase|passwort|secret)$/

function isSecret(schema, name) {
  if (lookUp(schema, "format") === "password" || lookUp(schema, "writeOnly") === true) return true
  return lookUp(schema, "format") === undefined && SECRETS.test(plainName(name))
}

/** What the keyboard offers, `{inputType, inputMode, autocomplete, isCode}`. */
function keyboardOf(schema, name) {
  const plainly = plainName(name)
  const known = AUTOCOMPLETE.find(([names]) => names.test(plainly))?.[1] ?? null
  const byFormat = lookUp({ email: ["email", "email", "email"], uri: ["url", "url", "url"], tel: ["tel", "tel", "tel"] }, lookUp(schema, "format"))
  if (byFormat) return { inputType: byFormat[0], inputMode: byFormat[1], autocomplete: known ?? byFormat[2], isCode: true }
  const byName = lookUp({ email: "email", tel: "tel" }, known)
  const isDigits = digitsIn(schema) !== null
  return {
    inputType: byName ?? "text",
    inputMode: isDigits ? "numeric" : (byName ?? null),
    autocomplete: known ?? "off",
    isCode: byName !== undefined || isDigits || known === "postal-code" || typeof lookUp(schema, "pattern") === "string",
  }
}

/** Which of the phone's own entries a field is, by the names that models give it. */
const AUTOCOMPLETE = [
  [/^(e?mail|emailaddress)$/, "email"],
  [/^(tel|phone|mobile|cell|telephone)(number|no)?$|^phonenumber$/, "tel"],
  [/^(first|given)name$/, "given-name"],
  [/^(last|family|sur)name$|^surname$/, "family-name"],
  [/^(full|your|recipient|contact)?name$/, "name"],
  [/^(street|streetaddress|address|addressline)$/, "street-address"],
  [/^(address|addressline|street)1$/, "address-line1"],
  [/^(address|addressline|street)2$/, "address-line2"],
  [/^(zip|zipcode|postcode|postalcode|plz)$/, "postal-code"],
  [/^(city|town|locality)$/, "address-level2"],
  [/^(state|province|region)$/, "address-level1"],
  [/^country(name)?$/, "country-name"],
  [/^countrycode$/, "country"],
  [/^(company|organi[sz]ation)(name)?$/, "organization"],
  [/^(birthday|dateofbirth|birthdate|dob)$/, "bday"],
  [/^(otp|onetimecode|verificationcode|smscode)$/, "one-time-code"],
]

function plainName(name) {
  return name.toLowerCase().replace(/[^a-z0-9]/g, "")
}

/** How many digits a pattern asks for, `{least, most}`, or null where it asks for other things. */
export function digitsIn(schema) {
  const found = /^\^?(?:\\d|\[0-9\])(?:\{(\d{1,3})(?:,(\d{1,3}))?\}|\+)\$?$/.exec(plainText(lookUp(schema, "pattern")))
  if (!found) return null
  return found[1] ? { least: Number(found[1]), most: Number(found[2] ?? found[1]) } : { least: 1, most: Infinity }
}

function maxLengthOf(schema) {
  const most = lookUp(schema, "maxLength")
  return Number.isInteger(most) && most > 0 ? most : null
}

function exampleOf(schema) {
  const examples = lookUp(schema, "examples")
  const first = Array.isArray(examples) ? examples[0] : lookUp(schema, "example")
  return isPlain(first) || Array.isArray(first) ? "" : shortText(plainText(first))
}

function shortText(value) {
  return typeof value === "string" ? cut(cleanText(value).replace(/\s+/g, " ").trim(), MAX_NAME) : ""
}

function textOf(value) {
  return typeof value === "string" ? cleanText(value).trim() : ""
}

// Entries

/** What a field begins with; a default that is not an answer to it counts as none. */
function initialOf(field, value, { locale }) {
  switch (field.kind) {
    case "tick":
      return value === true
    case "one": {
      const at = value === undefined ? -1 : field.choices.findIndex((each) => isEqual(each.value, value))
      return at < 0 ? null : at
    }
    case "many": {
      const wanted = Array.isArray(value) ? value : []
      return field.choices.flatMap((each, at) => (wanted.some((one) => isEqual(one, each.value)) ? [at] : []))
    }
    case "lines":
      return Array.isArray(value) ? value.map((each) => plainText(each)).join("\n") : ""
    case "number":
    case "integer":
      return Number.isFinite(value) ? numberText(value, locale, { isField: true }) : ""
    default:
      return typeof value === "string" || typeof value === "number" ? String(value) : ""
  }
}

/** The entries that would make `values`, as a form that is filled in again begins with. */
export function entriesOf(form, values, about) {
  return new Map([...eachField(form.fields)].map((field) => {
    const value = field.path.reduce((object, name) => (isPlain(object) ? lookUp(object, name) : undefined), values)
    return [field.key, field.isSecret || value === undefined ? initialOf(field, undefined, about) : initialOf(field, value, about)]
  }))
}

/**
 * The values of a filled form and what is wrong with them, `{values, faults}`: `faults` maps a
 * field's key to the keyword that is not met. `entries` maps keys to entries; `compile` is
 * core/matcher.js' `matcher`.
 */
export function answerOf(form, entries, { locale, compile = null }) {
  const unread = new Map()
  const { values } = valuesIn(form.fields, { entries, locale, unread, schema: form.schema, compile })
  const faults = new Map(unread)
  for (const { path, keyword } of faultsIn(form.schema, values, compile)) {
    const key = JSON.stringify(path)
    if (!faults.has(key)) faults.set(key, keyword)
  }
  return { values, faults }
}

/** The values of some fields; `isTouched` where one is another than it began with. */
function valuesIn(fields, about) {
  const values = []
  let isTouched = false
  for (const field of fields) {
    if (field.kind === "group") {
      const inner = valuesIn(field.fields, about)
      isTouched ||= inner.isTouched
      if (field.required || inner.isTouched || isWhole(field, inner.values, about)) values.push([field.name, inner.values])
      continue
    }
    const entry = about.entries.get(field.key) ?? field.initial
    isTouched ||= !isEqual(entry, field.initial)
    const value = valueOf(field, entry, about.locale)
    if (Number.isNaN(value)) about.unread.set(field.key, "type")
    else if (value !== undefined) values.push([field.name, value])
    else if (field.required && field.isNullable && field.kind !== "unasked") values.push([field.name, null])
  }
  return { values: Object.fromEntries(values), isTouched }
}

/** Whether a group that nobody filled in is an answer by its defaults alone. */
function isWhole({ schema }, values, about) {
  const given = Object.values(values).filter((value) => value !== false)
  const { $defs, definitions } = about.schema
  return given.length > 0 && faultsIn({ $defs, definitions, ...schema }, values, about.compile).length === 0
}

function valueOf(field, entry, locale) {
  switch (field.kind) {
    case "unasked":
      return undefined
    case "fixed":
      return field.value
    case "tick":
      return entry === true || (field.mustTick ? undefined : false)
    case "one":
      return Number.isInteger(entry) ? field.choices.at(entry)?.value : undefined
    case "many": {
      const chosen = Array.isArray(entry) ? entry : []
      return chosen.length || field.required ? chosen.map((at) => field.choices.at(at).value) : undefined
    }
    case "lines":
      return linesOf(field, entry, locale)
    case "number":
    case "integer": {
      const text = String(entry ?? "").trim()
      return text === "" ? undefined : safe(numberIn(text, locale))
    }
    default:
      return textValue(field, String(entry ?? ""))
  }
}

/** A person writes "example.com" where a program wants "https://example.com". */
function textValue(field, entry) {
  const text = field.isSecret ? entry : entry.trim()
  if (text === "") return undefined
  const isBareAddress = lookUp(field.schema, "format") === "uri" && /^[^\s:/@]+\.[a-z]{2,}(?:[/?#]\S*)?$/i.test(text)
  return isBareAddress ? `https://${text}` : text
}

function linesOf({ entry, required }, text, locale) {
  const lines = String(text ?? "").split("\n").map((line) => line.trim()).filter(Boolean)
  if (lines.length === 0) return required ? [] : undefined
  if (entry.kind !== "number" && entry.kind !== "integer") return lines
  const numbers = lines.map((line) => safe(numberIn(line, locale)))
  return numbers.some(Number.isNaN) ? NaN : numbers
}

/** JSON has no integers beyond these. */
function safe(number) {
  return Math.abs(number) <= Number.MAX_SAFE_INTEGER ? number : NaN
}
