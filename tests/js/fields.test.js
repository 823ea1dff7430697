// What a form asks a person, what becomes of their entries, and what they are told.

import assert from "node:assert/strict"
import { test } from "node:test"

import { answerOf, eachField, formOf } from "../../static/js/core/fields.js"
import { answersText, faultText, hintOf } from "../../static/js/core/form-words.js"
import { matcher } from "../../static/js/core/matcher.js"
import { numberIn, numberText } from "../../static/js/core/numbers.js"
import { changeText, mayChange, problemsOf, questionView, receiptOf } from "../../static/js/core/questions.js"
import { learnToAsk } from "../../static/js/words/asking.js"
import { english, load } from "../../static/js/words/words.js"

await learnToAsk(english)

const about = { words: english, locale: "en-US", nowMs: 0, compile: matcher }
const german = { ...about, words: await load("de"), locale: "de" }
await learnToAsk(german.words)

function asked(properties, required = [], more = {}) {
  return formOf({ type: "object", properties, required, ...more }, about)
}

/** What a form makes of `entries`, by field names: `[values, {name: sentence}]`. */
function filled(form, entries, of = about) {
  const named = new Map(Object.entries(entries).map(([name, entry]) => [JSON.stringify(name.split(".")), entry]))
  const { values, faults } = answerOf(form, named, of)
  const told = [...eachField(form.fields)].filter(({ key }) => faults.has(key)).map((field) =>
    [field.path.join("."), faultText(field, faults.get(field.key), field.path.reduce((at, name) => at?.[name], values), of)])
  return [values, Object.fromEntries(told)]
}

test("a form gives typed values", () => {
  const form = asked({
    name: { type: "string" }, weight: { type: "number", minimum: 0 }, count: { type: "integer" }, size: { enum: ["S", "M"] },
    gift: { type: "boolean" }, day: { type: "string", format: "date" }, extras: { type: "array", items: { enum: ["a", "b", "c"] } },
    tags: { type: "array", items: { type: "string" } }, to: { type: "object", properties: { zip: { type: "string" } } },
    site: { type: "string", format: "uri" }, version: { const: 3 },
  }, ["name"])
  const [values, faults] = filled(form, {
    name: " Ann ", weight: "2,5", size: 1, gift: false, day: "2026-11-23", extras: [2, 0], tags: "x\n\n y ", "to.zip": "80202", site: "example.com/a",
  })

  assert.deepEqual(faults, {})
  assert.deepEqual(values, {
    name: "Ann", weight: 2.5, size: "M", gift: false, day: "2026-11-23", extras: ["c", "a"], tags: ["x", "y"], to: { zip: "80202" },
    site: "https://example.com/a", version: 3,
  })
})

test("each fault is a sentence that says what to write", () => {
  const form = asked({
    weight: { type: "number", minimum: 0.1, maximum: 70 }, count: { type: "integer", minimum: 1, maximum: 9 }, least: { type: "number", minimum: 5 },
    above: { type: "number", exclusiveMinimum: 0 }, step: { type: "number", multipleOf: 0.5 }, whole: { type: "number", multipleOf: 1 },
    any: { type: "number" }, zip: { type: "string", pattern: "^\\d{5}$" }, code: { type: "string", pattern: "^[A-Z]{2}$", examples: ["AB"] },
    mail: { type: "string", format: "email" }, site: { type: "string", format: "uri" }, short: { type: "string", minLength: 3 },
    exact: { type: "string", minLength: 4, maxLength: 4 }, day: { type: "string", format: "date", formatMinimum: "2026-12-01" },
    size: { enum: ["a", "b"] }, terms: { const: true }, some: { type: "array", items: { enum: ["a", "b", "c"] }, minItems: 2 },
    ages: { type: "array", items: { type: "integer", maximum: 120 } }, name: { type: "string" },
  }, ["name", "size", "terms", "some"])
  const [, faults] = filled(form, {
    weight: "0.05", count: "2.5", least: "4", above: "0", step: "0.7", whole: "1.5", any: "many", zip: "123", code: "x", mail: "me", site: "no where",
    short: "ab", exact: "abc", day: "2026-11-30", some: [0], ages: "12\n130", name: "  ",
  })

  assert.deepEqual(faults, {
    weight: "Enter a number from 0.1 to 70", count: "Enter a whole number from 1 to 9", least: "Enter a number of at least 5",
    above: "Enter a number above 0", step: "Enter a multiple of 0.5", whole: "Enter a whole number", any: "Enter a number",
    zip: "Enter 5 digits", code: "Write it like this: AB", mail: "Enter an email address, such as name@example.com",
    site: "Enter a web address, such as https://example.com", short: "Enter at least 3 characters", exact: "Enter exactly 4 characters",
    day: "Choose Dec 1, 2026 or later", size: "Choose one of these", terms: "Tick this to go on", some: "Choose at least 2",
    ages: "“130”: Enter a whole number of at most 120", name: "Fill this in",
  })
  assert.equal(filled(form, { weight: "0,05" }, german)[1].weight, "Geben Sie eine Zahl von 0,1 bis 70 ein")
})

