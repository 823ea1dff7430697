// Any JSON becomes something a person can read.

import assert from "node:assert/strict"
import { test } from "node:test"

import { cardView, cleanText, cut, humanized, spokenView } from "../../static/js/core/cards.js"
import { isAsking, questionView, receiptOf } from "../../static/js/core/questions.js"
import { learnToAsk } from "../../static/js/words/asking.js"
import { english } from "../../static/js/words/words.js"

await learnToAsk(english)

const about = { locale: "en-US", nowMs: Date.UTC(2026, 10, 23, 8), words: english }
const view = (text, data) => cardView({ text, data }, about)
const rows = (data) =>
  view("x", data).blocks.flatMap((block) => (block.kind === "rows" ? block.rows : [])).map((row) => [row.label, row.cell.text])
const call = (name, parameters, answer = null) => ({ id: "c", name, parameters, answer })

test("the guide's flat quote is a heading and three rows, with no guessed currency", () => {
  const card = view("quote_ready", { carrier: "FedEx", service: "Ground", cost: 12.99 })

  assert.equal(card.title, "Quote ready")
  assert.deepEqual(rows({ carrier: "FedEx", service: "Ground", cost: 12.99 }), [
    ["Carrier", "FedEx"],
    ["Service", "Ground"],
    ["Cost", "12.99"],
  ])
})

test("money is money only beside a currency, which is then not said twice", () => {
  assert.deepEqual(rows({ cost: 12.5, currency: "USD" }), [["Cost", "$12.50"]])
  assert.deepEqual(rows({ cost: 12.5, currency: "no such" }), [["Cost", "12.50"], ["Currency", "no such"]])
})

test("quotes with a key to write are choices", () => {
  const { choices, blocks } = view("quote_ready", {
    quotes: [{ id: "ups-air", carrier: "UPS", service: "Next Day", cost: 31.4, currency: "USD", eta_days: 1 }],
    select: "selected_shipping_option",
  })

  assert.deepEqual(blocks, [])
  assert.equal(choices.select, "selected_shipping_option")
  const { label, price, description, id } = choices.options[0]
  assert.deepEqual([id, label, price, description], ["ups-air", "UPS Next Day", "$31.40", "1 day"])
})

test("names of fields read as words, prose stays prose", () => {
  assert.deepEqual(
    ["quote_ready", "fromZip", "eta", "tracking-url", "Your parcel is on its way 🎉", "UPS_rate", ""].map(humanized),
    ["Quote ready", "From ZIP", "ETA", "Tracking URL", "Your parcel is on its way 🎉", "UPS rate", ""],
  )
})

test("values are typed: time, yes and no, links, addresses, colours, numbers that are names", () => {
  const { blocks } = view("x", {
    pickup_at: "2026-11-23T10:00:00Z",
    insured: true,
    site: "https://example.com/a/b?c",
    mail: "ann@example.com",
    phone: "+1 (555) 010-9999",
    paint: "#ff8800",
    order_id: 1234567,
    weight: 1234567.5,
    missing: null,
  })
  const cells = Object.fromEntries(blocks[0].rows.map((row) => [row.key, row.cell]))

  assert.equal(cells.pickup_at.kind, "time")
  assert.equal(cells.pickup_at.relative, "in 2 hours")
  assert.deepEqual([cells.insured.kind, cells.insured.text], ["flag", "Yes"])
  assert.deepEqual([cells.site.kind, cells.site.text], ["link", "example.com"])
  assert.equal(cells.mail.href, "mailto:ann@example.com")
  assert.equal(cells.phone.href, "tel:+15550109999")
  assert.equal(cells.paint.kind, "color")
  assert.equal(cells.order_id.text, "1234567")
  assert.equal(cells.weight.text, "1,234,567.5")
  assert.equal(blocks[0].hidden, 1)
})

test("links that run code are text", () => {
  for (const url of ["javascript:alert(1)", "data:text/html,x", "JaVaScRiPt:alert(1)", "https://", "vbscript:x"]) {
    assert.equal(view("x", { url }).blocks[0].rows[0].cell.kind, "text")
  }
})

test("alike narrow objects are a table, others stacked, scalars chips", () => {
  const kinds = (list) => view("x", { list }).blocks[0].blocks[0].kind

  assert.equal(kinds([{ day: "Mon", cost: 1 }, { day: "Tue", cost: 2 }]), "table")
  assert.equal(kinds([{ a: 1, b: 2, c: 3, d: 4 }, { a: 1, b: 2, c: 3, d: 4 }]), "cards")
  assert.equal(kinds(["red", "blue"]), "chips")
})

