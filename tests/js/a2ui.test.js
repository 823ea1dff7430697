// A2UI messages become surfaces, bindings become text; all of it without a browser.

import assert from "node:assert/strict"
import { test } from "node:test"

import { failures, resolve, textOf } from "../../static/js/a2ui/functions.js"
import { pathOf } from "../../static/js/a2ui/icons.js"
import { messagesIn, reduce, valueAt, withValueAt } from "../../static/js/a2ui/reducer.js"

const version = "v0.9"
const create = { version, createSurface: { surfaceId: "s", catalogId: "c" } }
const components = (...list) => ({ version, updateComponents: { surfaceId: "s", components: list } })
const model = (value, path) => ({ version, updateDataModel: { surfaceId: "s", value, ...(path ? { path } : {}) } })
const fold = (...messages) => messages.reduce(reduce, new Map())
const about = { data: { sum: 1234.5, name: "Ann", items: [{ n: 1 }, { n: 2 }], at: "2026-11-23T10:05:09" }, scope: "", locale: "en-US" }
const call = (name, args) => ({ call: name, args })

test("a surface is created, filled, changed and deleted", () => {
  const surface = fold(create, components({ id: "root", component: "Text", text: "a" }), model({ a: { b: 1 } }), model(2, "/a/b"), model([7], "/list")).get("s")

  assert.equal(surface.components.get("root").text, "a")
  assert.deepEqual(surface.data, { a: { b: 2 }, list: [7] })
  assert.equal(fold(create, { version, deleteSurface: { surfaceId: "s" } }).size, 0)
  assert.equal(fold(components({ id: "root" })).size, 0)
})

test("a value that is left out is taken away", () => {
  const surface = fold(create, model({ a: 1, b: 2 }), { version, updateDataModel: { surfaceId: "s", path: "/a" } }).get("s")

  assert.deepEqual(surface.data, { b: 2 })
})

test("messages come as a list, alone or wrapped; other versions are left alone", () => {
  assert.equal(messagesIn([create, { version: "v7", createSurface: {} }, null]).length, 1)
  assert.equal(messagesIn(create).length, 1)
  assert.equal(messagesIn({ mimeType: "application/a2ui+json", messages: [create] }).length, 1)
  assert.deepEqual(messagesIn("<b>"), [])
})

test("paths go from the root or on from where they stand, and never into an object's making", () => {
  assert.equal(valueAt(about.data, "/items/1/n"), 2)
  assert.equal(valueAt(about.data, "n", "/items/0"), 1)
  assert.equal(valueAt(about.data, "/items/9/n"), undefined)
  assert.equal(valueAt({ "a/b": 1 }, "/a~1b"), 1)
  for (const path of ["/__proto__/x", "/constructor", "/a/prototype"]) {
    assert.throws(() => valueAt({}, path))
    assert.throws(() => withValueAt({}, path, 1))
  }
  assert.equal(valueAt({}, "/toString"), undefined)
})

test("numbers, money, dates and plurals are said in the reader's language", () => {
  assert.equal(resolve(call("formatNumber", { value: { path: "/sum" }, decimals: 1 }), about), "1,234.5")
  assert.equal(resolve(call("formatCurrency", { value: { path: "/sum" }, currency: "USD" }), about), "$1,234.50")
  assert.equal(resolve(call("formatDate", { value: { path: "/at" }, format: "EEEE, MMMM d, yyyy 'at' h:mm a" }), about), "Monday, November 23, 2026 at 10:05 AM")
  assert.equal(resolve(call("formatDate", { value: "nonsense", format: "d" }), about), "")
  assert.equal(resolve(call("pluralize", { value: 1, one: "item", other: "items" }), about), "item")
})

test("text holds values, functions and escaped braces", () => {
  const text = (value) => textOf(call("formatString", { value }), about)

  assert.equal(text("Hello ${/name}, ${/items/0/n} of ${/missing}!"), "Hello Ann, 1 of !")
  assert.equal(text("${formatCurrency(value:${/sum}, currency:'EUR')}"), "€1,234.50")
  assert.equal(text("costs \\${5}"), "costs ${5}")
  assert.equal(text("open ${/name"), "open Ann")
})

test("checks name what is wrong", () => {
  const checks = [
    { condition: call("required", { value: { path: "/missing" } }), message: "Needed" },
    { condition: call("email", { value: "ann@example.com" }), message: "No address" },
    { condition: call("and", { values: [true, call("length", { value: "abc", min: 4 })] }), message: "Too short" },
    { condition: call("not", { value: false }), message: "Never" },
    { condition: call("numeric", { value: 5, min: 1, max: 4 }), message: "Out of range" },
    { condition: call("regex", { value: "12345", pattern: "^[0-9]{5}$" }), message: "No digits" },
  ]

  assert.deepEqual(failures(checks, about), ["Needed", "Too short", "Out of range"])
})

test("what is nested without end or not known is refused", () => {
  let deep = { path: "/name" }
  for (let level = 0; level < 60; level += 1) deep = call("not", { value: deep })

  assert.throws(() => resolve(deep, about))
  assert.throws(() => resolve(call("constructor", {}), about))
  assert.throws(() => resolve(call("fetch", {}), about))
})

test("an icon nobody drew is a dot", () => {
  assert.notEqual(pathOf("shoppingCart"), pathOf("no_such"))
  assert.equal(pathOf("shopping_cart"), pathOf("shoppingCart"))
  assert.equal(pathOf("constructor"), pathOf("no_such"))
})
