// What the inspector reads out of a session's records.

import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { test } from "node:test"

import { duration, gistOf, kindOf, laneOf, latenciesOf, matches, traces } from "../../static/js/core/trace.js"

const golden = (name) => JSON.parse(readFileSync(new URL(`../wire/${name}`, import.meta.url), "utf8")).messages

test("a tool call, its screen, its late tap and the agent's release are one trace", () => {
  const messages = golden("late_answer.json")
  const rendered = { type: "rendered", of_seq: 1, timestamp: messages[0].timestamp + 240 }
  const trace = traces([messages[0], rendered, ...messages.slice(1)]).get("call-1")

  assert.deepEqual(Object.fromEntries(latenciesOf(trace)), {
    "call to screen": 240,
    "screen to tap": 3760,
    "call to answer": 4000,
    "call to release": 1000,
  })
  assert.equal(trace.status, "chosen")
})

test("each record has a lane, a kind and a gist", () => {
  const [update, , state] = golden("cards_and_state.json")

  assert.deepEqual([laneOf(update), kindOf(update), gistOf(update)], ["agent", "cards", "quote_ready"])
  assert.deepEqual([laneOf(state), kindOf(state), gistOf(state)], ["screens", "state", 'selected = carrier: FedEx'])
  assert.deepEqual([laneOf({ type: "constructor" }), kindOf({ type: "constructor" }), gistOf({ type: "constructor" })], ["server", "other", ""])
})

test("filters narrow by kind, lane and text", () => {
  const messages = golden("cards_and_state.json")
  const count = (filter) => messages.filter((each) => matches(each, { kinds: new Set(), lanes: new Set(), text: "", ...filter })).length

  assert.equal(count({}), messages.length)
  assert.equal(count({ kinds: new Set(["state"]) }), 4)
  assert.equal(count({ lanes: new Set(["screens"]) }), 2)
  assert.equal(count({ text: "FEDEX" }), 2)
})

test("durations read as people say them", () => {
  assert.deepEqual([240.4, 3240, 125_000].map(duration), ["240 ms", "3.2 s", "2:05"])
})
