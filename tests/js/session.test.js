// The fold of a session, against the same golden files as Python's.

import assert from "node:assert/strict"
import { readFileSync, readdirSync } from "node:fs"
import { test } from "node:test"

import { apply, emptySession, isCaughtUp, isOpen, join } from "../../static/js/core/session.js"

const WIRE = new URL("../wire/", import.meta.url)
const golden = (name) => JSON.parse(readFileSync(new URL(name, WIRE), "utf8"))

const fold = ({ joined, messages }) => messages.reduce(apply, join(emptySession(), joined))
const lastTime = ({ joined, messages }) => Math.max(joined.timestamp, ...messages.map((each) => each.timestamp))

const stateOf = (session) =>
  Object.fromEntries([...session.state].map(([key, { value, revision }]) => [key, { value, revision }]))

for (const name of readdirSync(WIRE).filter((each) => each.endsWith(".json"))) {
  const file = golden(name)

  test(`${name}: ${file.about}`, () => {
    const session = fold(file)
    const { expect } = file

    assert.deepEqual(stateOf(session), expect.state)
    assert.equal(session.seq, expect.seq)
    assert.deepEqual(
      session.cards.map((card) => card.record.seq).sort((a, b) => a - b),
      expect.cards,
    )
    if (expect.locked) {
      assert.deepEqual(session.cards.filter((card) => card.locked).map((card) => card.record.seq), expect.locked)
    }
    assert.deepEqual([...session.calls.values()].filter((call) => isOpen(call, lastTime(file))).map((call) => call.id), expect.open_calls)
    for (const [id, status] of Object.entries(expect.answers ?? {})) {
      assert.equal(session.calls.get(id).answer.result.status, status)
    }
    if (expect.presence) assert.deepEqual([...session.presence.keys()].sort(), expect.presence)
    if (expect.lines) assert.deepEqual(session.lines.map(({ who, text }) => [who, text]), expect.lines)
    if (expect.ended) assert.equal(session.ended, expect.ended)
    if (expect.conversation_id) assert.equal(session.conversationId, expect.conversation_id)
  })

  test(`${name}: folding every message twice changes nothing`, () => {
    const twice = { ...file, messages: file.messages.flatMap((message) => (message.seq ? [message, message] : [message])) }

    assert.deepEqual(fold(twice), fold(file))
  })
}

test("a card that is replaced keeps its place", () => {
  const session = fold(golden("cards_and_state.json"))

  const [quote, tracking] = session.cards
  assert.deepEqual([quote.record.text, tracking.record.data.step], ["quote_ready", "on its way"])
  assert.equal(tracking.position, 2)
})

test("a question ends ten minutes after it was asked", () => {
  const session = fold(golden("joined_late.json"))
  const call = session.calls.get("call-8")

  assert.ok(isOpen(call, call.record.timestamp + 599_999))
  assert.ok(!isOpen(call, call.record.timestamp + 600_000))
})

test("a screen that comes back keeps its receipts and learns what closed meanwhile", () => {
  const { joined } = golden("question_answered.json")
  const before = fold(golden("question_answered.json"))
  const back = join(before, { ...joined, seq: 5, recovery: "replay", open_calls: [] })

  assert.equal(back.seq, 3)
  assert.ok(!isCaughtUp(back))
  assert.equal(back.calls.get("call-1").answer.result.label, "UPS Next Day")
  assert.equal(back.calls.get("call-2").status, "closed")
})

test("a restored backup is another history", () => {
  const { joined } = golden("question_answered.json")
  const before = fold(golden("question_answered.json"))
  const back = join(before, { ...joined, seq: 1, epoch: "e2", recovery: "snapshot" })

  assert.equal(back.seq, 1)
  assert.equal(back.calls.size, 0)
})

test("the fold leaves what it was given as it was", () => {
  const file = golden("cards_and_state.json")
  const start = join(emptySession(), file.joined)
  const copy = structuredClone(start)
  file.messages.reduce(apply, start)

  assert.deepEqual(start, copy)
})
