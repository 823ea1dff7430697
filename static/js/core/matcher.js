// Regular expressions in time that grows with the text and no faster: a Pike machine.
//
// A browser's own RegExp tries one way after the other, and `^(a+)+$` has more ways than a
// phone has years. Here all ways are walked side by side, so a text of n characters costs
// n times the size of the pattern at most.
//
// The subset: characters, `.`, classes `[a-z]` `[^…]`, \d \w \s \D \W \S, \b \B, ^ $, groups
// `(…)` `(?:…)` `(?<name>…)`, `|`, `*` `+` `?` `{n}` `{n,}` `{n,m}` (lazy ones too),
// \t \n \r \f \v \0 \xhh \uhhhh \u{h…}, \p{…} \P{…}. What is beyond it (references back,
// looking ahead or behind, more than 2,000 steps) is refused: see `Unsupported`.

const MAX_PATTERN = 1000
const MAX_STEPS = 2000
const MAX_DEPTH = 50
/** Repeating nothing makes no step and still takes time to write. */
const MAX_WRITTEN = 20_000

/** Steps walked for one text that somebody typed: what the server takes for checking it again. */
const MAX_WORK = 20_000

/** The text is too long to be matched against a pattern of this size. */
export class TooLong extends Error {
  name = "TooLong"
}

/** The pattern is not a regular expression, or one that cannot be matched in linear time here. */
export class Unsupported extends Error {
  name = "Unsupported"
}

/**
 * A matcher of `pattern`, as JSON Schema and A2UI understand it: anywhere in the text.
 * `test(text)` says whether it is found; `size` steps are walked for each character. With
 * `isBounded` it takes no more work than the server would, and throws `TooLong`.
 */
export function matcher(pattern) {
  if (typeof pattern !== "string") throw new Unsupported("it is not text")
  if (pattern.length > MAX_PATTERN) throw new Unsupported(`it is longer than ${MAX_PATTERN} characters`)
  const program = new Program(new Parser(pattern).parse())
  return { size: program.steps.length, test: (text, isBounded = false) => program.finds(text, isBounded ? MAX_WORK : Infinity) }
}

// Reading

class Parser {
  #signs
  #at = 0
  #depth = 0

  constructor(pattern) {
    this.#signs = [...pattern]
  }

  parse() {
    const tree = this.#either()
    if (this.#at < this.#signs.length) throw new Unsupported("a bracket is closed that was not opened")
    return tree
  }

  get #next() {
    return this.#signs[this.#at]
  }

