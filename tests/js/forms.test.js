// Forms and their answers, against the same golden file as Python's.

import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { test } from "node:test"

import { faultsIn } from "../../static/js/core/forms.js"
import { matcher } from "../../static/js/core/matcher.js"

const golden = JSON.parse(readFileSync(new URL("../wire/forms/cases.json", import.meta.url), "utf8"))

for (const [field, value, keyword] of golden.fields) {
  test(`${JSON.stringify(value).slice(0, 40)} for ${JSON.stringify(field).slice(0, 120)}: ${keyword ?? "fits"}`, () => {
    const found = faultsIn({ properties: { x: field } }, { x: value }, matcher)
    assert.deepEqual(found.map((each) => each.keyword), keyword === null ? [] : [keyword])
  })
}

for (const [schema, values, faults] of golden.forms) {
  test(`${JSON.stringify(values)} for ${JSON.stringify(schema).slice(0, 160)}`, () => {
    const found = faultsIn(schema, values, matcher).map(({ path, keyword }) => [...path, keyword])
    assert.deepEqual(found.map(String).sort(), faults.map(String).sort())
  })
}
