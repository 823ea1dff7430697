// What lists say of a session.

import assert from "node:assert/strict"
import { test } from "node:test"

import { facts } from "../../static/js/core/session-list.js"

const count = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`

test("a row says whose a session is, who is there, and which server has it where there are several", () => {
  const session = { user: "alice", title: "Parcels", seq: 3, connections: { agent: 1, ui: 2, observer: 4 }, node: "a-1" }
  assert.equal(facts(session, "4f6b", count), "alice · 4f6b · 3 records · 1 agent, 2 screens · on a-1")
  assert.equal(facts({ user: "bob", title: "", seq: 1, connections: {}, node: null }, "4f6b", count), "bob · 1 record")
  assert.equal(facts({ user: "bob", title: "", seq: 1, connections: { agent: 0, ui: 1 } }, "4f6b", count), "bob · 1 record · 1 screen")
})
