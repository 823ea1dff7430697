// What a person keeps when the call is over.

import assert from "node:assert/strict"
import { test } from "node:test"

import { cardView } from "../../static/js/core/cards.js"
import { emptySession } from "../../static/js/core/session.js"
import { copyOf, endOf, isGone, isTakeAway, keptLines, lastWords, textOf } from "../../static/js/core/take-away.js"
import { english } from "../../static/js/words/words.js"

const ended = { ...emptySession(), ended: "ended by owner", cards: [{}] }

test("a session that ends is a take-away, one that is erased or taken from this device is gone", () => {
  assert.equal(endOf({ code: 4510, reason: "ended by owner" }, ended), "ended")
  assert.equal(endOf({ code: 4510, reason: "" }, emptySession()), "expired")
  assert.equal(endOf({ code: 4510, reason: "erased" }, ended), "erased")
  assert.equal(endOf({ code: 4501, reason: "" }, ended), "revoked")
  assert.equal(endOf({ code: 4401, reason: "" }, emptySession()), "away")
  assert.equal(endOf({ code: 4503, reason: "" }, emptySession()), "refused")
  assert.deepEqual(["ended", "expired", "revoked", "erased", "away"].map((end) => isTakeAway(end, ended)), [true, true, false, false, false])
  assert.ok(!isTakeAway("ended", emptySession()))
  assert.deepEqual(["ended", "away", "revoked", "erased"].map(isGone), [false, false, true, true])
})

test("codes, numbers, addresses and links can be copied", () => {
  const cells = [
    [{ kind: "text", text: "1Z 999 AA1 01 2345 6784" }, "1Z 999 AA1 01 2345 6784"],
    [{ kind: "text", text: "LBL-004711" }, "LBL-004711"],
    [{ kind: "text", text: "94107" }, "94107"],
    [{ kind: "text", text: "a3f9-77c1" }, "a3f9-77c1"],
    [{ kind: "text", text: "+971 50 123 4567" }, "+971 50 123 4567"],
    [{ kind: "text", text: "DE89 3704 0044 0532 0130 00" }, "DE89 3704 0044 0532 0130 00"],
    [{ kind: "text", text: "San Francisco, 94107" }, "San Francisco, 94107"],
    [{ kind: "text", text: "Rosenweg", label: "Street" }, "Rosenweg"],
    [{ kind: "number", text: "4,711" }, "4,711"],
    [{ kind: "money", text: "$12.99" }, "$12.99"],
    [{ kind: "link", text: "example.com", href: "https://example.com/track?n=1" }, "https://example.com/track?n=1"],
    [{ kind: "link", text: "a@b.example", href: "mailto:a@b.example" }, "a@b.example"],
  ]

  for (const [cell, copied] of cells) assert.equal(copyOf(cell), copied, cell.text)
})

test("words, times and ticks are not worth a tap", () => {
  for (const cell of [
    { kind: "text", text: "FedEx" }, { kind: "text", text: "Next Day Air" }, { kind: "time", text: "May 4, 2026" },
    { kind: "flag", text: "Yes" }, { kind: "text", text: "5 lb" }, { kind: "text", text: "" },
  ]) assert.equal(copyOf(cell), null, cell.text)
})

test("what is shared reads as the cards do", () => {
  const about = { locale: "en-US", nowMs: 0, words: english }
  const data = { tracking: "1Z999", page: "https://example.com/t", parts: [{ name: "Box", n: 1 }, { name: "Bag", n: 2 }], to: { city: "Bonn" } }
  const view = cardView({ text: "label_created", data }, about)

  assert.equal(textOf("All done", [{ ...view, receipt: "Selected: UPS" }, { title: "Empty" }]),
    "All done\n\nLabel created\nTracking: 1Z999\nPage: https://example.com/t\nParts\nName: Box, N: 1\nName: Bag, N: 2\nTo\nCity: Bonn\nSelected: UPS\n\nEmpty")
})

test("the agent's last words are kept where the log keeps them", () => {
  const lines = [{ who: "agent", text: "One", seq: 1 }, { who: "agent", text: "Bye", seq: 2 }, { who: "user", text: "Thanks", seq: 3 }]

  assert.equal(lastWords({ lines }), "Bye")
  assert.deepEqual(keptLines({ lines }), [lines[1]])
  assert.deepEqual(keptLines({ lines: [{ who: "agent", text: "Bye", seq: null }] }), [])
  assert.equal(lastWords({ lines: [] }), "")
})
