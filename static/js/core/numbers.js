// Numbers as people write them, in their own digits and with their own signs.

import { plainDigits } from "./protocol.js"

/** Signs that some keyboards have in the place of a minus, and spaces between groups of digits. */
const MINUS = /[\u2212\u2010-\u2015\ufe63\uff0d]/g
const SPACES = /[\s\u00a0\u202f'’٬]/g

/** The number in `text` as people of `locale` mean it, or NaN. */
export function numberIn(text, locale) {
  const written = plainDigits(text).replace(MINUS, "-").replace(SPACES, "").replaceAll("٫", decimalOf(locale))
  const isPlainNumber = /^[+-]?(?:\d+(?:[.,]\d+)*|[.,]\d+)$/.test(written)
  return isPlainNumber ? Number(withPoint(written, locale)) : NaN
}

/** `value` as people of `locale` write it; in a field without groups, which are hard to edit. */
export function numberText(value, locale, { isField = false } = {}) {
  const style = { maximumFractionDigits: 12, useGrouping: !isField }
  try {
    return new Intl.NumberFormat(locale, style).format(value)
  } catch {
    return new Intl.NumberFormat("en", style).format(value)
  }
}

/** Only the last sign can stand before decimals; one that stands before three digits may part groups. */
function withPoint(written, locale) {
  const signs = [...written.matchAll(/[.,]/g)].map(([sign]) => sign)
  if (signs.length === 0) return written
  const last = signs.at(-1)
  const isOfGroups = /^[+-]?[1-9]\d{0,2}([.,])\d{3}(?:\1\d{3})*$/.test(written) && (signs.length > 1 || last !== decimalOf(locale))
  if (isOfGroups) return written.replaceAll(last, "")
  const groups = new Set(signs.slice(0, -1))
  if (groups.has(last) || groups.size > 1) return "no number"
  const at = written.lastIndexOf(last)
  return `${written.slice(0, at).replace(/[.,]/g, "")}.${written.slice(at + 1)}`
}

function decimalOf(locale) {
  const found = numberText(1.5, locale).replace(/\p{Nd}/gu, "")
  return found === "," || found === "٫" ? "," : "."
}
