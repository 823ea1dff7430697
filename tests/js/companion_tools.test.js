// The companion tools, against the same golden list as Python's and the docs'.

import assert from "node:assert/strict"
import { readFileSync } from "node:fs"
import { test } from "node:test"

import { COMPANION_TOOLS } from "../../static/js/core/protocol.js"

const list = JSON.parse(readFileSync(new URL("../wire/companion_tools/list.json", import.meta.url), "utf8"))

test("a screen names the tools of the golden list", () => {
  assert.deepEqual(COMPANION_TOOLS, Object.keys(list.tools))
})

test("so does the bridge, which stands alone", () => {
  const source = readFileSync(new URL("../../static/js/elevenlabs.js", import.meta.url), "utf8")
  for (const name of Object.keys(list.tools)) assert.ok(source.includes(`"${name}"`), name)
})
