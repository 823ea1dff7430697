// What the inspector reads out of a session's records.

import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { test } from "node:test"

import { CLOSES, gistOf, gists, toneOf } from "../../static/js/core/gists.js"
import {
  SLOW_MS, TROUBLES, analyse, duration, kindOf, laneOf, matches, stepsOf, targetOf, tookMs, troubleCounts, troublesAt, wordsOf,
} from "../../static/js/core/trace.js"

const read = (name) => JSON.parse(readFileSync(new URL(`../wire/${name}`, import.meta.url), "utf8"))
const golden = (name) => read(name).messages
const rowOf = (message) => ({ message, words: wordsOf(message), troubles: new Set() })

test("each record has the gist and the tone that the golden lines say", () => {
  const list = read("gists/list.json")
  for (const { message, gist, tone } of list.lines) {
    assert.deepEqual([gistOf(message), toneOf(message)], [gist, tone], JSON.stringify(message))
  }
  const types = new Set(list.lines.map(({ message }) => message.type))
  assert.deepEqual([...gists].filter((type) => !types.has(type)), [])
  assert.deepEqual(list.closes, CLOSES)
  assert.deepEqual([list.slow_ms, list.troubles], [SLOW_MS, TROUBLES])
})

test("no record is too strange for a line", () => {
  for (const type of gists) {
    for (const value of [null, undefined, 7, true, "text", [1], { a: { b: null } }]) {
      const names = ["text", "data", "client_tool_call", "result", "agent_tool_response", "device", "event", "user_transcription_event", "agent_response_correction_event", "code", "key"]
      const message = { type, ...Object.fromEntries(names.map((name) => [name, value])) }
      assert.equal(typeof gistOf(message), "string")
      assert.ok(["bad", "warn", "good", ""].includes(toneOf(message)))
    }
  }
})

test("a question, its screen, the agent's release and the late tap are one waterfall", () => {
  const messages = golden("late_answer.json")
  const rendered = { type: "rendered", of_seq: 1, timestamp: messages[0].timestamp + 240 }
  const { calls } = analyse([messages[0], rendered, ...messages.slice(1)])
  const call = calls.get("call-1")

  assert.deepEqual(stepsOf(call), [
    { what: "call → shown", fromMs: 0, tookMs: 240 },
    { what: "shown → tap", fromMs: 240, tookMs: 3760 },
    { what: "shown → result", fromMs: 240, tookMs: 760 },
  ])
  assert.deepEqual([tookMs(call), call.status], [1000, "chosen"])
})

const CALL = { type: "client_tool_call", seq: 1, timestamp: 1000, handled_by: "screens", sender: { role: "agent" }, client_tool_call: { tool_name: "companion_choose", tool_call_id: "c", parameters: {} } }
const RESULT = { type: "client_tool_result", seq: 2, tool_call_id: "c", answered_by: "ui", sender: { role: "ui" }, result: '{"status":"chosen"}' }

test("a tap in time goes call, shown, tap, result", () => {
  const rendered = { type: "rendered", of_seq: 1, timestamp: 1200, device_id: "d" }
  const { calls } = analyse([CALL, rendered, { ...RESULT, timestamp: 5000 }])

  assert.deepEqual(stepsOf(calls.get("c")).map(({ what, tookMs }) => [what, tookMs]), [["call → shown", 200], ["shown → tap", 3800], ["tap → result", 0]])
  assert.deepEqual(stepsOf(analyse([CALL]).calls.get("c")), [])
  assert.deepEqual([laneOf(CALL), targetOf(CALL), targetOf({ ...CALL, handled_by: "server" }), targetOf(RESULT)], ["agent", "screens", "server", "agent"])
})

test("trouble is what the server counts: failed, slow, no screen, each record once", () => {
  const counts = (...messages) => troubleCounts(analyse(messages).troubles)
  const none = { failed: 0, slow: 0, no_screen: 0 }
  const server = { ...CALL, handled_by: "server" }
  const standIn = (status) => ({ ...RESULT, answered_by: "server", timestamp: 2000, result: JSON.stringify({ status }) })
  const shown = (timestamp, problem) => ({ type: "rendered", of_seq: 1, timestamp, problem })

  assert.deepEqual(counts(CALL, { ...RESULT, timestamp: 90_000 }), none)
  assert.deepEqual(counts(CALL, standIn("no_answer")), { ...none, failed: 1 })
  assert.deepEqual(counts(CALL, standIn("no_screen"), { type: "user_message", seq: 3, timestamp: 9000, in_reply_to: "c", result: "{}" }), { ...none, no_screen: 1 })
  assert.deepEqual(counts(server, { ...RESULT, answered_by: "server", timestamp: 1000 + SLOW_MS, is_error: true }), { ...none, failed: 1, slow: 1 })
  assert.deepEqual(counts(server, { ...RESULT, answered_by: "server", timestamp: 999 + SLOW_MS }), none)
  assert.deepEqual(counts(CALL, shown(1000 + SLOW_MS)), { ...none, slow: 1 })
  assert.deepEqual(counts(CALL, shown(1200), shown(9000)), none)
  assert.deepEqual(counts({ type: "contextual_update", seq: 1, timestamp: 1 }, shown(1, "no picture"), shown(2, "no picture")), { ...none, failed: 1 })
  assert.deepEqual(counts({ type: "agent_tool_response", seq: 4, agent_tool_response: { is_error: true } }), { ...none, failed: 1 })

  const found = analyse([CALL, standIn("no_answer")])
  assert.deepEqual([...troublesAt(standIn("no_answer"), found)], ["failed"])
  assert.deepEqual([...troublesAt({ type: "user_message", seq: 9 }, found)], [])
})

test("each record has a lane and a kind", () => {
  const [update, , state] = golden("cards_and_state.json")

  assert.deepEqual([laneOf(update), targetOf(update), kindOf(update)], ["agent", "screens", "cards"])
  assert.deepEqual([laneOf(state), targetOf(state), kindOf(state)], ["screens", "agent", "state"])
  assert.deepEqual([laneOf({ type: "constructor" }), targetOf({ type: "constructor" }), kindOf({ type: "constructor" })], ["server", null, "other"])
})

test("filters narrow by kind, lane, trouble and text", () => {
  const messages = golden("cards_and_state.json")
  const all = { kinds: new Set(), lanes: new Set(), troubles: new Set(), text: "" }
  const count = (filter) => messages.filter((each) => matches(rowOf(each), { ...all, ...filter })).length

  assert.equal(count({}), messages.length)
  assert.equal(count({ kinds: new Set(["state"]) }), 4)
  assert.equal(count({ lanes: new Set(["screens"]) }), 2)
  assert.equal(count({ text: "FEDEX" }), 2)
  assert.equal(count({ troubles: new Set(["failed"]) }), 0)
})

test("durations read as people say them", () => {
  assert.deepEqual([240.4, 3240, 125_000].map(duration), ["240 ms", "3.2 s", "2:05"])
})
