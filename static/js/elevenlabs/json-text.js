// JSON as models write it: as text in text, fenced, with a comma too many, in single quotes.
// The twin of companion_ws/voice/json_text.py.

/** A record holds what is read here some levels down, and the wire carries 32 in all. */
const MAX_LEVELS = 28
/** JSON text in JSON text in …: more is no slip but a loop. */
const MAX_NESTED_TEXTS = 4
const FENCE = /```[a-zA-Z0-9]*[ \t]*\r?\n?([\s\S]*?)```/
const TOKEN =
  /("(?:[^"\\]|\\[\s\S])*")|('(?:[^'\\]|\\[\s\S])*')|(,(?=\s*[\]}]))|([A-Za-z_]\w*)(\s*:)?/g
const WORDS = new Map([
  ["True", "true"],
  ["False", "false"],
  ["None", "null"],
  ["undefined", "null"],
  ["NaN", "null"],
  ["Infinity", "null"],
])
const HALF = /[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/g

/** Nothing can be made of what a model wrote; the message tells it what would do. */
export class NotUnderstood extends Error {}

/** The object or list that a text means; undefined where no JSON is found in it. */
export function readJson(text) {
  let value = text
  for (let nested = 0; nested < MAX_NESTED_TEXTS; nested++) {
    value = loaded(value)
    if (Object(value) === value) return mended(value)
    if (typeof value !== "string") return undefined
  }
  return undefined
}

/** A value the wire can carry: half characters replaced, whole numbers beyond 2^53 as text. */
export function mended(value, level = 1) {
  if (typeof value === "string") return value.replace(HALF, "\uFFFD")
  if (level > MAX_LEVELS && Object(value) === value) throw new NotUnderstood(`This nests deeper than ${MAX_LEVELS} levels.`)
  if (Array.isArray(value)) return value.map((part) => mended(part, level + 1))
  if (typeof value === "bigint") return String(value)
  if (typeof value === "number") {
    if (!Number.isFinite(value)) return null
    return Number.isInteger(value) && !Number.isSafeInteger(value) ? String(BigInt(value)) : value
  }
  if (Object(value) !== value) return value
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [mended(key), mended(part, level + 1)]))
}

function loaded(text) {
  const fenced = FENCE.exec(text)
  const plain = (fenced ? fenced[1] : text).trim()
  for (const written of [text.trim(), plain, plain.replace(TOKEN, strict)]) {
    try {
      return JSON.parse(written)
    } catch {
      continue
    }
  }
  return undefined
}

/** One token as JSON has it. */
function strict(token, double, single, comma, word, colon) {
  if (comma) return ""
  if (word) return colon ? `"${word}"${colon}` : (WORDS.get(word) ?? word)
  const quoted = double ?? `"${single.slice(1, -1).replaceAll("\\'", "'").replace(/(?<!\\)"/g, '\\"')}"`
  return quoted.replaceAll("\r", "\\r").replaceAll("\n", "\\n").replaceAll("\t", "\\t")
}
