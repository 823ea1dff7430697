// How any JSON is shown to a person: typed blocks, decided by rules, painted elsewhere.
//
// Total by design: whatever comes in, something readable goes out, and one bad
// field costs that field alone. Source: research ui-ecosystem 2.5.

import { plainOf, safeHref, titleAndText } from "./markdown.js"
import { isShown, keyWithin } from "./pictures.js"
import { isPlain, lookUp, MAX_TEXT, plainText } from "./protocol.js"

export const MAX_ROWS = 200
export const MAX_CHIPS = 12
export const MAX_DEPTH = 4
/** Rows, cells and groups of one card; beyond them it says that there is more. */
export const MAX_PARTS = 2000
const MAX_COLUMNS = 3
/** As many as the server fetches for a session. */
const MAX_PICTURES = 20
/** Pictures that are meant to be small. */
const SMALL = /logo|avatar|thumb|icon/i
const ALT_KEYS = ["alt", "alt_text", "caption", "title", "name", "label"]

const MONEY = /(^|_)(cost|price|total|subtotal|amount|fee|fees|balance|tax|deposit)$/
const TIME = /(_at|_date|_time|^time|^date|timestamp|^eta)$/
const PLAIN_NUMBER = /(^|_)(id|number|no|code|zip|postcode|year|phone)$/
const CURRENCY_KEYS = ["currency", "currency_code"]
const ISO_TIME = /^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?)?$/
const EMAIL = /^[^\s@<>"']+@[^\s@<>"']+\.[a-z]{2,}$/i
const PHONE = /^\+?[\d\s()/.-]{6,20}$/
/** What people save and open, by the end of its name. */
const FILE = /[^/]\.(pdf|docx?|xlsx?|pptx?|od[tsp]|csv|txt|ics|vcf|zip|pkpass|gpx|png|jpe?g|webp|gif|svg|mp[34])$/i
const DATA_FILE = /^data:([a-z]+\/([\w.+-]+));base64,([A-Za-z0-9+/]+=*$)?/
/** What people save, by its media type's second half, and the end of its name. */
const DATA_ENDS = { pdf: "pdf", csv: "csv", zip: "zip", plain: "txt", calendar: "ics", vcard: "vcf" }
const ADDRESS_KEY = /(^|_)(url|uri|href|link|src|file)$/i
const FILE_NAMES = ["file_name", "filename", "name", "title", "label"]
const COLOR = /^#[0-9a-f]{6}$/i
const CHOICE_KEYS = ["quotes", "options", "choices", "actions"]
/** Words that are no words: shown in capitals. */
const CAPITALS = new Set(["id", "eta", "url", "zip", "vat", "iban", "po", "sku", "pin", "gps"])
/**
 * Control characters, those that turn the direction of a text around, breaks of lines that
 * are none, and halves of characters. Marks that some scripts and emoji need stay.
 */
const UNPRINTABLE =
  // eslint-disable-next-line no-control-regex
  /[\ud800-\udbff][\udc00-\udfff]|[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]/g
/** A grapheme is rarely longer: a family of emoji, a letter with its marks. */
const LONGEST_GRAPHEME = 64

/** Any value as clean text: no control or direction characters, no longer than 4,096. */
export function cleanText(value) {
  // What is far too long is not looked through first.
  return cut(plainText(value).slice(0, 2 * MAX_TEXT).replace(UNPRINTABLE, (found) => (found.length === 2 ? found : "")), MAX_TEXT)
}

/** `text` with at most `max` UTF-16 units, ended by "…" and never within what looks like one character. */
export function cut(text, max) {
  if (text.length <= max) return text
  return `${text.slice(0, endOfGrapheme(text, max - 1))}…`
}

function endOfGrapheme(text, at) {
  if (Intl.Segmenter) {
    const segments = new Intl.Segmenter(undefined, { granularity: "grapheme" })
    // Far behind the cut nothing can matter; before it everything may.
    const { index } = segments.segment(text.slice(0, at + LONGEST_GRAPHEME)).containing(at)
    if (index > 0) return index
  }
  const isWithinPair = /[\udc00-\udfff]/.test(text.charAt(at)) && /[\ud800-\udbff]/.test(text.charAt(at - 1))
  return isWithinPair ? at - 1 : at
}

/** `quote_ready` as people write it: "Quote ready". Prose and emoji stay as they are. */
export function humanized(name) {
  const text = cleanText(name).trim()
  if (/\s/.test(text) || text === "") return text
  const words = text
    .replace(/([a-z0-9])([A-Z])/g, "$1 $2")
    .split(/[\s_.-]+/)
    .filter(Boolean)
  if (words.length === 0) return text
  const shown = words.map((word) =>
    CAPITALS.has(word.toLowerCase()) ? word.toUpperCase() : isName(word) ? word : word.toLowerCase(),
  )
  shown[0] = shown[0][0].toUpperCase() + shown[0].slice(1)
  return shown.join(" ")
}

/** What a key is called: by the `labels` beside the data, in the person's language, or by itself. */
export function labelOf(key, labels) {
  const label = lookUp(labels, key)
  return (typeof label === "string" && cleanText(label).trim()) || humanized(key)
}

/** Already capitalised in its own way, as UPS or iPhone. */
function isName(word) {
  return /^[A-Z0-9]{2,}$/.test(word)
}

/**
 * What a contextual update looks like: `{title, blocks, choices, currency}`; texts in it may be
 * Markdown. `about` is `{locale, nowMs, words}`; `choices` is null or `{select, options, key}`
 * where options are `{id, label, description, price, value}`.
 */
export function cardView(record, about) {
  const [title, text] = titleAndText(labelOf(record.text ?? "", record.labels))
  const view = viewOf(record.data, { ...about, labels: record.labels, room: { left: MAX_PARTS } })
  return { ...view, title, blocks: text ? [{ kind: "text", text }, ...view.blocks] : view.blocks }
}

function viewOf(data, about) {
  if (!isPlain(data)) return { choices: null, blocks: data == null ? [] : blocksOf(data, "", about, 0, null) }
  const choices = choicesIn(data, about)
  const rest = choices ? without(data, [choices.key, "select"]) : data
  const blocks = Object.keys(rest).length ? blocksOf(rest, "", about, 0, null) : []
  return { choices, blocks }
}

/** The one-sentence form for a screen reader: title, then what there is to know, ≤ 200 characters. */
export function spokenView(view, words) {
  const parts = [plainOf(view.title)]
  for (const block of view.blocks) {
    if (block.kind === "rows") parts.push(...block.rows.slice(0, 4).map((row) => plainOf(row.cell.text)))
    if (block.kind === "text") parts.push(plainOf(block.text))
  }
  if (view.choices) parts.push(words("n_choices", { n: view.choices.options.length }))
  const text = parts.filter(Boolean).join(", ")
  return cut(text, 200)
}

/** Blocks for any value; `currency` is what the surroundings said about money. */
export function blocksOf(value, key, about, depth, currency) {
  about.room ??= { left: MAX_PARTS }
  if ((about.room.left -= 1) < 0) return [{ kind: "text", text: "…" }]
  if (Array.isArray(value)) return listBlocks(value, key, about, depth, currency)
  if (isPlain(value)) return objectBlocks(value, key, about, depth, currency)
  if (isEmpty(value)) return []
  if (isShown(key, value)) return [{ kind: "pictures", pictures: [{ url: value, alt: labelOf(key, about.labels) }] }]
  const cell = cellOf(value, key, about, currency)
  // Text that cannot be seen does not count.
  if (cell.text.trim() === "") return []
  return cell.kind === "text" ? [{ kind: "text", text: cell.text }] : [{ kind: "chips", cells: [cell], more: 0 }]
}

/**
 * One scalar as `{kind, text, …}`; kinds: text number money time flag link color.
 * `name` is what a link is called where the data beside it says so.
 */
export function cellOf(value, key, about, currency, name = "") {
  try {
    return typedCell(value, key.toLowerCase(), about, currency, name)
  } catch {
    return { kind: "text", text: cleanText(value) }
  }
}

function objectBlocks(object, within, about, depth, inherited) {
  const currency = currencyOf(object) ?? inherited
  const rows = []
  const pictures = []
  const blocks = []
  let hidden = 0
  let usedCurrency = false
  const keys = Object.keys(object).slice(0, Math.min(MAX_ROWS, Math.max(0, about.room.left)))
  about.room.left -= keys.length
  for (const key of keys) {
    const value = lookUp(object, key)
    if (isEmpty(value)) {
      hidden += 1
    } else if (isShown(keyWithin(key, within), value)) {
      pictures.push({ url: value, alt: altIn(object) || labelOf(key, about.labels), isSmall: SMALL.test(key) })
    } else if (typeof value === "object") {
      blocks.push(...nestedBlocks(value, key, about, depth, currency))
    } else {
      const cell = cellOf(value, key, about, currency, ADDRESS_KEY.test(key) ? nameIn(object) : "")
      usedCurrency ||= cell.kind === "money"
      rows.push({ key, label: labelOf(key, about.labels), cell })
    }
  }
  // The currency is told by the amount beside it.
  const shown = usedCurrency ? rows.filter((row) => !CURRENCY_KEYS.includes(row.key)) : rows
  const more = Math.max(0, Object.keys(object).length - keys.length)
  const head = shown.length ? [{ kind: "rows", rows: shown, more, hidden }] : []
  const shownFirst = pictures.length ? [{ kind: "pictures", pictures }] : []
  return [...shownFirst, ...head, ...blocks]
}

/** What somebody who does not see the picture in `object` is told of it, or "". */
function altIn(object) {
  const key = ALT_KEYS.find((each) => typeof lookUp(object, each) === "string")
  return key ? cut(plainOf(cleanText(lookUp(object, key))), 200) : ""
}

/** Pictures that make up a whole list, as addresses or as objects of their own; null for other lists. */
function gallery(values, key, about) {
  const pictures = values.map((value) => {
    if (!isPlain(value)) return isShown(key, value) ? { url: value, alt: labelOf(key, about.labels) } : null
    const name = Object.keys(value).find((each) => isShown(keyWithin(each, key), lookUp(value, each)))
    const isAlone = Object.keys(value).every((each) => each === name || ALT_KEYS.includes(each))
    return name && isAlone ? { url: lookUp(value, name), alt: altIn(value) || labelOf(key, about.labels) } : null
  })
  return pictures.every(Boolean) ? { kind: "pictures", pictures: pictures.slice(0, MAX_PICTURES) } : null
}

/** What the thing that `object` describes is called, or "". */
function nameIn(object) {
  const key = FILE_NAMES.find((each) => typeof lookUp(object, each) === "string" && lookUp(object, each).trim() !== "")
  return key ? cut(cleanText(lookUp(object, key)).trim(), 80) : ""
}

function nestedBlocks(value, key, about, depth, currency) {
  if (depth >= MAX_DEPTH) return [{ kind: "text", text: `${labelOf(key, about.labels)}: …` }]
  const blocks = blocksOf(value, key, about, depth + 1, currency)
  if (blocks.length === 0) return []
  const isShort = Array.isArray(value) && blocks.length === 1 && blocks[0].kind !== "cards"
  const folded = !isShort && depth > 0
  return [{ kind: "group", label: labelOf(key, about.labels), summary: summaryOf(value, about), folded, blocks }]
}

function listBlocks(list, key, about, depth, currency) {
  const values = list.filter((value) => !isEmpty(value))
  if (values.length === 0) return []
  const pictures = gallery(values, key, about)
  if (pictures) return [pictures]
  if (values.every((value) => typeof value !== "object")) {
    const cells = values.slice(0, MAX_CHIPS).map((value) => cellOf(value, key, about, currency))
    return [{ kind: "chips", cells, more: values.length - cells.length }]
  }
  const columns = tableColumns(values)
  if (columns) return [table(values, columns, about, currency)]
  if (depth >= MAX_DEPTH) return [{ kind: "text", text: "…" }]
  const shown = values.slice(0, Math.min(MAX_ROWS, Math.max(1, about.room.left)))
  const cards = shown.map((value) => blocksOf(value, key, about, depth + 1, currency))
  return [{ kind: "cards", cards: cards.filter((blocks) => blocks.length), more: values.length - shown.length }]
}

/** The columns of objects that are all alike, flat and narrow; else null. */
function tableColumns(values) {
  if (values.length < 2 || !values.every(isPlain)) return null
  const columns = Object.keys(values[0])
  const told = columns.filter((column) => !CURRENCY_KEYS.includes(column))
  if (told.length === 0 || told.length > MAX_COLUMNS) return null
  if (values.some((value) => told.some((column) => isShown(column, lookUp(value, column))))) return null
  const alike = values.every(
    (value) =>
      Object.keys(value).length === columns.length &&
      columns.every((column) => Object.hasOwn(value, column) && typeof (lookUp(value, column) ?? "") !== "object"),
  )
  return alike ? told : null
}

function table(values, columns, about, currency) {
  const shown = values.slice(0, Math.min(MAX_ROWS, Math.max(1, Math.floor(about.room.left / columns.length))))
  about.room.left -= shown.length * columns.length
  return {
    kind: "table",
    columns: columns.map((column) => labelOf(column, about.labels)),
    rows: shown.map((value) =>
      columns.map((column) =>
        isEmpty(lookUp(value, column))
          ? { kind: "text", text: "–" }
          : cellOf(lookUp(value, column), column, about, currencyOf(value) ?? currency),
      ),
    ),
    more: values.length - shown.length,
  }
}

/** The list in `data` that asks to be chosen from, or null. */
function choicesIn(data, about) {
  const select = typeof data.select === "string" && data.select !== "" ? data.select : null
  for (const key of CHOICE_KEYS) {
    const list = lookUp(data, key)
    if (!Array.isArray(list) || list.length === 0 || list.length > MAX_ROWS) continue
    if (key === "quotes" && !select) continue
    const currency = currencyOf(data)
    const options = list.map((value, at) => optionOf(value, at, about, currency))
    if (options.every(Boolean)) return { key, select, options }
  }
  return null
}

const NAMES = ["label", "title", "name"]

function optionOf(value, at, about, inherited) {
  if (typeof value === "string" || typeof value === "number") {
    return { id: String(value), label: cleanText(value), description: "", price: "", value }
  }
  if (!isPlain(value)) return null
  const name = NAMES.find((key) => isScalar(lookUp(value, key)))
  const parts = name ? [lookUp(value, name)] : [value.carrier, value.service].filter(isScalar)
  if (parts.length === 0 && !isScalar(value.id)) return null
  const label = parts.length ? cleanText(parts.join(" ")) : cleanText(value.id)
  const currency = currencyOf(value) ?? inherited
  const used = new Set(["id", "description", ...CURRENCY_KEYS, ...(name ? [name] : ["carrier", "service"])])
  let price = ""
  let image = ""
  const details = isScalar(value.description) ? [cleanText(value.description)] : []
  for (const [key, detail] of Object.entries(value)) {
    if (used.has(key) || isEmpty(detail) || typeof detail === "object") continue
    if (isShown(key, detail)) {
      image ||= detail
      continue
    }
    const cell = cellOf(detail, key, about, currency)
    if (price === "" && MONEY.test(key)) price = cell.text
    else if (details.length < 3) details.push(detailText(key, detail, cell, about))
  }
  const id = isScalar(value.id) ? String(value.id) : String(at)
  return { id, label, description: details.join(" · "), price, image, value }
}

function detailText(key, value, cell, about) {
  if (/(^|_)days$/.test(key) && typeof value === "number") return about.words("n_days", { n: value })
  const label = labelOf(key, about.labels)
  return value === true ? label : `${label}: ${cell.text}`
}

function typedCell(value, key, about, currency, name) {
  if (typeof value === "boolean") {
    return { kind: "flag", on: value, text: about.words(value ? "yes" : "no") }
  }
  if (typeof value === "number") return numberCell(value, key, about, currency)
  if (value.startsWith("data:")) return dataCell(value, name || labelOf(key, about.labels))
  const text = cleanText(value)
  if (ISO_TIME.test(text)) return timeCell(new Date(text), about, text.length <= 10) ?? { kind: "text", text }
  if (/^https?:\/\/\S+$/i.test(text)) return linkCell(text, name)
  if (EMAIL.test(text)) return { kind: "link", text, href: `mailto:${text}` }
  if (/(phone|tel|mobile)/.test(key) && PHONE.test(text)) {
    return { kind: "link", text, href: `tel:${text.replace(/[^\d+]/g, "")}` }
  }
  if (COLOR.test(text)) return { kind: "color", text }
  return { kind: "text", text }
}

function numberCell(value, key, about, currency) {
  if (TIME.test(key) && value >= 1e12 && value < 1e13) {
    return timeCell(new Date(value), about, false) ?? { kind: "number", text: String(value) }
  }
  if (MONEY.test(key) && currency) {
    return { kind: "money", text: money(value, currency, about.locale) }
  }
  if (PLAIN_NUMBER.test(key) || Math.abs(value) >= 2 ** 53) return { kind: "number", text: String(value) }
  const digits = MONEY.test(key) && !Number.isInteger(value) ? 2 : 0
  const options = { minimumFractionDigits: digits, maximumFractionDigits: Math.max(digits, 6) }
  return { kind: "number", text: intl(about.locale, options).format(value) }
}

/** An amount as people here write it, with the short sign of its currency: "$", never "US$". */
export function money(value, currency, locale) {
  const style = { style: "currency", currency }
  try {
    const short = { ...style, currencyDisplay: "narrowSymbol" }
    // Some languages have no sign of their own for a currency, and take letters.
    const sign = new Intl.NumberFormat("en", short).formatToParts(value).find(({ type }) => type === "currency").value
    const parts = new Intl.NumberFormat(locale, short).formatToParts(value)
    const hasLetters = (text) => /[A-Za-z]/.test(text)
    return parts.map(({ type, value: text }) => (type === "currency" && hasLetters(text) && !hasLetters(sign) ? sign : text)).join("")
  } catch {
    // An older browser knows no short signs; what is no language or currency is told apart below.
    return intl(locale, style).format(value)
  }
}

/** A number format for `locale`, or for the engine's own where the tag is not a language. */
function intl(locale, options) {
  try {
    return new Intl.NumberFormat(locale, options)
  } catch (error) {
    if (options.currency && !/^[A-Za-z]{3}$/.test(options.currency)) throw error
    return new Intl.NumberFormat(undefined, options)
  }
}

function timeCell(date, about, isDay) {
  if (Number.isNaN(date.getTime())) return null
  const style = isDay ? { dateStyle: "medium", timeZone: "UTC" } : { dateStyle: "medium", timeStyle: "short" }
  const text = new Intl.DateTimeFormat(about.locale, style).format(date)
  return { kind: "time", iso: date.toISOString(), text, relative: relativeText(date, about, isDay) }
}

const STEPS = [
  ["day", 86_400_000],
  ["hour", 3_600_000],
  ["minute", 60_000],
]

function relativeText(date, about, isDay) {
  const away = date.getTime() - (isDay ? startOfDay(about.nowMs) : about.nowMs)
  if (Math.abs(away) > 30 * 86_400_000) return ""
  const [unit, length] = STEPS.find(([name, ms]) => (isDay ? name === "day" : Math.abs(away) >= ms)) ?? STEPS[2]
  return new Intl.RelativeTimeFormat(about.locale, { numeric: "auto" }).format(Math.round(away / length), unit)
}

/** The day it is here, as a date without a time writes it: at midnight of UTC. */
function startOfDay(ms) {
  const here = new Date(ms)
  return Date.UTC(here.getFullYear(), here.getMonth(), here.getDate())
}

/** A file that stands in the message itself, to be saved; of what is nothing to save only what it is. */
function dataCell(text, name) {
  const [, type, kind, bytes] = DATA_FILE.exec(text) ?? []
  const end = lookUp(DATA_ENDS, kind)
  if (!end || !bytes) return { kind: "text", text: type ?? "data" }
  return { kind: "file", text: name.toLowerCase().endsWith(`.${end}`) ? name : `${name}.${end}`, href: text }
}

/** A file by its name, any other page by its host; where a file lies stands beside it. */
function linkCell(text, name) {
  const href = safeHref(text)
  if (href === null) return { kind: "text", text }
  const { host, pathname } = new URL(href)
  const file = name || fileIn(pathname)
  return { kind: "link", text: file || host, href, host: file ? host : "" }
}

/** The name of the file that a path leads to, or "" where it leads to none. */
function fileIn(path) {
  const last = path.slice(path.lastIndexOf("/") + 1)
  try {
    const name = cleanText(decodeURIComponent(last))
    return FILE.test(name) ? cut(name, 80) : ""
  } catch {
    return ""
  }
}

function currencyOf(object) {
  for (const key of CURRENCY_KEYS) {
    const value = lookUp(object, key)
    if (typeof value === "string" && /^[A-Za-z]{3}$/.test(value)) return value.toUpperCase()
  }
  return null
}

function summaryOf(value, about) {
  if (Array.isArray(value)) return about.words("n_entries", { n: value.length })
  const texts = Object.entries(value)
    .filter(([, part]) => isScalar(part))
    .slice(0, 2)
    .map(([key, part]) => cellOf(part, key, about, currencyOf(value)).text)
  return texts.join(", ")
}

function without(object, keys) {
  return Object.fromEntries(Object.entries(object).filter(([key]) => !keys.includes(key)))
}

function isEmpty(value) {
  if (value === null || value === undefined || value === "" || Number.isNaN(value)) return true
  return typeof value === "object" && Object.keys(value).length === 0
}

function isScalar(value) {
  return (typeof value === "string" && value !== "") || Number.isFinite(value) || typeof value === "boolean"
}

/** "A, B and C" in the words of `locale`, with commas where a browser knows no better. */
export function listText(labels, locale) {
  try {
    return new Intl.ListFormat(locale, { type: "conjunction" }).format(labels)
  } catch {
    return labels.join(", ")
  }
}
