// The phone page in nine languages.

import assert from "node:assert/strict"
import { readdirSync, readFileSync } from "node:fs"
import { test } from "node:test"

import { canonical, choose, directionOf, english, load, sentenceKeys } from "../../static/js/words/words.js"
import { learnToAsk } from "../../static/js/words/asking.js"

const FOLDER = new URL("../../static/js/words/", import.meta.url)
/** The product's name is the same everywhere. */
const NAMES = new Set(["companion"])
const BLANKS = ["n", "label", "time", "names", "id", "text", "min", "max", "step", "merchant", "question", "answer", "all", "title"]
const blanksOf = (text) => [...text.matchAll(/\{(\w+)\}/g)].map((found) => found[1]).sort().join()

const FILES = readdirSync(FOLDER)
const { default: asked } = await import(new URL("asking-en.js", FOLDER))

for (const name of FILES.filter((each) => each.startsWith("asking-"))) {
  test(`${name} has every sentence of questions, with the same blanks`, async () => {
    const { default: own } = await import(new URL(name, FOLDER))
    assert.deepEqual(Object.keys(own), Object.keys(asked))
    assert.ok(FILES.includes(name.replace("asking-", "")) || name === "asking-en.js")
    for (const [key, sentence] of Object.entries(own)) {
      assert.equal(blanksOf(sentence.other ?? sentence), blanksOf(asked[key].other ?? asked[key]), key)
    }
  })
}

test("a language that is read learns to ask, another asks in English", async () => {
  const words = await load("de")
  assert.equal(words("wrong_empty"), "wrong_empty")
  await learnToAsk(words)
  assert.equal(words("wrong_empty"), "Bitte ausfüllen")
})

for (const name of FILES.filter((each) => each !== "words.js" && !each.startsWith("asking"))) {
  test(`${name} has every sentence, with the same blanks`, async () => {
    const { default: own } = await import(new URL(name, FOLDER))
    const language = name.replace(".js", "")

    assert.deepEqual(sentenceKeys.filter((key) => !NAMES.has(key) && !(key in own)), [])
    assert.deepEqual(Object.keys(own).filter((key) => !sentenceKeys.includes(key)), [])
    const words = await load(language)
    for (const key of sentenceKeys) {
      if (typeof own[key] === "string") {
        const blanks = { ...Object.fromEntries(BLANKS.map((blank) => [blank, ""])), n: 3 }
        assert.ok(!words(key, blanks).includes("{"), key)
        assert.equal(blanksOf(own[key]), blanksOf(englishOf(key)), key)
      } else if (key in own) assert.ok(own[key].other, key)
    }
  })
}

function englishOf(key) {
  return english(key, Object.fromEntries(BLANKS.map((blank) => [blank, `{${blank}}`])))
}

test("the session's language comes first, then the browser's, then English", () => {
  assert.equal(choose(["de-AT", "fr"]).language, "de")
  assert.equal(choose(["de-AT", "fr"]).locale, "de-AT")
  assert.equal(choose([null, "tlh", "pt-BR"]).language, "pt")
  assert.equal(choose(["tlh"]).language, "en")
})

test("a locale that is none breaks nothing", () => {
  assert.equal(canonical("C"), null)
  assert.equal(choose(["C", "en_US.UTF-8"]).locale, "en")
})

test("Arabic is written from right to left and counts in six ways", async () => {
  const words = await load("ar")

  assert.equal(directionOf("ar"), "rtl")
  assert.equal(words("n_days", { n: 2 }), "يومان")
  assert.match(words("n_days", { n: 5 }), /أيام/)
})

test("counts have the digits of prices beside them", async () => {
  const words = await load("ar", "ar-EG")
  await learnToAsk(words)

  assert.match(words("n_days", { n: 5 }), /٥/)
  assert.equal(words("one_of", { n: 1, all: 12 }), "١ من ١٢")
  assert.match((await load("ar", "ar-AE"))("n_days", { n: 5 }), /5/)
})

test("every sentence that a page asks for by its name is there", () => {
  const root = new URL("../../static/js/", import.meta.url)
  const sources = readdirSync(root, { recursive: true }).filter((name) => name.endsWith(".js"))
  const used = sources.flatMap((name) => {
    const text = readFileSync(new URL(name, root), "utf8")
    return [...text.matchAll(/\bwords\("(\w+)"/g)].map(([, key]) => [name, key])
  })

  assert.ok(used.length > 50)
  assert.deepEqual(used.filter(([, key]) => !sentenceKeys.includes(key) && !Object.hasOwn(asked, key)), [])
})