test("hostile values cost no card: depth, length, rows, prototypes, direction marks", () => {
  let deep = {}
  for (let level = 0; level < 60; level += 1) deep = { deep }
  const hostile = JSON.parse('{"__proto__": {"polluted": 1}, "constructor": "x", "toString": 3}')
  hostile.deep = deep
  hostile.long = "x".repeat(10_000)
  hostile.many = Array.from({ length: 5000 }, (_, at) => ({ at, a: 1, b: 2, c: 3 }))
  hostile.turned = "abc\u202edef"
  const card = view("<img src=x onerror=alert(1)>", hostile)

  assert.equal(card.title, "<img src=x onerror=alert(1)>")
  assert.equal({}.polluted, undefined)
  const text = JSON.stringify(card)
  assert.ok(text.length < 300_000, `${text.length}`)
  assert.ok(!text.includes("\u202e"))
})

test("a locale that is none loses no card", () => {
  const card = cardView({ text: "x", data: { cost: 3, at: "2026-11-23T10:00:00Z" } }, { ...about, locale: "C" })

  assert.equal(card.blocks[0].rows.length, 2)
})

test("a screen reader hears one short sentence", () => {
  const card = view("quote_ready", { carrier: "FedEx", cost: 12.99, currency: "USD" })

  assert.equal(spokenView(card, english), "Quote ready, FedEx, $12.99")
  assert.ok(spokenView(view("x".repeat(500), null), english).length <= 200)
})

test("the four tools ask, anything else is shown", () => {
  const kinds = [
    ["companion_choose", { title: "Which?", options: [{ id: "a", label: "A" }, "b"] }],
    ["companion_form", { title: "Who?", schema: { type: "object", properties: { name: { type: "string" } } } }],
    ["companion_confirm", { title: "Sure?" }],
    ["companion_show", { title: "Look", data: { a: 1 } }],
    ["show_map", { city: "Denver" }],
    ["companion_choose", { title: "Nothing to choose from" }],
  ].map(([name, parameters]) => questionView(call(name, parameters), about))

  assert.deepEqual(kinds.map((each) => each.kind), ["choose", "form", "confirm", "show", "card", "card"])
  assert.deepEqual(kinds.map(isAsking), [true, true, true, false, false, false])
  assert.equal(kinds[4].title, "Show map")
})

test("a receipt is in the past tense and says who answered", () => {
  const question = call("companion_choose", { title: "Which?", options: ["a"] }, {
    by: "ui",
    result: { status: "chosen", id: "air", label: "UPS Next Day" },
  })

  assert.equal(receiptOf(question, null, about, true).text, "Selected: UPS Next Day")
  assert.equal(receiptOf(question, null, about, true).note, "")
  assert.equal(receiptOf(question, null, about, false).note, "Answered on another device")
})

test("text is cut between what looks like characters, and keeps what scripts and emoji need", () => {
  const family = "👨‍👩‍👧‍👦"
  for (const grapheme of [family, "🇩🇪", "👍🏽", "❤️", "é", "नि", "🏴󠁧󠁢󠁥󠁮󠁧󠁿"]) {
    const text = grapheme.repeat(5000)
    const shown = cleanText(text).slice(0, -1)
    assert.equal(shown.length % grapheme.length, 0, grapheme)
    assert.ok(shown.length > 4000)
    for (let max = 20; max < 60; max += 1) assert.ok(cut(text, max).length <= max)
  }
  assert.equal(cleanText(`a\u200d\u200e\u061cb\u202ec\u2028d\ufeff${family}\ud83dx\udc00`), `a\u200d\u200e\u061cbcd${family}x`)
})

