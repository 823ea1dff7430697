// Patterns of forms, against the same golden file as Python's.

import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { test } from "node:test"

import { matcher, Unsupported } from "../../static/js/core/matcher.js"

const { cases } = JSON.parse(readFileSync(new URL("../wire/patterns/cases.json", import.meta.url), "utf8"))

for (const [pattern, text, found] of cases) {
  test(`/${pattern}/ in ${JSON.stringify(text)}: ${found ?? "not checked"}`, () => {
    if (found === null) assert.throws(() => matcher(pattern), Unsupported)
    else assert.equal(matcher(pattern).test(text), found)
  })
}
