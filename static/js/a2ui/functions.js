// What A2UI's basic catalog can compute: bindings, formats, checks. Pure.

import { cleanText } from "../core/cards.js"
import { matcher, Unsupported } from "../core/matcher.js"
import { isPlain, lookUp, plainText } from "../core/protocol.js"
import { Budget } from "./budget.js"
import { quoted, valueAt } from "./reducer.js"

const MAX_DEPTH = 40
/** More of a text than a pattern or an address could be meant for. */
const MAX_MATCHED = 2000
/** Longer than any way to write a date. */
const MAX_DATE_PATTERN = 200
/** What a browser's formats cost beside a look at a value. */
const FORMAT_STEPS = 50
/** Characters that go through a text's hands in the time of one look. */
const CHARACTERS_A_STEP = 64
/** Steps of a pattern walked in the time of one look at a value. */
const WALKED_A_STEP = 4

/**
 * What a dynamic value stands for: a literal, `{path}` or `{call, args}`.
 * `about` is `{data, scope, locale, budget, tell}`: what may be spent, and who is told in
 * words of what cannot be checked.
 */
export function resolve(value, about, depth = 0) {
  if (depth > MAX_DEPTH) throw new RangeError("it is nested too deep")
  spend(about, 1)
  if (!isPlain(value)) return value
  if (typeof value.path === "string") return valueAt(about.data, value.path, about.scope)
  if (typeof value.call === "string") return called(value.call, value.args ?? {}, about, depth)
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, resolve(part, about, depth + 1)]))
}

/** A dynamic value as text a person may be shown. */
export function textOf(value, about) {
  const found = resolve(value, about)
  const text = plainText(found)
  spend(about, Math.ceil(text.length / CHARACTERS_A_STEP))
  return cleanText(text)
}

function spend(about, steps) {
  about.budget ??= new Budget()
  about.budget.takeSteps(steps)
}

/** The messages of the checks that do not hold. */
export function failures(checks, about) {
  if (!Array.isArray(checks)) return []
  return checks.filter((check) => isPlain(check) && resolve(check.condition, about) !== true).map((check) => cleanText(check.message))
}

function called(name, args, about, depth) {
  const act = FUNCTIONS.get(name)
  if (!act) throw new RangeError(`there is no function ${quoted(name)}`)
  const value = (key) => resolve(lookUp(args, key), about, depth + 1)
  return act(value, about, args, depth)
}

/** A value as a number; NaN for what is none, nothing at all included. */
function numberIn(value) {
  if (typeof value === "number") return value
  return typeof value === "string" && value.trim() !== "" ? Number(value) : NaN
}

function partsOf(args) {
  const values = lookUp(args, "values")
  return Array.isArray(values) ? values : []
}

/** A pattern that cannot be checked here keeps nobody from going on; the agent hears of it. */
function isMatch(text, pattern, about) {
  try {
    const { size, test } = matcher(pattern)
    const tried = text.slice(0, MAX_MATCHED)
    spend(about, Math.ceil((size * (tried.length + 1)) / WALKED_A_STEP))
    return test(tried)
  } catch (error) {
    if (!(error instanceof Unsupported)) throw error
    about.tell?.(`The pattern ${quoted(pattern)} is not checked: ${error.message}.`)
    return true
  }
}

function isAddress(text) {
  const [name, host, ...others] = text.split("@")
  if (others.length || !name || !host || /\s/.test(text)) return false
  return host.includes(".", 1) && !host.endsWith(".")
}

const FUNCTIONS = new Map(Object.entries({
  required: (get) => {
    const value = get("value")
    return !(value === null || value === undefined || value === "" || (Array.isArray(value) && value.length === 0))
  },
  regex: (get, about) => isMatch(plainText(get("value")), get("pattern"), about),
  length: (get) => within(plainText(get("value")).length, get),
  numeric: (get) => {
    const value = numberIn(get("value"))
    return Number.isFinite(value) && within(value, get)
  },
  email: (get) => isAddress(plainText(get("value")).slice(0, MAX_MATCHED)),
  formatString: (get, about, args, depth) => interpolated(plainText(get("value")), about, depth),
  formatNumber: (get, about) => number(get("value"), about, { ...decimals(get("decimals")), useGrouping: get("grouping") !== false }),
  formatCurrency: (get, about) => {
    const [value, code, options] = [get("value"), plainText(get("currency")), { ...decimals(get("decimals")), useGrouping: get("grouping") !== false }]
    const isCode = /^[A-Za-z]{3}$/.test(code)
    return isCode ? number(value, about, { style: "currency", currency: code, ...options }) : number(value, about, options)
  },
  formatDate: (get, about) => dated(get("value"), plainText(get("format")).slice(0, MAX_DATE_PATTERN), about),
  pluralize: (get, about) => {
    spend(about, FORMAT_STEPS)
    const form = new Intl.PluralRules(about.locale).select(numberIn(get("value")))
    return get(form) ?? get("other")
  },
  capitalize: (get) => {
    const text = plainText(get("value"))
    return text.charAt(0).toUpperCase() + text.slice(1)
  },
  now: (get, about) => new Date(about.nowMs ?? Date.now()).toISOString(),
  and: (get, about, args, depth) => partsOf(args).every((each) => resolve(each, about, depth + 1) === true),
  or: (get, about, args, depth) => partsOf(args).some((each) => resolve(each, about, depth + 1) === true),
  not: (get) => get("value") !== true,
}))

