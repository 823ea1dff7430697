// Parameters as models write them, read as Python reads them: the same cases for both.

import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { test } from "node:test"

import { NotUnderstood, understood } from "../../static/js/elevenlabs/parameters.js"

const cases = JSON.parse(readFileSync(new URL("../wire/parameters/cases.json", import.meta.url), "utf8"))

for (const one of cases) {
  test(`${one.tool} is understood: ${one.says}`, () => {
    if ("want" in one) assert.deepEqual(understood(one.tool, one.given), one.want)
    else assert.throws(() => understood(one.tool, one.given), (error) => error instanceof NotUnderstood && error.message === one.reason)
  })
}

test("a whole number beyond what JSON carries is text", () => {
  assert.deepEqual(understood("track", { number: 2 ** 60, none: Infinity }), { number: "1152921504606846976", none: null })
})
