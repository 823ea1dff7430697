// Messages, fragments, codes and the rule of when to come back.

import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { test } from "node:test"

import { decode, fragmentOf, codeIn, groupedCode, resultOf, uuidFrom } from "../../static/js/core/protocol.js"
import { delayMs, mayReturn } from "../../static/js/net/connection.js"

test("what is no message is no message", () => {
  for (const text of ["", "null", "[]", "3", '{"type": 7}', "{", '{"a": 1}', undefined]) {
    assert.equal(decode(text), null)
  }
  assert.equal(decode('{"type": "pong"}').type, "pong")
})

test("the fragment of a QR code holds a ticket and names the session", () => {
  const found = fragmentOf("#Vb3kYzq9T1mX0aL7cE5fGh.my9sHn00SliOIQxdn0t6Yw")

  assert.deepEqual(found, {
    kind: "ticket",
    value: "Vb3kYzq9T1mX0aL7cE5fGh",
    sessionId: "9b2f6c1e-7d34-4a58-8e21-0c5d9f4b7a63",
  })
})

test("a ticket without its session part is a ticket still", () => {
  assert.deepEqual(fragmentOf("#abc"), { kind: "ticket", value: "abc", sessionId: null })
  assert.equal(fragmentOf("#token=cwu_a.b").value, "cwu_a.b")
  assert.equal(fragmentOf("#signin=abc").kind, "signin")
  assert.equal(fragmentOf("").kind, "none")
  assert.equal(fragmentOf("#<script>").kind, "none")
  assert.equal(uuidFrom("short"), null)
})

test("a code is read in three groups, whatever was typed", () => {
  assert.equal(groupedCode("123456789"), "123 456 789")
  assert.equal(groupedCode(" 123-4567 "), "123 456 7")
  assert.equal(groupedCode("1234567891234"), "123 456 789")
})

test("a result that is prose is still a result", () => {
  assert.deepEqual(resultOf("fine"), { status: null, text: "fine" })
  assert.equal(resultOf('{"status":"shown"}').status, "shown")
})

test("codes up to 4499 come back, later ones do not", () => {
  assert.deepEqual([1001, 1005, 1006, 1009, 1011, 1012, 1013, 4000, 4401, 4408, 4429, 4499].filter((code) => !mayReturn(code)), [])
  assert.deepEqual([1000, 1008, 4500, 4501, 4503, 4504, 4510, 4999].filter(mayReturn), [])
})

test("waits grow to eight seconds and are spread over all of it", () => {
  assert.deepEqual([0, 1, 2, 5, 50].map((attempt) => delayMs(attempt, 0.999999)), [249, 499, 999, 7999, 7999])
  assert.equal(delayMs(7, 0), 0)
})

test("a code is nine digits of any script, whatever stands around them", () => {
  for (const { text, code } of JSON.parse(readFileSync(new URL("../wire/codes/typed.json", import.meta.url), "utf8"))) {
    assert.equal(codeIn(text), code, text)
  }
})

test("every script's digits mean what Unicode says", () => {
  for (let code = 0; code < 0x110000; code += 1) {
    const letter = String.fromCodePoint(code)
    if (!/\p{Nd}/u.test(letter)) continue
    // Ten digits of a script stand side by side, from its zero on.
    const zero = [...Array(10).keys()].find((back) => codeIn(`12345678${String.fromCodePoint(code - back)}`) === "123456780")
    assert.equal(codeIn(`12345678${letter}`), `12345678${zero}`)
  }
})
