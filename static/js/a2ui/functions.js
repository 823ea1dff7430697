// What A2UI's basic catalog can compute: bindings, formats, checks. Pure.

import { cleanText } from "../core/cards.js"
import { isPlain } from "../core/protocol.js"
import { valueAt } from "./reducer.js"

const MAX_DEPTH = 40
/** A hostile pattern can hang a phone; so neither long texts nor long patterns are tried. */
const MAX_MATCHED = 2000
const MAX_PATTERN = 200

/**
 * What a dynamic value stands for: a literal, `{path}` or `{call, args}`.
 * `about` is `{data, scope, locale}`.
 */
export function resolve(value, about, depth = 0) {
  if (depth > MAX_DEPTH) throw new RangeError("nested too deep")
  if (!isPlain(value)) return value
  if (typeof value.path === "string") return valueAt(about.data, value.path, about.scope)
  if (typeof value.call === "string") return called(value.call, value.args ?? {}, about, depth)
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, resolve(part, about, depth + 1)]))
}

/** A dynamic value as text a person may be shown. */
export function textOf(value, about) {
  const found = resolve(value, about)
  if (found === null || found === undefined) return ""
  return cleanText(typeof found === "object" ? JSON.stringify(found) : found)
}

/** The messages of the checks that do not hold. */
export function failures(checks, about) {
  if (!Array.isArray(checks)) return []
  return checks.filter((check) => isPlain(check) && resolve(check.condition, about) !== true).map((check) => cleanText(check.message ?? ""))
}

function called(name, args, about, depth) {
  if (!Object.hasOwn(FUNCTIONS, name)) throw new RangeError(`there is no function ${name}`)
  const value = (key) => resolve(args[key], about, depth + 1)
  return FUNCTIONS[name](value, about, args, depth)
}

const FUNCTIONS = {
  required: (get) => {
    const value = get("value")
    return !(value === null || value === undefined || value === "" || (Array.isArray(value) && value.length === 0))
  },
  regex: (get) => {
    const text = String(get("value") ?? "")
    const pattern = String(get("pattern"))
    return text.length <= MAX_MATCHED && pattern.length <= MAX_PATTERN && new RegExp(pattern, "u").test(text)
  },
  length: (get) => within(String(get("value") ?? "").length, get),
  numeric: (get) => {
    const value = get("value")
    return value !== "" && value !== null && Number.isFinite(Number(value)) && within(Number(value), get)
  },
  email: (get) => /^[^\s@]+@[^\s@]+\.[^\s@]+$/.test(String(get("value") ?? "").slice(0, MAX_MATCHED)),
  formatString: (get, about, args, depth) => interpolated(String(get("value") ?? ""), about, depth),
  formatNumber: (get, about) => number(get("value"), about.locale, { ...decimals(get("decimals")), useGrouping: get("grouping") !== false }),
  formatCurrency: (get, about) =>
    number(get("value"), about.locale, {
      style: "currency",
      currency: String(get("currency")),
      ...decimals(get("decimals")),
      useGrouping: get("grouping") !== false,
    }),
  formatDate: (get, about) => dated(get("value"), String(get("format") ?? ""), about.locale),
  pluralize: (get, about) => {
    const form = new Intl.PluralRules(about.locale).select(Number(get("value")))
    return get(form) ?? get("other")
  },
  capitalize: (get) => {
    const text = String(get("value") ?? "")
    return text.charAt(0).toUpperCase() + text.slice(1)
  },
  now: () => new Date().toISOString(),
  and: (get, about, args, depth) => args.values.every((each) => resolve(each, about, depth + 1) === true),
  or: (get, about, args, depth) => args.values.some((each) => resolve(each, about, depth + 1) === true),
  not: (get) => get("value") !== true,
}

function within(value, get) {
  const [min, max] = [get("min"), get("max")]
  return (min === undefined || value >= min) && (max === undefined || value <= max)
}

function decimals(count) {
  return Number.isInteger(count) ? { minimumFractionDigits: count, maximumFractionDigits: count } : {}
}

function number(value, locale, options) {
  const found = Number(value)
  return value === null || value === undefined || Number.isNaN(found) ? "" : new Intl.NumberFormat(locale, options).format(found)
}

// Formatted strings: "Total: ${/sum}, ${formatDate(value:${/at}, format:'MMM d')}"

/** Put the values of `${…}` into a text; `\${` stays as it is. */
function interpolated(text, about, depth) {
  let out = ""
  let at = 0
  while (at < text.length) {
    const next = text.indexOf("${", at)
    if (next < 0) return out + text.slice(at)
    if (text[next - 1] === "\\") {
      out += `${text.slice(at, next - 1)}\${`
      at = next + 2
    } else {
      const end = closing(text, next + 2, "{", "}")
      out += text.slice(at, next) + shown(evaluated(text.slice(next + 2, end), about, depth + 1))
      at = end + 1
    }
  }
  return out
}

function evaluated(expression, about, depth) {
  if (depth > MAX_DEPTH) throw new RangeError("nested too deep")
  const text = expression.trim()
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
  for (const [at, letter] of [...text].entries()) {
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
    if (text[at] === open) depth += 1
    if (text[at] === close && (depth -= 1) === 0) return at
  }
  return text.length
}

function shown(value) {
  if (value === null || value === undefined) return ""
  return typeof value === "object" ? JSON.stringify(value) : String(value)
}

// Dates by Unicode TR35 patterns

const TOKENS = /'([^']*)'|y{4}|yy|M{1,4}|d{1,2}|E{1,4}|h{1,2}|H{1,2}|m{1,2}|s{1,2}|a/g

/** A date as `pattern` wants it, in the words of `locale`. */
function dated(value, pattern, locale) {
  const date = new Date(value)
  if (value === null || value === undefined || value === "" || Number.isNaN(date.getTime())) return ""
  const word = (options, type) =>
    new Intl.DateTimeFormat(locale, options).formatToParts(date).find((part) => part.type === type)?.value ?? ""
  const two = (amount) => String(amount).padStart(2, "0")
  const twelve = date.getHours() % 12 || 12
  const tokens = {
    yyyy: () => date.getFullYear(), yy: () => two(date.getFullYear() % 100),
    MMMM: () => word({ month: "long", day: "numeric" }, "month"), MMM: () => word({ month: "short", day: "numeric" }, "month"),
    MM: () => two(date.getMonth() + 1), M: () => date.getMonth() + 1,
    dd: () => two(date.getDate()), d: () => date.getDate(),
    EEEE: () => word({ weekday: "long" }, "weekday"), E: () => word({ weekday: "short" }, "weekday"),
    hh: () => two(twelve), h: () => twelve, HH: () => two(date.getHours()), H: () => date.getHours(),
    mm: () => two(date.getMinutes()), m: () => date.getMinutes(), ss: () => two(date.getSeconds()), s: () => date.getSeconds(),
    a: () => word({ hour: "numeric", hour12: true }, "dayPeriod"),
  }
  tokens.EE = tokens.EEE = tokens.E
  return pattern.replace(TOKENS, (token, quoted) => (quoted === undefined ? String(tokens[token]()) : quoted || "'"))
}
