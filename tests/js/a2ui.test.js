// A2UI messages become surfaces, bindings become text; all of it without a browser.

import assert from "node:assert/strict"
import { test } from "node:test"

import { failures, resolve, textOf } from "../../static/js/a2ui/functions.js"
import { pathOf } from "../../static/js/a2ui/icons.js"
import { messagesIn, reduce, valueAt, withValueAt } from "../../static/js/a2ui/reducer.js"

/** What every object answers to. */
const NAMES = [...Object.getOwnPropertyNames(Object.prototype), "prototype"]
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
  assert.equal(fold(create, model([1], "/list"), model(7, "/list/2")).get("s").data.list.length, 3)
})

test("a value that is left out is taken away", () => {
  const surface = fold(create, model({ a: 1, b: 2 }), { version, updateDataModel: { surfaceId: "s", path: "/a" } }).get("s")

  assert.deepEqual(surface.data, { b: 2 })
})

test("messages come as a list, alone or wrapped", () => {
  assert.equal(messagesIn([create, "x", null]).length, 1)
  assert.equal(messagesIn(create).length, 1)
  assert.equal(messagesIn({ mimeType: "application/a2ui+json", messages: [create] }).length, 1)
  assert.deepEqual(messagesIn("<b>"), [])
})

test("paths go from the root or on from where they stand, and never into an object's making", () => {
  assert.equal(valueAt(about.data, "/items/1/n"), 2)
  assert.equal(valueAt(about.data, "n", "/items/0"), 1)
  assert.equal(valueAt(about.data, "/items/9/n"), undefined)
  assert.equal(valueAt({ "a/b": 1 }, "/a~1b"), 1)
  for (const name of NAMES) {
    const data = JSON.parse(`{"${name}": {"x": 1}}`)
    assert.equal(valueAt({}, `/${name}`), undefined)
    assert.equal(valueAt(data, `/${name}/x`), 1)
    const changed = withValueAt({}, `/${name}/x`, 7)
    assert.deepEqual(Object.entries(changed), [[name, { x: 7 }]])
    assert.equal(Object.getPrototypeOf(changed), Object.prototype)
  }
  assert.equal({}.x, undefined)
})

test("a place far beyond a list's end makes no list of a billion holes", () => {
  for (const path of ["/list/4000000000", "/list/99999999", `/${"a/".repeat(100)}`]) assert.throws(() => withValueAt({ list: [1] }, path, 1))
})

test("what was said in the wrong order or place is understood, and told in words", () => {
  const cases = [
    [[components({ id: "root", component: "Text", text: "early" }), create], /changed before createSurface/],
    [[{ version, createSurface: { surfaceId: "s", components: [{ id: "root", component: "Text" }] } }], /createSurface of “s” holds components/],
    [[{ ...create, version: "v0.8" }, { ...components({ id: "root", component: "Text" }), version: undefined }], /version is “v0.8”/],
    [[create, components({ id: "root" }, 7, { component: "Text" })], /2 of its components have no id/],
    [[create, components({ id: "root" }, ...Array.from({ length: 2100 }, (_, at) => ({ id: `c${at}`, component: "Text" })))], /101 components are too many/],
    [[create, components({ id: "root" }), model(1, "/list/4000000000")], /a list has at most/],
    [[create, components({ id: "root" }), { version, beginRendering: {} }], /none of createSurface/],
    [[create, components({ id: "root" }), { version, updateDataModel: { value: 1 } }], /names no surfaceId/],
  ]
  for (const [messages, expected] of cases) {
    const problems = []
    const surfaces = messages.reduce((before, message) => reduce(before, message, (problem) => problems.push(problem)), new Map())
    assert.match(problems.join(" "), expected)
    assert.ok(surfaces.get("s").components.has("root"), String(expected))
  }
  assert.doesNotMatch(JSON.stringify(cases.map(([, each]) => each)), /undefined|\[object/)
})

test("text made of text made of text ends", () => {
  const about = { data: { x: "${formatString(value:${/x})}${formatString(value:${/x})}" }, scope: "", locale: "en" }

  assert.throws(() => resolve(call("formatString", { value: { path: "/x" } }), about), /too long|too deep/)
})

test("hostile values are text or nothing", () => {
  const odd = [null, {}, [], { toString: 1, valueOf: 1 }, [[{ a: null }]], JSON.parse('{"__proto__": 1}'), 1e308, -0]
  const names = ["required", "regex", "length", "numeric", "email", "formatString", "formatNumber", "formatCurrency", "formatDate", "pluralize", "capitalize", "and", "or", "not"]
  for (const name of names) {
    for (const value of odd) {
      const text = textOf(call(name, { value, values: value, pattern: value, currency: value, format: value, decimals: value, min: value }), { data: {}, scope: "", locale: "en" })
      assert.doesNotMatch(text, /null|undefined|NaN|\[object/, `${name} ${JSON.stringify(value)}`)
    }
  }
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
