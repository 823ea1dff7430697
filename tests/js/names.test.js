// A name that came in a message never indexes a plain object: it may be `__proto__` or `valueOf`.

import assert from "node:assert/strict"
import { readFileSync, readdirSync } from "node:fs"
import { test } from "node:test"

const SOURCES = new URL("../../static/js/", import.meta.url)

/** Numbers, and names that only ever hold a place in a list or text. */
const PLACE = /^(\d+|""|(this\.#)?at( [-+] 1)?|each|next - 1)$/
/** Where looking a name up is made safe once, for all: `lookUp`. */
const SAFE = "core/protocol.js:"

function sources() {
  return readdirSync(SOURCES, { recursive: true }).filter((name) => name.endsWith(".js"))
}

/** The code of a file without comments, strings and regular expressions. */
function bare(text) {
  return text
    .replace(/\/\*[^]*?\*\//g, (comment) => comment.replace(/[^\n]/g, " "))
    .replace(/"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'/g, '""')
    .replace(/(^|[\s(,=:?[!&|])\/(?![/*\s])(?:\[(?:[^\]\\\n]|\\.)*\]|[^/\\\n[]|\\.)+\/[a-z]*/gm, "$1 ")
    .replace(/(^|\s)\/\/.*$/gm, "$1")
}

/** `[line, what]` of each place where an object is asked for a name that is no literal. */
function lookups(text) {
  return bare(text).split("\n").flatMap((line, at) =>
    [...line.matchAll(/(?:[\w$)\]]|\?\.)\[([^[\]]+)\]/g)]
      .filter(([, inside]) => !PLACE.test(inside.trim()))
      // `const [a, b]`, `for (const [a, b]`, `return [a]`, `of [a]` make lists and ask for nothing.
      .filter((match) => !/\b(const|let|return|of|in|yield|case)$/.test(line.slice(0, match.index + 1)))
      .map(([found]) => [at + 1, found]))
}

test("the check itself finds what it looks for", () => {
  const found = lookups('a[name]\nb["x"]; c[0]; d[at]; const [e] = f\nTABLE[message.type]?.(x)\nnull ?? g?.[key]')

  assert.deepEqual(found.map(([line]) => line), [1, 3, 4])
})

test("no object of the pages is asked for a name that came in a message", () => {
  // What is vendored there searches the docs alone, and sees no message.
  const found = sources().filter((name) => !name.startsWith("vendor/")).flatMap((name) =>
    lookups(readFileSync(new URL(name, SOURCES), "utf8")).map(([line, what]) => `${name}:${line} ${what}`))

  const others = found.filter((each) => !each.startsWith(SAFE))
  assert.deepEqual(others, [])
  assert.equal(found.length, 1)
})

test("no text goes over two lines, for the server takes away what stands before each", () => {
  for (const name of sources()) {
    const code = bare(readFileSync(new URL(name, SOURCES), "utf8"))
    for (const line of code.split("\n")) assert.equal(line.split("`").length % 2, 1, `${name}: ${line}`)
  }
})

test("what is put on a page goes through `fillIn`, which leaves out null", () => {
  const found = sources().filter((name) => name !== "elements/dom.js" && /\.replaceChildren\(/.test(readFileSync(new URL(name, SOURCES), "utf8")))

  assert.deepEqual(found, [])
})
