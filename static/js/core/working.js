// What an agent is doing between two cards, in one quiet sentence.

import { cut, humanized } from "./cards.js"

/** First words of a tool's name that mean: it looks something up. */
const LOOKING = new Set([
  "check", "compare", "compute", "estimate", "fetch", "find", "get", "list", "load", "look", "lookup", "query", "quote", "read", "retrieve",
  "search", "show", "track",
])
/** Words between that verb and what is looked up. */
const SMALL = new Set(["up", "for", "the", "a", "all", "my", "your"])
const MAX_NAME = 60

/** The sentence for what runs in `session` at `nowMs`, or "" where nothing does. */
export function workingText(session, nowMs, { words, locale }) {
  const running = [...session.work.values()].filter(({ until }) => nowMs < until).at(-1)
  if (!running) return ""
  const label = lookedUp(running.name)
  if (label === null) return words("working")
  // A tool has its name in its author's language, most often English.
  return words("looking_up", { label: label !== "" && isEnglish(locale) ? label : words("information") })
}

function isEnglish(locale) {
  return /^en\b/.test(locale ?? "")
}

/** What a tool of this name looks up: "shipping quotes" of `get_shipping_quotes`; null where it does something else. */
function lookedUp(toolName) {
  const [verb, ...others] = humanized(toolName).split(" ")
  if (!LOOKING.has(verb.toLowerCase())) return null
  while (SMALL.has(others[0]?.toLowerCase())) others.shift()
  return cut(others.join(" "), MAX_NAME)
}
