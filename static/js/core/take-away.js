// What a person keeps of a conversation that is over: whether, and what of it is worth copying.

import { cleanText } from "./cards.js"
import { lookUp } from "./protocol.js"

const ENDS = { 4501: "revoked", 4401: "away", 4510: "expired", 4504: "expired" }
/** Keys of values that say where something is. */
const PLACE = /(^|[\s_])(address|street|location|place|venue|where)\b/i
/** Ends after which the cards are a take-away. */
const KEPT = new Set(["ended", "expired"])
/** Ends after which nothing of it may be seen here. */
const GONE = new Set(["revoked", "erased"])
const LONGEST_COPY = 200

/** How a session came to its end: ended, expired, erased, revoked, away (its token ran out) or refused. */
export function endOf({ code, reason }, session) {
  const kind = lookUp(ENDS, code)
  if (kind === "revoked") return kind
  if (code === 4510 && reason === "erased") return "erased"
  return session.ended ? "ended" : (kind ?? "refused")
}

/** Whether the cards may not even be seen any more. */
export function isGone(end) {
  return GONE.has(end)
}

/** Whether there is something to take away after this end. */
export function isTakeAway(end, session) {
  return KEPT.has(end) && (session.cards.length > 0 || [...session.calls.values()].some((call) => call.answer !== null))
}

/** What the agent said last, or "". */
export function lastWords({ lines }) {
  return cleanText(lines.filter(({ who }) => who === "agent").at(-1)?.text ?? "")
}

/** The lines that are kept: the agent's last, and only where the log keeps it, too. */
export function keptLines({ lines }) {
  return lines.filter(({ who, seq }) => who === "agent" && seq !== null).slice(-1)
}

/** What a tap on a value copies: a code, number, address or link; null for anything else. */
export function copyOf({ kind, text, href = "", label = "" }) {
  const shown = text.trim()
  if (kind === "link") return href.replace(/^(mailto|tel):/, "")
  if (shown === "" || shown.length > LONGEST_COPY || kind === "time" || kind === "flag") return null
  const isWorthIt = kind === "number" || kind === "money" || kind === "color" || PLACE.test(label) || isCode(shown) || isAddress(shown)
  return isWorthIt ? shown : null
}

/** Digits and capitals in groups, or one word with a digit: a number to track, to call, to show. */
function isCode(text) {
  const signs = text.replace(/[^\p{L}\p{N}]/gu, "")
  if (signs.length < 4 || !/\p{N}/u.test(text)) return false
  return /^[\p{Lu}\p{N}\s.\-_/#+:()*]+$/u.test(text) || !/\s/.test(text)
}

/** A street with its number, a town with its code. */
function isAddress(text) {
  return /\p{N}/u.test(text) && /\p{L}{2}/u.test(text) && /[,\n]/.test(text)
}

/**
 * All of it as text, to share: `parts` are `{title, blocks, receipt, answers}` in the order of the page.
 * Blocks are those of core/cards.js; one that is not known gives the text it has.
 */
export function textOf(heading, parts) {
  const cards = parts.map(({ title, blocks, receipt, answers = [] }) =>
    [title, ...linesOf(blocks), receipt, ...answers.map(({ label, text }) => `${label}: ${text}`)].filter(Boolean).join("\n"))
  return [heading, ...cards].filter(Boolean).join("\n\n")
}

function linesOf(blocks = []) {
  return blocks.flatMap((block) => {
    switch (block.kind) {
      case "rows":
        return block.rows.map(({ label, cell }) => `${label}: ${valueOf(cell)}`)
      case "chips":
        return [block.cells.map(valueOf).join(", ")]
      case "table":
        return block.rows.map((row) => row.map((cell, at) => `${block.columns.at(at)}: ${valueOf(cell)}`).join(", "))
      case "cards":
        return block.cards.flatMap(linesOf)
      case "group":
        return [block.label, ...linesOf(block.blocks)]
      default:
        return [block.text ?? ""]
    }
  })
}

function valueOf(cell) {
  return cell.kind === "link" ? copyOf(cell) : cell.text
}
