import assert from "node:assert/strict"
import test from "node:test"

import { blocksIn, plainOf, safeHref, spansOf, titleAndText } from "../../static/js/core/markdown.js"

/** Spans in short: `<b>`, `<i>`, `<c>` for code, `<a address>`, `<p>` for telephone numbers, `|` for a break. */
function short(spans) {
  return spans.map((span) => {
    switch (span.kind) {
      case "text": return span.text
      case "strong": return `<b>${short(span.spans)}</b>`
      case "em": return `<i>${short(span.spans)}</i>`
      case "code": return `<c>${span.text}</c>`
      case "phone": return `<p>${span.text}</p>`
      case "break": return "|"
      default: return `<a ${span.href}>${short(span.spans)}</a>${span.host && ` (${span.host})`}`
    }
  }).join("")
}

for (const [text, expected] of [
  ["plain", "plain"],
  ["a **b** c", "a <b>b</b> c"],
  ["a __b__ c", "a <b>b</b> c"],
  ["a *b* c _d_", "a <i>b</i> c <i>d</i>"],
  ["***both***", "<b><i>both</i></b>"],
  ["**a *b* c**", "<b>a <i>b</i> c</b>"],
  ["这是**重点**内容", "这是<b>重点</b>内容"],
  ["`a * b`", "<c>a * b</c>"],
  ["``a ` b``", "<c>a ` b</c>"],
  ["one\ntwo", "one|two"],
  ["\\*not\\*", "*not*"],
  ["[Track](https://ups.example/t?a=1)", "<a https://ups.example/t?a=1>Track</a> (ups.example)"],
  ["[ups.example](https://www.ups.example)", "<a https://www.ups.example/>ups.example</a>"],
  ["[a **b**](https://x.example)", "<a https://x.example/>a <b>b</b></a> (x.example)"],
  ["[wiki](https://x.example/a_(b))", "<a https://x.example/a_(b)>wiki</a> (x.example)"],
  ['[t](https://x.example "title")', "<a https://x.example/>t</a> (x.example)"],
  ["![alt](https://x.example/a.png)", "<a https://x.example/a.png>alt</a> (x.example)"],
  ["see https://x.example/a, or", "see <a https://x.example/a>x.example/a</a>, or"],
  ["(https://x.example/a_(b))", "(<a https://x.example/a_(b)>x.example/a_(b)</a>)"],
  ["[write](mailto:a@b.example)", "<a mailto:a@b.example>write</a>"],
  ["اتصل +971 50 123 4567 الآن", "اتصل <p>+971 50 123 4567</p> الآن"],
]) {
  test(`${JSON.stringify(text)} is read as people mean it`, () => assert.equal(short(spansOf(text)), expected))
}

for (const text of [
  "2 * 3 * 4", "2*3*4", "snake_case_name", "**** **** **** 1234", "****1234", "** not **", "*", "**", "a ** b", "`", "``",
  "5 < 6 > 4", "<b>bold</b>", "<img src=x onerror=alert(1)>", "&lt;", "[a](javascript:alert(1))",
  "[a](data:text/html,x)", "[a](vbscript:x)", "[a](/relative)", "[a](https://user:pw@x.example)", "[a] (https)", "[a](", "](",
  "http://", "10/12/2026 15:30", "2026-11-23", "12345678", "C:\\dir",
]) {
  test(`${JSON.stringify(text)} stays as it was written`, () => assert.equal(short(spansOf(text)), text))
}

test("an agent's text becomes paragraphs, lists, headings and code", () => {
  const blocks = blocksIn("# Hello\nFirst line\nsecond\n\n- one\n- **two**\n  more\n  - below\n\n1. a\n2. b\n\n```\ncode *x*\n```\n---\nend")

  assert.deepEqual(blocks.map(({ kind }) => kind), ["heading", "paragraph", "list", "list", "code", "paragraph"])
  assert.equal(short(blocks[1].spans), "First line|second")
  assert.deepEqual(blocks[2].entries.map(({ spans, depth }) => [short(spans), depth]), [["one", 0], ["<b>two</b>|more", 0], ["below", 1]])
  assert.deepEqual(blocks[3].entries.map(({ start }) => start), [1, 2])
  assert.equal(blocks[4].text, "code *x*")
})

test("a date, a minus and a time are no lists", () => {
  for (const text of ["1. Januar 2026", "- 5 °C", "3) a", "10. 11. 2026"]) {
    assert.deepEqual(blocksIn(text).map(({ kind }) => kind), ["paragraph"], text)
  }
  assert.deepEqual(blocksIn("Bring:\n- passport").map(({ kind }) => kind), ["paragraph", "list"])
})

test("what is read aloud has no marks", () => {
  assert.equal(plainOf("**Ready**: [see](https://x.example)\n- one\n- two"), "Ready: see\none\ntwo")
})

test("the first line of what an agent says is the title", () => {
  assert.deepEqual(titleAndText("**Your offer**\nTwo lines\nmore"), ["**Your offer**", "Two lines\nmore"])
  assert.deepEqual(titleAndText("# Offer\n\ntext"), ["Offer", "text"])
  assert.deepEqual(titleAndText("One line"), ["One line", ""])
  assert.deepEqual(titleAndText("- a\n- b"), ["", "- a\n- b"])
})

test("an address with a password, or of another scheme, is nothing to tap", () => {
  for (const address of ["javascript:alert(1)", "https://a:b@x.example", "file:///etc/passwd", "x", "blob:https://x.example/1"]) {
    assert.equal(safeHref(address), null, address)
  }
})

const PARTS = [
  "*", "**", "_", "`", "``", "[", "](", "](x", "[a](", "!", "\\", "(", ")", " ", "\n", "- ", "1. ", "a", "http://", "http://u@",
  "+1 2", "````", "~~~", "# ", '"', "<", "•", "😀", "](<", ' "', "....x", "https://x.example/....",
]

test("words are never lost, whatever marks stand around them", () => {
  let seed = 7
  const random = (count) => (seed = (seed * 1103515245 + 12345) % 2147483648) % count
  for (let round = 0; round < 3000; round += 1) {
    const text = Array.from({ length: random(30) }, () => PARTS[random(PARTS.length)]).join("")
    assert.equal(plainOf(text).split("a").length, text.split("a").length, JSON.stringify(text))
  }
})

test("a hostile text takes no longer for each of its characters than any other", () => {
  // A parser that looks back or ahead without a bound would need hours for these.
  for (const first of PARTS) {
    for (const second of ["", "*", "](", "`", " ", "a", "\n"]) blocksIn((first + second).repeat(20_000))
  }
})