test("what is missing says what would be right", () => {
  const form = asked({ weight: { type: "number", minimum: 0.1, maximum: 70 }, mail: { type: "string", format: "email" }, day: { type: "date" }, name: { type: "string" } }, ["weight", "mail", "day", "name"])
  assert.deepEqual(filled(form, {})[1], {
    weight: "Enter a number from 0.1 to 70", mail: "Enter an email address, such as name@example.com", day: "Enter a date", name: "Fill this in",
  })
})

test("numbers are read as people write them, and written so", () => {
  const read = [
    ["12.5", "en", 12.5], ["12,5", "en", 12.5], ["12,5", "de", 12.5], ["12.5", "de", 12.5], ["1,234", "en", 1234], ["1.234", "de", 1234], ["1,234", "de", 1.234],
    ["1.234,56", "de", 1234.56], ["1,234.56", "en", 1234.56], ["1.234.567", "de", 1234567], ["1 234,5", "fr", 1234.5], ["1’234.5", "de-CH", 1234.5], ["0.125", "de", 0.125],
    ["-3", "en", -3], ["−3", "en", -3], [".5", "en", 0.5], ["١٢٫٥", "ar-EG", 12.5], ["٣", "ar", 3], ["12 kg", "en", NaN], ["", "en", NaN], ["1e5", "en", NaN],
    ["0x10", "en", NaN], ["1.2.3", "en", NaN], ["Infinity", "en", NaN], ["1,2.3,4", "en", NaN],
  ]
  for (const [text, locale, number] of read) assert.ok(Object.is(numberIn(text, locale), number), `${text} in ${locale}: ${numberIn(text, locale)}`)
  for (const locale of ["en", "de", "fr", "ar-EG", "zh", "xx-no-such"]) {
    assert.equal(numberIn(numberText(1234.5, locale, { isField: true }), locale), 1234.5, locale)
  }
})

test("the phone is offered the right keyboard and its own entries", () => {
  const form = asked({
    email: { type: "string" }, contact: { type: "string", format: "email" }, phone_number: { type: "string" }, firstName: { type: "string" },
    zip: { type: "string", pattern: "[0-9]{5}" }, note: { type: "string", maxLength: 500 }, pin: { type: "string", format: "password" }, password: { type: "string" },
    more: { type: "string", format: "textarea" }, when: { type: "date-time" },
  })
  const [email, contact, phone, first, zip, note, pin, password, more, when] = form.fields
  assert.deepEqual([email.inputType, email.autocomplete], ["email", "email"])
  assert.deepEqual([contact.inputMode, contact.autocomplete], ["email", "email"])
  assert.deepEqual([phone.inputType, phone.autocomplete], ["tel", "tel"])
  assert.equal(first.autocomplete, "given-name")
  assert.deepEqual([zip.inputMode, zip.autocomplete], ["numeric", "postal-code"])
  assert.deepEqual([note.kind, more.kind, when.kind], ["long", "long", "datetime"])
  assert.deepEqual([pin.isSecret, password.isSecret, first.isSecret], [true, true, false])
})

test("choices are named for people, and their own values are sent", () => {
  const form = asked({
    service: { enum: ["next_day_air", "GROUND_SAVER", "UPS", "FedEx Ground", "en-US", "drop-off"] },
    named: { enum: [1, 2], enumNames: ["One", "Two"] },
    yes: { enum: [true, false] }, either: { oneOf: [{ const: true, title: "Sure" }, { const: false, title: "Never" }] },
    odd: { enum: [["a", 1], { b: 2 }, null, ""] },
  })
  const [service, named, yes, either, odd] = form.fields
  assert.deepEqual(service.choices.map((each) => each.label), ["Next day air", "Ground saver", "UPS", "FedEx Ground", "en-US", "Drop off"])
  assert.deepEqual(named.choices.map((each) => each.label), ["One", "Two"])
  assert.deepEqual([yes.kind, either.kind], ["tick", "one"])
  assert.deepEqual(odd.choices.map((each) => each.label), ["a, 1", "b: 2"])
  assert.deepEqual(filled(form, { service: 0, named: 1, either: 1, odd: 1 })[0], { service: "next_day_air", named: 2, yes: false, either: false, odd: { b: 2 } })
})