test("whatever a value is, what is shown of it is words", () => {
  const odd = [null, undefined, NaN, Infinity, {}, [], [null], { a: null }, { toString: 1, valueOf: 1 }, [[[[[[[[1]]]]]]]], JSON.parse('{"__proto__": {"x": [null]}}')]
  for (const value of odd) {
    assert.doesNotMatch(cleanText(value), /null|undefined|NaN|\[object|Infinity/)
    for (const data of [value, { a: value, cost: value, currency: value, select: value, options: [value, { id: value, label: value }] }, [value, value]]) {
      const { title, blocks, choices } = cardView({ text: value, data }, about)
      assert.doesNotMatch(JSON.stringify([title, blocks, choices?.options.map(({ label, description, price }) => [label, description, price])]).replace(/"currency":null|:null/g, ""), /undefined|NaN|\[object|>null/)
    }
  }
})

test("a card of a thousand lists in lists has an end", () => {
  const many = Array.from({ length: 200 }, () => Array.from({ length: 100 }, () => [{ a: [1, { b: [2] }] }]))
  const count = (value) => (typeof value === "object" && value !== null ? 1 + Object.values(value).reduce((sum, part) => sum + count(part), 0) : 0)

  assert.ok(count(view("x", { many }).blocks) < 50_000)
})

test("a day is tomorrow from morning to night of the day before", () => {
  for (const hour of [0, 6, 12, 18, 23]) {
    const nowMs = new Date(2026, 10, 29, hour, 30).getTime()
    const relative = (day) => cardView({ text: "x", data: { eta: day } }, { ...about, nowMs }).blocks[0].rows[0].cell.relative
    assert.deepEqual(["2026-11-28", "2026-11-29", "2026-11-30"].map(relative), ["yesterday", "today", "tomorrow"])
  }
})

test("a file is called by its name, and where it lies stands beside it", () => {
  const data = {
    pdf: "https://shop.example/files/Label%201.pdf?token=x",
    page: "https://shop.example/track/1",
    document: { name: "Invoice.pdf", url: "https://cdn.example/d/8f3a" },
  }
  const { blocks } = cardView({ text: "files", data }, about)
  const rows = blocks.flatMap((block) => (block.kind === "group" ? block.blocks : [block])).flatMap(({ rows }) => rows)

  assert.deepEqual(
    rows.filter(({ cell }) => cell.kind === "link").map(({ cell }) => [cell.text, cell.host]),
    [["Label 1.pdf", "shop.example"], ["shop.example", ""], ["Invoice.pdf", "cdn.example"]],
  )
})

const PNG = `data:image/png;base64,${"A".repeat(40_000)}`

/** The blocks of `data` in short: kind, and of pictures what they are. */
function blocksIn(data, labels) {
  return cardView({ text: "t", data, labels }, about).blocks.map((block) =>
    block.kind === "pictures" ? block.pictures.map(({ url, alt }) => [url, alt]) : block.kind)
}

test("pictures stand first, say what they show, and are whole however large", () => {
  assert.deepEqual(blocksIn({ image: "https://a.example/1", price: 1 }), [[["https://a.example/1", "Image"]], "rows"])
  assert.deepEqual(blocksIn({ name: "Shoe", photo: "https://a.example/1.png" })[0], [["https://a.example/1.png", "Shoe"]])
  assert.deepEqual(blocksIn({ image: "https://a.example/1" }, { image: "Bild" })[0], [["https://a.example/1", "Bild"]])
  assert.deepEqual(blocksIn({ scan: PNG })[0], [[PNG, "Scan"]])
  assert.deepEqual(blocksIn(PNG), [[[PNG, ""]]])
  assert.deepEqual(blocksIn({ link: "https://a.example/page" }), ["rows"])
})

test("a list of pictures is a gallery", () => {
  const images = ["https://a.example/1.png", { url: "https://a.example/2", alt: "Two" }, PNG]
  const [group] = cardView({ text: "t", data: { images } }, about).blocks

  assert.deepEqual(group.blocks.map(({ kind }) => kind), ["pictures"])
  assert.deepEqual(group.blocks[0].pictures.map(({ alt }) => alt), ["Images", "Two", "Images"])
  // What says more than a picture shows is a card of its own.
  const products = [1, 2].map((id) => ({ name: `P${id}`, image: `https://a.example/${id}.png`, cost: id }))
  const [shop] = cardView({ text: "t", data: { products } }, about).blocks
  assert.deepEqual(shop.blocks[0].cards.map((blocks) => blocks.map(({ kind }) => kind)), [["pictures", "rows"], ["pictures", "rows"]])
})

test("a choice has its picture, and no address among its words", () => {
  const data = { options: [{ id: "a", label: "A", image: "https://a.example/1.png", note: "x" }], select: "k" }
  const [option] = cardView({ text: "t", data }, about).choices.options

  assert.equal(option.image, "https://a.example/1.png")
  assert.ok(!option.description.includes("example"), option.description)
})

test("a file in the message itself can be saved, and what cannot is named", () => {
  const [rows] = cardView({ text: "t", data: {
    label: "data:application/pdf;base64,JVBERi0=", event: "data:text/calendar;base64,AAAA",
    drawing: "data:image/svg+xml;base64,AAAA", page: "data:text/html;base64,AAAA", broken: "data:application/pdf;base64,<b>",
  } }, about).blocks

  assert.deepEqual(rows.rows.map(({ cell }) => [cell.kind, cell.text]), [
    ["file", "Label.pdf"], ["file", "Event.ics"], ["text", "image/svg+xml"], ["text", "text/html"],
    ["text", "application/pdf"],
  ])
})
