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
      blocks.push({ kind: "heading", spans: spansOf(line.replace(HEADING, "").trim()) })
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
export function spansOf(line) {
  let at = 0
  let plain = ""
  let budget = LOOKS_AHEAD * line.length
  /** What is open: `{mark, spans}`; the lowest is the line itself. */
  const open = [{ mark: "", spans: [] }]
  while (at < line.length) step()
  giveUp(1)
  flush()
  return open[0].spans

  function step() {
    const letter = line.charAt(at)
    const after = line.charAt(at + 1)
    if (letter === "\\" && ESCAPED.test(after)) return write(after, 2)
    if (letter === "\n") return put({ kind: "break" }, 1)
    if (letter === "`" && code()) return
    if ((letter === "*" || letter === "_") && mark(letter)) return
    if (letter === "[" && !isOpen("[")) return begin("[", 1)
    if (letter === "!" && after === "[" && !isOpen("[")) return begin("[", 2)
    if (letter === "]" && isOpen("[")) return link()
    if ((letter === "h" || letter === "H") && address()) return
    if ((letter === "+" || letter === "(" || isDigit(letter)) && phone()) return
    write(letter, 1)
  }

  /** Code, as it is between two runs of as many backticks; pays for looking ahead. */
  function code() {
    let run = 1
    while (line.charAt(at + run) === "`") run += 1
    const from = at + run
    const end = budget > 0 ? line.indexOf("`".repeat(run), from) : -1
    budget -= (end < 0 ? line.length : end) - at
    const inside = end < 0 ? "" : line.slice(from, end).trim()
    if (inside === "" || line.charAt(end + run) === "`") return write("`".repeat(run), run)
    return put({ kind: "code", text: inside.replaceAll("\n", " ") }, end + run - at)
  }

  /** A run of `*` or `_` that opens or closes emphasis; false where it is only written. */
  function mark(letter) {
    let run = 1
    while (line.charAt(at + run) === letter) run += 1
    const before = line.charAt(at - 1) || " "
    const after = line.charAt(at + run) || " "
    // A longer run hides a number, or draws a line.
    if (run > 3) return write(letter.repeat(run), run)
    const marks = run === 3 ? [letter.repeat(2), letter] : [letter.repeat(run)]
    // In a word only two asterisks count: scripts without spaces need them.
    const isInWord = IS_WORD.test(before) && IS_WORD.test(after) && !(letter === "*" && run > 1)
    if (!/\s/.test(before) && !isInWord) {
      const closing = run === 3 ? [...marks].reverse() : marks
      if (closing.every((mark) => isOpen(mark))) {
        for (const mark of closing) close(mark)
        at += run
        return true
      }
    }
    if (/\s/.test(after) || isInWord || marks.some((mark) => isOpen(mark))) return write(letter.repeat(run), run)
    for (const mark of marks) begin(mark, mark.length)
    return true
  }

  function close(mark) {
    const level = open.findIndex((each) => each.mark === mark)
    giveUp(level + 1)
    flush()
    const { spans } = open.pop()
    if (spans.length) open.at(-1).spans.push({ kind: mark.length === 2 ? "strong" : "em", spans })
    else plain += mark + mark
  }

  /** `[words](address)`; anything else is written as it stands. */
  function link() {
    const level = open.findIndex((each) => each.mark === "[")
    const [address, end] = line.charAt(at + 1) === "(" ? target(at + 2) : [null, 0]
    const href = address === null ? null : safeHref(address)
    if (href === null) {
      // It is no link, and another may begin.
      giveUp(level)
      return write("]", 1)
    }
    giveUp(level + 1)
    flush()
    const { spans } = open.pop()
    const words = spans.length ? spans : [{ kind: "text", text: shownAddress(href) }]
    put({ kind: "link", href, host: hostBeside(href, said(words)), spans: words }, end - at)
  }

  /** Where the address of a link ends, parentheses within it counted; [address, index behind it]. */
  function target(from) {
    let depth = 1
    let to = from
    const last = Math.min(line.length, from + LONGEST_ADDRESS, from + Math.max(0, budget))
    while (to < last && depth > 0) {
      const letter = line.charAt(to)
      if (letter === "(") depth += 1
      else if (letter === ")") depth -= 1
      else if (letter === "\n") break
      to += 1
    }
    budget -= to - from
    if (depth > 0) return [null, 0]
    // A title in quotes behind it is seen by nobody on a phone.
    const [inside, ...title] = line.slice(from, to - 1).trim().split(" ")
    return title.length && !title.at(0).startsWith('"') ? [null, 0] : [inside, to]
  }

  function address() {
    if (IS_WORD.test(line.charAt(at - 1) || " ") || isOpen("[")) return false
    ADDRESS.lastIndex = at
    const found = ADDRESS.exec(line)
    if (!found) return false
    const text = withoutEnd(found.at(0))
    const href = safeHref(text)
    if (href === null) return write(text, text.length)
    const shown = shownAddress(href)
    put({ kind: "link", href, host: "", spans: [{ kind: "text", text: shown }] }, text.length)
    return true
  }

  function phone() {
    if (/[\p{L}\p{N}.,/:-]/u.test(line.charAt(at - 1) || " ")) return false
    PHONE.lastIndex = at
    const found = PHONE.exec(line)
    if (!found || DATE.test(found.at(0)) || IS_WORD.test(line.charAt(at + found.at(0).length) || " ")) return false
    // A long number without a gap turns around with nobody.
    if (!/[^\d]/.test(found.at(0))) return false
    put({ kind: "phone", text: found.at(0) }, found.at(0).length)
    return true
  }

  function isOpen(mark) {
    return open.some((each) => each.mark === mark)
  }

  function begin(mark, length) {
    flush()
    open.push({ mark, spans: [], source: line.slice(at, at + length) })
    at += length
  }

  /** What was opened from `level` on has no partner: its marks are text. */
  function giveUp(level) {
    while (open.length > level) {
      flush()
      const { source, spans } = open.pop()
      open.at(-1).spans.push({ kind: "text", text: source }, ...spans)
    }
  }

  function write(text, length) {
    plain += text
    at += length
    return true
  }

  function put(span, length) {
    flush()
    open.at(-1).spans.push(span)
    at += length
    return true
  }

  function flush() {
    if (plain === "") return
    open.at(-1).spans.push({ kind: "text", text: plain })
    plain = ""
  }
}

function isDigit(letter) {
  return letter >= "0" && letter <= "9"
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