  #take() {
    const sign = this.#next
    if (sign === undefined) throw new Unsupported("it ends too soon")
    this.#at += 1
    return sign
  }

  #skip(text) {
    const end = this.#at + text.length
    if (this.#signs.slice(this.#at, end).join("") !== text) return false
    this.#at = end
    return true
  }

  #either() {
    if ((this.#depth += 1) > MAX_DEPTH) throw new Unsupported("it is nested too deep")
    const ways = [this.#sequence()]
    while (this.#skip("|")) ways.push(this.#sequence())
    this.#depth -= 1
    return ways.length === 1 ? ways[0] : { kind: "either", ways }
  }

  #sequence() {
    const parts = []
    while (this.#next !== undefined && this.#next !== "|" && this.#next !== ")") parts.push(this.#repeated())
    return { kind: "sequence", parts }
  }

  #repeated() {
    let part = this.#single()
    for (let times = this.#times(); times; times = this.#times()) {
      if (part.kind === "place") throw new Unsupported("a place cannot be repeated")
      if (part.kind === "repeat") throw new Unsupported("a repetition is repeated without a group")
      part = { kind: "repeat", part, ...times }
      // Whether it takes much or little makes no difference to whether it is found.
      this.#skip("?")
    }
    return part
  }

  #times() {
    if (this.#skip("*")) return { least: 0, most: Infinity }
    if (this.#skip("+")) return { least: 1, most: Infinity }
    if (this.#skip("?")) return { least: 0, most: 1 }
    if (this.#next !== "{") return null
    const found = /^\{(\d{1,4})(,?)(\d{0,4})\}/.exec(this.#signs.slice(this.#at, this.#at + 12).join(""))
    if (!found) throw new Unsupported("a brace stands alone")
    this.#at += found[0].length
    const least = Number(found[1])
    const most = found[2] === "" ? least : found[3] === "" ? Infinity : Number(found[3])
    if (most < least || (found[2] === "" && found[3] !== "")) throw new Unsupported("a repetition counts backwards")
    return { least, most }
  }

  #single() {
    const sign = this.#take()
    if (sign === "(") return this.#group()
    if (sign === "[") return this.#charClass()
    if (sign === ".") return one((code) => code !== 10 && code !== 13 && code !== 0x2028 && code !== 0x2029)
    if (sign === "^") return { kind: "place", holds: (codes, at) => at === 0 }
    if (sign === "$") return { kind: "place", holds: (codes, at) => at === codes.length }
    if (sign === "\\") return this.#escaped()
    if ("*+?{}])".includes(sign)) throw new Unsupported(`“${sign}” stands where nothing comes before it`)
    return literal(sign)
  }

  #group() {
    if (this.#skip("?") && !this.#skip(":")) {
      if (!this.#skip("<") || this.#next === "=" || this.#next === "!") throw new Unsupported("it looks ahead or behind")
      while (this.#take() !== ">");
    }
    const inside = this.#either()
    if (!this.#skip(")")) throw new Unsupported("a bracket is not closed")
    // A group may be repeated though what it holds is a repetition or a place.
    return { kind: "sequence", parts: [inside] }
  }

  #escaped() {
    if (this.#skip("b")) return { kind: "place", holds: atWordEdge }
    if (this.#skip("B")) return { kind: "place", holds: (codes, at) => !atWordEdge(codes, at) }
    if (/[1-9k]/.test(this.#next ?? "")) throw new Unsupported("it refers back")
    const { code, test } = this.#escape()
    return test ? one(test) : one((each) => each === code)
  }

  /** `{code}` of one character, or `{test}` of many. */
  #escape() {
    const sign = this.#take()
    const many = MANY.get(sign)
    if (many) return { test: many }
    if (sign === "p" || sign === "P") return { test: this.#property(sign === "P") }
    if (CONTROLS.has(sign)) return { code: CONTROLS.get(sign) }
    if (sign === "x") return { code: this.#hex(2) }
    if (sign === "u") return { code: this.#unicode() }
    if (/[A-Za-z0-9]/.test(sign)) throw new Unsupported(`“\\${sign}” is not known here`)
    return { code: sign.codePointAt(0) }
  }

  #hex(length) {
    const text = Array.from({ length }, () => this.#take()).join("")
    if (!/^[0-9a-fA-F]+$/.test(text)) throw new Unsupported("a character's number is none")
    return parseInt(text, 16)
  }

  #unicode() {
    if (!this.#skip("{")) return this.#hex(4)
    let text = ""
    for (let sign = this.#take(); sign !== "}"; sign = this.#take()) text += sign
    const code = /^[0-9a-fA-F]{1,6}$/.test(text) ? parseInt(text, 16) : Infinity
    if (code > 0x10ffff) throw new Unsupported("a character's number is none")
    return code
  }

  #property(isNot) {
    if (!this.#skip("{")) throw new Unsupported("a property has no name")
    let name = ""
    for (let sign = this.#take(); sign !== "}"; sign = this.#take()) name += sign
    if (!/^[\w=]{1,60}$/.test(name)) throw new Unsupported("a property has no such name")
    let property
    try {
      // Over one character at a time nothing can be tried twice.
      property = new RegExp(`^\\p{${name}}$`, "u")
    } catch {
      throw new Unsupported(`there is no property “${name}”`)
    }
    return (code) => property.test(String.fromCodePoint(code)) !== isNot
  }

  #charClass() {
    const isNot = this.#skip("^")
    const tests = []
    while (!this.#skip("]")) {
      const from = this.#member()
      if (this.#next !== "-" || this.#signs[this.#at + 1] === "]") {
        tests.push(from.test ?? ((code) => code === from.code))
        continue
      }
      this.#take()
      const to = this.#member()
      if (from.test || to.test || to.code < from.code) throw new Unsupported("a range of characters makes no sense")
      tests.push((code) => code >= from.code && code <= to.code)
    }
    return one((code) => tests.some((test) => test(code)) !== isNot)
  }

  #member() {
    const sign = this.#take()
    if (sign !== "\\") return { code: sign.codePointAt(0) }
    if (this.#skip("b")) return { code: 8 }
    return this.#escape()
  }
}

const isDigit = (code) => code >= 48 && code <= 57
const isWord = (code) => isDigit(code) || (code >= 65 && code <= 90) || (code >= 97 && code <= 122) || code === 95
const isSpace = (code) => /\s/.test(String.fromCodePoint(code))
const MANY = new Map([
  ["d", isDigit], ["D", (code) => !isDigit(code)],
  ["w", isWord], ["W", (code) => !isWord(code)],
  ["s", isSpace], ["S", (code) => !isSpace(code)],
])
const CONTROLS = new Map([["t", 9], ["n", 10], ["v", 11], ["f", 12], ["r", 13], ["0", 0]])

function atWordEdge(codes, at) {
  const before = at > 0 && isWord(codes[at - 1])
  const after = at < codes.length && isWord(codes[at])
  return before !== after
}

function one(test) {
  return { kind: "one", test }
}

function literal(sign) {
  const code = sign.codePointAt(0)
  return one((each) => each === code)
}

// Walking

/** Steps of a pattern: `{test, to}` takes a character, `{holds, to}` looks, `{ways}` forks, `{found}` ends. */
class Program {
  steps = []
  #first
  #written = 0

  constructor(tree) {
    // Written from its end, so that each part knows where it leads.
    this.#first = this.#write(tree, this.#add({ found: true }))
  }

  finds(text, most) {
    let work = 0
    const codes = Array.from(text, (sign) => sign.codePointAt(0))
    let here = new Walk(this.steps.length)
    let next = new Walk(this.steps.length)
    for (let at = 0; at <= codes.length; at += 1) {
      if (this.#enter(here, this.#first, codes, at)) return true
      if (at === codes.length) return false
      if ((work += here.list.length) > most) throw new TooLong()
      for (const id of here.list) {
        const { test, to } = this.#step(id)
        if (test?.(codes.at(at)) && this.#enter(next, to, codes, at + 1)) return true
      }
      here.clear()
      ;[here, next] = [next, here]
    }
    return false
  }

  #step(id) {
    return this.steps.at(id)
  }

  /** Note a step and all that lead on from it without a character; whether the end is among them. */
  #enter(walk, first, codes, at) {
    const open = [first]
    while (open.length) {
      const id = open.pop()
      if (!walk.add(id)) continue
      const { found, ways, holds, to } = this.#step(id)
      if (found) return true
      if (ways) open.push(...ways)
      else if (holds?.(codes, at)) open.push(to)
    }
    return false
  }

  #add(step) {
    if (this.steps.length >= MAX_STEPS) throw new Unsupported(`it has more than ${MAX_STEPS} steps`)
    return this.steps.push(step) - 1
  }

  #write(tree, to) {
    if ((this.#written += 1) > MAX_WRITTEN) throw new Unsupported("it repeats too much")
    if (tree.kind === "one") return this.#add({ test: tree.test, to })
    if (tree.kind === "place") return this.#add({ holds: tree.holds, to })
    if (tree.kind === "sequence") return tree.parts.reduceRight((end, part) => this.#write(part, end), to)
    if (tree.kind === "either") return this.#add({ ways: tree.ways.map((way) => this.#write(way, to)) })
    return this.#repeat(tree, to)
  }

  #repeat({ part, least, most }, to) {
    let end = to
    if (most === Infinity) {
      const loop = { ways: [to] }
      end = this.#add(loop)
      loop.ways.push(this.#write(part, end))
    } else {
      for (let more = least; more < most; more += 1) end = this.#add({ ways: [to, this.#write(part, end)] })
    }
    for (let times = 0; times < least; times += 1) end = this.#write(part, end)
    return end
  }
}

/** Where a walk stands: each step once. */
class Walk {
  list = []
  #seen

  constructor(size) {
    this.#seen = new Set()
  }

  add(id) {
    if (this.#seen.has(id)) return false
    this.#seen.add(id)
    this.list.push(id)
    return true
  }

  clear() {
    this.list = []
    this.#seen.clear()
  }
}
