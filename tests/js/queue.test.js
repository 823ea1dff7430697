// Which open question is in front, and which wait behind it.

import assert from "node:assert/strict"
import { test } from "node:test"

import { QuestionQueue } from "../../static/js/screen/queue.js"

const IDLE = { nowMs: 100_000, hasFocus: false }

function queueWith(...keys) {
  const queue = new QuestionQueue()
  keys.forEach((_, at) => queue.take(keys.slice(0, at + 1), IDLE))
  return queue
}

test("a new question comes to the front of one nobody has touched", () => {
  const queue = queueWith("a")
  assert.deepEqual(queue.take(["a", "b"], IDLE), [])
  assert.equal(queue.front, "b")
  assert.equal(queue.length, 2)
})

test("a question touched less than five seconds ago stays, and what comes queues", () => {
  const queue = queueWith("a")
  queue.touch(100_000)
  assert.deepEqual(queue.take(["a", "b"], { nowMs: 104_999, hasFocus: false }), ["b"])
  assert.equal(queue.front, "a")
  assert.deepEqual(queue.take(["a", "b", "c"], { nowMs: 105_000, hasFocus: false }), [])
  assert.equal(queue.front, "c")
})

test("a question that holds the focus stays however long ago it was touched", () => {
  const queue = queueWith("a")
  assert.deepEqual(queue.take(["a", "b", "c"], { ...IDLE, hasFocus: true }), ["b", "c"])
  assert.equal(queue.front, "a")
})

test("what queued is asked in its order, and does not push in when the finger has left", () => {
  const queue = queueWith("a")
  queue.touch(100_000)
  queue.take(["a", "b"], IDLE)
  queue.take(["a", "b", "c"], IDLE)
  queue.take(["a", "b", "c"], { nowMs: 900_000, hasFocus: false })
  assert.equal(queue.front, "a")
  queue.take(["b", "c"], IDLE)
  assert.equal(queue.front, "b")
  queue.take(["c"], IDLE)
  assert.equal(queue.front, "c")
  queue.take([], IDLE)
  assert.equal(queue.front, null)
})

test("a touch counts for the question that was touched, not for the next one", () => {
  const queue = queueWith("a", "b")
  queue.touch(100_000)
  queue.take(["a"], IDLE)
  assert.deepEqual(queue.take(["a", "c"], IDLE), [])
  assert.equal(queue.front, "c")
})

test("a question that was answered holds nothing back", () => {
  const queue = queueWith("a")
  queue.touch(100_000)
  assert.deepEqual(queue.take(["b"], { ...IDLE, hasFocus: true }), [])
  assert.equal(queue.front, "b")
})

test("a person may look at the next one, and meets the first again after the last", () => {
  const queue = queueWith("a", "b", "c")
  const seen = [1, 2, 3].map(() => {
    queue.goOn()
    return queue.front
  })
  assert.deepEqual(seen, ["b", "a", "c"])
})
