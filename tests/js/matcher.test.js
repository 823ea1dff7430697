// Patterns that agents write: matched as a browser would, in time no pattern can stretch.

import assert from "node:assert/strict"
import { test } from "node:test"

import { matcher, Unsupported } from "../../static/js/core/matcher.js"

const PATTERNS = [
  "^[0-9]{5}$", "^\\d{5}(-\\d{4})?$", "^[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\\.[A-Za-z]{2,}$", "a|b|", "^(?:red|green|blue)$",
  "^\\+?[1-9]\\d{1,14}$", "colou?r", "^.{2,4}$", "^(ab)*$", "^(a|ab)(c|bcd)(d*)$", "[^aeiou]", "\\bcat\\b", "\\Bcat", "^$", "x*",
  "^\\s*\\S+\\s*$", "^[\\w-]+$", "^[\\d\\s]+$", "[^]", "^\\p{Lu}\\p{Ll}+$", "^\\P{L}+$", "\\u00e9", "\\u{1f600}", "\\x41",
  "^(?<year>\\d{4})-(?<month>0[1-9]|1[0-2])$", "a{2}", "a{2,}", "^a{2,3}?$", "^a+?b*?$", "[a-c]-[\\-x]", "\\$\\.\\*", "^(a+)+$", "(x+x+)+y",
  "(a*)*", "^(a?){20}a{20}$", "[\\b]", "\\t|\\n", "^\\W$", "^\\D$",
]
const TEXTS = [
  "", "a", "b", "ab", "abcd", "aaa", "aab", "12345", "12345-6789", "1234", "ann@example.com", "ann@", "red", "blue ", "+4930123456", "color",
  "colour", "cat", "concat", "a cat.", "  x ", "Ann", "ANN", "é", "😀", "😀😀", "A", "2026-11", "2026-13", "a-x", "a--", "$.*", "x y", "\n", "\t",
  "aaaaaaaaaaaaaaaaaaaa", "xxy", "xx", "]", "-", "_", "ß",
]

test("a pattern finds what a browser's own finds", () => {
  for (const pattern of PATTERNS) {
    const theirs = new RegExp(pattern, isUnicode(pattern) ? "u" : "")
    for (const text of TEXTS) assert.equal(matcher(pattern).test(text), theirs.test(text), `${pattern} on ${JSON.stringify(text)}`)
  }
})

function isUnicode(pattern) {
  try {
    return Boolean(new RegExp(pattern, "u"))
  } catch {
    return false
  }
}

test("a pattern that has no end in a browser ends here", () => {
  for (const pattern of ["^(a+)+$", "^(a|a)*$", "^(a|aa)+$", "(a*)*b", "^((a*)*)*$", "^(.*a){12}$", "(?:a?){50}a{50}b"]) {
    assert.equal(matcher(pattern).test(`${"a".repeat(1999)}!`), false, pattern)
  }
})

test("what cannot be matched in linear time is refused in words, and so is what is no pattern", () => {
  const wrong = [
    "(a)\\1", "\\k<a>", "(?=a)", "(?!a)", "(?<=a)b", "(?<!a)b", "(", ")", "[", "[z-a]", "a**", "*a", "\\", "\\q", "a{2,1}", "a{x}", "\\p{Nope}",
    "\\u{110000000}", "\\xg1", "a".repeat(1001), "(((a{99}){99}){99}){99}", "((((){9999}){9999}){9999}){9999}", "(".repeat(400) + ")".repeat(400), 7, null,
  ]
  for (const pattern of wrong) {
    assert.throws(() => matcher(pattern), (error) => error instanceof Unsupported && error.message.length > 5, String(pattern).slice(0, 40))
  }
})

test("a thousand patterns made by chance agree with the browser's", () => {
  let seed = 7
  const chance = (size) => (seed = (seed * 1103515245 + 12345) % 2147483648) % size
  const pick = (list) => list.at(chance(list.length))
  const part = (depth) => depth === 0 ? pick(["a", "b", ".", "[ab]", "[^a]", "\\d", "\\b", "^", "$"]) : pick([
    () => part(0) + part(depth - 1), () => `(${part(depth - 1)}|${part(depth - 1)})`, () => `(?:${part(depth - 1)})${pick(["*", "+", "?", "{1,2}", "{2}"])}`,
  ])()
  for (let round = 0; round < 1000; round += 1) {
    const pattern = part(3)
    for (let texts = 0; texts < 5; texts += 1) {
      const text = Array.from({ length: chance(7) }, () => pick(["a", "b", "1", " "])).join("")
      assert.equal(matcher(pattern).test(text), new RegExp(pattern).test(text), `${pattern} on ${JSON.stringify(text)}`)
    }
  }
})