test("a form begins with its defaults, as people here write them", () => {
  const form = formOf({ properties: {
    weight: { type: "number", default: 2.5 }, size: { enum: ["s", "m"], default: "m" }, gift: { type: "boolean", default: true },
    extras: { type: "array", items: { enum: ["a", "b"] }, default: ["b"] }, tags: { type: "array", items: { type: "string" }, default: ["x", "y"] },
    name: { default: "Ann" }, bad: { type: "number", default: "many" },
  } }, german)
  assert.deepEqual(form.fields.map((each) => each.initial), ["2,5", 1, true, [1], "x\ny", "Ann", ""])
  assert.deepEqual(answerOf(form, new Map(), german).values, { weight: 2.5, size: "m", gift: true, extras: ["b"], tags: ["x", "y"], name: "Ann" })
})

test("a group that need not be filled in asks for nothing until somebody begins", () => {
  const to = { type: "object", properties: { zip: { type: "string" }, country: { type: "string", default: "US" }, gift: { type: "boolean" } }, required: ["zip"] }
  const form = asked({ to })
  assert.deepEqual(filled(form, {}), [{}, {}])
  assert.deepEqual(filled(form, { "to.gift": true }), [{ to: { country: "US", gift: true } }, { "to.zip": "Fill this in" }])
  assert.deepEqual(filled(asked({ to }, ["to"]), {}), [{ to: { country: "US", gift: false } }, { "to.zip": "Fill this in" }])
  assert.deepEqual(filled(asked({ to: { ...to, required: [] } }), {}), [{ to: { country: "US", gift: false } }, {}])
})

test("hints say what is described, allowed and meant", () => {
  const form = asked({
    weight: { type: "number", minimum: 0.1, maximum: 70, description: "With the box", examples: [2.5] },
    some: { type: "array", items: { enum: ["a", "b", "c"] }, minItems: 1, maxItems: 2 }, ages: { type: "array", items: { type: "integer" } },
  })
  assert.deepEqual(form.fields.map((field) => hintOf(field, about)), [
    ["With the box", "From 0.1 to 70", "For example 2.5"], ["Choose 1 to 2"], ["One per line"],
  ])
})

test("a receipt names each answer, and no password", () => {
  const call = {
    name: "companion_form",
    parameters: { title: "Parcel", schema: { properties: {
      weight: { type: "number", title: "Weight", "x-unit": "kg" }, service: { enum: ["next_day"] }, pw: { type: "string", format: "password" }, gift: { type: "boolean" },
      day: { type: "string", format: "date" }, at: { type: "string", format: "time" }, extras: { type: "array", items: { enum: ["a_b", "c_d"] } },
      to: { type: "object", properties: { zip: { type: "string" } } }, empty: { type: "string" },
    } } },
    answer: { by: "ui", isError: false, result: { status: "submitted", values: {
      weight: 1200.5, service: "next_day", pw: "hunter2", gift: true, day: "2026-11-29", at: "09:30", extras: ["a_b", "c_d"], to: { zip: "80202" }, extra: 5,
    } } },
  }
  const view = questionView(call, about)
  const rows = receiptOf(call, view, about, true).rows.map(({ label, text }) => `${label}: ${text}`)
  assert.deepEqual(rows.map((row) => row.replace(/\s/g, " ")), [
    "Weight: 1,200.5 kg", "Service: Next day", "Pw: ••••••", "Gift: Yes", "Day: Nov 29, 2026", "At: 9:30 AM", "Extras: A b and C d", "ZIP: 80202",
  ])
  assert.ok(!changeText(view, call.answer.result, about).includes("hunter2"))
  assert.deepEqual(answersText(view.form, "nonsense", about), [])
})

test("an answer can be changed until an agent closes it, a confirmation never", () => {
  const answer = { by: "ui", isError: false, result: { status: "chosen", id: "a", label: "A" } }
  const call = { name: "companion_choose", parameters: { title: "Which?", options: ["A", "B"] }, answer }
  assert.equal(mayChange(call), true)
  assert.equal(mayChange({ ...call, locked: true }), false)
  assert.equal(mayChange({ ...call, answer: { ...answer, by: "server" } }), false)
  assert.equal(mayChange({ ...call, answer: { ...answer, result: { status: "cancelled" } } }), false)
  assert.equal(mayChange({ ...call, name: "companion_confirm", answer: { ...answer, result: { status: "confirmed" } } }), false)
  assert.equal(mayChange({ ...call, answer: null }), false)
  const view = questionView(call, about)
  assert.equal(changeText(view, { status: "chosen", id: "B", label: "B" }, about), "Changed answer to “Which?”: B")
  const changed = receiptOf({ ...call, change: { result: { status: "chosen", id: "B", label: "B" } } }, view, about, true)
  assert.deepEqual([changed.text, changed.note], ["Selected: B", "Changed"])
})

