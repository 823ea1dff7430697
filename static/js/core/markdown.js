// The part of Markdown that agents write: text in, a tree of plain values out, never HTML.
//
// Bold, italic, code, links, bare addresses, lists, headings (as bold lines), line breaks, and
// telephone numbers, which must not be turned around in a text from right to left. Everything else
// stays as it was written, a mark without its partner too: "2 * 3", "**** 1234" and "snake_case"
// are no Markdown, and a single "1. January" is no list.
//
// Linear in the length of the text, whatever it holds. Marks that are open stand on a stack, at most
// one of each kind; a mark that closes takes off all above it, and each is taken off once. What
// looks ahead (code, links) does so on a budget, and once that is spent the rest is plain text.

/** How much looking ahead a text may cost, in multiples of its length. */
const LOOKS_AHEAD = 8
const LONGEST_ADDRESS = 2048
const MAX_DEPTH = 3

const LIST = /^([ \t]*)(?:([-*+•])|(\d{1,4})[.)])[ \t]+(?=\S)/
const HEADING = /^ {0,3}#{1,6}[ \t]+(?=\S)/
const FENCE = /^[ \t]*(`{3,}|~{3,})/
const RULE = /^[ \t]*(?:-{3,}|\*{3,}|_{3,})[ \t]*$/
const ADDRESS = /https?:\/\/[^\s<>"'`*]+/iy
const AFTER_ADDRESS = ".,;:!?)]}'\"’”»…。，、）"
/** Seven digits at least, in groups: what people dial. */
const PHONE = /\+?\(?\d(?:[ \u00a0().\-/]{0,2}\d){6,19}/y
const DATE = /^\d{4}-\d\d-\d\d|^\d{1,2}[./-]\d{1,2}[./-]\d{4}/
const IS_WORD = /[\p{L}\p{N}]/u
const SCHEMES = new Set(["http:", "https:", "mailto:", "tel:"])
const ESCAPED = /[\\`*_[\]()#+\-.!~>|]/

/**
 * The blocks of `text`: `{kind: "paragraph"|"heading", spans}`, `{kind: "code", text}` and
 * `{kind: "list", isOrdered, entries: [{spans, start, depth, isOrdered}]}`; see `spansOf`.
 */
export function blocksIn(text) {
  const lines = text.split("\n")
  const blocks = []
  let at = 0
  while (at < lines.length) {
    const line = lines.at(at)
    if (line.trim() === "" || RULE.test(line)) at += 1
    else if (FENCE.test(line)) at = takeCode(lines, at, blocks)
    else if (HEADING.test(line)) {
      blocks.push({ kind: "heading", spans: spansOf(line.replace(HEADING, "").replace(/[ \t]#+[ \t]*$/, "").trim()) })
      at += 1
    } else if (isList(lines, at)) at = takeList(lines, at, blocks)
    else at = takeParagraph(lines, at, blocks)
  }
  return blocks
}

/**
 * One line or paragraph as spans: `{kind: "text"|"code"|"phone", text}`, `{kind: "break"}`,
 * `{kind: "strong"|"em", spans}`, `{kind: "link", href, host, spans}`; `host` is where a link
 * leads, where its words do not say so.
 */
export function spansOf(text) {
  return new Line(text).spans()
}

/** What is left of `text` for who hears it, or where no marks can be shown. */
export function plainOf(text) {
  const blocks = blocksIn(text)
  const texts = blocks.flatMap((block) =>
    block.kind === "code" ? [block.text]
      : block.kind === "list" ? block.entries.map((entry) => said(entry.spans)) : [said(block.spans)])
  return texts.join("\n")
}

function said(spans) {
  return spans.map((span) => (span.kind === "break" ? "\n" : (span.text ?? said(span.spans)))).join("")
}

/** The first line as a title and the rest as text: what an agent says in one piece. */
export function titleAndText(text) {
  const [first, ...rest] = text.trim().split("\n")
  if (rest.length === 0 || LIST.test(first) || FENCE.test(first)) return rest.length ? ["", text.trim()] : [first, ""]
  return [first.replace(HEADING, ""), rest.join("\n").trim()]
}

// Blocks

function takeCode(lines, from, blocks) {
  const fence = FENCE.exec(lines.at(from)).at(1)
  let end = from + 1
  while (end < lines.length && !lines.at(end).trim().startsWith(fence)) end += 1
  const text = lines.slice(from + 1, end).join("\n")
  if (text.trim() !== "") blocks.push({ kind: "code", text })
  return end + 1
}

/** One number with a dot may be a date; one dash alone a minus. Two are a list, or one below a text. */
function isList(lines, at) {
  const found = LIST.exec(lines.at(at))
  if (!found) return false
  const next = LIST.exec(lines.at(at + 1) ?? "")
  if (found.at(2)) return Boolean(next) || lines.length > 1
  return Boolean(next?.at(3)) && Number(next.at(3)) === Number(found.at(3)) + 1 || Boolean(next && next.at(1).length > found.at(1).length)
}

function takeList(lines, from, blocks) {
  const entries = []
  const indents = []
  const isOrdered = LIST.exec(lines.at(from)).at(3) !== undefined
  let at = from
  for (; at < lines.length; at += 1) {
    const found = LIST.exec(lines.at(at))
    if (found) {
      const indent = found.at(1).replaceAll("\t", "    ").length
      while (indents.length && indents.at(-1) >= indent) indents.pop()
      // Another kind of list at the edge is another list.
      if (indents.length === 0 && entries.length && (found.at(3) !== undefined) !== isOrdered) break
      if (indents.length < MAX_DEPTH) indents.push(indent)
      entries.push({
        spans: [], source: lines.at(at).slice(found.at(0).length), depth: indents.length - 1,
        isOrdered: found.at(3) !== undefined, start: found.at(3) === undefined ? null : Number(found.at(3)),
      })
    } else if (/^[ \t]{2,}\S/.test(lines.at(at))) {
      entries.at(-1).source += `\n${lines.at(at).trim()}`
    } else if (lines.at(at).trim() === "" && LIST.test(lines.at(at + 1) ?? "")) {
      continue
    } else break
  }
  for (const entry of entries) {
    entry.spans = spansOf(entry.source.trim())
    delete entry.source
  }
  blocks.push({ kind: "list", isOrdered, entries })
  return at
}

function takeParagraph(lines, from, blocks) {
  let end = from + 1
  while (end < lines.length && lines.at(end).trim() !== "" && !FENCE.test(lines.at(end)) && !HEADING.test(lines.at(end)) &&
    !RULE.test(lines.at(end)) && !isList(lines, end)) end += 1
  blocks.push({ kind: "paragraph", spans: spansOf(lines.slice(from, end).map((line) => line.trim()).join("\n")) })
  return end
}

// Spans

class Line {
  #text
  #at = 0
  #budget
  /** What is open: `{mark, spans}`; the lowest is the line itself. */
  #open = [{ mark: "", spans: [] }]
  #plain = ""

  constructor(text) {
    this.#text = text
    this.#budget = LOOKS_AHEAD * text.length
  }

  spans() {
    while (this.#at < this.#text.length) this.#step()
    this.#giveUp(1)
    this.#flush()
    return this.#open[0].spans
  }

  #step() {
    const letter = this.#text.charAt(this.#at)
    const after = this.#text.charAt(this.#at + 1)
    if (letter === "\\" && ESCAPED.test(after)) return this.#write(after, 2)
    if (letter === "\n") return this.#put({ kind: "break" }, 1)
    if (letter === "`" && this.#code()) return
    if ((letter === "*" || letter === "_") && this.#mark(letter)) return
    if (letter === "[" && !this.#isOpen("[")) return this.#begin("[", 1)
    if (letter === "!" && after === "[" && !this.#isOpen("[")) return this.#begin("[", 2)
    if (letter === "]" && this.#isOpen("[")) return this.#link()
    if ((letter === "h" || letter === "H") && this.#address()) return
    if ((letter === "+" || letter === "(" || isDigit(letter)) && this.#phone()) return
    this.#write(letter, 1)
  }

  /** Code, as it is between two runs of as many backticks; pays for looking ahead. */
  #code() {
    let run = 1
    while (this.#text.charAt(this.#at + run) === "`") run += 1
    const from = this.#at + run
    const end = this.#budget > 0 ? this.#text.indexOf("`".repeat(run), from) : -1
    this.#budget -= (end < 0 ? this.#text.length : end) - this.#at
    const inside = end < 0 ? "" : this.#text.slice(from, end).trim()
    if (inside === "" || this.#text.charAt(end + run) === "`") return this.#write("`".repeat(run), run)
    return this.#put({ kind: "code", text: inside.replaceAll("\n", " ") }, end + run - this.#at)
  }

  /** A run of `*` or `_` that opens or closes emphasis; false where it is only written. */
  #mark(letter) {
    let run = 1
    while (this.#text.charAt(this.#at + run) === letter) run += 1
    const before = this.#text.charAt(this.#at - 1) || " "
    const after = this.#text.charAt(this.#at + run) || " "
    // A longer run hides a number, or draws a line.
    if (run > 3) return this.#write(letter.repeat(run), run)
    const marks = run === 3 ? [letter.repeat(2), letter] : [letter.repeat(run)]
    // In a word only two asterisks count: scripts without spaces need them.
    const isInWord = IS_WORD.test(before) && IS_WORD.test(after) && !(letter === "*" && run > 1)
    if (!/\s/.test(before) && !isInWord) {
      const closing = run === 3 ? [...marks].reverse() : marks
      if (closing.every((mark) => this.#isOpen(mark))) {
        for (const mark of closing) this.#close(mark)
        this.#at += run
        return true
      }
    }
    if (/\s/.test(after) || isInWord || marks.some((mark) => this.#isOpen(mark))) return this.#write(letter.repeat(run), run)
    for (const mark of marks) this.#begin(mark, mark.length)
    return true
  }

  #close(mark) {
    const level = this.#open.findIndex((each) => each.mark === mark)
    this.#giveUp(level + 1)
    this.#flush()
    const { spans } = this.#open.pop()
    if (spans.length) this.#open.at(-1).spans.push({ kind: mark.length === 2 ? "strong" : "em", spans })
    else this.#plain += mark + mark
  }

  /** `[words](address)`; anything else is written as it stands. */
  #link() {
    const level = this.#open.findIndex((each) => each.mark === "[")
    const [address, end] = this.#text.charAt(this.#at + 1) === "(" ? this.#target(this.#at + 2) : [null, 0]
    const href = address === null ? null : safeHref(address)
    if (href === null) {
      // It is no link, and another may begin.
      this.#giveUp(level)
      return this.#write("]", 1)
    }
    this.#giveUp(level + 1)
    this.#flush()
    const { spans } = this.#open.pop()
    const words = spans.length ? spans : [{ kind: "text", text: shownAddress(href) }]
    this.#put({ kind: "link", href, host: hostBeside(href, said(words)), spans: words }, end - this.#at)
  }

  /** Where the address of a link ends, parentheses within it counted; [address, index behind it]. */
  #target(from) {
    let depth = 1
    let at = from
    const last = Math.min(this.#text.length, from + LONGEST_ADDRESS, from + Math.max(0, this.#budget))
    while (at < last && depth > 0) {
      const letter = this.#text.charAt(at)
      if (letter === "(") depth += 1
      else if (letter === ")") depth -= 1
      else if (letter === "\n") break
      at += 1
    }
    this.#budget -= at - from
    if (depth > 0) return [null, 0]
    const inside = withoutTitle(this.#text.slice(from, at - 1).trim()).replace(/^<([^<>]*)>$/, "$1")
    return /\s/.test(inside) || inside === "" ? [null, 0] : [inside, at]
  }

  #address() {
    if (IS_WORD.test(this.#text.charAt(this.#at - 1) || " ") || this.#isOpen("[")) return false
    ADDRESS.lastIndex = this.#at
    const found = ADDRESS.exec(this.#text)
    if (!found) return false
    const text = withoutEnd(found.at(0))
    const href = safeHref(text)
    if (href === null) return this.#write(text, text.length)
    const shown = shownAddress(href)
    this.#put({ kind: "link", href, host: "", spans: [{ kind: "text", text: shown }] }, text.length)
    return true
  }

  #phone() {
    if (/[\p{L}\p{N}.,/:-]/u.test(this.#text.charAt(this.#at - 1) || " ")) return false
    PHONE.lastIndex = this.#at
    const found = PHONE.exec(this.#text)
    if (!found || DATE.test(found.at(0)) || IS_WORD.test(this.#text.charAt(this.#at + found.at(0).length) || " ")) return false
    // A long number without a gap turns around with nobody.
    if (!/[^\d]/.test(found.at(0))) return false
    this.#put({ kind: "phone", text: found.at(0) }, found.at(0).length)
    return true
  }

  #isOpen(mark) {
    return this.#open.some((each) => each.mark === mark)
  }

  #begin(mark, length) {
    this.#flush()
    this.#open.push({ mark, spans: [], source: this.#text.slice(this.#at, this.#at + length) })
    this.#at += length
  }

  /** What was opened from `level` on has no partner: its marks are text. */
  #giveUp(level) {
    while (this.#open.length > level) {
      this.#flush()
      const { source, spans } = this.#open.pop()
      this.#open.at(-1).spans.push({ kind: "text", text: source }, ...spans)
    }
  }

  #write(text, length) {
    this.#plain += text
    this.#at += length
    return true
  }

  #put(span, length) {
    this.#flush()
    this.#open.at(-1).spans.push(span)
    this.#at += length
    return true
  }

  #flush() {
    if (this.#plain === "") return
    this.#open.at(-1).spans.push({ kind: "text", text: this.#plain })
    this.#plain = ""
  }
}

/** An address without the title in quotes behind it, which nobody sees on a phone. */
function withoutTitle(text) {
  if (!text.endsWith('"')) return text
  const from = text.lastIndexOf('"', text.length - 2)
  return from > 0 && text.charAt(from - 1) === " " ? text.slice(0, from).trim() : text
}

function isDigit(letter) {
  return letter >= "0" && letter <= "9"
}

/** `text` without the punctuation of the sentence around it; a parenthesis of its own stays. */
function withoutEnd(text) {
  let end = text.length
  while (end > 0 && AFTER_ADDRESS.includes(text.charAt(end - 1))) end -= 1
  const cut = text.slice(0, end)
  return text.charAt(end) === ")" && cut.includes("(") && !cut.includes(")") ? `${cut})` : cut
}

/** `address` as the engine writes it, or null where a tap on it should do nothing. */
export function safeHref(address) {
  if (address.length > LONGEST_ADDRESS) return null
  try {
    const url = new URL(address)
    return SCHEMES.has(url.protocol) && url.username === "" && url.password === "" ? url.href : null
  } catch {
    return null
  }
}

/** An address as people read it: without scheme, and cut where nobody reads on. */
function shownAddress(href) {
  const { protocol, host, pathname, search } = new URL(href)
  if (protocol !== "http:" && protocol !== "https:") return href.replace(/^[a-z]+:/, "")
  const path = `${pathname}${search}`.replace(/\/$/, "")
  return path.length > 30 ? `${host}${path.slice(0, 29)}…` : `${host}${path}`
}

/** The host to show beside words that do not name it: where a link leads is no secret. */
function hostBeside(href, words) {
  const { protocol, host } = new URL(href)
  if (protocol !== "http:" && protocol !== "https:") return ""
  return words.toLowerCase().includes(host.replace(/^www\./, "").toLowerCase()) ? "" : host
}
