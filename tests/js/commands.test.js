// What this side knows of the messages, against the same golden catalogue as Python's.

import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { test } from "node:test"

import { PASSED, RELAYED, UNANSWERED, UNORDERED } from "../../static/js/core/commands.js"
import { gists } from "../../static/js/core/gists.js"
import { TOLD } from "../../static/js/core/trace.js"

const { commands, records, told } = JSON.parse(readFileSync(new URL("../wire/messages/catalogue.json", import.meta.url), "utf8"))
const named = (wanted) => Object.entries(commands).filter(([, command]) => wanted(command)).map(([name]) => name).sort()

test("each set holds the commands that the catalogue says it holds", () => {
  assert.deepEqual([...PASSED].sort(), named(({ fate }) => fate === "passed"))
  assert.deepEqual([...UNANSWERED].sort(), named(({ fate }) => fate === "passed" || fate === "unanswered"))
  assert.deepEqual([...UNORDERED].sort(), named(({ by_entrance: byEntrance }) => byEntrance))
  assert.deepEqual([...RELAYED].sort(), named(({ relayed }) => relayed))
})

test("the inspector has a line for each record and for what it shows besides", () => {
  assert.deepEqual([...records, ...TOLD].filter((name) => !gists.has(name)), [])
  assert.deepEqual([...TOLD].filter((name) => !told.includes(name)), [])
})