test("what nobody can ask for is said to the agent, and the rest is asked", () => {
  const deep = { type: "object", properties: { a: { type: "object", properties: { b: { type: "object", properties: { c: { type: "string" } } } } } } }
  const call = { name: "companion_form", parameters: { schema: { properties: {
    name: { type: "string", pattern: "(?=x)" }, rows: { type: "array", items: { type: "object" } }, deep, __proto__x: { type: "string" },
  }, required: ["rows", "deep"] } } }
  const view = questionView(call, about)
  assert.deepEqual(problemsOf(view, matcher).map((each) => each.slice(0, 32)), ["The pattern of “name” is not che", "The field “rows” cannot be asked", "The field “deep” cannot be asked"])
  assert.deepEqual(answerOf(view.form, new Map([['["name"]', "x"]]), about).faults, new Map())
  assert.equal(questionView({ name: "companion_form", parameters: { schema: { properties: { rows: { type: "array", items: { type: "object" } } } } } }, about).kind, "card")
})

test("two hundred fields are asked, names mean nothing else, and no schema breaks a page", () => {
  const many = Object.fromEntries(Array.from({ length: 300 }, (_, at) => [`f${at}`, { type: "string" }]))
  const form = asked(many, ["f0", "f299"])
  assert.deepEqual([form.fields.length, form.unasked], [200, 100])
  assert.deepEqual(filled(form, { f1: "x" }), [{ f1: "x" }, {}])

  const hostile = formOf(JSON.parse('{"properties": {"__proto__": {"type": "string"}, "constructor": {"type": "integer"}, "": {"type": "string"}}}'), about)
  const { values } = answerOf(hostile, new Map([['["__proto__"]', "p"], ['["constructor"]', "3"], ['[""]', "e"]]), about)
  assert.equal(JSON.stringify(values), '{"__proto__":"p","constructor":3,"":"e"}')

  const odd = [null, 5, "x", [], {}, { properties: null }, { properties: [] }, { properties: { a: null, b: 5, c: [] } }, { properties: { a: { $ref: "#/properties/a" } } },
    { properties: { a: { $ref: 5, type: { x: 1 }, enum: "x", items: 3, anyOf: [1, null], oneOf: {}, allOf: "x", required: 5, title: 5, description: [], default: {}, examples: {}, "x-unit": {} } } },
    { properties: { a: { type: ["null"] }, b: { enum: [] }, c: { enum: [null] }, d: { type: "array", items: { enum: [] } }, e: { const: { deep: [1] } } } }]
  for (const schema of odd) {
    const found = formOf(schema, about)
    for (const field of eachField(found.fields)) hintOf(field, about)
    answerOf(found, new Map(), about)
    questionView({ name: "companion_form", parameters: { schema } }, about)
  }
})

test("a choice has prices, badges and a count, a confirmation its amount and lines", () => {
  const choose = questionView({ name: "companion_choose", parameters: { title: "Which?", multiple: true, min: 2, max: 9, options: [
    { id: "a", label: "A", price: 48.2, currency: "usd", badge: "Fastest" }, { id: 7, price: "12", currency: "EUR" }, { id: "c", label: "C", price: "from 9 EUR" }, {},
  ] } }, about)
  assert.deepEqual(choose.options.map(({ id, label, price, badge }) => [id, label, price, badge]), [
    ["a", "A", "$48.20", "Fastest"], ["7", "7", "€12.00", ""], ["c", "C", "from 9 EUR", ""],
  ])
  assert.deepEqual([choose.min, choose.max], [2, 3])
  const odd = [[5, 1], [-3, -3], [1.5, "2"], [0, 0]].map(([min, max]) => questionView({ name: "companion_choose", parameters: { options: ["a", "b"], multiple: true, min, max } }, about))
  assert.deepEqual(odd.map((view) => [view.min, view.max]), [[2, 2], [0, 1], [1, 2], [0, 1]])

  const confirm = questionView({ name: "companion_confirm", parameters: { title: "Pay?", amount: 53.19, currency: "EUR", merchant: "UPS", items: [
    { label: "Label", amount: 48.2 }, { label: "Pickup", amount: "4.99" }, "Insurance", { label: "Gift", amount: 0 }, 5, {},
  ] } }, about)
  assert.equal(confirm.amount, "€53.19")
  assert.deepEqual(confirm.items, [{ label: "Label", amount: "€48.20" }, { label: "Pickup", amount: "€4.99" }, { label: "Insurance", amount: "" }, { label: "Gift", amount: "€0.00" }])
  const plain = questionView({ name: "companion_confirm", parameters: { amount: 5, currency: "points" } }, about)
  assert.equal(plain.amount, "5 points")
})
