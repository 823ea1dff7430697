import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import test from "node:test"

import { isInline, isPicture, keyWithin } from "../../static/js/core/pictures.js"

const { cases } = JSON.parse(readFileSync(new URL("../wire/pictures/cases.json", import.meta.url), "utf8"))

test("the page takes the same words for pictures as the server", () => {
  for (const [key, text, expected] of cases) assert.equal(isPicture(key, text), expected, `${key}: ${text}`)
  assert.equal(isPicture("image", `https://shop.example/${"a".repeat(3000)}`), false)
})

test("a picture in an object is judged by what the object is called", () => {
  assert.equal(keyWithin("url", "images"), "images")
  assert.equal(keyWithin("url", ""), "url")
  assert.equal(keyWithin("alt", "images"), "alt")
})

test("pictures in the message itself are PNG, JPEG, WebP or GIF", () => {
  assert.equal(isInline("data:image/png;base64,iVBORw0KGgo="), true)
  for (const text of ["data:image/svg+xml;base64,AAAA", "data:text/html;base64,AAAA", "data:image/png,x", "data:image/png;base64,<b>"]) {
    assert.equal(isInline(text), false, text)
  }
})
