// What the bridge in a page tells an agent, against the same golden sentences as Python's bridge.

import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { test } from "node:test"

import { letterOf, summaryOf, WORDS } from "../../static/js/elevenlabs/mailbox.js"

const { letters, summaries, words } = JSON.parse(readFileSync(new URL("../wire/bridges/sentences.json", import.meta.url), "utf8"))

test("a message becomes the letter of the golden file", () => {
  for (const { message, letter } of letters) {
    const told = letterOf(message)
    assert.deepEqual(told && { kind: told.kind, text: told.text, context_id: told.contextId }, letter)
  }
})

test("an agent that joins late is told what the golden file says", () => {
  for (const { state, cards, text } of summaries) {
    const entries = Object.fromEntries(Object.entries(state).map(([key, value]) => [key, { value }]))
    assert.equal(summaryOf({ state: entries, cards }), text)
  }
})

test("what an agent can say without a screen is in the golden file", () => {
  assert.deepEqual({ ...WORDS, late: WORDS.late("Which service?", "Air") }, words)
})
