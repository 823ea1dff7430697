// What a person is told of the connection: once for each change, and nothing that is not so.

import assert from "node:assert/strict"
import { test } from "node:test"

import { firstLink, isSure, knownOf, linkAfter } from "../../static/js/core/link.js"

const phase = (name) => ({ type: "phase", phase: name })
const network = (isThere) => ({ type: "network", isThere })
const ANSWERED = { type: "answered" }
const UNANSWERED = { type: "unanswered" }

/** What is told after each event, the first word included. */
function told(events, first = firstLink()) {
  const words = [knownOf(first)]
  let link = first
  for (const event of events) {
    link = linkAfter(link, event)
    words.push(knownOf(link))
  }
  return words
}

test("a socket that is tried again and again is one word: reconnecting", () => {
  const tries = Array.from({ length: 20 }, () => [phase("waiting"), phase("connecting")]).flat()

  const words = told([phase("open"), ...tries, phase("open")])

  assert.deepEqual([...new Set(words)], ["connecting", "connected", "reconnecting"])
  assert.equal(words.filter((word, at) => word !== words[at - 1]).length, 4)
})

test("before the first connection nothing was lost that could be found again", () => {
  assert.deepEqual(told([phase("waiting"), phase("connecting")]), ["connecting", "connecting", "connecting"])
  assert.deepEqual(told([], firstLink({ wasConnected: true })), ["reconnecting"])
  assert.deepEqual(told([], firstLink({ hasNetwork: false })), ["offline"])
})

test("without a network it is offline, as soon as the open socket does not answer either", () => {
  assert.deepEqual(told([phase("open"), network(false), UNANSWERED, phase("waiting"), phase("connecting")]),
    ["connecting", "connected", "connected", "offline", "offline", "offline"])
})

test("a browser that says offline is wrong where the server answers", () => {
  assert.deepEqual(told([phase("open"), network(false), ANSWERED, UNANSWERED]),
    ["connecting", "connected", "connected", "connected", "connected"])
  assert.deepEqual(told([network(false), phase("open")]), ["connecting", "offline", "connected"])
})

test("when the network is back, a silent socket is not trusted before it answers", () => {
  assert.deepEqual(told([phase("open"), network(false), UNANSWERED, network(true), ANSWERED]),
    ["connecting", "connected", "connected", "offline", "reconnecting", "connected"])
})

test("nothing follows an end", () => {
  const ended = linkAfter(firstLink(), phase("ended"))

  for (const event of [phase("open"), network(false), ANSWERED]) assert.equal(linkAfter(ended, event), ended)
})

test("what is said is surely on its way only over a socket that nobody doubts", () => {
  const open = linkAfter(firstLink(), phase("open"))

  assert.ok(isSure(open))
  assert.ok(!isSure(linkAfter(open, network(false))))
  assert.ok(isSure(linkAfter(linkAfter(open, network(false)), ANSWERED)))
  assert.ok(!isSure(firstLink()))
})

test("an event that changes nothing gives the same link", () => {
  const open = linkAfter(firstLink(), phase("open"))

  assert.equal(linkAfter(open, phase("open")), open)
  assert.equal(linkAfter(open, { type: "other" }), open)
})