function within(value, get) {
  const [min, max] = [get("min"), get("max")].map(numberIn)
  return !(value < min) && !(value > max)
}

function decimals(count) {
  const isCount = Number.isInteger(count) && count >= 0 && count <= 20
  return isCount ? { minimumFractionDigits: count, maximumFractionDigits: count } : {}
}

function number(value, about, options) {
  const found = numberIn(value)
  if (!Number.isFinite(found)) return ""
  spend(about, FORMAT_STEPS)
  return new Intl.NumberFormat(about.locale, options).format(found)
}

// Formatted strings: "Total: ${/sum}, ${formatDate(value:${/at}, format:'MMM d')}"

/** Put the values of `${…}` into a text; `\${` stays as it is. */
function interpolated(text, about, depth) {
  spend(about, Math.ceil(text.length / CHARACTERS_A_STEP))
  let out = ""
  let at = 0
  while (at < text.length) {
    const next = text.indexOf("${", at)
    if (next < 0) return out + text.slice(at)
    if (text.charAt(next - 1) === "\\") {
      out += `${text.slice(at, next - 1)}\${`
      at = next + 2
    } else {
      const end = closing(text, next + 2, "{", "}")
      out += text.slice(at, next) + plainText(evaluated(text.slice(next + 2, end), about, depth + 1))
      at = end + 1
    }
  }
  return out
}

function evaluated(expression, about, depth) {
  if (depth > MAX_DEPTH) throw new RangeError("it is nested too deep")
  const text = expression.trim()
  spend(about, 1 + Math.ceil(text.length / CHARACTERS_A_STEP))
  const call = /^([A-Za-z]\w*)\((.*)\)$/s.exec(text)
  if (call) {
    const args = Object.fromEntries(parts(call[2]).map((part) => argument(part, about, depth)))
    return called(call[1], args, about, depth + 1)
  }
  return literal(text, about, depth)
}

function argument(part, about, depth) {
  const colon = part.indexOf(":")
  return [part.slice(0, colon).trim(), literal(part.slice(colon + 1).trim(), about, depth)]
}

function literal(text, about, depth) {
  const quoted = /^(['"])(.*)\1$/s.exec(text)
  if (quoted) return quoted[2]
  if (/^-?\d+(\.\d+)?$/.test(text)) return Number(text)
  if (text === "true" || text === "false") return text === "true"
  if (text.startsWith("${") && text.endsWith("}")) return evaluated(text.slice(2, -1), about, depth + 1)
  if (/^[A-Za-z]\w*\(.*\)$/s.test(text)) return evaluated(text, about, depth + 1)
  return valueAt(about.data, text, about.scope)
}

/** Split arguments at the commas that stand outside quotes, braces and brackets. */
function parts(text) {
  const found = []
  let depth = 0
  let quote = ""
  let from = 0
  for (let at = 0; at < text.length; at += 1) {
    const letter = text.charAt(at)
    if (quote) quote = letter === quote ? "" : quote
    else if (letter === "'" || letter === '"') quote = letter
    else if ("({".includes(letter)) depth += 1
    else if (")}".includes(letter)) depth -= 1
    else if (letter === "," && depth === 0) {
      found.push(text.slice(from, at))
      from = at + 1
    }
  }
  return [...found, text.slice(from)].filter((part) => part.includes(":"))
}

function closing(text, from, open, close) {
  let depth = 1
  for (let at = from; at < text.length; at += 1) {
    if (text.charAt(at) === open) depth += 1
    if (text.charAt(at) === close && (depth -= 1) === 0) return at
  }
  return text.length
}

// Dates by Unicode TR35 patterns

const TOKENS = /'([^']*)'|y{4}|yy|M{1,4}|d{1,2}|E{1,4}|h{1,2}|H{1,2}|m{1,2}|s{1,2}|a/g

/** A date as `pattern` wants it, in the words of the reader's language. */
function dated(value, pattern, about) {
  const date = new Date(typeof value === "string" || typeof value === "number" ? value : NaN)
  if (value === "" || Number.isNaN(date.getTime())) return ""
  const word = (options, type) => {
    spend(about, FORMAT_STEPS)
    return new Intl.DateTimeFormat(about.locale, options).formatToParts(date).find((part) => part.type === type)?.value ?? ""
  }
  const two = (amount) => String(amount).padStart(2, "0")
  const twelve = date.getHours() % 12 || 12
  const weekday = () => word({ weekday: "short" }, "weekday")
  const tokens = new Map(Object.entries({
    yyyy: () => date.getFullYear(), yy: () => two(date.getFullYear() % 100),
    MMMM: () => word({ month: "long", day: "numeric" }, "month"), MMM: () => word({ month: "short", day: "numeric" }, "month"),
    MM: () => two(date.getMonth() + 1), M: () => date.getMonth() + 1,
    dd: () => two(date.getDate()), d: () => date.getDate(),
    EEEE: () => word({ weekday: "long" }, "weekday"), EEE: weekday, EE: weekday, E: weekday,
    hh: () => two(twelve), h: () => twelve, HH: () => two(date.getHours()), H: () => date.getHours(),
    mm: () => two(date.getMinutes()), m: () => date.getMinutes(), ss: () => two(date.getSeconds()), s: () => date.getSeconds(),
    a: () => word({ hour: "numeric", hour12: true }, "dayPeriod"),
  }))
  return pattern.replace(TOKENS, (token, quote) => (quote === undefined ? String(tokens.get(token)()) : quote || "'"))
}
